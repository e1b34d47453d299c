# SAP CAP is written by foreign tables, at once and through the outbox: versions
# that are stale, deep reads, ids that are told.

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

my $node = Concord::Cluster->create('capwrite');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
sub sql { return $node->safe_psql('postgres', $_[0]); }

# partner: what CAP has, by its own word.
sub partner
{
	my ($id) = @_;
	my $answer = $http->get("${url}GuardedPartners('$id')");
	return $answer->{success} ? decode_json($answer->{content}) : undef;
}

# somebody_else changes a partner.
sub somebody_else
{
	my ($id, $name) = @_;
	my $answer = $http->request('PATCH', "${url}GuardedPartners('$id')",
		{ content => encode_json({ Name => $name }), headers => { 'Content-Type' => 'application/json', 'If-Match' => '*' } });
	die "$answer->{status} $answer->{content}" unless $answer->{success};
	return;
}

sub dead { return sql('SELECT string_agg(rule || \' \' || status, \',\' ORDER BY delivery) FROM concord.dead_letter'); }

my $columns = "(id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), credit numeric(15,2) OPTIONS (name 'CreditLimit'),
	changed timestamptz OPTIONS (name 'ChangedAt', read_only 'true'))";
sql(qq{CREATE SERVER cap FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '100ms');
	CREATE FOREIGN TABLE direct $columns SERVER cap OPTIONS (object 'GuardedPartners');
	CREATE FOREIGN TABLE later $columns SERVER cap OPTIONS (object 'GuardedPartners', write 'outbox');
	SELECT concord.create_write_mapping('later_out', 'later')});

