# Foreign tables of SAP CAP: what it is asked, and random queries that give the
# same rows whether it is asked or not.

use strict;
use warnings;

use Concord::Cluster;
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep time);

my $dir = "$ENV{CONCORD_SRC}/test/peers/cap";
plan skip_all => 'left out by SKIP_PEERS' if Concord::Cluster::left_out('cap');

my $work = File::Temp->newdir;
my $port = Concord::Cluster::free_port();
my $url = "http://127.0.0.1:$port/odata/v4/trade/";
my $http = HTTP::Tiny->new(timeout => 30);
Concord::Cluster::start_child("$dir/serve", "$work/trade.sqlite", $port);
my $end = time + 60;
usleep(100_000) until $http->get($url)->{success} || time > $end;
ok($http->get($url)->{success}, 'CAP serves');

# ---- a hundred partners with everything that may be compared differently
srand($ENV{CONCORD_SEED} || 20260101);
sub one { return $_[ int(rand(@_)) ]; }
my @names = ('Ada', 'ada', 'ADA', 'Bob', "O'Neil", "\x{c7}elik", '', 'x%y', 'a_b', undef, 'trailing ', ' lead', 'Zoe', "\x{c9}mile", 'a&b=c', '50% #1', "tab\tin", 'A' x 150);
my @stamps = (undef, '2024-05-01T10:00:00.123Z', '2024-05-01T10:00:00Z', '2024-05-01T10:00:01Z', '2025-01-01T00:00:00Z', '1969-12-31T23:59:59.999Z');
my $json = JSON::PP->new->utf8->allow_nonref;
for my $i (1 .. 100)
{
	my %record = (ID => sprintf('P%03d', $i), Name => one(@names), City => one('Rome', 'rome', 'Paris', undef), Rating => one(undef, -1 .. 5),
		Turnover => one(undef, 5, 4000000000), Blocked => one(undef, JSON::PP::true(), JSON::PP::false()), Since => one(undef, '2020-01-01', '2024-02-29', '1950-06-30'),
		ChangedAt => one(@stamps), Version => $i);
	my $body = $json->encode(\%record);
	my $credit = one('null', '0', '10.5', '1500.25', '99999.99', '-3', '0.01');
	$body =~ s/^\{/{"CreditLimit":$credit,/;
	my $answer = $http->post("${url}BusinessPartners", { content => $body, headers => { 'Content-Type' => 'application/json' } });
	die "$answer->{status} $answer->{content}" unless $answer->{success};
}

my $node = Concord::Cluster->create('capforeign');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
sub sql { my $query = $_[0]; utf8::encode($query); return $node->safe_psql('postgres', $query); }

my $columns = q{(id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), city varchar(100) OPTIONS (name 'City'),
	credit numeric(15,2) OPTIONS (name 'CreditLimit'), rating int OPTIONS (name 'Rating'), turnover bigint OPTIONS (name 'Turnover'), score float8 OPTIONS (name 'Score'),
	blocked bool OPTIONS (name 'Blocked'), since date OPTIONS (name 'Since'), changed timestamptz OPTIONS (name 'ChangedAt'), version bigint OPTIONS (name 'Version') NOT NULL)};
sql(qq{CREATE SERVER cap FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE FOREIGN TABLE asked $columns SERVER cap OPTIONS (object 'BusinessPartners', page_size '30');
	CREATE FOREIGN TABLE asked_bytes $columns SERVER cap OPTIONS (object 'BusinessPartners', page_size '30', collation 'binary', list_size '3');
	CREATE FOREIGN TABLE not_asked $columns SERVER cap OPTIONS (object 'BusinessPartners', pushdown 'false');
	CREATE TABLE here AS SELECT * FROM not_asked});
is(sql('SELECT count(*) FROM here'), '100', 'all records, over pages');

# ---- what is asked
sub asked
{
	my ($query, $pattern, $what) = @_;
	my $plan = sql("EXPLAIN (VERBOSE, COSTS OFF) $query");
	like($plan, $pattern, $what);
	return;
}
asked("SELECT name FROM asked", qr/\?\$select=ID,Name$/m, 'only the columns that are needed');
asked("SELECT id FROM asked WHERE credit >= 10.50 AND rating < 3", qr/filter=CreditLimit%20ge%2010.50%20and%20Rating%20lt%203$/m, 'comparisons');
asked("SELECT id FROM asked WHERE name = 'O''Neil'", qr/filter=Name%20eq%20'O''Neil'$/m, 'a text');
asked("SELECT id FROM asked WHERE name <> 'x' AND name > 'a'", qr/\$select=ID,Name$/m, 'texts that are ordered or negated are not asked');
asked("SELECT id FROM asked_bytes WHERE name <> 'x' AND name > 'a'", qr/filter=\(Name%20ne%20'x'%20and%20Name%20ne%20null\)%20and%20Name%20gt%20'a'$/m, 'but where they compare byte by byte');
asked("SELECT id FROM asked WHERE since IS NULL OR rating IN (1, 2)", qr/filter=\(Since%20eq%20null%20or%20\(Rating%20eq%201%20or%20Rating%20eq%202\)\)$/m, 'OR and IN');
asked("SELECT id FROM asked WHERE name LIKE 'A%' AND name LIKE '%b%'", qr/startswith\(Name,'A'\)\)%20and%20\(contains\(Name,'b'\)/m, 'LIKE');
asked("SELECT id FROM asked WHERE rating > 1 LIMIT 5", qr/Rating%20gt%201&\$top=5$/m, 'LIMIT');
asked("SELECT id FROM asked WHERE name = 'x' LIMIT 5", qr/Name%20eq%20'x'$/m, 'no LIMIT where the filter may let more pass');
asked("SELECT id FROM asked ORDER BY version DESC LIMIT 5", qr/orderby=Version%20desc&\$top=5$/m, 'ORDER BY');
asked("SELECT id FROM asked ORDER BY rating LIMIT 5", qr/\$select=ID,Rating$/m, 'no ORDER BY where nulls stand elsewhere');
asked("SELECT id FROM asked ORDER BY rating NULLS FIRST LIMIT 5", qr/orderby=Rating%20asc&\$top=5$/m, 'nulls where OData has them');
asked("SELECT id FROM asked ORDER BY version LIMIT 5 OFFSET 20", qr/Foreign Scan.*orderby=Version%20asc&\$top=5&\$skip=20$/ms, 'OFFSET');
asked("SELECT count(*) FROM asked WHERE rating > 1", qr/\$count\?\$filter=Rating%20gt%201$/m, 'count');
asked("SELECT count(*) FROM asked WHERE name = 'x'", qr/Aggregate.*Foreign Scan/s, 'no count where the filter may let more pass');
asked("SELECT h.id FROM here h JOIN asked a ON a.id = h.id WHERE h.version = 3", qr/(?:Nested Loop.*ID%20eq%20\$1|Hash Join)/s, 'a join');
is(sql("SELECT name FROM (SELECT 'P007' AS id) h JOIN asked a USING (id)"), sql("SELECT name FROM here WHERE id = 'P007'"), 'a look-up');

# ---- joins: keys of many rows in one request, also those of two columns
for my $i (1 .. 60)
{
	my $body = $json->encode({ Product => one('apple', 'Apple', "d'or", 'x y', 'p' . $i), Currency => one(qw(EUR USD GBP)) });
	$body =~ s/\}$/,"Price":$i.5}/;
	$http->post("${url}Prices", { content => $body, headers => { 'Content-Type' => 'application/json' } });
}
sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('cap_in', 'odata', '{"extends": "odata", "read": {"operators": ["eq", "ne", "lt", "le", "gt", "ge", "in", "null", "or"]}}');
	CREATE SERVER cap_in FOREIGN DATA WRAPPER concord OPTIONS (connector 'cap_in', url '$url');
	CREATE FOREIGN TABLE asked_in $columns SERVER cap_in OPTIONS (object 'BusinessPartners', page_size '30', list_size '7');
	CREATE FOREIGN TABLE prices (product text OPTIONS (name 'Product', key 'true') NOT NULL, currency varchar(3) OPTIONS (name 'Currency', key 'true') NOT NULL, price numeric(15,2) OPTIONS (name 'Price'))
		SERVER cap OPTIONS (object 'Prices', list_size '4');
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('cap_keys', 'odata', '{"extends": "odata", "batch": {"format": "odata_batch_json"}, "read": {"operators": ["eq", "ne", "lt", "le", "gt", "ge", "null"], "batch_size": 9}}');
	CREATE SERVER cap_keys FOREIGN DATA WRAPPER concord OPTIONS (connector 'cap_keys', url '$url');
	CREATE FOREIGN TABLE asked_keys $columns SERVER cap_keys OPTIONS (object 'BusinessPartners', page_size '3');
	CREATE FOREIGN TABLE prices_keys (product text OPTIONS (name 'Product', key 'true') NOT NULL, currency varchar(3) OPTIONS (name 'Currency', key 'true') NOT NULL, price numeric(15,2) OPTIONS (name 'Price'))
		SERVER cap_keys OPTIONS (object 'Prices');
	CREATE TABLE prices_here AS SELECT * FROM prices;
	CREATE TABLE wanted AS SELECT g AS n, (SELECT array_agg(id ORDER BY id) FROM here)[1 + g * 7 % 100] AS id, name, rating, rating::bigint AS large, credit, since, city, blocked, turnover
		FROM generate_series(1, 80) g JOIN here h ON h.version = 1 + g * 13 % 100;
	INSERT INTO wanted (n, id) VALUES (81, 'P999'), (82, NULL);
	CREATE TABLE cart AS SELECT row_number() OVER () AS n, p, c FROM unnest('{apple,Apple,d''or,x y,p7,p8,nothing,NULL}'::text[]) p, unnest('{EUR,USD,CHF,NULL}'::text[]) c});
