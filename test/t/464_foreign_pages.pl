# Foreign tables over many pages: the next one is asked for while one is read,
# lists that change meanwhile, a million records, answers that are huge.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use List::Util qw(min);
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Concord::Cluster->create('foreignpages');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/list/');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub requests { my ($path) = @_; return scalar grep { $_->{path} =~ m{^/list/$path} } $erp->log_entries; }

sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	('by_offset', 'rest', '{"extends": "rest", "read": {"paging": "offset", "offset": "offset", "size": "limit", "items": "records", "order": "sort", "ascending": "{name}", "descending": "-{name}"}}'),
	('by_page', 'rest', '{"extends": "rest", "read": {"paging": "page", "page": "page", "size": "per_page"}}');
	CREATE SERVER s_odata FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', timeout '20s');
	CREATE SERVER s_one FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', timeout '2s', concurrency '1');
	CREATE SERVER s_offset FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_offset', url '$url');
	CREATE SERVER s_page FOREIGN DATA WRAPPER concord OPTIONS (connector 'by_page', url '$url');
	CREATE FUNCTION slowly(ms int) RETURNS bool LANGUAGE sql VOLATILE AS \$\$SELECT pg_sleep(ms / 1000.0) IS NOT NULL\$\$});
for my $style (qw(odata offset page))
{
	sql("CREATE FOREIGN TABLE t_$style (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER s_$style OPTIONS (object '$style/things', page_size '10', query 'rows=60')");
}

# ---- the next page is under way while one is read
$erp->rule({ path => '/list' }, { latency_ms => 150 }, 10000);
for my $style (qw(odata offset page))
{
	my ($t0, $took);
	for (1 .. 5)
	{
		$t0 = time;
		is(sql("SELECT count(*), sum(id) FROM t_$style WHERE slowly(15)"), '60|1830', "$style: slow rows of slow pages");
		$took = min($took // 1000, time - $t0);
		last if $took < 1.3;
	}
	$t0 = time;
	is(sql("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t_$style WHERE slowly(15); MOVE ALL IN c; COMMIT"), '', "$style: by a cursor, page after page");
	my $one_by_one = time - $t0;
	cmp_ok($took, '<', $one_by_one - 0.5, sprintf('... %.2f s in place of %.2f s', $took, $one_by_one));
}
# ---- but not where it may be for nothing
$erp->clear_log;
is(sql("SELECT count(*) FROM (SELECT id FROM t_odata WHERE id % 2 = 0 LIMIT 5) x"), '5', 'a LIMIT');
is(requests('odata'), 1, 'that the first page fills: one request');
$erp->clear_log;
is(sql("SELECT count(*) FROM (SELECT id FROM t_odata LIMIT 20) x"), '20', 'a LIMIT that the system is told');
cmp_ok(requests('odata'), '<=', 2, 'two pages of it');
$erp->clear_log;
sql("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t_odata WHERE length(name) > 0; FETCH 3 FROM c; COMMIT");
is(requests('odata'), 1, 'a cursor: one request');
$erp->clear_log;
sql('DO $$DECLARE r record; BEGIN FOR r IN SELECT id FROM t_odata WHERE length(name) > 0 LOOP EXIT; END LOOP; END$$');
is(requests('odata'), 1, 'a loop of PL/pgSQL: one request');
$erp->clear_log;
is(sql("SELECT EXISTS (SELECT 1 FROM t_odata WHERE length(name) > 3)"), 't', 'EXISTS');
is(requests('odata'), 1, 'asks for one page');
$erp->drop_rules;

# ---- a reader that is slower than the request's time, and one place only
sql("CREATE FOREIGN TABLE t_one (id int OPTIONS (name 'ID', key 'true') NOT NULL) SERVER s_one OPTIONS (object 'odata/one', page_size '10', query 'rows=30')");
$erp->rule({ path => '/list/odata/one' }, { latency_ms => 300 }, 1000);
is(sql("SELECT count(*) FROM t_one WHERE id % 10 <> 3 OR slowly(2500)"), '30', 'a page that came late is asked for once more');
is(sql("SELECT count(*), sum(b.id) FROM t_one a, LATERAL (SELECT id FROM t_one WHERE id = a.id OFFSET 0) b WHERE a.id < 12"), '11|66', 'one place for two lists');
$erp->drop_rules;
my ($out, $err);
sql("ALTER SERVER s_one OPTIONS (SET timeout '20s')");
$erp->rule({ path => '/list/odata/one' }, { latency_ms => 1 }, 1);
$erp->rule({ path => '/list/odata/one' }, { reset => 'before' }, 1);
# count(id) would be one request: 19 knows that it is count(*)
is(sql("SELECT sum(id) FROM t_one"), '465', 'a connection that breaks while nobody waits for it');
$erp->rule({ path => '/list/odata/one' }, { latency_ms => 1 }, 1);
$erp->rule({ path => '/list/odata/one' }, { hang => JSON::PP::true() }, 1);
$node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '400ms'; SELECT sum(id) FROM t_one WHERE slowly(100);\nSET statement_timeout = 0; SELECT 'left', sum(in_flight) FROM concord.system; SELECT sum(id) FROM t_one",
	stdout => \$out, stderr => \$err, on_error_stop => 0);
