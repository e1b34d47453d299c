# auth 'oauth2' (RFC 6749 4.4): one request for a token however many need it,
# also when it expires in mid-run; a token that the system refuses is replaced
# once; an endpoint that is down, or refuses the client, is a system that is
# down; no token and no secret in any view, table or log.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('tokens', conf => "log_min_messages = debug1\npg_concord.couriers = 2");
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub issued { return $erp->control('GET', 'tokens')->{issued}; }

my $file = PostgreSQL::Test::Utils::tempdir . '/secret';
sub secret
{
	open my $fh, '>', "$file.new" or die "$file: $!";
	print $fh "$_[0]\n";
	close $fh;
	rename "$file.new", $file or die "$file: $!";
	return;
}
secret('client-5ecret');

my $token_url = $erp->url('/auth/token');
my $url = $erp->url('/rest/shop/');
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', concurrency '16', breaker_cooldown '200ms')");
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret_file '$file', scope 'read write')");
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
my $log_start = -s $node->logfile;

# many deliveries, several processes, one token
for my $t ('goods', 'parts', 'bins')
{
	sql("CREATE TABLE $t (id int PRIMARY KEY, n int)");
	sql(qq(SELECT concord.create_mapping('$t', '$t', 'shop', '$t', fields => '{"n": "n"}')));
}
sql("INSERT INTO $_ SELECT i, 0 FROM generate_series(1, 200) i") for 'goods', 'parts', 'bins';
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered');
is(issued(), 1, 'one token for 600 deliveries and all couriers');
is(sql("SELECT ok FROM concord.ping('shop')"), 't', 'ping');
is(issued(), 1, 'which uses the same one');
my ($asked) = $erp->log_entries('/auth/');
is($asked->{body}, 'grant_type=client_credentials&scope=read%20write', 'what the endpoint is asked');

# revoked in mid-run
$erp->control('DELETE', 'tokens');
sql("UPDATE $_ SET n = 1") for 'goods', 'parts', 'bins';
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered with another token');
is(issued(), 2, 'one more token');

# expiring in mid-run: a slow system, a token that lives for two seconds
$erp->control('POST', 'tokens', { life => 2 });
$erp->control('DELETE', 'tokens');
$erp->drop_rules;
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
$erp->rule({ path => '/rest/' }, { latency_ms => 150 });
sql('UPDATE goods SET n = 2; UPDATE parts SET n = 2');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered while tokens expire');
my $more = issued() - 2;
cmp_ok($more, '>', 1, 'more than one token');
cmp_ok($more, '<', 15, 'but few');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
is($erp->stats->{order_violations}, 0, 'in order');
$erp->drop_rules;
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
$erp->control('POST', 'tokens', { life => 3600 });

# a secret that is wrong
$erp->control('DELETE', 'tokens');
secret('wrong-5ecret');
# a courier looks at a file once a second at most, and shows nobody when
sleep 2;
my $before = scalar $erp->log_entries('/auth/');
sql('UPDATE goods SET n = 3');
is(sql("SELECT concord.wait_for_delivery(NULL, '3s')"), 'f', 'not delivered');
ok($node->poll("SELECT state = 'down' FROM concord.system WHERE server = 'shop'"), 'the system is down');
like(sql("SELECT last_error FROM concord.system WHERE server = 'shop'"), qr/auth "oauth2".*401.*invalid_client/, 'and why');
is(scalar($erp->log_entries('/auth/')) - $before, 1, 'the endpoint is asked once, not with every probe');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
like(sql("SELECT ok, error FROM concord.ping('shop')"), qr/^f\|.*invalid_client/, 'ping tries, and says so too');
sql(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (ADD client_auth 'body')});
like(sql("SELECT ok, error FROM concord.ping('shop')"), qr/^f\|.*client_secret=\*\*\*/, 'an answer that repeats the secret is redacted');

# and right again
secret('client-5ecret');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered once the secret is right');
like((grep { $_->{body} =~ /client_secret=client-5ecret/ } $erp->log_entries('/auth/'))[0]{body}, qr/client_id=concord/, 'the client in the form');

# the endpoint is down
my $rule = $erp->rule({ path => '/auth/' }, { status => 503 });
$erp->control('DELETE', 'tokens');
sql('UPDATE goods SET n = 4');
is(sql("SELECT concord.wait_for_delivery(NULL, '2s')"), 'f', 'not delivered');
like(sql("SELECT last_error FROM concord.system WHERE server = 'shop'"), qr/HTTP status 503 from the token endpoint/, 'the endpoint is down');
$erp->drop_rule($rule);
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered once it is back');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

# one endpoint hangs; another system goes on meanwhile
my $hook = $erp->url('/hook/free');
sql("CREATE SERVER free FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$hook')");
sql(q(SELECT concord.create_mapping('free', 'bins', 'free', '', fields => '{"n": "n"}')));
$rule = $erp->rule({ path => '/auth/' }, { hang => JSON::PP::true });
$erp->control('DELETE', 'tokens');
sql('UPDATE bins SET n = 5');
is(sql("SELECT concord.wait_for_delivery('free', '60s')"), 't', 'another system does not wait');
$erp->drop_rule($rule);

# a courier that is fetching is killed: the claim does not stay
is(sql("SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier') x"), '2', 'couriers end');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered by their successors');

# the egress policy holds for the endpoint: a role that is not a superuser
# cannot make the server ask an address of a private network
sql('CREATE ROLE clerk; GRANT USAGE ON FOREIGN SERVER shop TO clerk; GRANT clerk TO CURRENT_USER');
my $other = Concord::Sandbox->new;
my $elsewhere = $other->url('/auth/token');
sql("SET ROLE clerk; CREATE USER MAPPING FOR clerk SERVER shop OPTIONS (auth 'oauth2', token_url '$elsewhere', client_id 'concord', client_secret 'client-5ecret')");
like(sql("SELECT ok, error FROM concord.ping('shop', 'clerk')"), qr/^f\|.*127\.0\.0\.1 is not allowed/, 'a private address elsewhere is refused');
is(scalar($other->log_entries('/auth/')), 0, 'and not asked');
sql("SET ROLE clerk; ALTER USER MAPPING FOR clerk SERVER shop OPTIONS (SET token_url '$token_url')");
is(sql("SELECT ok FROM concord.ping('shop', 'clerk')"), 't', 'the server\'s own address is not');

# nothing is kept
my $kept = join("\n", map { sql("SELECT x::text FROM concord.$_ x") } qw(dead_letter delivery exception status system outbox link));
unlike($kept, qr/5ecret/, 'no secret in tables and views');
my $log = substr(slurp_file($node->logfile), $log_start);
$log =~ s/^.*statement:.*$//mg;
unlike($log, qr/issued-5ecret|wrong-5ecret|client_secret=client/, 'nor in the log');

$node->stop;
done_testing();
