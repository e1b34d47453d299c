# Joins that look the keys of many rows up in one request: how many requests
# arrive, and the same rows as with tables that are here.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('foreignjoin');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/list/');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub asked { return grep { /filter=|ID=/ } map { $_->{query} // '' } $erp->log_entries; }

sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	('singly', 'odata', '{"extends": "odata", "read": {"batch": "none"}}'),
	('with_in', 'odata', '{"extends": "odata", "read": {"operators": ["eq", "in", "or"], "paging": "next"}}'),
	('template', 'rest', '{"extends": "rest", "read": {"paging": "cursor", "cursor": "after", "next": "next_cursor", "more": "has_more", "size": "limit", "items": "data",
		"filter": {"in": "{name}={values}", "eq": "{name}={value}"}}}');
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'singly', url '$url', timeout '5s', breaker_failures '1000');
	CREATE SERVER erp_in FOREIGN DATA WRAPPER concord OPTIONS (connector 'with_in', url '$url');
	CREATE SERVER erp_t FOREIGN DATA WRAPPER concord OPTIONS (connector 'template', url '$url');
	CREATE FOREIGN TABLE f (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), amount numeric(12,2) OPTIONS (name 'Amount'),
		note text OPTIONS (name 'Note')) SERVER erp OPTIONS (object 'odata/things', query 'rows=100000', rows '100000', list_size '100');
	CREATE FOREIGN TABLE f_t (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp_t OPTIONS (object 'cursor/things', query 'rows=100000', rows '100000', list_size '100');
	CREATE FOREIGN TABLE f_in (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp_in OPTIONS (object 'odata/things', rows '100000', list_size '100');
	CREATE FUNCTION name_of(int) RETURNS text LANGUAGE sql IMMUTABLE AS \$\$SELECT 'name of ' || \$1\$\$;
	CREATE TABLE l (n int PRIMARY KEY, ref int, big bigint, frac numeric, word text);
	INSERT INTO l SELECT g, g * 7, g * 7, g * 7, 'x' FROM generate_series(1, 1000) g;
	ANALYZE l});

