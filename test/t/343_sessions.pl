# auth 'session': SAP Business One's login (Service Layer guide, "Login and
# Logout": cookies B1SESSION and ROUTEID, 401 when the session is over) and SAP
# Gateway's CSRF token (help.sap.com, "Cross-Site Request Forgery Protection":
# x-csrf-token: Fetch, 403 with x-csrf-token: Required).
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('sessions', conf => "log_min_messages = debug1\npg_concord.couriers = 2");
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub issued { return $erp->control('GET', 'tokens')->{issued}; }

my $file = PostgreSQL::Test::Utils::tempdir . '/password';
sub password
{
	open my $fh, '>', "$file.new" or die "$file: $!";
	print $fh $_[0];
	close $fh;
	rename "$file.new", $file or die "$file: $!";
	return;
}
password('client-5ecret');

my $b1 = $erp->url('/odata/b1s/v2/');
my $s4 = $erp->url('/odata/sap/');
sql(qq(CREATE SERVER b1 FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$b1', breaker_cooldown '100ms', concurrency '8')));
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER b1 OPTIONS (auth 'session', company 'SBO', username 'concord', password_file '$file')");
sql(qq(CREATE SERVER s4 FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$s4', service 'API_PARTNER', headers '{"sap-client": "100"}', breaker_cooldown '100ms', concurrency '8')));
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER s4 OPTIONS (auth 'session', username 'concord', password_file '$file')");
$erp->rule({ path => '/odata/b1s/v2/T' }, { auth => { session => '' } });
$erp->rule({ path => '/odata/sap/' }, { auth => { csrf => '' } });
my $log_start = -s $node->logfile;

sql('CREATE TABLE goods (id int PRIMARY KEY, n int)');
sql(qq(SELECT concord.create_mapping('$_', 'goods', '$_', 'Things', fields => '{"n": "n"}', key => '{"ID": "id"}'))) for 'b1', 's4';
sql('INSERT INTO goods SELECT i, 0 FROM generate_series(1, 200) i');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered');
is(issued(), 2, 'one session each');
my ($login) = $erp->log_entries('/odata/b1s/v2/Login');
is($login->{body}, '{"CompanyDB":"SBO","UserName":"concord","Password":"client-5ecret"}', 'login');
my @sent = grep { $_->{method} eq 'POST' } $erp->log_entries('/odata/b1s/v2/Things');
is(scalar(grep { $_->{headers}{cookie} =~ /^B1SESSION=issued\S+; ROUTEID=\.node1$/ && !$_->{headers}{authorization} } @sent), 200, 'both cookies go along');
my ($fetch) = grep { $_->{method} eq 'GET' } $erp->log_entries('/odata/sap/');
is("$fetch->{path} $fetch->{headers}{'x-csrf-token'} $fetch->{headers}{'sap-client'}", '/odata/sap/API_PARTNER/ Fetch 100', 'token fetched at the service');
@sent = grep { $_->{method} eq 'POST' } $erp->log_entries('/odata/sap/');
is(scalar(grep { $_->{headers}{cookie} =~ /^SAP_SESSIONID=issued/ && $_->{headers}{'x-csrf-token'} =~ /^csrf-/ && $_->{headers}{authorization} =~ /^Basic / } @sent), 200, 'token, cookie and user go along');

# over in mid-run
$erp->control('DELETE', 'tokens');
sql('UPDATE goods SET n = 1');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered with new sessions');
is(issued(), 4, 'one more each');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

# a wrong password is not repeated: it would lock the account
$erp->control('DELETE', 'tokens');
password('wrong-5ecret');
# a courier looks at a file once a second at most, and shows nobody when
sleep 2;
$erp->clear_log;
sql('UPDATE goods SET n = 2');
is(sql("SELECT concord.wait_for_delivery('b1', '3s')"), 'f', 'not delivered');
ok($node->poll("SELECT state = 'down' FROM concord.system WHERE server = 'b1'"), 'the system is down');
is(scalar($erp->log_entries('/odata/b1s/v2/Login')), 1, 'one login');
like(sql("SELECT state || ' ' || last_error FROM concord.system WHERE server = 'b1'"), qr/^down .*auth "session".*401.*Fail to get DB Credentials/, 'down, and why');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
password('client-5ecret');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered once it is right');
is(sql("SELECT string_agg(ok::text, ' ') FROM unnest(ARRAY['b1', 's4']) s, concord.ping(s::name)"), 'true true', 'ping');

my $kept = join("\n", map { sql("SELECT x::text FROM concord.$_ x") } qw(dead_letter delivery exception status system outbox link));
unlike($kept, qr/5ecret/, 'no secret in tables and views');
my $log = substr(slurp_file($node->logfile), $log_start);
unlike($log, qr/5ecret/, 'nor in the log');
$node->stop;
done_testing();
