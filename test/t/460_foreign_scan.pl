# Foreign tables: every way in which a list goes on, values as they came, and
# answers that are not what they should be.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use List::Util qw(min);
use Test::More;
use Time::HiRes qw(time);

my $node = Concord::Cluster->create('foreign');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/list/');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# fails(SQL, SQLSTATE, PATTERN, WHAT): with this error, and the session goes on
sub fails
{
	my ($sql, $state, $pattern, $what) = @_;
	my ($out, $err);

	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql;\nSELECT 'still', concord.live_requests()", stdout => \$out, stderr => \$err,
		on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E/, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	like($out, qr/still\|0$/, "$what: the session goes on, and no request is left");
	return;
}

sql(qq{
	CREATE FUNCTION concord.live_requests() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT coalesce(sum(in_flight), 0)::int FROM concord.system';
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	('by_offset', 'rest', '{"extends": "rest", "read": {"paging": "offset", "offset": "offset", "size": "limit", "total": "total", "items": "records"}}'),
	('by_page', 'rest', '{"extends": "rest", "read": {"paging": "page", "page": "page", "size": "per_page"}}'),
	('by_link', 'rest', '{"extends": "rest", "read": {"paging": "link", "size": "limit"}}'),
	('by_cursor', 'rest', '{"extends": "rest", "read": {"paging": "cursor", "cursor": "after", "next": "next_cursor", "more": "has_more", "size": "limit", "items": "data",
		"filter": {"in": "{name}={values}"}}}'),
	('by_v2', 'odata', '{"extends": "odata", "version": "v2"}');
	CREATE SERVER s_odata FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', timeout '5s', breaker_failures '1000');
	CREATE SERVER s_odata2 FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_v2', url '$url');
	CREATE SERVER s_offset FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_offset', url '$url');
	CREATE SERVER s_page FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_page', url '$url');
	CREATE SERVER s_link FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_link', url '$url');
	CREATE SERVER s_cursor FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_cursor', url '$url');
	CREATE SERVER s_plain FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')});

my $columns = q{(id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), amount numeric(12,2) OPTIONS (name 'Amount'),
	changed timestamptz OPTIONS (name 'Changed'), due time OPTIONS (name 'Due'), street text OPTIONS (name 'Address/Street'), tags text[] OPTIONS (name 'Address/Tags'),
	second text OPTIONS (path 'Address/Tags/1'), open bool OPTIONS (name 'Open'), note text OPTIONS (name 'Note'), all_of_it jsonb OPTIONS (path '.'))};

# ---- each way of paging gives the same rows
my %sum;
for my $style (qw(odata odata2 offset page link cursor plain))
{
	sql(qq{CREATE FOREIGN TABLE t_$style $columns SERVER s_$style OPTIONS (object '$style/things', page_size '40', query 'rows=250&most=70')});
	is(sql("SELECT count(id), count(DISTINCT id), sum(id), sum(amount), min(name), max(street), count(note), bool_or(open) FROM t_$style WHERE length(name) > 0"),
		"250|250|31375|31437.50|name of 1|street \xc3\xa9 99|83|t", "$style: all records, once each");
	is(sql("SELECT id, tags, second, due, open, note, all_of_it->'Address'->>'Street' FROM t_$style WHERE id = 7"),
		"7|{a,b0}|b0|08:15:00|t||street \xc3\xa9 7", "$style: values");
	is(sql("SELECT count(*) FROM (SELECT 1 FROM t_$style LIMIT 3) x"), '3', "$style: LIMIT");
}
is(sql("SELECT changed FROM t_odata WHERE id = 1"), '2024-05-02 10:01:00.123456+00', 'a fraction beyond microseconds is cut off');
is(sql("SELECT changed FROM t_odata2 WHERE id = 1"), '2023-11-14 22:13:21+00', 'ticks of OData 2');
is(sql("SET timezone = 'Asia/Tokyo'; SELECT changed = '2024-05-02 10:01:00.123456+00' FROM t_odata WHERE id = 1"), 't', "the session's zone does not matter");