# ---- one request for many rows
my $plan = sql("EXPLAIN (VERBOSE, COSTS OFF) SELECT l.n, f.name FROM l JOIN f ON f.id = l.ref");
like($plan, qr/Custom Scan \(Concord Lookup Join\)/, 'planned by itself');
like($plan, qr/Join Type: Inner\n\s+Lookup Cond: \((?:l\.ref = f\.id|f\.id = l\.ref)\)/, 'EXPLAIN shows what is compared');
like($plan, qr{Remote URL: http://127\.0\.0\.1:\d+/list/odata/things\?\$select=ID,Name&\$filter=ID in \(\$keys\)&rows=100000}, 'and the address');
$erp->clear_log;
is(sql("SELECT count(*), count(DISTINCT n), bool_and(f.name = 'name of ' || ref) FROM l JOIN f ON f.id = l.ref"), '1000|1000|t', 'a thousand rows');
my @asked = asked();
is(scalar(@asked), 10, 'ten requests');
like($asked[0], qr/filter=\(ID%20eq%207%20or%20ID%20eq%2014%20or%20/, 'keys with or');
$erp->clear_log;
is(sql("SELECT count(*), bool_and(f.name = 'name of ' || ref) FROM l JOIN f_t f ON f.id = l.ref"), '1000|t', 'by a template');
@asked = asked();
is(scalar(@asked), 10, 'ten requests, too');
like($asked[0], qr/ID=7,14,21,/, 'values one after the other');
$erp->clear_log;
sql("SELECT count(*) FROM l JOIN f_in f ON f.id = l.ref AND l.n < 20");
like((asked())[0], qr/filter=ID%20in%20\(7,14,21,/, 'a list where the system has it');

# ---- each key once, NULL never, each kind of join
sql("CREATE TABLE d AS SELECT g AS n, CASE WHEN g % 10 = 0 THEN NULL ELSE g % 30 END AS ref FROM generate_series(1, 900) g; INSERT INTO d VALUES (901, -5); ANALYZE d");
$erp->clear_log;
is(sql("SELECT count(*), count(f.name), sum(f.amount) FROM d JOIN f ON f.id = d.ref WHERE f.id > 0"), '810|810|12352.50', 'many rows of few keys');
is(scalar(asked()), 1, 'one request');
unlike(join(' ', asked()), qr/null/i, 'null is not asked for');
$erp->rule({ path => '/list/odata/holes' }, { body => '{"value":[{"ID":1,"Name":"one"},{"ID":2,"Name":"two"},{"ID":2,"Name":"two again"},{"ID":99,"Name":"not asked for"}]}', status => 200 }, 1000);
sql("CREATE FOREIGN TABLE holes (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'odata/holes', rows '100000');
	CREATE TABLE here (id int, name text); INSERT INTO here VALUES (1, 'one'), (2, 'two'), (2, 'two again'), (99, 'not asked for');
	CREATE TABLE s (n int, ref int); INSERT INTO s VALUES (1, 1), (2, 2), (3, 3), (4, NULL), (5, 1), (6, 99)");
for my $case (
	"SELECT s.n, h.name FROM s JOIN %s h ON h.id = s.ref",
	"SELECT s.n, h.name FROM s LEFT JOIN %s h ON h.id = s.ref",
	"SELECT s.n, h.name FROM s LEFT JOIN %s h ON h.id = s.ref AND h.name <> 'two'",
	"SELECT s.n, h.name FROM s LEFT JOIN %s h ON h.id = s.ref AND s.n > 2",
	"SELECT s.n, h.name FROM s LEFT JOIN %s h ON h.id = s.ref WHERE h.name IS NULL OR s.n = 2",
	"SELECT s.n, coalesce(h.name, 'none') || s.n FROM s LEFT JOIN %s h ON h.id = s.ref WHERE coalesce(h.name, 'x') <> 'one'",
	"SELECT s.n, h FROM s LEFT JOIN %s h ON h.id = s.ref",
	"SELECT s FROM s WHERE EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref)",
	"SELECT s FROM s WHERE EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref AND h.name LIKE '%% again')",
	"SELECT s.n FROM s WHERE NOT EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref)",
	"SELECT s.n FROM s WHERE NOT EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref AND s.n <> 5)",
	"SELECT s.n FROM s WHERE s.ref IN (SELECT id FROM %s)",
	"SELECT s.n FROM s WHERE s.ref NOT IN (SELECT id FROM %s)",
	"SELECT h.name, s.n FROM %s h RIGHT JOIN s ON h.id = s.ref",
	"SELECT s.n, h.name, t.n FROM s LEFT JOIN %s h ON h.id = s.ref LEFT JOIN s t ON t.ref = h.id",
	"SELECT a.n, b.name, c.name FROM s a JOIN %s b ON b.id = a.ref LEFT JOIN %1\$s c ON c.id = b.id + 1",
	"SELECT s.n, (SELECT string_agg(h.name, ',' ORDER BY h.name) FROM s t JOIN %s h ON h.id = t.ref WHERE t.n >= s.n) FROM s",
	"SELECT s.n, x.name FROM s, LATERAL (SELECT h.name FROM s t JOIN %s h ON h.id = t.ref WHERE t.n = s.n OFFSET 0) x",
	"SELECT count(*), h.name FROM s JOIN %s h ON h.id = s.ref::bigint GROUP BY h.name",
	"SELECT h.name FROM s JOIN %s h ON h.id = s.ref::numeric",
	"SELECT h.name FROM s JOIN %s h ON h.id = s.ref + 0.5",
	"SELECT s.n, h.name FROM s JOIN %s h ON h.id = s.ref ORDER BY s.n DESC, h.name LIMIT 2",
	"SELECT s.n, h.name FROM s FULL JOIN %s h ON h.id = s.ref")
{
	my @rows;
	for my $t (qw(here holes))
	{
		my $query = sprintf($case, $t);
		push @rows, join "\n", sort split /\n/, sql("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off; $query");
	}
	is($rows[1], $rows[0], $case);
	my $found = sql("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off; EXPLAIN " . sprintf($case, 'holes'));
	like($found, qr/Lookup Join/, '... by a lookup join') unless $case =~ /FULL|NOT IN/;
}
$erp->drop_rules;

# ---- limits of a request
sql("CREATE FOREIGN TABLE digits (id numeric OPTIONS (name 'ID', key 'true') NOT NULL) SERVER erp OPTIONS (object 'odata/things', rows '100000')");
$erp->clear_log;
is(sql("SELECT count(*) FROM (SELECT n, ref::numeric + CASE WHEN n > 5 THEN 10 ^ 500::numeric ELSE 0 END AS ref FROM l WHERE n <= 60) x JOIN digits f ON f.id = x.ref"), '5', 'long keys');
@asked = map { length } asked();
cmp_ok(scalar(@asked), '>', 4, 'are spread over ' . @asked . ' requests');
cmp_ok((sort { $b <=> $a } @asked)[0], '<', 6200, 'none of them too long');
$erp->clear_log;
is(sql("SET work_mem = '64kB'; SET enable_nestloop = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT sum(length(m)) FROM (SELECT n, 8 AS ref, repeat('m', 900) AS m FROM l OFFSET 0) x JOIN f ON f.id = x.ref"), '900000', 'rows of the other side beyond work_mem');
@asked = asked();
cmp_ok(scalar(@asked), '>', 5, 'come in batches');
cmp_ok(scalar(@asked), '<', 40, '... of many rows');
sql("CREATE FOREIGN TABLE paged (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'odata/things', page_size '7', rows '100000')");
is(sql("SELECT count(*), count(DISTINCT p.id) FROM l JOIN paged p ON p.id = l.ref"), '1000|1000', 'answers in pages');
$erp->clear_log;
is(sql("SELECT f.name FROM l JOIN f ON f.id = l.ref WHERE n > 0 LIMIT 1"), 'name of 7', 'LIMIT');
is(scalar(asked()), 1, 'asks once');
is(sql("SELECT count(*) FROM l JOIN f ON f.id = l.ref AND f.name = l.word"), '0', 'a clause that is evaluated here');
is(sql("SELECT count(*) FROM l JOIN f ON f.id = l.ref WHERE l.n < 0"), '0', 'no rows');
$erp->clear_log;
is(sql("SELECT count(*) FROM (SELECT NULL::int AS r FROM l) x LEFT JOIN f ON f.id = x.r"), '1000', 'nothing but NULL');
is(scalar(asked()), 0, 'asks for nothing');
is(sql("SELECT count(f.name) FROM l LEFT JOIN f ON f.id = l.ref AND f.id = ANY (ARRAY(SELECT g * 14 FROM generate_series(1, 300) g))"), '300', 'beside a list that is asked for in parts');

# ---- not where it is switched off, cannot be asked, or is not worth it
unlike(sql("SET pg_concord.enable_lookup_join = off; EXPLAIN SELECT 1 FROM l JOIN f ON f.id = l.ref"), qr/Lookup/, 'switched off');
unlike(sql("EXPLAIN SELECT 1 FROM l JOIN (SELECT * FROM f LIMIT 10) f ON f.id = l.ref"), qr/Lookup/, 'a subquery');
unlike(sql("EXPLAIN SELECT 1 FROM l JOIN f ON f.amount > l.ref"), qr/Lookup/, 'no equality');
sql("ALTER FOREIGN TABLE f OPTIONS (SET rows '200')");
unlike(sql("EXPLAIN SELECT 1 FROM l JOIN f ON f.id = l.ref"), qr/Lookup/, 'a list that is shorter than that');
sql("ALTER FOREIGN TABLE f OPTIONS (SET rows '100000', ADD pushdown 'false')");
unlike(sql("EXPLAIN SELECT 1 FROM l JOIN f ON f.id = l.ref"), qr/Lookup/, 'pushdown false');
sql("ALTER FOREIGN TABLE f OPTIONS (DROP pushdown)");
unlike(sql("SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; 	EXPLAIN (COSTS OFF) SELECT 1 FROM l JOIN f ON f.id = l.ref") , qr/Gather\n(?:.*\n)*.*Lookup/, 'never below Gather');
is(sql("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF) SELECT 1 FROM l JOIN f ON f.id = l.ref") =~ /Lookups: (\d+)/ ? $1 : '', '10', 'EXPLAIN ANALYZE counts');
like(sql("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT 1 FROM l JOIN f ON f.id = l.ref"), qr/"Lookup Cond": "\((?:l\.ref = f\.id|f\.id = l\.ref)\)"/, 'EXPLAIN in JSON');

# ---- cursors, prepared statements, partitions, writing
is(sql("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT f.id FROM l JOIN f ON f.id = l.ref; MOVE 150 IN c; FETCH 1 FROM c; FETCH BACKWARD 1 FROM c; COMMIT"), "1057\n1050", 'a cursor that goes back');
is(sql("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT f.id FROM l JOIN f ON f.id = l.ref; FETCH 1 FROM c; COMMIT; MOVE 997 IN c; FETCH 2 FROM c"), "7\n6993\n7000", 'a cursor WITH HOLD');
is(sql("SET plan_cache_mode = force_generic_plan; PREPARE p (int) AS SELECT count(*) FROM l JOIN f ON f.id = l.ref WHERE l.n < \$1 AND f.id > 0; EXECUTE p (10); EXECUTE p (500);
	ALTER FOREIGN TABLE f OPTIONS (SET list_size '7'); EXECUTE p (100); ALTER FOREIGN TABLE f OPTIONS (SET list_size '100')"), "9\n499\n99", 'prepared statements');
sql("CREATE TABLE lp (n int, ref int) PARTITION BY LIST (ref); CREATE TABLE lp1 PARTITION OF lp FOR VALUES IN (1, 2); CREATE TABLE lp2 PARTITION OF lp DEFAULT; INSERT INTO lp SELECT g, g FROM generate_series(1, 5) g;
	CREATE TABLE fp (id int, name text) PARTITION BY LIST (id);
	CREATE FOREIGN TABLE fp1 (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'odata/things', rows '100000');
	ALTER TABLE fp ATTACH PARTITION fp1 FOR VALUES IN (1, 2);
	CREATE FOREIGN TABLE fp2 (name text OPTIONS (name 'Name'), id int OPTIONS (name 'ID')) SERVER erp OPTIONS (object 'odata/things', rows '100000');
	ALTER TABLE fp ATTACH PARTITION fp2 DEFAULT");
my $write = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off;";
my $partitions = "SET enable_partitionwise_join = on; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off;";
like(sql("$partitions EXPLAIN SELECT lp.n, fp.name FROM lp JOIN fp ON fp.id = lp.ref"), qr/Append.*Lookup Join.*Lookup Join/s, 'partition by partition');
is(sql("$partitions SELECT lp.n, fp.name FROM lp JOIN fp ON fp.id = lp.ref ORDER BY 1"), join("\n", map { "$_|name of $_" } 1 .. 5), '... each with its own columns');
is(sql("$write SELECT lp.n, f FROM lp JOIN fp2 f ON f.id = lp.ref ORDER BY 1 LIMIT 1"), "1|(\"name of 1\",1)", 'whole rows');

$erp->set('/odata/v4/sales/Things', key => ['ID'], etag => JSON::PP::true());
sql(qq{CREATE SERVER sales FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url('/odata/v4/sales/')]}');
	CREATE FOREIGN TABLE things (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER sales OPTIONS (object 'Things', on_missing 'null', rows '100000')});
sql("INSERT INTO things SELECT 'T' || g, 'thing ' || g FROM generate_series(1, 6) g");
like(sql("$write EXPLAIN UPDATE things t SET name = 'row ' || s.n FROM s WHERE t.id = 'T' || s.n AND s.n < 3"), qr/Lookup Join/, 'UPDATE of rows that are looked up');
is(sql("$write WITH u AS (UPDATE things t SET name = 'row ' || s.n FROM s WHERE t.id = 'T' || s.n AND s.n < 3 RETURNING t.id, t.name, s.n) SELECT * FROM u ORDER BY 1"), "T1|row 1|1\nT2|row 2|2", '... writes them');
is(sql("$write WITH u AS (DELETE FROM things t USING s WHERE t.id = 'T' || s.n AND s.n > 4 RETURNING t.id) SELECT * FROM u ORDER BY 1"), "T5\nT6", 'DELETE');
is(sql("$write SELECT string_agg(id, ',' ORDER BY id) FROM things"), 'T1,T2,T3,T4', '... and no others');

# ---- a row that changes while a lock is waited for
my $waits = $node->background_psql('postgres');
$waits->query_safe('BEGIN; UPDATE l SET ref = 21 WHERE n = 1');
my $locks = $node->background_psql('postgres');
$locks->query_safe("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off");
$locks->query_until(qr/started/, "\\echo started\nSELECT l.n, l.word, f.name FROM l JOIN f ON f.id = l.ref WHERE l.n IN (1, 2) ORDER BY 1 FOR UPDATE OF l;\n");
ok($node->poll("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"), 'a lock is waited for');
$waits->query_safe('COMMIT');
is($locks->query_safe('SELECT 1'), "2|x|name of 14\n1", 'a row whose key is another one now joins no more');
$waits->query_safe("BEGIN; UPDATE l SET word = 'changed' WHERE n = 2");
$locks->query_until(qr/again/, "\\echo again\nSELECT l.n, l.word, f.name FROM l JOIN f ON f.id = l.ref WHERE l.n = 2 FOR UPDATE OF l;\n");
ok($node->poll("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"), 'once more');
$waits->query_safe('COMMIT');
is($locks->query_safe('SELECT 1'), "2|changed|name of 14\n1", 'one whose key is the same joins as it is now');
$_->quit for $waits, $locks;

# ---- cancelled, and errors of the system
my ($out, $err);
$erp->rule({ path => '/list/odata/things' }, { hang => JSON::PP::true() }, 1);
$node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '300ms'; SELECT count(*) FROM l JOIN f ON f.id = l.ref;\nSET statement_timeout = 0; SELECT 'left', sum(in_flight) FROM concord.system", stdout => \$out, stderr => \$err, on_error_stop => 0);
like($err, qr/ERROR:  57014/, 'a cancel while keys are looked up');
like($out, qr/left\|0$/, 'leaves nothing behind');
$erp->rule({ path => '/list/odata/things' }, { status => 414, body => 'too long' }, 1);
$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*) FROM l JOIN f ON f.id = l.ref", stderr => \$err);
like($err, qr/ERROR:  K4414/, 'a system that takes no such address');

# ---- loaded by the session alone
my $plain = Concord::Cluster->create('notpreloaded', without => ['shared_preload_libraries']);
$plain->safe_psql('postgres', qq{CREATE EXTENSION pg_concord; CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE FOREIGN TABLE f (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'odata/things', rows '100000');
	CREATE TABLE l AS SELECT g AS n FROM generate_series(1, 100) g; ANALYZE l});
is($plain->safe_psql('postgres', "SELECT count(f.name) FROM l JOIN f ON f.id = l.n; EXPLAIN (COSTS OFF) SELECT f.name FROM l JOIN f ON f.id = l.n") =~ s/\n.*//sr, '100', 'a session that loads the library itself');
like($plain->safe_psql('postgres', "EXPLAIN (COSTS OFF) SELECT f.name FROM l JOIN f ON f.id = l.n"), qr/Lookup Join/, '... plans so in its first query');
done_testing();