my $lookup = 'SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_nestloop = off';
like(sql("$lookup; EXPLAIN (VERBOSE, COSTS OFF) SELECT b.n, p.price FROM cart b JOIN prices p ON p.product = b.p AND p.currency = b.c"),
	qr/Lookup Join.*filter=\(Product,Currency\) in \(\$keys\)/s, 'a key of two columns');
is(sql("$lookup; SELECT string_agg(b.n || ' ' || p.price, ',' ORDER BY b.n) FROM cart b JOIN prices p ON p.product = b.p AND p.currency = b.c"),
	sql("SELECT string_agg(b.n || ' ' || p.price, ',' ORDER BY b.n) FROM cart b JOIN prices_here p ON p.product = b.p AND p.currency = b.c"), '... finds what a local table has');
is(sql("$lookup; SELECT string_agg(b.n || ' ' || p.price, ',' ORDER BY b.n) FROM cart b JOIN prices_keys p ON p.product = b.p AND p.currency = b.c"),
	sql("SELECT string_agg(b.n || ' ' || p.price, ',' ORDER BY b.n) FROM cart b JOIN prices_here p ON p.product = b.p AND p.currency = b.c"), '... also key by key in a $batch');
like(sql("$lookup; EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT w.n, h.name FROM wanted w JOIN asked_keys h ON h.id = w.id"), qr/Lookups: 9\b.*Remote Batch Size: 9/s, 'each key a request, nine of them in one');
my @on = ('h.id = w.id', 'h.name = w.name', 'h.rating = w.rating', 'h.rating = w.large', 'h.credit = w.credit', 'h.since = w.since', 'h.city = w.city', 'h.blocked = w.blocked',
	'h.turnover = w.turnover', 'h.credit = w.rating', 'h.version = w.n', "h.id = 'P0' || w.n", 'h.rating = w.rating AND h.city = w.city', 'h.since = w.since AND h.blocked = w.blocked AND h.id <> w.id');