like($err, qr/ERROR:  57014/, 'a cancel while the next page is under way');
like($out, qr/left\|0\n465/, 'leaves nothing behind');
$erp->rule({ path => '/list/odata/one' }, { latency_ms => 1 }, 1);
$erp->rule({ path => '/list/odata/one' }, { hang => JSON::PP::true() }, 1);
is(sql(q{DO $$BEGIN BEGIN PERFORM id / (id - 5) FROM t_one; EXCEPTION WHEN division_by_zero THEN NULL; END; END$$; SELECT sum(in_flight) FROM concord.system}), '0', 'an error of a row takes it back');
$erp->drop_rules;

# ---- lists that change while they are read
my $page = sub { my @ids = @_; return JSON::PP->new->encode({ records => [ map { { ID => $_, Name => "n$_" } } @ids ] }); };
sql("ALTER FOREIGN TABLE t_offset OPTIONS (SET page_size '3')");
sub pages { my @pages = @_; $erp->drop_rules; $erp->rule({ path => '/list/offset/things' }, { status => 200, body => $page->(@$_) }, 1) for @pages; $erp->clear_log; return; }
pages([ 1, 2, 3 ], [ 3, 4, 5 ], [ 6 ], []);
is(sql("SELECT string_agg(id::text, ',') FROM t_offset WHERE length(name) > 0"), '1,2,3,3,4,5,6', 'a record that moves behind the place comes as the system says it');
like(($erp->log_entries)[0]{query}, qr/sort=ID/, 'pages by number are ordered by the key');
pages([ 1, 2, 3 ], [ 5, 6 ], []);
is(sql("SELECT string_agg(id::text, ',') FROM t_offset WHERE length(name) > 0"), '1,2,3,5,6', 'one that moves before it does not');
pages([ 1, 2, 3 ], [], [ 9 ]);
is(sql("SELECT string_agg(id::text, ',') FROM t_offset WHERE length(name) > 0"), '1,2,3', 'a list that is shorter ends');
is(sql("EXPLAIN (VERBOSE) SELECT id FROM t_offset") =~ /sort=ID/ ? 1 : 0, 1, 'EXPLAIN shows the order');
$erp->drop_rules;
pages(map { [ $_ * 3 + 1 .. $_ * 3 + 3 ] } 0 .. 199);
$node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '1500ms'; SELECT count(*), pg_sleep(0) FROM t_offset WHERE slowly(10)", stderr => \$err);
like($err, qr/ERROR:  57014/, 'a list that grows as fast as it is read ends with the query');
$erp->drop_rules;

