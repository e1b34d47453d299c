# What stands in the way of a mapping is shown, and once somebody has put it
# right delivery goes on at once, however long the breaker would have waited.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $url = $erp->url('/rest/');
my $node = Concord::Cluster->create('repair');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }

my $file = PostgreSQL::Test::Utils::tempdir . '/token';
sql(qq(
	CREATE TABLE goods (id int PRIMARY KEY);
	CREATE SERVER erp FOREIGN DATA WRAPPER concord
		OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', breaker_cooldown '1h');
	CREATE SERVER tokens FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url');
	CREATE USER MAPPING FOR CURRENT_USER SERVER tokens OPTIONS (auth 'bearer', token_file '$file');
	SELECT concord.create_mapping('goods', 'goods', 'erp', 'goods', fields => '{"n": "id"}');
	SELECT concord.create_mapping('tokens', 'goods', 'tokens', 'tokens', fields => '{"n": "id"}');));
sql('INSERT INTO goods VALUES (1)');

ok($node->poll(q(SELECT last_error LIKE 'could not read the file%' FROM concord.status WHERE mapping = 'tokens')),
	'credentials that cannot be read are shown');
append_to_file($file, "token\n");
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER tokens OPTIONS (SET token_file '$file')");
is(delivered('tokens'), 't', 'delivery goes on once they can');

sub breaker { return $node->poll(qq(SELECT breaker = '$_[0]' FROM concord.system WHERE server = 'erp')); }
ok(breaker('open'), 'the breaker is open, for an hour');
sql("ALTER SERVER erp OPTIONS (SET url '$url')");
is(delivered('goods'), 't', 'a changed server is tried at once');

my $rule = $erp->rule({ path => '/rest/goods' }, { status => 401 });
sql('INSERT INTO goods VALUES (2)');
ok(breaker('open'), 'the breaker is open: credentials');
like(sql("SELECT hint FROM concord.system WHERE server = 'erp'"),
	qr/no credentials for role \w+, .*CREATE USER MAPPING FOR \w+ SERVER erp/, 'and there are none: what to do');
$erp->drop_rule($rule);
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'bearer', token 'x')");
is(delivered('goods'), 't', 'changed credentials are tried at once');

$rule = $erp->rule({ path => '/rest/goods' }, { status => 503 });
sql('INSERT INTO goods VALUES (3)');
ok(breaker('open'), 'the breaker is open: 503');
$erp->drop_rule($rule);
sql("SELECT concord.pause_system('erp')");
ok($node->poll(q(SELECT reason = 'paused' FROM concord.system WHERE server = 'erp')), 'paused');
sql("SELECT concord.resume_system('erp')");
is(delivered('goods'), 't', 'a resumed system is tried at once');

# Ten thousand dead letters are tried again in one statement, not one by one.
sql(q(
	CREATE TABLE parts (id int PRIMARY KEY);
	SELECT concord.create_mapping('parts', 'parts', 'erp', 'parts', fields => '{"n": "id"}', checks => '{"none": "id < 0"}')));
sql('INSERT INTO parts SELECT generate_series(1, 10000)');
is(delivered('parts'), 't', 'ten thousand rows that a check refuses');
is(sql("SET statement_timeout = '20s'; SELECT concord.retry_dead('parts')"), '10000', 'all tried again, and soon');
is(delivered('parts'), 't', 'and refused again');
is(sql("SELECT dead FROM concord.status WHERE mapping = 'parts'"), '10000', 'one dead letter for each');

$node->stop;
done_testing();