my @also = ('', '', ' AND h.rating > 1', " AND h.name <> 'Ada'", ' AND w.n % 3 = 0', ' AND h.version < w.n', ' AND h.id IN (SELECT id FROM wanted WHERE n < 40)');
my @form = (
	'SELECT w.n, h.id, h.name, h.credit FROM wanted w JOIN %s h ON %s%s WHERE w.n < 60',
	'SELECT w.n, h.id, h.name, h.credit FROM wanted w LEFT JOIN %s h ON %s%s',
	'SELECT w.n, h.changed FROM wanted w LEFT JOIN %s h ON %s%s WHERE h.id IS NULL OR h.rating = 2',
	'SELECT w.n FROM wanted w WHERE EXISTS (SELECT 1 FROM %s h WHERE %s%s)',
	'SELECT w.n FROM wanted w WHERE NOT EXISTS (SELECT 1 FROM %s h WHERE %s%s)',
	'SELECT w.n, h FROM wanted w JOIN %s h ON %s%s',
	'SELECT w.n, (SELECT count(*) FROM wanted v JOIN %s h ON %s%s WHERE v.n = w.n AND v.id = w.id) FROM wanted w WHERE w.n < 4',
	'SELECT h.city, count(*), sum(w.n) FROM wanted w LEFT JOIN %s h ON %s%s GROUP BY h.city',
	'SELECT w.n, h.id, g.id FROM wanted w LEFT JOIN %s h ON %s%s LEFT JOIN asked_bytes g ON g.id = h.id');