# ---- a million records in the memory of a page
my $rows = $ENV{CONCORD_TEST_MILLION} || 1_000_000;
sql("CREATE FOREIGN TABLE million (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER s_odata OPTIONS (object 'odata/million', page_size '2000', query 'rows=$rows')");
my $peak = sub {
	my ($n) = @_;
	my $t0 = time;
	my $result = sql("SELECT count(name), max(id) FROM (SELECT * FROM million WHERE id <= $n) x WHERE length(name) > 0; SELECT pg_read_file('/proc/' || pg_backend_pid() || '/status')");
	like($result, qr/^$n\|$n\n/, sprintf('%d records in %.1f s', $n, time - $t0));
	return $result =~ /VmHWM:\s+(\d+)/ ? $1 : die $result;
};
sql("ALTER FOREIGN TABLE million OPTIONS (SET query 'rows=5000')");
my $few = $peak->(5000);
sql("ALTER FOREIGN TABLE million OPTIONS (SET query 'rows=$rows')");
my $all = $peak->($rows);
cmp_ok($all - $few, '<', 3000, "$rows records take $all kB, five thousand $few kB");

# ---- two gigabytes are refused when they are announced
for my $case ([ 2_147_483_648, 'two gigabytes' ], [ 6_000_000_000, 'more than 32 bits' ], [ 64_000_001, 'one byte too many' ])
{
	my ($bytes, $what) = @$case;
	sql("DROP FOREIGN TABLE IF EXISTS huge; CREATE FOREIGN TABLE huge (id int OPTIONS (name 'ID')) SERVER s_odata OPTIONS (object 'odata/huge', page_bytes '64000000')");
	Concord::Cluster::within(2, "$what: at once", sub {
		$erp->drop_rules;
		$erp->rule({ path => '/list/odata/huge' }, { endless => $bytes, headers => { 'Content-Type' => 'application/json' } }, 2);
		$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT id FROM huge;\nSELECT pg_read_file('/proc/' || pg_backend_pid() || '/status');"
			. ($bytes > 67_108_864 ? "SELECT concord.call('s_odata', 'GET', 'odata/huge')" : ''), stdout => \$out, stderr => \$err, on_error_stop => 0);
		return;
	});
	like($err, qr/ERROR:  54000.*ERROR:  54000/s, "$what: SQLSTATE 54000 for table and call") if $bytes > 67_108_864;
	like($err, qr/ERROR:  54000: .*too large/, "$what: refused");
	my ($hwm) = $out =~ /VmHWM:\s+(\d+)/;
	cmp_ok($hwm, '<', $few + 8000, "... in $hwm kB");
	$erp->drop_rules;
}
$erp->rule({ path => '/list/odata/huge' }, { endless => JSON::PP::true() }, 1);
$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT id FROM huge", stderr => \$err);
like($err, qr/ERROR:  54000/, 'one that is not announced, when it is beyond');

# ---- a cancel while two hundred megabytes are parsed
sql("CREATE FOREIGN TABLE large (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER s_offset OPTIONS (object 'offset/large', page_bytes '400000000', page_size '1000000', query 'rows=600000')");
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
for my $try (1 .. 4)
{
	# where the request ends differs; the waits reach from before to behind it
	Concord::Cluster::within(0.25, "cancelled, $try", sub {
		my $end;
		$session->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM large WHERE length(name) > 0; SELECT 'over', extract(epoch FROM clock_timestamp());\n");
		$node->poll("SELECT wait_event_type IS DISTINCT FROM 'Extension' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid") if $try > 1;
		usleep(70_000 * $try);
		my ($asked) = sql("SELECT extract(epoch FROM clock_timestamp()), pg_cancel_backend($pid)") =~ /^([\d.]+)\|/;
		my $text = $session->query('SELECT 1');
		($end) = $text =~ /over\|([\d.]+)/;
		$session->{stderr} = '';
		return $end - $asked;
	});
}
$session->quit;
done_testing();
