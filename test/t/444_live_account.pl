# What sessions hear, and what it means for the deliveries of the same account;
# calls against a login, EXPLAIN that asks nobody, standbys, servers that go.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('liveaccount', conf => "max_connections = 50");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/odata/v4/sales/');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub get { return sql("SELECT status FROM concord.call('$_[0]', 'GET', '$_[1]')"); }

sub fails
{
	my ($sql, $state, $pattern, $what) = @_;
	my ($out, $err);

	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql;\nSELECT 'still'", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E: .*$pattern/s, "$what: SQLSTATE $state") or diag($err);
	like($out, qr/still$/, "$what: the session goes on");
	return;
}

# ---- failures in a row are the couriers' own to count
$erp->set("/odata/v4/sales/$_", key => ['ID']) for qw(Orders Others);
sql(qq{CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', timeout '5s', breaker_failures '3', breaker_cooldown '300ms', retry_base '1h', retry_cap '1h');
	CREATE TABLE orders (id int PRIMARY KEY, note text);
	SELECT concord.create_mapping('orders', 'orders', 'erp', 'Orders', fields => '{"Note": "note"}', key => '{"ID": "id"}')});
sql("SELECT concord.wait_for_capture('60s')");
my $state = sub { return sql("SELECT breaker, failures FROM concord.system WHERE server = 'erp'"); };
$erp->rule({ path => '/odata/v4/sales/Orders' }, { status => 500 });
sql("INSERT INTO orders VALUES (1), (2)");
ok($node->poll("SELECT failures = 2 FROM concord.system WHERE server = 'erp'"), 'two records have failed');
is(get('erp', 'Others'), '200', 'a session has a good answer meanwhile');
is($state->(), 'closed|2', 'which is not the couriers');
sql("INSERT INTO orders VALUES (3)");
ok($node->poll("SELECT breaker <> 'closed' FROM concord.system WHERE server = 'erp'"), 'the third opens the breaker');
# no delivery is to try it meanwhile
sql("ALTER SYSTEM SET pg_concord.delivery = off");
$node->reload;
ok($node->poll("SELECT status = 200 FROM concord.call('erp', 'GET', 'Others')"), 'a session asks when its cooldown is over');
isnt((split /\|/, $state->())[0], 'closed', 'and is answered: that does not close it');
$erp->drop_rules;
sql("ALTER SYSTEM RESET pg_concord.delivery");
$node->reload;
sql("SELECT concord.resume_system('erp')");
sql("INSERT INTO orders VALUES (4)");
ok($node->poll("SELECT breaker = 'closed' FROM concord.system WHERE server = 'erp'"), 'a delivery does');

# ---- silence is over for all when anybody is answered
sql("SELECT concord.drop_mapping('orders')");
my $other = Concord::Sandbox->new;
sql(qq{CREATE SERVER away FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$other->url('/odata/v4/sales/')]}', timeout '2s', breaker_cooldown '100ms')});
$other->stop;
fails("SELECT concord.call('away', 'GET', 'Things')", '08001', '', 'nobody there');
is(sql("SELECT breaker FROM concord.system WHERE server = 'away'"), 'open', 'the breaker is open');
$other->start;
ok($node->poll("SELECT status IS NOT NULL FROM concord.call('away', 'GET', 'Things')"), 'somebody is there again');
is(sql("SELECT breaker FROM concord.system WHERE server = 'away'"), 'closed', 'and it is closed');

# ---- a path that asks for hours
sql("ALTER SERVER erp OPTIONS (ADD account 'long')");
$erp->rule({ path => '/odata/v4/sales/Maintained' }, { status => 503, headers => { 'Retry-After' => '7200' } });
is(get('erp', 'Maintained'), '503', 'one path is under maintenance for two hours');
cmp_ok(sql("SELECT extract(epoch FROM throttled_until - now()) FROM concord.system WHERE server = 'erp'"), '<=', 60, 'others wait for a minute at most');
fails("SELECT concord.call('erp', 'GET', 'Others', timeout => '100ms')", '53400', 'asks for time', 'what does not wait so long');
$erp->drop_rules;

# ---- a login that is beside another service
$erp->set('/odata/b1s/v2/T', key => ['ID']);
$erp->rule({ path => '/odata/b1s/v2/T' }, { auth => { session => '' } });
sql(qq{CREATE SERVER b1 FOREIGN DATA WRAPPER concord OPTIONS (connector 'sap_b1', url '@{[$erp->url('/odata/')]}', service 'b1s/v2');
	SET client_min_messages = error; CREATE USER MAPPING FOR CURRENT_USER SERVER b1 OPTIONS (auth 'session', company 'SBO', username 'concord', password 'client-5ecret', login_path 'b1s/v2/Login');
	CREATE FOREIGN TABLE b1_things (id int OPTIONS (name 'ID', key 'true')) SERVER b1 OPTIONS (object 'T', service 'b1s/v2')});
like(sql("SELECT status FROM concord.call('b1', 'GET', '/b1s/v2/T')"), qr/^200$/, 'a call with a session');
is(sql("SELECT count(id) FROM b1_things"), '0', 'a foreign table with a session');
ok((grep { $_->{path} eq '/odata/b1s/v2/Login' } $erp->log_entries), 'option login_path is where it logs in');

