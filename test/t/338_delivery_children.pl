# Fields of children: rows of another mapping go along when their parent's
# record is created, and get their links from the answer. Against the sandbox,
# which can be told what to answer, and against SAP CAP, which inserts deep.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep time);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('children');
my $rest = $erp->url('/rest/api/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub body_of { return JSON::PP->new->utf8->decode($_[0]{body}); }

# sent(PATH): "METHOD last part of the path" since the log was cleared
sub sent
{
	my @all = map { my ($p) = $_->{path} =~ m{([^/]+)$}; "$_->{method} $p" } grep { $_->{method} ne 'GET' } $erp->log_entries($_[0]);
	$erp->clear_log;
	return join(', ', @all);
}

sub states
{
	my ($mapping) = @_;
	return sql("SELECT string_agg(op || ' ' || state, ', ' ORDER BY seq) FROM concord.delivery WHERE mapping = '$mapping'");
}

# --- keys are ours
sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms', retry_cap '50ms', breaker_cooldown '100ms');
	CREATE TABLE orders (id bigint PRIMARY KEY, customer text);
	CREATE TABLE line (order_id bigint, pos int, product text, n numeric(9,2), PRIMARY KEY (order_id, pos));
	SELECT concord.create_mapping('orders', 'orders', 'erp', 'orders', '{"customer": "customer"}');
	SELECT concord.create_mapping('lines', 'line', 'erp', 'lines', '{"product": "product", "n": "n", "order": "concord.remote_id(''orders'', order_id)"}',
		filter => 'n > 0', checks => '{"product is known": "product <> ''?''"}', options => '{"parent": {"orders": {"id": "order_id"}}}');
	SELECT concord.alter_mapping('orders', fields => '{"body/lines": {"children": "lines"}}')));