my (%differ, $looked);
for my $round (1 .. ($ENV{CONCORD_ROUNDS} || 150))
{
	my ($form, $on, $also) = (one(@form), one(@on), one(@also));
	$on =~ s/\bw\./v./g if $form =~ /wanted v/;
	my $limit = one($lookup, $lookup, 'SELECT 1', "SET work_mem = '64kB'; $lookup");
	my @queries = map { "SELECT md5(string_agg(q::text, ';' ORDER BY q::text)), count(*) FROM (" . sprintf($form, $_, $on, $also) . ') q' } qw(here asked asked_in asked_bytes asked_keys);
	my @results = grep { $_ ne '1' } split /\n/, sql("$limit; " . join(';', @queries));
	for my $k (1 .. 4)
	{
		push @{ $differ{ sprintf($form, '...', $on, $also) } }, "$queries[$k]: $results[$k], not $results[0]" if $results[$k] ne $results[0];
	}
	$looked++ if sql("$limit; EXPLAIN $queries[2]") =~ /Lookup Join/;
}
is(scalar(keys %differ), 0, "random joins, of which $looked looked keys up");
diag(join("\n", map { "$_\n\t" . join("\n\t", @{ $differ{$_} }) } (sort keys %differ)[ 0 .. (keys %differ > 5 ? 4 : keys(%differ) - 1) ])) if %differ;
cmp_ok($looked, '>', ($ENV{CONCORD_ROUNDS} || 150) / 2, 'enough of them did');