# ---- EXPLAIN without ANALYZE asks nobody
sql("CREATE FOREIGN TABLE things (id int OPTIONS (name 'ID', key 'true') NOT NULL, note text OPTIONS (name 'Note')) SERVER erp OPTIONS (object 'Listed', rows '100000', on_missing 'null');
	ALTER SERVER erp OPTIONS (DROP account)");
$erp->set('/odata/v4/sales/Listed', key => ['ID']);
sql("INSERT INTO things SELECT g FROM generate_series(4, 30) g");
$erp->clear_log;
sql("EXPLAIN (VERBOSE) $_") for "SELECT * FROM things", "SELECT count(*) FROM things", "SELECT * FROM things WHERE id = 3 ORDER BY id LIMIT 2 OFFSET 1", "SELECT * FROM orders o JOIN things t USING (id)",
	"INSERT INTO things VALUES (1)", "UPDATE things SET note = 'x' WHERE id = 1", "DELETE FROM things", "SELECT id FROM things UNION ALL SELECT id FROM b1_things";
is(scalar($erp->log_entries), 0, 'EXPLAIN sends nothing');

# ---- a server that is changed and dropped while it is used
is(sql("BEGIN; SELECT count(id) FROM things WHERE id > 0; ALTER SERVER erp OPTIONS (SET timeout '4s'); SELECT count(id) FROM things WHERE id > 0; ROLLBACK; SELECT count(id) FROM things WHERE id > 0"), "27\n27\n27", 'a server that is changed in mid-transaction');
fails("BEGIN; DECLARE c CURSOR FOR SELECT id FROM things; FETCH 1 FROM c; DROP SERVER erp CASCADE;\nROLLBACK", '55006', 'being used by active queries', 'dropped under a cursor');
is(sql("BEGIN; SELECT count(id) FROM things WHERE id > 0; DROP SERVER erp CASCADE; ROLLBACK; SELECT count(id) FROM things WHERE id > 0"), "27\n27", 'dropped, and that taken back');

# ---- subtransactions, exception blocks, a cursor that outlives an error
is(sql("BEGIN; DECLARE c CURSOR FOR SELECT id FROM things ORDER BY id; FETCH 1 FROM c; SAVEPOINT s; FETCH 1 FROM c; SELECT count(*) FROM things WHERE 1 / (id - 5) > 5 AND false; ROLLBACK TO s; FETCH 1 FROM c; COMMIT"), "4\n5\n0\n6", 'a cursor over ROLLBACK TO');
is(sql(q{DO $$DECLARE n int := 0; BEGIN FOR i IN 1 .. 20 LOOP BEGIN PERFORM 1 / (id - 10) FROM things; EXCEPTION WHEN division_by_zero THEN n := n + 1; END; END LOOP; ASSERT n = 20; END$$;
	SELECT count(*) FROM concord.system WHERE in_flight > 0}), '0', 'errors in exception blocks leave nothing behind');
is(sql("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id; COMMIT; FETCH 2 FROM c"), "4\n5", 'a cursor WITH HOLD');
is(sql("BEGIN; SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SELECT count(*) FROM orders o LEFT JOIN things t ON t.id = o.id; COMMIT"), '4', 'beside parallel plans');

# ---- options with a slip
for my $case ([ "ALTER SERVER erp OPTIONS (ADD timeuot '1s')", 'timeout' ], [ "ALTER FOREIGN TABLE things OPTIONS (ADD lst_size '1')", 'list_size' ],
	[ "ALTER FOREIGN TABLE things ALTER note OPTIONS (ADD nam 'x')", 'name' ], [ "CREATE FOREIGN TABLE x (a int) SERVER erp OPTIONS (objekt 'x')", 'object' ])
{
	fails($case->[0], 'HV00D', $case->[1], $case->[0]);
}
fails("ALTER FOREIGN TABLE things OPTIONS (ADD page_size '$_')", '22023', 'page_size', "page_size $_") for '0', 'many', '-1', '99999999999';
fails("ALTER FOREIGN TABLE things OPTIONS (ADD paging 'nxt')", '22023', 'paging', 'paging nxt');
fails("SELECT wrong FROM things", '42703', 'does not exist', 'a column with a slip');
sql("CREATE FOREIGN TABLE typo (id int OPTIONS (name 'Idd')) SERVER erp OPTIONS (object 'Listed')");
fails("SELECT id FROM typo", 'HV005', 'no member "Idd" for column "id"', "a column's name with a slip");
sql("CREATE FOREIGN TABLE nowhere (id int OPTIONS (name 'ID')) SERVER erp OPTIONS (object 'Odrers/x/y')");
fails("SELECT id FROM nowhere", 'K4404', '404', 'an object with a slip');

# ---- a standby reads, and writes nothing
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', "SELECT count(id), min(id) FROM things WHERE id > 4"), '26|5', 'a standby reads foreign tables');
is($standby->safe_psql('postgres', "SELECT status FROM concord.call('erp', 'GET', 'Others')"), '200', '... and calls');
is($standby->safe_psql('postgres', "SELECT count(t.id) FROM orders o JOIN things t ON t.id = o.id"), '1', '... and joins');
my ($out, $err);
$standby->psql('postgres', "\\set VERBOSITY verbose\nINSERT INTO things VALUES (99)", stderr => \$err);
like($err, qr/ERROR:  25006/, '... and does not write');
$standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT concord.call('erp', 'POST', 'Others', body => '{\"ID\": 1}')", stderr => \$err);
like($err, qr/ERROR:  (?:25006|55000)/, '... by a call either');
done_testing();
