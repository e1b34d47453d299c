# Joins whose look-ups go together in one $batch: multipart and JSON, OData 4 and
# 2; each answer is read as one that came alone; systems that have no $batch.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('foreignbatch');
ok($node->ready, 'capture is ready');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/list/');
my $true = JSON::PP::true();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# what psql says of a statement, SQLSTATE first
sub fails
{
	my ($sql, $state, $what) = @_;
	my ($out, $err);
	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err);
	like($err, qr/ERROR:  $state: /, $what);
	return $err;
}

# requests that came as such, and those in them
sub outer { return grep { $_->{path} =~ m{/\$batch$} } $erp->log_entries; }
sub inner { return grep { $_->{path} !~ m{/\$batch$} } $erp->log_entries; }

my %reads = (
	multipart => '{"extends": "odata"}',
	json => '{"extends": "odata", "batch": {"format": "odata_batch_json"}}',
	version2 => '{"extends": "odata", "version": "v2", "batch": {"format": "odata_batch_multipart", "change_sets": "each"}}',
	single_keys => '{"extends": "odata", "read": {"operators": ["eq", "gt"], "batch": "json", "batch_size": 30}}',
	singly => '{"extends": "odata", "read": {"batch": "none"}}');
sql(join ';', map { "INSERT INTO concord.connector (name, protocol, definition) VALUES ('$_', 'odata', '$reads{$_}');
	CREATE SERVER $_ FOREIGN DATA WRAPPER concord OPTIONS (connector '$_', url '$url', timeout '5s', breaker_failures '1000')" } sort keys %reads);

sub table
{
	my ($name, $server, $object, %also) = @_;
	my $options = join '', map { ", $_ '$also{$_}'" } sort keys %also;
	sql(qq{CREATE FOREIGN TABLE $name (id int OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), amount numeric(12,2) OPTIONS (name 'Amount'))
		SERVER $server OPTIONS (object '$object', rows '100000'$options)});
	return;
}
table($_, $_, ($_ eq 'version2' ? 'odata2' : 'odata') . '/things', query => 'rows=100000&tenant=7', list_size => 40) for sort keys %reads;
sql("CREATE TABLE l AS SELECT g AS n, g * 7 AS ref, g % 3 AS k FROM generate_series(1, 1000) g; ANALYZE l");

# ---- how many requests arrive
for my $case ([ 'multipart', 2, 25 ], [ 'json', 2, 25 ], [ 'version2', 2, 25 ], [ 'single_keys', 34, 1000 ], [ 'singly', 0, 25 ])
{
	my ($t, $batches, $requests) = @$case;
	$erp->clear_log;
	is(sql("SELECT count(*), count(DISTINCT n), bool_and(f.name = 'name of ' || ref), sum(f.amount) FROM l JOIN $t f ON f.id = l.ref"), '1000|1000|t|3503750.00', "$t: a thousand rows");
	my ($outer, @inner) = (scalar(outer()), inner());
	is($outer, $batches, "$batches requests");
	is(scalar(@inner), $requests, "... with $requests in them");
	my ($one) = outer();
	is($one->{query}, 'rows=100000&tenant=7', 'what the table says of the system stands in the address') if $one;
}
my ($inner) = grep { $_->{query} =~ /filter/ } do { $erp->clear_log; sql("SELECT count(*) FROM l JOIN single_keys f ON f.id = l.ref AND l.n < 3"); inner() };
like($inner->{query}, qr/filter=ID%20eq%207&/, 'a system that knows neither in nor or is asked for each key');
$erp->clear_log;
is(sql("SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref AND l.n <= 40"), '40', 'one filter');
is(scalar(outer()), 0, '... is a request of its own');
like(sql("EXPLAIN (VERBOSE, COSTS OFF) SELECT 1 FROM l JOIN single_keys f ON f.id = l.ref"), qr/Remote URL: .*ID in \(\$keys\).*\n\s+Remote Batch Size: 30/, 'EXPLAIN says how many go together');
unlike(sql("EXPLAIN (VERBOSE, COSTS OFF) SELECT 1 FROM l JOIN singly f ON f.id = l.ref"), qr/Batch/, '... and nothing where none do');
sql(q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('no_or', 'odata', '{"extends": "odata", "read": {"operators": ["eq"], "batch": "none"}}');
	CREATE SERVER no_or FOREIGN DATA WRAPPER concord OPTIONS (connector 'no_or', url 'http://127.0.0.1:1/')});
table('no_or', 'no_or', 'odata/things');
unlike(sql("EXPLAIN SELECT 1 FROM l JOIN no_or f ON f.id = l.ref"), qr/Lookup/, 'a system that has none of the three');

