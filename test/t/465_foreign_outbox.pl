# Foreign tables with write 'outbox': what statements write is sent after the commit.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $node = Concord::Cluster->create('foreignoutbox');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $set = '/odata/v4/sales/Customers';

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub fails
{
	my ($sql, $state, $pattern, $what) = @_;
	my ($out, $err);

	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql;\nROLLBACK; SELECT 'still'", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E/, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	like($out, qr/still$/, "$what: the session goes on");
	return;
}

# delivered: everything that was committed has ended.
sub delivered { return sql("SELECT concord.wait_for_delivery('" . ($_[0] // 'customers_out') . "')"); }

# record: what the system has of a customer.
sub record
{
	my ($id) = @_;
	my $data = $erp->data($set);
	return (grep { $_->{ID} eq $id } values %$data)[0];
}

sub dead { return sql("SELECT string_agg(rule, ',' ORDER BY delivery) FROM concord.dead_letter WHERE mapping = '" . ($_[0] // 'customers_out') . "'"); }

$erp->set($set, key => ['ID'], etag => JSON::PP::true(), match_required => JSON::PP::true());
sql(qq{
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url('/odata/v4/sales/')]}', timeout '5s', retry_base '50ms', breaker_failures '1000');
	CREATE FOREIGN TABLE customers (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), credit numeric OPTIONS (name 'Credit'),
		street text OPTIONS (name 'Address/Street'), born date OPTIONS (name 'Born'), seen timestamptz OPTIONS (name 'Seen', read_only 'true'))
		SERVER erp OPTIONS (object 'Customers', on_missing 'null', write 'outbox')});

# ---- nothing is written before somebody delivers it
fails("INSERT INTO customers (id) VALUES ('X')", '55000', qr/no mapping delivers that.*create_write_mapping/s, 'no mapping');
is(sql("SELECT concord.create_write_mapping('customers_out', 'customers')"), '1', 'the mapping is made');
is(sql("SELECT mapping, server, state FROM concord.status WHERE mapping = 'customers_out'"), 'customers_out|erp|active', 'and is like others');
fails("SELECT concord.create_write_mapping('other', 'customers')", '42710', qr/customers_out/, 'a second mapping of one table');

# ---- what is written is sent if and only if the transaction commits
$erp->clear_log;
sql("BEGIN; INSERT INTO customers (id, name) VALUES ('R1', 'rolled back'); ROLLBACK");
is(sql("INSERT INTO customers (id, name, credit, street, born, seen) VALUES ('C1', 'Ada ''L'' \"é\"', 12345678901234567890.123456789, 'Rue 1', '2024-02-29', '2024-01-01') RETURNING id, name, credit, street, born, seen"),
	"C1|Ada 'L' \"é\"|12345678901234567890.123456789|Rue 1|2024-02-29|", 'RETURNING shows the row as it will be sent');
is(delivered(), 't', 'delivered');
is(record('C1')->{Name}, "Ada 'L' \"\x{e9}\"", 'as the system has it');
is(record('C1')->{Address}{Street}, 'Rue 1', 'nested');
is(sql("SELECT credit FROM customers WHERE id = 'C1'"), '12345678901234567890.123456789', 'digit for digit');
is(record('R1'), undef, 'what is rolled back is not sent');
is(scalar(grep { $_->{method} eq 'POST' } $erp->log_entries), 1, 'one request');
sql("BEGIN; SAVEPOINT a; INSERT INTO customers (id, name) VALUES ('S1', 'gone'); ROLLBACK TO a; INSERT INTO customers (id, name) VALUES ('S2', 'stays');
	SAVEPOINT b; INSERT INTO customers (id, name) VALUES ('S3', 'stays too'); RELEASE b; COMMIT");
delivered();
is(join(',', sort map { $_->{ID} } values %{ $erp->data($set) }), 'C1,S2,S3', 'savepoints');

$erp->clear_log;
is(sql("UPDATE customers SET credit = 5, street = NULL WHERE id = 'C1' RETURNING id, credit, street"), 'C1|5|', 'UPDATE');
delivered();
my @patch = grep { $_->{method} eq 'PATCH' } $erp->log_entries;
is(scalar(@patch), 1, 'one PATCH');
unlike($patch[0]{body}, qr/Name/, 'an update carries what was set, and nothing else');
like($patch[0]{headers}{'if-match'} // $patch[0]{headers}{'If-Match'} // '', qr/\S/, 'under the version that was read') or diag(explain($patch[0]));
is(record('C1')->{Credit}, 5, 'and arrives');
is(sql("DELETE FROM customers WHERE id = 'S2' RETURNING id, name"), 'S2|stays', 'DELETE with RETURNING');
delivered();
is(record('S2'), undef, 'and it is gone');
is(dead(), '', 'nothing is dead');

# ---- a lost update is a dead letter, not an overwrite
sql(qq{CREATE FUNCTION somebody_else(text) RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN PERFORM concord.call('erp', 'PATCH', format('Customers(''%s'')', \$1), '{"Name": "somebody else"}', headers => '{"If-Match": "*"}'); RETURN 'mine'; END \$\$});
sql("SELECT concord.pause('customers_out'); UPDATE customers SET name = 'mine' WHERE id = 'C1'; SELECT somebody_else('C1'); SELECT concord.resume('customers_out')");
delivered();
is(dead(), 'conflict', 'a lost update is dead, by rule conflict');
is(record('C1')->{Name}, 'somebody else', "the other's change stays");
is(sql("SELECT local_key, op, attempts, status FROM concord.dead_letter"), '{"ID": "C1"}|emit|1|412', 'as the dead letter says') or diag(sql("SELECT * FROM concord.dead_letter"));
sql("SELECT concord.retry_dead('customers_out')");
delivered();
is(dead(), 'conflict', 'trying again does not make it right');
sql(qq{SELECT concord.alter_mapping('customers_out', options => '{"if_match": "star"}'); SELECT concord.retry_dead('customers_out')});
delivered();
is(record('C1')->{Name}, 'mine', 'a person may decide to overwrite');
is(dead(), '', 'and the dead letter has ended');
sql(qq{SELECT concord.alter_mapping('customers_out', options => '{"if_match": null}')});
sql("SELECT concord.pause('customers_out'); DELETE FROM customers WHERE id = 'C1'; SELECT somebody_else('C1'); SELECT concord.resume('customers_out')");
delivered();
is(dead() . ' ' . record('C1')->{Name}, 'conflict somebody else', 'a lost deletion');
sql("SELECT concord.discard_dead('customers_out', NULL, 'seen')");

# ---- several writes of one record in one transaction are one matter
sql("BEGIN; UPDATE customers SET name = 'one' WHERE id = 'C1'; UPDATE customers SET credit = 7 WHERE id = 'C1'; UPDATE customers SET name = 'two' WHERE id = 'C1'; COMMIT");
delivered();
is(dead(), '', 'they do not conflict with one another');
is(record('C1')->{Name} . record('C1')->{Credit}, 'two7', 'and arrive in their order');
sql("SELECT concord.pause('customers_out')");
sql("UPDATE customers SET credit = credit + 1 WHERE id = 'C1'");
sql("UPDATE customers SET credit = credit + 1 WHERE id = 'C1'");
sql("SELECT concord.resume('customers_out')");
delivered();
is(record('C1')->{Credit} . ' ' . dead(), '8 conflict', 'another transaction that has not seen the first is a lost update');
sql("SELECT concord.discard_dead('customers_out', NULL, 'seen')");
sql("BEGIN; UPDATE customers SET name = 'three' WHERE id = 'C1'; DELETE FROM customers WHERE id = 'C1'; COMMIT");
delivered();
is(record('C1'), undef, 'changed and deleted');

# ---- what is there already, what is not there any more
sql("INSERT INTO customers (id, name) VALUES ('S3', 'twice')");
delivered();
is(dead() . ' ' . record('S3')->{Name}, 'exists stays too', 'an INSERT of what is there does not overwrite it') or diag(sql("SELECT rule, error FROM concord.dead_letter"));
sql("SELECT concord.discard_dead('customers_out', NULL, 'seen'); INSERT INTO customers (id, name) VALUES ('G1', 'goes'); SELECT 1");
delivered();
sql("SELECT concord.pause('customers_out'); UPDATE customers SET name = 'back' WHERE id = 'G1'; SELECT concord.call('erp', 'DELETE', 'Customers(''G1'')', headers => '{\"If-Match\": \"*\"}', raise => true); SELECT concord.resume('customers_out')");
delivered();
is(dead(), 'gone', 'an UPDATE of what is gone does not create it');
is(record('G1'), undef, 'nothing is there');
sql("SELECT concord.discard_dead('customers_out', NULL, 'seen')");

# ---- faults on the way: again, in order, once
$erp->rule({ method => 'POST', path => $set }, { status => 503 }, 2);
sql("INSERT INTO customers (id, name) VALUES ('F1', 'retried')");
delivered();
is(record('F1')->{Name}, 'retried', 'a system that is down for a while');
$erp->rule({ method => 'POST', path => $set }, { reset => 'after' }, 1);
sql("INSERT INTO customers (id, name) VALUES ('F2', 'answer lost')");
delivered();
is(record('F2')->{Name} . dead(), 'answer lost', 'an answer that was lost: looked at, not created again');
$erp->rule({ method => 'PATCH', path => $set }, { reset => 'after' }, 1);
sql("UPDATE customers SET name = 'patched' WHERE id = 'F2'");
delivered();
is(record('F2')->{Name} . dead(), 'patched', 'an update whose answer was lost is not taken for a conflict');
$erp->rule({ method => 'PATCH', path => $set }, { reset => 'before' }, 1);
sql("UPDATE customers SET name = 'patched again' WHERE id = 'F2'");
delivered();
is(record('F2')->{Name} . dead(), 'patched again', 'one that did not arrive is sent again');
$erp->rule({ method => 'DELETE', path => $set }, { reset => 'after' }, 1);
sql("DELETE FROM customers WHERE id = 'F2'");
delivered();
is((record('F2') // 'gone') . dead(), 'gone', 'a deletion whose answer was lost');
is(scalar(@{ $erp->violations }), 0, 'the system saw nothing out of order') or diag(explain($erp->violations));

# ---- many rows, COPY, DEFAULT, rows that cannot be
sql("INSERT INTO customers (id, name) SELECT 'M' || g, 'name ' || g FROM generate_series(1, 10000) g");
is(delivered(), 't', '10,000 rows of one statement');
is(scalar(grep { $_->{ID} =~ /^M/ } values %{ $erp->data($set) }), 10000, 'are there');
sql("COPY customers (id, name) FROM PROGRAM 'printf \"K1,copied\\nK2,copied\\n\"' CSV");
delivered();
is(join(',', map { record($_)->{Name} } qw(K1 K2)), 'copied,copied', 'COPY');
is(sql("UPDATE customers SET credit = 1 WHERE id LIKE 'M1%'; SELECT concord.wait_for_delivery('customers_out'); SELECT count(*) FROM (SELECT id FROM customers WHERE credit = 1 OFFSET 0) c"), "t\n1112", 'an UPDATE of many rows');
my $big = 'x' x 200_000;
sql("INSERT INTO customers (id, name) VALUES ('L1', repeat('x', 200000))");
delivered();
is(record('L1')->{Name}, $big, 'a large row');
fails("INSERT INTO customers (id, name) VALUES ('L2', repeat('x', 70000000))", '54000', qr/max_event_size/, 'one that is too large');
fails("INSERT INTO customers (id, name) VALUES (NULL, 'x')", '23502', qr/null/, 'a key that is null');
fails("INSERT INTO customers (id, credit) VALUES ('N1', 'NaN')", '22023', qr/"Credit" is NaN/, 'what JSON does not have');
fails("INSERT INTO customers (id) VALUES ('S3') ON CONFLICT DO NOTHING", '0A000', qr/ON CONFLICT/, 'ON CONFLICT');
fails("UPDATE customers SET id = 'Z' WHERE id = 'S3'", '0A000', qr/cannot be changed/, 'a key that changes');
fails("BEGIN READ ONLY; INSERT INTO customers (id) VALUES ('RO')", '25006', qr/read-only/, 'a read-only transaction');

# ---- prepared transactions
sql("BEGIN; INSERT INTO customers (id, name) VALUES ('P1', 'prepared'), ('P2', 'prepared'); PREPARE TRANSACTION 'write'; BEGIN; INSERT INTO customers (id) VALUES ('P3'); PREPARE TRANSACTION 'never'");
is(record('P1'), undef, 'a prepared transaction sends nothing');
sql("COMMIT PREPARED 'write'; ROLLBACK PREPARED 'never'");
delivered();
is(join(',', map { defined record($_) ? 1 : 0 } qw(P1 P2 P3)), '1,1,0', 'until it is committed');
sql("BEGIN; INSERT INTO customers (id, name) VALUES ('P4', 'x'); PREPARE TRANSACTION 'holds'");
fails("SET lock_timeout = '200ms'; SELECT concord.drop_mapping('customers_out')", '55P03', qr/lock timeout/, 'while somebody writes, the mapping stays');
sql("COMMIT PREPARED 'holds'");
delivered();

# ---- the table changes while something is pending
sql("SELECT concord.pause('customers_out'); INSERT INTO customers (id, name, credit) VALUES ('D1', 'before', 1); ALTER FOREIGN TABLE customers RENAME COLUMN name TO label;
	ALTER FOREIGN TABLE customers DROP COLUMN credit; ALTER FOREIGN TABLE customers RENAME TO clients; INSERT INTO clients (id, label) VALUES ('D2', 'after'); SELECT concord.resume('customers_out')");
delivered();
is(join(',', map { record($_)->{Name} . (record($_)->{Credit} // '') } qw(D1 D2)), 'before1,after', 'columns that are renamed or dropped');
fails("ALTER FOREIGN TABLE clients OPTIONS (SET object 'Clients'); INSERT INTO clients (id) VALUES ('O1')", '55000', qr/another object.*or_replace => true/s, 'another object');
is(sql("SELECT concord.create_write_mapping('customers_out', 'clients', or_replace => true); INSERT INTO clients (id) VALUES ('O1'); SELECT concord.wait_for_delivery('customers_out')"), "4\nt", 'is taken on');
is(scalar(values %{ $erp->data('/odata/v4/sales/Clients') }), 1, 'and written');
sql("ALTER FOREIGN TABLE clients OPTIONS (SET object 'Customers'); SELECT concord.create_write_mapping('customers_out', 'clients', or_replace => true)");
sql("SELECT concord.pause('customers_out'); INSERT INTO clients (id, label) VALUES ('D3', 'of a table that is gone'); DROP FOREIGN TABLE clients; SELECT concord.resume('customers_out')");
delivered();
is(record('D3')->{Name}, 'of a table that is gone', 'a table that is dropped');
is(sql("SELECT foreign_table IS NULL, state FROM concord.mapping"), 't|active', 'its mapping goes on');
sql("CREATE FOREIGN TABLE customers (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'Customers', on_missing 'null', write 'outbox');
	SELECT concord.create_write_mapping('customers_out', 'customers', or_replace => true); INSERT INTO customers VALUES ('D4', 'again')");
delivered();
is(record('D4')->{Name}, 'again', 'and takes another table');

# ---- replay, options, definitions
fails("SELECT concord.alter_mapping('customers_out', fields => '{\"Name\": \"1\"}')", '22023', qr/cannot have fields/, 'fields');
fails("SELECT concord.alter_mapping('customers_out', options => '{\"coalesce\": true}')", '22023', qr/"coalesce" cannot be used/, 'an option that needs images');
fails("SELECT concord.emit('concord.write.customers_out', '{}')", '42939', qr/reserved/, 'a forged event');
fails("SELECT concord.create_topic_mapping('forged', 'concord.write.customers_out', 'erp', 'X', '{\"a\": \"1\"}')", '42939', qr/reserved/, 'a second reader');
is(sql("SELECT op, topic, key, (payload::jsonb -> 'fields')::text, (headers::jsonb ->> 'role') = current_user FROM concord.outbox WHERE topic IS NOT NULL ORDER BY seq DESC LIMIT 1"), 'emit|concord.write.customers_out|{"ID": "D4"}|{"Name": "again"}|t', 'an event is there to be read') or diag(sql("SELECT * FROM concord.outbox ORDER BY seq DESC LIMIT 1"));
is(sql("SELECT method, body FROM concord.preview('customers_out', max_rows => 1)"), 'POST|{"ID": "D4", "Name": "again"}', 'and to be previewed');
done_testing();