# ---- at once
is(sql("INSERT INTO direct (id, name, credit) VALUES ('G1', 'Ada', 1500.25) RETURNING id, credit, changed IS NOT NULL"), 'G1|1500.25|t', 'RETURNING has what CAP fills in');
is(sql("UPDATE direct SET credit = credit + 1 WHERE id = 'G1' RETURNING credit, name"), '1501.25|Ada', 'UPDATE');
sql(q{CREATE FUNCTION other(text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN PERFORM concord.call('cap', 'PATCH', format('GuardedPartners(''%s'')', $1), '{"Name": "somebody else"}', headers => '{"If-Match": "*"}', raise => true); RETURN 'mine'; END $$});
my ($out, $err);
$node->psql('postgres', "\\set VERBOSITY verbose\nUPDATE direct SET name = other(id) WHERE id = 'G1'", stderr => \$err);
like($err, qr/ERROR:  40001.*is not as it was read.*0 rows/s, 'a stale ETag');
is(partner('G1')->{Name}, 'somebody else', "the other's change stays");
$node->psql('postgres', "\\set VERBOSITY verbose\nDELETE FROM direct WHERE id = 'G1' AND other(id) = 'mine'", stderr => \$err);
like($err, qr/ERROR:  40001/, 'a deletion with one');
is(sql("DELETE FROM direct WHERE id = 'G1' RETURNING name"), 'somebody else', 'DELETE');
is(partner('G1'), undef, 'it is gone');

# ---- through the outbox
is(sql("INSERT INTO later (id, name, credit) VALUES ('G2', 'Bob', 10.5), ('G3', 'Cy', NULL) RETURNING id, changed IS NULL"), "G2|t\nG3|t", 'what CAP is to fill in is null');
is(sql('SELECT concord.wait_for_delivery()'), 't', 'INSERT');
is(partner('G2')->{Name} . ' ' . (partner('G3')->{CreditLimit} // 'null'), 'Bob null', 'arrives');
sql("BEGIN; UPDATE later SET name = 'Bea' WHERE id = 'G2'; UPDATE later SET credit = 11 WHERE id = 'G2'; UPDATE later SET name = 'Bela' WHERE id = 'G2'; COMMIT");
is(sql('SELECT concord.wait_for_delivery()') . ' ' . dead(), 't ', 'three changes in one transaction');
is(partner('G2')->{Name} . ' ' . sql("SELECT credit FROM direct WHERE id = 'G2'"), 'Bela 11.00', 'arrive');
sql("SELECT concord.pause('later_out'); UPDATE later SET name = 'mine' WHERE id = 'G2'; DELETE FROM later WHERE id = 'G3'");
somebody_else($_, 'theirs') for qw(G2 G3);
sql("SELECT concord.resume('later_out'); SELECT concord.wait_for_delivery()");
is(dead(), 'conflict 412,conflict 412', 'stale ETags are conflicts');
is(partner('G2')->{Name} . partner('G3')->{Name}, 'theirstheirs', 'and nothing was written over');
sql("SELECT concord.discard_dead('later_out', NULL, 'seen'); DELETE FROM later WHERE id = 'G3'; UPDATE later SET name = 'again' WHERE id = 'G2'; SELECT concord.wait_for_delivery()");
is(partner('G2')->{Name} . (partner('G3') // ''), 'again', 'read anew it is written');
sql("INSERT INTO later (id, name) VALUES ('G2', 'twice'); SELECT concord.wait_for_delivery()");
like(dead(), qr/^exists /, 'a key that is there') or diag(sql('SELECT rule, status, error FROM concord.dead_letter'));
is(partner('G2')->{Name}, 'again', 'is not written over');
sql("SELECT concord.discard_dead('later_out', NULL, 'seen')");

# ---- batches, and a key of two columns
sql(q{ALTER SERVER cap OPTIONS (ADD batch_size '25');
	CREATE FOREIGN TABLE prices (product text OPTIONS (name 'Product', key 'true') NOT NULL, currency text OPTIONS (name 'Currency', key 'true') NOT NULL, price numeric(15,2) OPTIONS (name 'Price'))
		SERVER cap OPTIONS (object 'Prices', write 'outbox');
	SELECT concord.create_write_mapping('prices_out', 'prices')});
sql("INSERT INTO prices SELECT 'A/' || g, CASE g % 2 WHEN 0 THEN 'EUR' ELSE 'USD' END, g / 4.0 FROM generate_series(1, 200) g; SELECT concord.wait_for_delivery()");
is(sql("SELECT count(price), sum(price) FROM prices"), '200|5025.00', '200 rows, in batches');
sql("UPDATE prices SET price = price * 2 WHERE currency = 'EUR'; SELECT concord.wait_for_delivery(); DELETE FROM prices WHERE currency = 'USD'; SELECT concord.wait_for_delivery()");
is(sql("SELECT count(price), sum(price) FROM prices") . dead(), '100|5050.00', 'changed and deleted');

# ---- deep: orders with their items, as columns that are expanded, joined with a table of ours
my $order = sub { return sprintf('%08d-0000-4000-8000-000000000000', $_[0]); };
sql(qq{CREATE FOREIGN TABLE orders (id uuid OPTIONS (name 'ID', key 'true') NOT NULL, partner text OPTIONS (name 'Partner'), total numeric(15,2) OPTIONS (name 'Total'),
		items jsonb OPTIONS (name 'Items', expand 'true')) SERVER cap OPTIONS (object 'SalesOrders', write 'outbox', on_missing 'null');
	CREATE FOREIGN TABLE items (order_id uuid OPTIONS (name 'Order_ID', key 'true') NOT NULL, pos int OPTIONS (name 'Pos', key 'true') NOT NULL, product text OPTIONS (name 'Product'),
		quantity numeric(15,3) OPTIONS (name 'Quantity')) SERVER cap OPTIONS (object 'SalesOrderItems');
	SELECT concord.create_write_mapping('orders_out', 'orders');
	CREATE TABLE partners (id text, label text); INSERT INTO partners VALUES ('G2', 'ours')});
sql("INSERT INTO orders (id, partner, total) VALUES ('" . $order->(1) . "', 'G2', 10), ('" . $order->(2) . "', 'G9', 20); SELECT concord.wait_for_delivery()");
sql("INSERT INTO items SELECT '" . $order->(1) . "', g, 'P' || g, g FROM generate_series(1, 3) g");
is(sql("SELECT p.label, o.total, jsonb_array_length(o.items), o.items -> 1 ->> 'Product' FROM partners p JOIN orders o ON o.partner = p.id"), 'ours|10.00|3|P2', 'a deep read in a join');
sql("UPDATE orders o SET total = (SELECT sum(quantity) FROM items i WHERE i.order_id = o.id) WHERE partner = 'G2'; SELECT concord.wait_for_delivery()");
is(sql("SELECT total, jsonb_array_length(items) FROM orders WHERE partner = 'G2'") . dead(), '6.00|3', 'a sum of what is deep is written through the outbox');
done_testing();
