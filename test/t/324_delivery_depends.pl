# Option depends: a change of another table is an update of the row that it
# refers to, once for each row and transaction.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('depends');
my $rest = $erp->url('/rest/api/');
my $hook = $erp->url('/hook/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub held { my ($id) = @_; return $erp->data('/rest/api/orders')->{$id}; }

# ended(TABLE SEQ): events of the mapping after a position, as "op state"
sub ended
{
	my ($mapping, $seq) = @_;
	return sql("SELECT string_agg(op || ' ' || state || ' ' || (local_key ->> 'id'), ', ' ORDER BY seq, local_key)
		FROM concord.delivery WHERE mapping = '$mapping' AND seq > $seq");
}

sub last_seq { return sql('SELECT coalesce(max(seq), 0) FROM concord.outbox'); }

# sent(PATH): "METHOD key" since the log was cleared, sorted
sub sent
{
	my @all = map { "$_->{method} " . ($_->{key} // JSON::PP->new->utf8->decode($_->{body})->{id}) } $erp->log_entries($_[0]);
	$erp->clear_log;
	return join(', ', sort @all);
}

sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms');
	CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$hook', retry_base '20ms');
	CREATE SCHEMA sales;
	CREATE TABLE sales.orders (id bigint PRIMARY KEY, customer text, open bool DEFAULT true);
	CREATE TABLE sales.item (order_id bigint, pos int, product text, n int, PRIMARY KEY (order_id, pos));
	CREATE TABLE sales.note (id serial PRIMARY KEY, order_id int, note text) PARTITION BY RANGE (id);
	CREATE TABLE sales.note_1 PARTITION OF sales.note FOR VALUES FROM (0) TO (1000000);
	ALTER TABLE sales.note REPLICA IDENTITY FULL;
	ALTER TABLE sales.note_1 REPLICA IDENTITY FULL;));
my $fields = q({"customer": "customer",
	"lines": "(SELECT count(*) FROM sales.item i WHERE i.order_id = orders.id)",
	"pieces": "(SELECT coalesce(sum(i.n), 0) FROM sales.item i WHERE i.order_id = orders.id)",
	"notes": "(SELECT string_agg(n.note, ',' ORDER BY n.id) FROM sales.note n WHERE n.order_id = orders.id)"});
sql(qq(SELECT concord.create_mapping('orders', 'sales.orders', 'erp', 'orders', \$f\$$fields\$f\$,
	filter => 'open', options => '{"unmatched": "delete", "depends": {"sales.item": {"id": "order_id"}, "sales.note": {"id": "order_id"}}}');
	SELECT concord.create_mapping('told', 'sales.orders', 'hook', 'told', '{"by": "event.op", "lines": "(SELECT count(*) FROM sales.item i WHERE i.order_id = orders.id)"}',
	options => '{"depends": {"sales.item": {"id": "order_id"}}}')));

sql("INSERT INTO sales.orders VALUES (1, 'Ada'), (2, 'Grace'), (3, 'Joan')");
is(delivered('orders') . delivered('told'), 'tt', 'delivered');
is(sent('/rest/api/orders'), 'POST 1, POST 2, POST 3', 'rows of its own');

# --- an insert, an update, a delete there
sql("INSERT INTO sales.item VALUES (1, 1, 'pen', 3)");
is(delivered('orders') . delivered('told'), 'tt', 'delivered');
is(held(1)->{lines} . held(1)->{pieces}, '13', 'an insert there updates the row');
sql("UPDATE sales.item SET n = 5 WHERE order_id = 1");
is(delivered('orders'), 't', 'delivered');
is(held(1)->{pieces}, 5, 'an update');
sql("INSERT INTO sales.note (order_id, note) VALUES (1, 'first'), (1, 'second'), (2, 'other')");
is(delivered('orders'), 't', 'delivered');
is(held(1)->{notes} . ' ' . held(2)->{notes}, 'first,second other', 'another, partitioned, table');
sql("DELETE FROM sales.note WHERE note = 'first'");
is(delivered('orders'), 't', 'delivered');
is(held(1)->{notes}, 'second', 'a delete');
is(delivered('told'), 't', 'delivered');
$erp->clear_log;

# --- once for each row and transaction
my $seq = last_seq();
sql("BEGIN; INSERT INTO sales.item SELECT 1 + g % 2, 100 + g, 'x', 1 FROM generate_series(1, 3000) g; UPDATE sales.item SET n = 2 WHERE pos > 100; COMMIT");
is(delivered('orders') . delivered('told'), 'tt', 'delivered');
is(sent('/rest/api/orders'), 'PATCH 1, PATCH 2', 'six thousand changes of two rows: two updates');
is(ended('told', $seq), 'update done 2, update done 1', 'and two messages');
$seq = last_seq();
sql("BEGIN; UPDATE sales.item SET n = 3 WHERE pos = 101; UPDATE sales.orders SET customer = 'Hopper' WHERE id = 2; UPDATE sales.item SET n = 4 WHERE pos = 101; COMMIT");
is(delivered('orders') . delivered('told'), 'tt', 'delivered');
is(sent('/rest/api/orders'), 'PATCH 2', 'with a change of its own: that one');
is(ended('told', $seq), 'update done 2', 'one message');
sql("BEGIN; INSERT INTO sales.orders VALUES (4, 'Alan'); INSERT INTO sales.item VALUES (4, 1, 'a', 1), (4, 2, 'b', 1); COMMIT");
is(delivered('orders'), 't', 'delivered');
is(sent('/rest/api/orders'), 'POST 4', 'a new row with new ones there: one create');
is(held(4)->{lines}, 2, 'with them');

# --- from one row to another
sql("UPDATE sales.item SET order_id = 3 WHERE order_id = 4 AND pos = 2");
is(delivered('orders'), 't', 'delivered');
is(sent('/rest/api/orders'), 'PATCH 3, PATCH 4', 'a move updates both');
is(held(3)->{lines} . held(4)->{lines}, '11', 'each as it is now');
sql("UPDATE sales.note SET order_id = NULL WHERE note = 'second'");
is(delivered('orders'), 't', 'delivered');
is(sent('/rest/api/orders'), 'PATCH 1', 'a move to nowhere the one that it left');

# --- of a row that is gone, or does not match
$seq = last_seq();
sql("INSERT INTO sales.item VALUES (99, 1, 'stray', 1)");
is(delivered('orders') . delivered('told'), 'tt', 'delivered');
is(sent('/rest/api/orders'), '', 'a change for a row that is not there: nothing');
sql("BEGIN; DELETE FROM sales.item WHERE order_id = 4; DELETE FROM sales.orders WHERE id = 4; COMMIT");
is(delivered('orders'), 't', 'delivered');
is(sent('/rest/api/orders'), 'DELETE 4', 'deleted together: one delete');
sql("SELECT concord.alter_mapping('orders', filter => 'open AND EXISTS (SELECT FROM sales.item i WHERE i.order_id = orders.id)')");
sql("DELETE FROM sales.item WHERE order_id = 3");
is(delivered('orders'), 't', 'delivered');
is(sent('/rest/api/orders'), 'DELETE 3', 'a row that matches no more because of it');
sql("INSERT INTO sales.item VALUES (3, 7, 'again', 1)");
is(delivered('orders'), 't', 'delivered');
like(sent('/rest/api/orders'), qr/POST 3/, 'and matches again');

# --- retries and crashes in between
$erp->rule({ path => '/rest/api/orders' }, { status => 500 }, 3);
sql("UPDATE sales.item SET n = 11 WHERE order_id = 3");
is(delivered('orders'), 't', 'delivered after retries');
is(held(3)->{pieces}, 11, 'with what the table has then');
$erp->rule({ path => '/rest/api/orders' }, { status => 503 });
sql("UPDATE sales.item SET n = 12 WHERE order_id = 3");
sql("UPDATE sales.item SET order_id = 2, pos = 9999 WHERE order_id = 3");
$node->stop('immediate');
$node->start;
$erp->drop_rules;
is(delivered('orders'), 't', 'delivered after a crash');
is((held(3) // { lines => 0 })->{lines} . ' ' . (held(2)->{lines}), '0 ' . sql("SELECT count(*) FROM sales.item WHERE order_id = 2"), 'both rows');
$erp->clear_log;

# --- replay finds the newest by such changes too
is(sql("SELECT concord.replay('orders', keys => '[{\"id\": 1}]')"), 1, 'replay');
is(delivered('orders'), 't', 'delivered');
like(sent('/rest/api/orders'), qr/PATCH 1/, 'sends the row again');

# --- behind the head: a lane reads those tables by itself
sql("SELECT concord.pause('orders')");
sql("INSERT INTO sales.item SELECT 1, 10000 + g, 'late', 1 FROM generate_series(1, 2000) g");
is(delivered('told'), 't', 'another mapping goes ahead');
cmp_ok(sql("SELECT pending FROM concord.status WHERE mapping = 'orders'"), '>', 0, 'it has something pending');
sql("SELECT concord.resume('orders')");
is(delivered('orders'), 't', 'delivered');
is(held(1)->{lines}, sql('SELECT count(*) FROM sales.item WHERE order_id = 1'), 'and follows');

# --- truncate says so
sql("TRUNCATE sales.item");
is(delivered('orders'), 't', 'ended');
is(sql("SELECT rule || ': ' || error FROM concord.dead_letter WHERE mapping = 'orders'"), 'truncate: table "sales.item" was truncated', 'a truncate there is told');
sql("SELECT concord.discard_dead('orders', NULL, 'a test'); SELECT concord.alter_mapping('orders', options => '{\"truncate\": \"delete\"}', filter => 'open')");
sql("TRUNCATE sales.note");
is(delivered('orders'), 't', 'ended');
is(sql("SELECT rule FROM concord.dead_letter WHERE mapping = 'orders'"), 'truncate', 'and never deletes records');
sql("SELECT concord.discard_dead('orders', NULL, 'a test'); SELECT concord.alter_mapping('orders', options => '{\"truncate\": \"ignore\"}')");
sql("TRUNCATE sales.note");
is(delivered('orders'), 't', 'ended');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'orders'"), 0, 'or is ignored');

# --- rights, and a table that goes
sql("CREATE ROLE clerk; GRANT USAGE ON FOREIGN SERVER erp TO clerk; GRANT USAGE ON SCHEMA sales, concord TO clerk;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO clerk;
	CREATE USER MAPPING FOR clerk SERVER erp OPTIONS (auth 'none');
	ALTER TABLE sales.orders OWNER TO clerk; ALTER TABLE sales.item OWNER TO clerk; ALTER TABLE sales.note OWNER TO clerk;
	SELECT concord.set_definer('orders', 'clerk')");
sql("ALTER TABLE sales.item OWNER TO CURRENT_USER");
ok($node->poll("SELECT state = 'denied' AND state_reason LIKE '%item%' FROM concord.status WHERE mapping = 'orders'"),
	'a definer that loses a table it depends on is denied');
sql("ALTER TABLE sales.item OWNER TO clerk");
ok($node->poll("SELECT state = 'active' FROM concord.status WHERE mapping = 'orders'"), 'until it has it again');
sql("DROP TABLE sales.note");
is(sql("SELECT state || ': ' || state_reason FROM concord.status WHERE mapping = 'orders'"),
	'broken: table sales.note, on which it depends, was dropped', 'a table that is dropped breaks it, by name');
sql("SELECT concord.alter_mapping('orders', options => '{\"depends\": {\"sales.note\": null}}', fields => '{\"notes\": null}')");
sql("INSERT INTO sales.item VALUES (1, 1, 'new', 1)");
is(delivered('orders'), 't', 'corrected, it goes on');
is(held(1)->{lines}, 1, 'with what is left');

$node->stop;
done_testing();