# ---- random queries: what is asked there gives what is computed here
my @clauses = (
	(map { my $op = $_; sub { "rating $op " . one(-1 .. 5) } } qw(= <> < <= > >=)),
	(map { my $op = $_; sub { "credit $op " . one('0', '10.5', '1500.25', '10.500', '1e3', '0.009') } } qw(= <> < <= > >=)),
	(map { my $op = $_; sub { "since $op '" . one('2020-01-01', '2024-02-29', '1999-01-01') . "'" } } qw(= <> < <= > >=)),
	(map { my $op = $_; sub { "changed $op '" . one('2024-05-01 10:00:00Z', '2024-05-01 10:00:00.123Z', '2024-05-01 10:00:01Z', '2025-01-01Z', '1969-12-31 23:59:59.999Z') . "'" } } qw(= <> < <= > >=)),
	(map { my $op = $_; sub { my $n = one(grep { defined } @names); $n =~ s/'/''/g; "name $op '$n'" } } qw(= <> < <= > >=)),
	sub { "city = '" . one('Rome', 'rome', 'Paris') . "'" },
	sub { "name LIKE '" . one('A%', 'a%', '%e', '%i%', "O''%", '%a_b%', 'Ada', '_da', '%', 'x\\%y', '% %') . "'" },
	sub { "name NOT LIKE '" . one('A%', '%e', '%i%') . "'" },
	sub { one('name', 'rating', 'since', 'blocked', 'credit', 'changed') . one(' IS NULL', ' IS NOT NULL') },
	sub { one('blocked', 'NOT blocked', 'blocked IS TRUE', 'blocked IS NOT TRUE', 'blocked = false', 'blocked <> true') },
	sub { 'rating ' . one('', 'NOT ') . 'IN (' . join(', ', map { one(-1 .. 5) } 1 .. 1 + rand 5) . ')' },
	sub { 'rating ' . one('', 'NOT ') . 'IN (1, NULL)' },
	sub { "id IN (" . join(', ', map { sprintf "'P%03d'", 1 + rand 110 } 1 .. 1 + rand 9) . ')' },
	sub { "id = ANY (ARRAY(SELECT 'P0' || g FROM generate_series(10, " . int(10 + rand 15) . ") g))" },
	sub { "name = ANY (ARRAY(SELECT unnest('{Ada,ada,ADA,Bob,Zoe}'::text[])))" },
	sub { 'rating = (SELECT ' . one(1 .. 4) . ')' },
	sub { 'turnover ' . one('=', '>') . ' 4000000000' },
	sub { 'rating BETWEEN 1 AND ' . one(1 .. 5) });
sub condition
{
	my ($depth) = @_;
	my $dice = rand;
	return 'NOT (' . condition($depth + 1) . ')' if $dice < 0.1 && $depth < 3;
	return '(' . join(one(' AND ', ' OR '), map { condition($depth + 1) } 1 .. 2) . ')' if $dice < 0.35 && $depth < 3;
	return one(@clauses)->();
}
my $rounds = $ENV{CONCORD_ROUNDS} || 150;
my (%wrong, $filtered);
for my $round (1 .. $rounds)
{
	my $where = join(' AND ', map { condition(0) } 1 .. 1 + rand 2);
	my $order = one('', map { "ORDER BY $_" } 'version', 'version DESC', 'rating NULLS FIRST, version', 'credit DESC NULLS LAST, version', 'since, version', 'name COLLATE "C" NULLS FIRST, version');
	my $limit = $order ? one('', 'LIMIT 7', 'LIMIT 5 OFFSET 3', 'OFFSET 10') : '';
	my @queries = map { my $t = $_;
		("SELECT md5(string_agg(q::text, ';')), count(*) FROM (SELECT * FROM (SELECT id, name, city, credit, rating, turnover, blocked, since, changed, version FROM $t WHERE $where $order $limit) r "
			. ($order ? '' : 'ORDER BY version') . ") q",
		"SELECT count(*) FROM $t WHERE $where") } qw(here asked asked_bytes);
	my @results = split /\n/, sql(join(';', @queries));
	for my $k (2 .. 5)
	{
		push @{ $wrong{"$where $order $limit"} }, "$queries[$k]: $results[$k], not $results[$k % 2]" if $results[$k] ne $results[ $k % 2 ];
	}
	$filtered++ if sql("EXPLAIN (VERBOSE) SELECT * FROM asked WHERE $where") =~ /filter=/;
}
is(scalar(keys %wrong), 0, "$rounds random queries, of which $filtered were filtered there");
diag(join("\n", map { "$_\n\t" . join("\n\t", @{ $wrong{$_} }) } (sort keys %wrong)[ 0 .. (keys %wrong > 5 ? 4 : keys(%wrong) - 1) ])) if %wrong;
cmp_ok($filtered, '>', $rounds / 3, 'enough of them were filtered there');
done_testing();