# ---- a list of values is asked for in parts, each value once
$erp->clear_log;
sql("ALTER FOREIGN TABLE t_odata OPTIONS (ADD list_size '10')");
is(sql("SELECT count(*), sum(id) FROM t_odata WHERE id = ANY (ARRAY(SELECT g % 25 + 1 FROM generate_series(1, 100) g))"), '25|325', 'values of a list in parts');
is(scalar(grep { $_->{query} =~ /filter/ } $erp->log_entries), 3, 'three requests');
sql("ALTER FOREIGN TABLE t_odata OPTIONS (DROP list_size)");
is(sql("SELECT string_agg(name, ',' ORDER BY id) FROM t_cursor WHERE id IN (3, 5)"), 'name of 3,name of 5', 'a list by a template');
is(sql("SELECT count(*) FROM t_odata WHERE id = ANY (NULL::int[])"), '0', 'an unknown list');

# ---- joins, rescans
is(sql("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
	SELECT string_agg(f.name, ',' ORDER BY g) FROM (VALUES (3), (5), (NULL), (3)) v (g) JOIN t_odata f ON f.id = v.g"),
	'name of 3,name of 3,name of 5', 'look-ups in a join');
is(sql("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
	SELECT count(*) FROM generate_series(1, 3) g JOIN t_page f ON f.id % 100 = g"), '9', 'a scan that begins anew');
is(sql("SELECT g, (SELECT max(id) FROM t_plain f WHERE f.id <= g) FROM generate_series(1, 2) g"), "1|1\n2|2", 'a correlated subquery');
is(sql("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM t_plain; MOVE 100 IN c; FETCH 2 FROM c; FETCH BACKWARD 1 FROM c; COMMIT"), "101\n102\n101", 'cursors');

# ---- asynchronous: two systems are read at the same time
$erp->rule({ path => '/list/odata/slow' }, { latency_ms => 600 }, 100);
sql(qq{CREATE TABLE parts (id int, name text) PARTITION BY LIST (id);
	CREATE SERVER s_other FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE FOREIGN TABLE slow_1 (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER s_odata OPTIONS (object 'odata/slow1', query 'rows=300');
	CREATE FOREIGN TABLE slow_2 (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER s_other OPTIONS (object 'odata/slow2', query 'rows=300')});
my $together;
my $t0;
for (1 .. 5)
{
	$t0 = time;
	is(sql("SELECT count(*), sum(id) FROM (SELECT * FROM slow_1 UNION ALL SELECT * FROM slow_2) x WHERE name LIKE '%9%' OR true"), '600|90300', 'two lists');
	$together = min($together // 1000, time - $t0);
	last if $together < 0.9;
}
$t0 = time;
is(sql("SET enable_async_append = off; SELECT count(*), sum(id) FROM (SELECT * FROM slow_1 UNION ALL SELECT * FROM slow_2) x WHERE name LIKE '%9%' OR true"), '600|90300', 'one after the other');
my $one_by_one = time - $t0;
like(sql("EXPLAIN SELECT * FROM slow_1 UNION ALL SELECT * FROM slow_2"), qr/Async Foreign Scan/, 'planned asynchronously');
cmp_ok($together, '<', $one_by_one - 0.4, sprintf('together in %.1f s, one by one in %.1f s', $together, $one_by_one));
is(sql("SELECT count(*) FROM (SELECT id FROM slow_1 WHERE id % 2 = 0 UNION ALL SELECT id FROM slow_2 WHERE id < 0) x"), '150', 'rows that are thrown away here');
is(sql("SELECT count(*) FROM (SELECT id FROM slow_1 UNION ALL SELECT id FROM slow_2 LIMIT 5) x"), '5', 'ended early');
sql("ALTER FOREIGN TABLE slow_1 OPTIONS (ADD page_size '200'); ALTER FOREIGN TABLE slow_2 OPTIONS (ADD page_size '100')");
is(sql("SET statement_timeout = '30s'; SELECT count(*), sum(id) FROM (SELECT id FROM slow_1 UNION ALL SELECT id FROM slow_2) x WHERE id > 0"), '600|90300', 'over pages');
$erp->drop_rules;

# ---- counts and estimates
is(sql("SELECT count(*) FROM t_offset"), '250', 'count by the total that an answer tells');
is(sql("SELECT count(*) FROM t_plain"), '250', 'count where nobody counts');
sql("ANALYZE t_offset");
is(sql("SELECT reltuples FROM pg_class WHERE relname = 't_offset'"), '250', 'ANALYZE');
is(sql("SELECT null_frac > 0.6 FROM pg_stats WHERE tablename = 't_offset' AND attname = 'note'"), 't', 'statistics');
sql("ALTER FOREIGN TABLE t_odata OPTIONS (ADD use_remote_estimate 'true')");
like(sql("EXPLAIN SELECT * FROM t_odata"), qr/rows=250 /, 'an estimate that the system gives');
sql("ALTER FOREIGN TABLE t_odata OPTIONS (DROP use_remote_estimate)");

# ---- answers that are not what they should be
sub spoilt
{
	my ($style, $fault, $more) = @_;

	sql("DROP FOREIGN TABLE IF EXISTS bad; CREATE FOREIGN TABLE bad $columns SERVER s_$style OPTIONS (object '$style/bad', page_size '40', query 'rows=250&fault=$fault&at=1'" . ($more || '') . ")");
	return;
}
my @spoilt = (
	[ 'odata', 'loop', 'K0004', qr/goes round in circles/ ],
	[ 'odata', 'host', 'K0004', qr/another host/ ],
	[ 'odata', 'outside', 'K0004', qr/not under the server's url/ ],
	[ 'link', 'host', 'K0004', qr/another host/ ],
	[ 'odata', 'cut', 'K0004', qr/not JSON from byte/ ],
	[ 'odata', 'nojson', 'K0004', qr/not JSON from byte 1\b.*Log in, please/s ],
	[ 'odata', 'bytes', 'K0004', qr/not JSON from byte/ ],
	[ 'odata', 'gzip', 'K0004', qr/coded as "gzip"/ ],
	[ 'odata', 'empty', 'K0004', qr/it is empty/ ],
	[ 'offset', 'repeat', 'K0004', qr/the one before once more/ ],
	[ 'page', 'repeat', 'K0004', qr/the one before once more/ ],
	[ 'odata', 'missing', 'HV005', qr/no member "Name" for column "name".*id 41/s ],
	[ 'odata', 'type', '22P02', qr/value "many" of column "amount" of foreign table "bad" is not of its type.*id 41/s ]);
for my $case (@spoilt)
{
	my ($style, $fault, $state, $pattern) = @$case;
	spoilt($style, $fault);
	fails("SELECT count(name), sum(amount) FROM bad WHERE length(street) > 0", $state, $pattern, "$style, $fault");
}
is(sql("SELECT count(*) FROM (SELECT id FROM bad LIMIT 40) x"), '40', 'what comes before is given');
spoilt('odata', 'type', ", on_bad_value 'null'");
is(sql("SELECT count(*), count(amount), sum(amount) FROM bad WHERE id > 0"), '250|249|31396.25', 'on_bad_value null');
spoilt('odata', 'missing', ", on_missing 'null'");
is(sql("SELECT count(*), count(name) FROM bad WHERE id > 0"), '250|249', 'on_missing null');
spoilt('odata', 'count');
is(sql("SELECT count(id) FROM bad WHERE id > 0"), '250', 'a count that lies is not believed while rows are read');

sql("CREATE FOREIGN TABLE small (id int OPTIONS (name 'ID')) SERVER s_plain OPTIONS (object 'plain/x', page_bytes '5000', query 'rows=1000')");
fails("SELECT count(id) FROM small", '54000', qr/larger/, 'an answer beyond page_bytes');
$erp->rule({ path => '/list/odata/endless' }, { endless => JSON::PP::true() }, 1);
sql("CREATE FOREIGN TABLE endless (id int OPTIONS (name 'ID')) SERVER s_odata OPTIONS (object 'odata/endless', page_bytes '3000000')");
fails("SELECT count(id) FROM endless WHERE id > 0", '54000', qr/larger/, 'an answer without an end');
$erp->rule({ path => '/list/odata/broken' }, { status => 500, body => 'no' }, 1);
sql("CREATE FOREIGN TABLE broken (id int OPTIONS (name 'ID')) SERVER s_odata OPTIONS (object 'odata/broken')");
fails("SELECT count(id) FROM broken WHERE id > 0", 'K5500', qr/500/, 'an error of the system');
$erp->rule({ path => '/list/odata/broken' }, { reset => 'before' }, 1);
fails("SELECT count(id) FROM broken WHERE id > 0", '08006', qr/./, 'a connection that breaks');
$erp->rule({ path => '/list/odata/broken' }, { hang => JSON::PP::true() }, 1);
fails("SET statement_timeout = '300ms'; SELECT count(id) FROM broken WHERE id > 0", '57014', qr/statement timeout/, 'a cancel in the middle of a page');
fails("SELECT concord.nothing_here()", '42883', qr/./, 'and an error of ours');

# ---- who may
sql(q{CREATE ROLE reader; CREATE ROLE outsider; GRANT SELECT ON t_plain TO reader, outsider; GRANT USAGE ON FOREIGN SERVER s_plain, s_odata TO reader; GRANT USAGE ON SCHEMA concord TO reader, outsider});
fails("SET ROLE outsider; SELECT count(id) FROM t_plain", '42501', qr/no permission for foreign server/, 'without USAGE');
fails("SET ROLE reader; SELECT count(id) FROM t_odata", '42501', qr/permission denied for foreign table/, 'without SELECT');
sql(q{CREATE VIEW v_plain AS SELECT id FROM t_plain; GRANT SELECT ON v_plain TO outsider});
is(sql("SET ROLE outsider; SELECT count(id) FROM v_plain"), '250', "a view reads as its owner");
$erp->rule({ path => '/list/plain' }, { auth => { basic => 'cmVhZGVyOnNlY3JldA==' } }, 100);
fails("SELECT count(id) FROM t_plain", 'K4401', qr/401/, 'no user mapping');
sql(q{SET client_min_messages = error; CREATE USER MAPPING FOR reader SERVER s_plain OPTIONS (auth 'basic', username 'reader', password 'secret')});
is(sql("SET ROLE reader; SELECT count(id) FROM t_plain"), '250', "each role has its own credentials");
$erp->drop_rules;

# ---- the breaker
sql(qq{CREATE SERVER s_down FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url 'http://127.0.0.1:1/', breaker_failures '1', breaker_cooldown '60s', connect_timeout '1s');
	CREATE FOREIGN TABLE down (id int OPTIONS (name 'ID')) SERVER s_down OPTIONS (object 'x')});
fails("SELECT count(id) FROM down WHERE id > 0", '08001', qr/./, 'a system that is down');
fails("SELECT count(id) FROM down WHERE id > 0", 'K0001', qr/./, 'a breaker that is open');

# ---- flat memory
my $rows = $ENV{CONCORD_TEST_ROWS} || 100_000;
sql("CREATE FOREIGN TABLE many $columns SERVER s_odata OPTIONS (object 'odata/many', page_size '1000', query 'rows=$rows')");
my $peak = sub {
	my ($n) = @_;
	my $out = sql("SELECT count(name) FROM (SELECT * FROM many LIMIT $n) x WHERE length(street) > 0; SELECT pg_read_file('/proc/' || pg_backend_pid() || '/status') ");
	return $out =~ /VmHWM:\s+(\d+)/ ? $1 : die $out;
};
my ($few, $all) = ($peak->(2000), $peak->($rows));
cmp_ok($all - $few, '<', 4000, "$rows rows take $all kB, two thousand $few kB");
done_testing();