is(sql("SELECT children FROM concord.mapping_field WHERE mapping = 'orders' AND name = 'body/lines'"), 'lines', 'mapping_field shows it');
is(sql("BEGIN; INSERT INTO orders VALUES (1, 'Ada'); INSERT INTO line VALUES (1, 1, 'pen', 2.50), (1, 2, 'ink', 1);
	SELECT body FROM concord.preview('orders'); ROLLBACK"),
	'{"id": 1, "body": {"lines": [{"n": 2.50, "pos": 1, "product": "pen"}, {"n": 1.00, "pos": 2, "product": "ink"}]}, "customer": "Ada"}', 'preview shows it deep');

sql("BEGIN; INSERT INTO orders VALUES (1, 'Ada'); INSERT INTO line VALUES (1, 1, 'pen', 2.50), (1, 2, 'ink', 1), (1, 3, 'none', 0), (1, 4, '?', 1); COMMIT");
is(delivered('orders') . delivered('lines'), 'tt', 'delivered');
is_deeply((map { body_of($_) } grep { $_->{method} eq 'POST' } $erp->log_entries('/rest/api/orders'))[0],
	{ id => 1, customer => 'Ada', body => { lines => [ { pos => 1, product => 'pen', n => 2.5 }, { pos => 2, product => 'ink', n => 1 } ] } },
	'one create with the rows that are sent; what says where they belong is left out');
note(sql("SELECT string_agg(mapping || ' v' || version || ' ' || op || ' ' || state || ' ' || attempts, ', ') FROM concord.delivery"));
is(sent('/rest/api'), 'POST orders', 'and no other request');
is(sql("SELECT string_agg(local_key::text || ' ' || remote_id, ', ' ORDER BY local_key) FROM concord.link WHERE mapping = 'lines'"),
	'{"pos": 1, "order_id": 1} 1,1, {"pos": 2, "order_id": 1} 1,2', 'they have links');
is(sql("SELECT string_agg(state, ', ' ORDER BY local_key) FROM concord.delivery WHERE mapping = 'lines' AND state <> 'skipped'"), 'superseded, superseded, dead',
	'their own events have nothing to add; one fails its check by itself') or diag(states('lines'));
sql("SELECT concord.discard_dead('lines', NULL, 'a test')");

# later changes go by their own requests
sql("UPDATE line SET n = 3 WHERE pos = 1");
sql("INSERT INTO line VALUES (1, 5, 'paper', 1)");
sql("UPDATE orders SET customer = 'Ada L.'");
is(delivered('orders') . delivered('lines'), 'tt', 'delivered');
my %sent = map { $_ => 1 } split /, /, sent('/rest/api');
is_deeply(\%sent, { 'PATCH 1,1' => 1, 'POST lines' => 1, 'PATCH 1' => 1 }, 'later changes, each by itself');

# a row waits for its parent
$erp->rule({ path => '/rest/api/orders', method => 'POST' }, { status => 503 }, 4);
sql("BEGIN; INSERT INTO line VALUES (2, 1, 'early', 1); INSERT INTO orders VALUES (2, 'Grace'); COMMIT");
ok($node->poll("SELECT waiting > 0 FROM concord.status WHERE mapping = 'lines'"), 'a row whose parent has no link waits');
is(delivered('orders') . delivered('lines'), 'tt', 'until it has');
is(join(' ', grep { /lines/ } split /, /, sent('/rest/api')), '', 'and is not sent by itself');

# an old image never follows: what the create saw is done
sql("SELECT concord.pause('orders'); SELECT concord.pause('lines')");
sql($_) foreach "INSERT INTO orders VALUES (3, 'Joan'); INSERT INTO line VALUES (3, 1, 'v1', 1)", "UPDATE line SET product = 'v2' WHERE order_id = 3",
	"UPDATE line SET product = 'v3' WHERE order_id = 3", "INSERT INTO line VALUES (3, 2, 'w', 1)";
sql("BEGIN; SELECT concord.resume('orders'); SELECT concord.resume('lines'); COMMIT");
is(delivered('orders') . delivered('lines'), 'tt', 'delivered');
is_deeply([ map { $_->{product} } @{ (map { body_of($_) } grep { $_->{method} eq 'POST' && $_->{path} =~ /orders/ } $erp->log_entries('/rest/api'))[0]{body}{lines} } ],
	[ 'v3', 'w' ], 'as they are then');
is(sent('/rest/api'), 'POST orders', 'nothing older after it');

# the answer is lost: the parent is found, its rows are not made twice
$erp->rule({ path => '/rest/api/orders', method => 'POST' }, { reset => 'after' }, 1);
sql("BEGIN; INSERT INTO orders VALUES (4, 'Alan'); INSERT INTO line VALUES (4, 1, 'once', 1); COMMIT");
is(delivered('orders') . delivered('lines'), 'tt', 'delivered after a lost answer');
is(scalar(grep { $_->{method} eq 'POST' && $_->{path} =~ /orders/ } $erp->log_entries('/rest/api')), 1, 'one create');
$erp->clear_log;

# a child that is altered or paused: the parent's mapping follows
sql("SELECT concord.alter_mapping('lines', fields => '{\"product\": \"upper(product)\"}')");
sql("BEGIN; INSERT INTO orders VALUES (5, 'Edsger'); INSERT INTO line VALUES (5, 1, 'goto', 1); COMMIT");
is(delivered('orders') . delivered('lines'), 'tt', 'delivered');
is((map { body_of($_) } grep { $_->{path} =~ /orders/ } $erp->log_entries('/rest/api'))[-1]{body}{lines}[0]{product}, 'GOTO', 'as the new version says');
$erp->clear_log;
sql("SELECT concord.pause('lines')");
sql("BEGIN; INSERT INTO orders VALUES (6, 'Tony'); INSERT INTO line VALUES (6, 1, 'null', 1); COMMIT");
is(delivered('orders'), 't', 'delivered');
ok(!exists((map { body_of($_) } grep { $_->{path} =~ /orders/ } $erp->log_entries('/rest/api'))[-1]{body}), 'rows of a paused mapping stay');
sql("SELECT concord.resume('lines')");
is(delivered('lines'), 't', 'and follow by themselves');
like(sent('/rest/api'), qr/POST lines/, 'when it goes on');

# --- ids are the system's: they come with the answer, in its order or not
sql(qq(CREATE TABLE invoice (id int PRIMARY KEY, name text);
	CREATE TABLE entry (id int PRIMARY KEY, invoice int, text text);
	SELECT concord.create_mapping('invoices', 'invoice', 'erp', 'invoices', '{"name": "name"}', options => '{"remote_id": "assigned", "remote_id_path": "id"}');
	SELECT concord.create_mapping('entries', 'entry', 'erp', 'entries', '{"text": "text", "invoice": "concord.remote_id(''invoices'', invoice)"}',
		options => '{"remote_id": "assigned", "remote_id_path": "id", "parent": {"invoices": {"id": "invoice"}}}');
	SELECT concord.alter_mapping('invoices', fields => '{"entries": {"children": "entries"}}')));
$erp->clear_log;
$erp->rule({ path => '/rest/api/invoices', method => 'POST' }, { status => 201,
	body => '{"id": "I-9", "entries": [{"id": "E-2", "text": "second"}, {"id": "E-1", "text": "first"}]}' }, 1);
sql("BEGIN; INSERT INTO invoice VALUES (1, 'one'); INSERT INTO entry VALUES (1, 1, 'first'), (2, 1, 'second'); COMMIT");
is(delivered('invoices') . delivered('entries'), 'tt', 'delivered');
is_deeply(body_of(($erp->log_entries('/rest/api/invoices'))[0]), { name => 'one', entries => [ { text => 'first' }, { text => 'second' } ] }, 'without keys');
is(sql("SELECT string_agg(local_key::text || ' ' || remote_id, ', ' ORDER BY local_key) FROM concord.link WHERE mapping = 'entries'"),
	'{"id": 1} E-1, {"id": 2} E-2', 'each has its id');
$erp->clear_log;
sql("UPDATE entry SET text = 'changed' WHERE id = 2");
is(delivered('entries'), 't', 'delivered');
is((split /, /, sent('/rest/api'))[0], 'PATCH E-2', 'a change goes to it');

# many rows whose values the system changes: each has the item at its place
$erp->rule({ path => '/rest/api/invoices', method => 'POST' }, { status => 201,
	body => JSON::PP->new->encode({ id => 'I-10', entries => [ map { { id => "N-$_", text => "ENTRY $_" } } 1 .. 900 ] }) }, 1);
sql("BEGIN; INSERT INTO invoice VALUES (2, 'two'); INSERT INTO entry SELECT 1000 + i, 2, 'entry ' || i FROM generate_series(1, 900) i; COMMIT");
is(delivered('invoices') . delivered('entries'), 'tt', 'delivered');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'entries' AND remote_id = 'N-' || ((local_key->>'id')::int - 1000)"), '900', 'each of many has its id');


# --- SAP CAP
SKIP:
{
	my $dir = "$ENV{CONCORD_SRC}/test/peers/cap";
	skip 'left out by SKIP_PEERS', 1 if Concord::Cluster::left_out('cap');
	skip 'the packages of the CAP peer are not installed', 1 unless -e "$dir/node_modules/.complete";
	my $work = File::Temp->newdir;
	my $port = Concord::Cluster::free_port();
	my $url = "http://127.0.0.1:$port/odata/v4/trade/";
	my $http = HTTP::Tiny->new(timeout => 5);
	my $cap = Concord::Cluster::start_child("$dir/serve", "$work/trade.sqlite", $port);
	my $end = time + 60;
	usleep(100_000) until $http->get($url)->{success} || time > $end;
	sql(qq(CREATE SERVER cap FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '100ms');
		CREATE TABLE sales_order (id uuid PRIMARY KEY, partner text);
		CREATE TABLE sales_order_item (order_id uuid, pos int, product text, quantity numeric(15,3), PRIMARY KEY (order_id, pos));
		SELECT concord.create_mapping('cap_orders', 'sales_order', 'cap', 'SalesOrders', '{"Partner": "partner"}', key => '{"ID": "id"}');
		SELECT concord.create_mapping('cap_items', 'sales_order_item', 'cap', 'SalesOrderItems', '{"Product": "product", "Quantity": "quantity"}',
			key => '{"Order_ID": "order_id", "Pos": "pos"}', options => '{"parent": {"cap_orders": {"id": "order_id"}}}');
		SELECT concord.alter_mapping('cap_orders', fields => '{"Items": {"children": "cap_items"}}')));
	my $id = '11111111-2222-4333-8444-555555555555';
	sql("BEGIN; INSERT INTO sales_order VALUES ('$id', 'Ada'); INSERT INTO sales_order_item VALUES ('$id', 1, 'pen', 2.5), ('$id', 2, 'ink', 1); COMMIT");
	is(delivered('cap_orders') . delivered('cap_items'), 'tt', 'CAP: delivered');
	is(sql("SELECT string_agg(state, ' ') FROM concord.delivery WHERE mapping = 'cap_items'"), 'superseded superseded', 'CAP: the items went along');
	sql("UPDATE sales_order_item SET quantity = 7 WHERE pos = 2");
	sql("DELETE FROM sales_order_item WHERE pos = 1");
	sql("INSERT INTO sales_order_item VALUES ('$id', 3, 'pad', 1)");
	is(delivered('cap_items'), 't', 'CAP: later changes are delivered');
	my $order = JSON::PP->new->utf8->decode($http->get("${url}SalesOrders($id)?\$expand=Items")->{content});
	is_deeply([ map { [ $_->{Pos}, $_->{Product}, $_->{Quantity} + 0 ] } sort { $a->{Pos} <=> $b->{Pos} } @{ $order->{Items} } ],
		[ [ 2, 'ink', 7 ], [ 3, 'pad', 1 ] ], 'CAP: the order has what the tables have');
	is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping LIKE 'cap_%'"), 0, 'CAP: no dead letters')
	  or diag(sql("SELECT mapping, local_key, rule, error, answer FROM concord.dead_letter"));
	Concord::Cluster::stop_child($cap);
}