# ---- reads: no record of them, allowed in a transaction that only reads
is(sql("BEGIN READ ONLY; SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref; COMMIT"), '1000', 'a transaction that only reads');
is(sql("SELECT count(*) FROM concord.call_log"), '0', 'nothing is recorded');

# ---- further pages of each list
for my $t (qw(multipart json version2))
{
	table("paged_$t", $t, ($t eq 'version2' ? 'odata2' : 'odata') . '/things', query => 'rows=100000&most=7', list_size => 40);
	is(sql("SELECT count(*), count(DISTINCT p.id) FROM l JOIN paged_$t p ON p.id = l.ref"), '1000|1000', "$t: each list goes on page by page");
}
is(sql("SELECT f.name FROM l JOIN multipart f ON f.id = l.ref LIMIT 1"), 'name of 7', 'LIMIT');
is(sql("SELECT count(*) FROM (SELECT k, (SELECT count(*) FROM l i JOIN multipart f ON f.id = i.ref WHERE i.k = o.k AND i.n < 400) FROM (SELECT DISTINCT k FROM l) o) x WHERE count = 133"), '3', 'begun anew');

# ---- every list finds records of its own keys only
my $body = '{"value":[{"ID":1,"Name":"one"},{"ID":2,"Name":"two"},{"ID":2,"Name":"two again"},{"ID":99,"Name":"not asked for"}]}';
$erp->rule({ path => '/list/odata/holes' }, { body => $body, status => 200 }, 100000);
sql("CREATE TABLE here (id int, name text); INSERT INTO here VALUES (1, 'one'), (2, 'two'), (2, 'two again'), (99, 'not asked for');
	CREATE TABLE s (n int, ref int); INSERT INTO s VALUES (1, 1), (2, 2), (3, 3), (4, NULL), (5, 1), (6, 99), (7, 2)");
table("holes_$_", $_, 'odata/holes', list_size => 1, on_missing => 'null') for qw(multipart json);
for my $case (
	"SELECT s.n, h.name FROM s JOIN %s h ON h.id = s.ref",
	"SELECT s.n, h.name FROM s LEFT JOIN %s h ON h.id = s.ref AND h.name <> 'two'",
	"SELECT s FROM s WHERE EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref AND h.name LIKE '%%two%%')",
	"SELECT s.n FROM s WHERE NOT EXISTS (SELECT 1 FROM %s h WHERE h.id = s.ref AND s.n <> 5)",
	"SELECT h.name FROM s JOIN %s h ON h.id = s.ref::numeric + 0.0",
	"SELECT count(*), h.name FROM s JOIN %s h ON h.id = s.ref::bigint GROUP BY h.name")
{
	my @rows = map { my $query = sprintf($case, $_); join "\n", sort split /\n/, sql("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off; $query") } qw(here holes_multipart holes_json);
	is($rows[1], $rows[0], "$case, multipart");
	is($rows[2], $rows[0], '... JSON');
}
$erp->drop_rules;

# ---- the answers of items are as good as those that come alone
for my $t (qw(multipart json))
{
	$erp->rule({ path => '/list/odata/things' }, { status => 500, body => '{"error":{"message":"disk full"}}' }, 1);
	like(fails("SELECT count(*) FROM l JOIN $t f ON f.id = l.ref", 'K5500', "$t: an item that fails"), qr/answered with status 500.*disk full/s, '... says so');
	$erp->drop_rules;
	$erp->rule({ path => '/list/odata/things' }, { status => 200, body => '{"value":[{"ID":"seven","Name":1}]}' }, 1);
	fails("SELECT count(f.amount) FROM l JOIN $t f ON f.id = l.ref", '(?:22P02|HV005)', 'an item with a bad value');
	$erp->drop_rules;
	$erp->rule({ path => '/list/odata/things' }, { status => 200, body => '{"value":[{"ID":7' }, 1);
	fails("SELECT count(*) FROM l JOIN $t f ON f.id = l.ref", 'K0004', 'an item that is cut') if $t eq 'multipart';
	$erp->drop_rules;
	for my $bad ([ 'text', { status => 200, body => 'good morning' } ], [ 'another thing', { status => 200, body => '{"responses":[{"id":"1","status":200,"body":{"value":[]}}]}', headers => { 'Content-Type' => 'application/json' } } ],
		[ 'a multipart text that ends early', { status => 200, body => "--x\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"value\":[]}\r\n--x\r\nContent-Type", headers => { 'Content-Type' => 'multipart/mixed; boundary=x' } } ],
		[ 'nothing', { status => 204 } ])
	{
		$erp->rule({ path => '/list/$batch' }, $bad->[1], 1);
		like(fails("SELECT count(*) FROM l JOIN $t f ON f.id = l.ref", 'K0004', "$t: a batch that is answered by $bad->[0]"), qr/does not answer each request of the batch/, '... says so');
		$erp->drop_rules;
	}
	is(sql("SELECT count(*) FROM l JOIN $t f ON f.id = l.ref"), '1000', 'and then it goes on');
}

# ---- where there is no $batch after all, and where its answer is too large
for my $status (404, 405, 501, 400)
{
	$erp->rule({ path => '/list/$batch' }, { status => $status, body => 'no such thing' }, 1000);
	$erp->clear_log;
	is(sql("SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref; SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref"), "1000\n1000", "\$batch is answered with $status: one by one");
	is(scalar(outer()), 1, '... and it is tried once in a session');
	$erp->drop_rules;
}
$erp->rule({ path => '/list/$batch' }, { status => 503, body => 'later' }, 1);
fails("SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref", 'K5503', '503 is an error');
$erp->drop_rules;
$erp->rule({ path => '/list/$batch' }, { status => 401 }, 1);
fails("SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref", 'K4401', 'so is 401');
$erp->drop_rules;
sql("ALTER FOREIGN TABLE multipart OPTIONS (ADD page_bytes '12000')");
$erp->clear_log;
is(sql("SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref"), '1000', 'an answer that would be too large');
is(scalar(inner()), 25 + 20 + 5, 'is asked for one by one');
sql("ALTER FOREIGN TABLE multipart OPTIONS (DROP page_bytes)");

# ---- cancelled in the middle; nothing is left
for my $action ({ hang => $true }, { slow => { bytes => 10, ms => 100 }, status => 200, body => 'x' x 10000, headers => { 'Content-Type' => 'multipart/mixed; boundary=x' } })
{
	my ($out, $err);
	$erp->rule({ path => '/list/$batch' }, $action, 1);
	$node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '300ms'; SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref;\nSET statement_timeout = 0; SELECT 'left', sum(in_flight) FROM concord.system;
		SELECT count(*) FROM l JOIN multipart f ON f.id = l.ref", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  57014/, 'cancelled ' . ($action->{hang} ? 'while nothing comes' : 'in the answer'));
	like($out, qr/left\|0\n1000$/, 'leaves nothing behind');
	$erp->drop_rules;
}

# ---- what the connector says of all requests
sql(q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('headed', 'odata', '{"extends": "odata", "headers": {"X-Company": "42", "X-Record": "{key}", "X-Nested": {"a": 1}}}')}
	. qq{; CREATE SERVER headed FOREIGN DATA WRAPPER concord OPTIONS (connector 'headed', url '$url', headers '{"X-Server": "s"}')});
