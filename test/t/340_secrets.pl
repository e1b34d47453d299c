# A secret goes to the system it is for and nowhere else: a system that repeats
# in its answers what it was sent finds it taken out of all that is kept.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('secrets', conf => "log_min_messages = debug1\nlog_error_verbosity = verbose");
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $file = PostgreSQL::Test::Utils::tempdir . '/token';
append_to_file($file, "file-5ecret-value\n");
my $whsec = 'd2ViaG9vay01ZWNyZXQtb2YtMzItYnl0ZXMtbG9uZw==';
my @secrets = ('plain-5ecret-value', 'file-5ecret-value', 'header-5ecret-value', $whsec,
	'YW5uOnBsYWluLTVlY3JldC12YWx1ZQ==');	# ann:plain-5ecret-value, as basic sends it
my %auth = (
	basic => "auth 'basic', username 'ann', password 'plain-5ecret-value'",
	bearer => "auth 'bearer', token_file '$file'",
	header => "auth 'header', header_name 'X-Api-Key', token 'header-5ecret-value'",
	hmac => "auth 'hmac', secret 'whsec_$whsec'");
my $echo = join(' ', 'seen:', @secrets);
sql('CREATE TABLE goods (id int PRIMARY KEY)');

for my $kind (sort keys %auth)
{
	my $connector = $kind eq 'hmac' ? 'webhook' : 'rest';
	my $url = $erp->url("/rest/$kind/");
	sql("CREATE SERVER $kind FOREIGN DATA WRAPPER concord OPTIONS (connector '$connector', url '$url', retry_base '10ms', retry_limit '1')");
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER $kind OPTIONS ($auth{$kind})");
	sql(qq(SELECT concord.create_mapping('$kind', 'goods', '$kind', 'goods', fields => '{"n": "id"}')));
	$erp->rule({ path => "/rest/$kind" }, { status => 422, body => qq({"error": "$echo"}) });
}

# What the log says of the statements above is PostgreSQL's to decide.
my $log_start = -s $node->logfile;
sql('INSERT INTO goods VALUES (1)');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'refused everywhere');
is(sql('SELECT count(*) FROM concord.dead_letter'), '4', 'four dead letters');
like(sql('SELECT answer FROM concord.dead_letter LIMIT 1'), qr/seen:/, 'the answer is kept');

my %own = (basic => [ @secrets[0, 4] ], bearer => [ $secrets[1] ], header => [ $secrets[2] ], hmac => [ $secrets[3] ]);
my $sent = join("\n", map { join("\n", %{ $_->{headers} }) } $erp->log_entries('/rest/'));
like($sent, qr/$secrets[1]/, 'the system was sent the token');
for my $kind (sort keys %auth)
{
	my $kept = sql("SELECT d::text FROM concord.dead_letter d WHERE mapping = '$kind'") . "\n"
	  . sql("SELECT d::text FROM concord.delivery d WHERE mapping = '$kind'") . "\n"
	  . sql("SELECT x::text FROM concord.exception x JOIN concord.mapping m ON m.id = x.mapping WHERE m.name = '$kind'") . "\n"
	  . sql("SELECT s::text FROM concord.status s WHERE mapping = '$kind'") . "\n"
	  . sql("SELECT s::text FROM concord.system s WHERE server = '$kind'") . "\n"
	  . sql("SELECT p::text FROM concord.preview('$kind') p") . "\n"
	  . sql("SELECT p::text FROM concord.ping('$kind') p");
	unlike($kept, qr/\Q$_\E/, "$kind: not kept") for @{ $own{$kind} };
}
# a password file with a line end within: basic authentication cannot say it, and nothing of it is shown
my $two = PostgreSQL::Test::Utils::tempdir . '/two';
append_to_file($two, "first-5ecret-value\nsecond-5ecret-value\n");
push @secrets, 'first-5ecret-value', 'second-5ecret-value';
$erp->clear_log;
sql("CREATE SERVER two FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $erp->url('/rest/two/') ]}');
	CREATE USER MAPPING FOR CURRENT_USER SERVER two OPTIONS (auth 'basic', username 'ann', password_file '$two')");
is(sql("SELECT ok || ' ' || error FROM concord.ping('two')"), 'false the password has a control character, which basic authentication does not allow',
	'a password that cannot be sent is said to be one');
is(scalar($erp->log_entries('/rest/two/')), 0, 'and nothing is sent');

my $log = substr(slurp_file($node->logfile), $log_start);
unlike($log, qr/\Q$_\E/, 'not in the log') for @secrets;
my $outbox = sql('SELECT o::text FROM concord.outbox o');
unlike($outbox, qr/5ecret/, 'not in the outbox');

$node->stop;
done_testing();