# --- an id in the answer that is another row's already: nothing is linked
sql(qq(CREATE TABLE bill (id int PRIMARY KEY, name text);
	CREATE TABLE bill_item (id int PRIMARY KEY, bill int, text text);
	SELECT concord.create_mapping('bills', 'bill', 'erp', 'bills', '{"name": "name"}', options => '{"remote_id": "assigned", "remote_id_path": "id"}');
	SELECT concord.create_mapping('bill_items', 'bill_item', 'erp', 'bill_items', '{"text": "text", "bill": "concord.remote_id(''bills'', bill)"}',
		options => '{"remote_id": "assigned", "remote_id_path": "id", "parent": {"bills": {"id": "bill"}}}');
	SELECT concord.alter_mapping('bills', fields => '{"items": {"children": "bill_items"}}')));
$erp->rule({ path => '/rest/api/bills', method => 'POST' }, { status => 201, body => qq({"id": "B-$_", "items": [{"id": "P-1", "text": "$_"}]}) }, 1) for 1, 2;
sql("BEGIN; INSERT INTO bill VALUES (1, 'one'); INSERT INTO bill_item VALUES (1, 1, '1'); COMMIT");
is(delivered('bills') . delivered('bill_items'), 'tt', 'ids: the first is delivered');
sql("BEGIN; INSERT INTO bill VALUES (2, 'two'); INSERT INTO bill_item VALUES (2, 2, '2'); COMMIT");
is(delivered('bills'), 't', 'ids: the second has ended');
like(sql("SELECT rule || ': ' || error FROM concord.dead_letter WHERE mapping = 'bills'"), qr/^id in use: .*id "P-1", which is linked to \{"id": 1\}/, 'ids: one that is in use is not linked, and the dead letter names it');
is(sql("SELECT string_agg(mapping || ' ' || (local_key->>'id') || ' ' || remote_id, ', ' ORDER BY mapping) FROM concord.link WHERE mapping IN ('bills', 'bill_items')"),
	'bill_items 1 P-1, bills 1 B-1', 'ids: the first row keeps its record, the others have none');