table('headed', 'headed', 'odata/things', query => 'rows=100000', list_size => 40);
$erp->clear_log;
is(sql("SELECT count(*) FROM l JOIN headed f ON f.id = l.ref AND l.n <= 80; SELECT name FROM headed WHERE id = 3"), "80\nname of 3", 'a connector with headers');
for my $entry ($erp->log_entries)
{
	my $headers = $entry->{headers};
	is(join('|', map { $headers->{$_} // '' } qw(x-company x-nested x-record)), '42|{"a":1}|', "$entry->{method} has them, but not those that need a record");
}
is(scalar(grep { ($_->{headers}{'x-server'} // '') eq 's' } $erp->log_entries), 2, "the server's go with what is sent");
$erp->clear_log;
$erp->rule({ path => '/list/$metadata' }, { status => 200, headers => { 'Content-Type' => 'application/xml' }, body => '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices><Schema Namespace="S" xmlns="http://docs.oasis-open.org/odata/ns/edm">
	<EntityType Name="T"><Key><PropertyRef Name="ID"/></Key><Property Name="ID" Type="Edm.Int32" Nullable="false"/></EntityType><EntityContainer Name="C"><EntitySet Name="imported" EntityType="S.T"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>' });
sql('IMPORT FOREIGN SCHEMA "." FROM SERVER headed INTO public');
is(join('|', map { ($erp->log_entries)[0]{headers}{$_} // '' } qw(x-company x-server)), '42|s', 'IMPORT FOREIGN SCHEMA sends them');
$erp->drop_rules;

# ---- definitions that cannot be
for my $bad ([ '"batch": "xml"', 'none of none\|multipart\|json' ], [ '"batch_size": 1', 'not between 2 and 1000' ], [ '"batch": "json", "filter": {"eq": "{name}={value}"}', 'OData' ])
{
	like(fails(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('bad', 'odata', '{"extends": "odata", "read": {$bad->[0]}}')}, '22023', $bad->[0]), qr/$bad->[1]/, '... says why');
}
done_testing();