# --- one of two kinds of children that cannot be evaluated for a while: afterwards each row goes along once
sql(qq(CREATE FUNCTION conv(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(\$1)';
	CREATE TABLE box (id int PRIMARY KEY, name text);
	CREATE TABLE box_a (id int PRIMARY KEY, box int, text text);
	CREATE TABLE box_b (id int PRIMARY KEY, box int, text text);
	SELECT concord.create_mapping('boxes', 'box', 'erp', 'boxes', '{"name": "name"}');
	SELECT concord.create_mapping('box_as', 'box_a', 'erp', 'box_as', '{"text": "text"}', options => '{"parent": {"boxes": {"id": "box"}}}');
	SELECT concord.create_mapping('box_bs', 'box_b', 'erp', 'box_bs', '{"text": "conv(text)"}', options => '{"parent": {"boxes": {"id": "box"}}}');
	SELECT concord.alter_mapping('boxes', fields => '{"a": {"children": "box_as"}, "b": {"children": "box_bs"}}');
	ALTER FUNCTION conv(text) RENAME TO conv_gone));
$erp->clear_log;
sql("BEGIN; INSERT INTO box VALUES (1, 'one'); INSERT INTO box_a VALUES (1, 1, 'a'); INSERT INTO box_b VALUES (1, 1, 'b'); COMMIT");
ok($node->poll("SELECT last_error LIKE '%conv%' FROM concord.status WHERE mapping = 'boxes'"), 'a field of a child cannot be evaluated');
usleep(3_000_000);    # longer than a row that cannot be evaluated waits before it is tried again
sql('ALTER FUNCTION conv_gone(text) RENAME TO conv');
is(delivered('boxes'), 't', 'it is there again');
my ($box) = grep { $_->{method} eq 'POST' } $erp->log_entries('/rest/api/boxes');
is_deeply(body_of($box), { id => 1, name => 'one', a => [ { id => 1, text => 'a' } ], b => [ { id => 1, text => 'B' } ] }, 'each row goes along, once')
  or diag($box->{body});

$node->stop;
done_testing();
