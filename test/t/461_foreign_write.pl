# Foreign tables: rows that are written to a system, and what refuses them.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $node = Concord::Cluster->create('foreignwrite');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;
my $set = '/odata/v4/sales/Customers';

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub fails
{
	my ($sql, $state, $pattern, $what) = @_;
	my ($out, $err);

	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql;\nROLLBACK; SELECT 'still', live_requests()", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E/, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	like($out, qr/still\|0$/, "$what: the session goes on, and no request is left");
	return;
}

$erp->set($set, key => ['ID'], etag => JSON::PP::true(), match_required => JSON::PP::true());
$erp->set('/rest/crm/people', key => ['id']);
sql(qq{
	CREATE FUNCTION live_requests() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT coalesce(sum(in_flight), 0)::int FROM concord.system';
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url('/odata/v4/sales/')]}', timeout '5s', breaker_failures '1000');
	CREATE SERVER crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[$erp->url('/rest/crm/')]}');
	CREATE FOREIGN TABLE customers (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), credit numeric OPTIONS (name 'Credit'),
		street text OPTIONS (name 'Address/Street'), born date OPTIONS (name 'Born'), seen timestamptz OPTIONS (name 'Seen', read_only 'true'))
		SERVER erp OPTIONS (object 'Customers', on_missing 'null');
	CREATE FOREIGN TABLE people (id int OPTIONS (key 'true') NOT NULL, name text) SERVER crm OPTIONS (object 'people')});

# ---- what is written is what the system has
is(sql("INSERT INTO customers (id, name, credit, street, born) VALUES ('C1', 'Ada ''L'' \"é\"', 12345678901234567890.123456789, 'Rue 1', '2024-02-29') RETURNING id, credit, street"),
	"C1|12345678901234567890.123456789|Rue 1", 'INSERT with RETURNING, digit for digit');
is($erp->data($set)->{"'C1'"}{Name} // (values %{ $erp->data($set) })[0]{Name}, "Ada 'L' \"\x{e9}\"", 'as the system has it');
is(sql("UPDATE customers SET credit = credit + 1, street = NULL WHERE id = 'C1' RETURNING id, name IS NOT NULL, credit, street"), 'C1|t|12345678901234567891.123456789|', 'UPDATE with RETURNING');
my @log = grep { $_->{method} eq 'PATCH' } $erp->log_entries;
unlike($log[0]{body}, qr/Name/, 'an update carries what was set, and nothing else');
is(sql("DELETE FROM customers WHERE id = 'C1' RETURNING id, born"), 'C1|2024-02-29', 'DELETE with RETURNING');
is(sql("SELECT count(*) FROM customers WHERE id <> ''"), '0', 'and it is gone');
# what the system makes of it
sql("CREATE FOREIGN TABLE counted (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), version int OPTIONS (name 'Version')) SERVER erp OPTIONS (object 'Counted', on_missing 'null')");
$erp->rule({ method => 'POST', path => '/odata/v4/sales/Counted' }, { status => 201, act => JSON::PP::true(), body => '{"ID": "V", "Name": "FIRST", "Version": 7}' }, 1);
is(sql("INSERT INTO counted (id, name) VALUES ('V', 'first') RETURNING name, version"), 'FIRST|7', 'RETURNING has what the system made of it');
$erp->rule({ method => 'PATCH', path => '/odata/v4/sales/Counted' }, { status => 204, act => JSON::PP::true() }, 1);
$erp->rule({ method => 'GET', path => '/odata/v4/sales/Counted', nth => 2 }, { status => 200, body => '{"ID": "V", "Name": "SECOND", "Version": 8}' }, 1);
is(sql("UPDATE counted SET name = 'second' WHERE id = 'V' RETURNING name, version"), 'SECOND|8', 'which is read where the answer does not tell');
is(sql("INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob') RETURNING id, name"), "1|Ada\n2|Bob", 'REST');
is(sql("UPDATE people SET name = upper(name) WHERE id = 2 RETURNING name; DELETE FROM people WHERE id = 1; SELECT id, name FROM people"), "BOB\n2|BOB", 'UPDATE and DELETE of REST');

# ---- many rows in one request
$erp->clear_log;
sql("ALTER SERVER erp OPTIONS (ADD batch_size '40'); INSERT INTO customers (id, name) SELECT 'B' || g, 'name ' || g FROM generate_series(1, 100) g");
is(sql("SELECT count(*) FROM customers WHERE id LIKE 'B%'"), '100', 'batches');
my @batches = grep { $_->{path} =~ /batch/ } $erp->log_entries;
cmp_ok(scalar(@batches), '<=', 3, 'in three requests') or diag(scalar(@batches));
cmp_ok(scalar(@batches), '>', 0, 'which are batches');
fails("INSERT INTO customers (id, name) VALUES ('N1', 'new'), ('B5', 'twice'), ('N2', 'new')", 'K4409', qr/409.*[12] rows of foreign table "customers" had been written by this statement/s, 'a batch of which a part is refused');
sql("DELETE FROM customers WHERE id LIKE 'N%'; ALTER SERVER erp OPTIONS (DROP batch_size)");
is(sql("COPY customers (id, name) FROM PROGRAM 'echo K1,copied' CSV; SELECT name FROM customers WHERE id = 'K1'"), 'copied', 'COPY');

# ---- a lost update is refused
sql(qq{CREATE FUNCTION somebody_else(text) RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN PERFORM concord.call('erp', 'PATCH', format('Customers(''%s'')', \$1), '{"Name": "somebody else"}', headers => '{"If-Match": "*"}'); RETURN 'mine'; END \$\$});
fails("UPDATE customers SET name = somebody_else(id) WHERE id = 'B1'", '40001', qr/is not as it was read.*id B1 was changed meanwhile.*0 rows/s, 'a lost update');
is(sql("SELECT name FROM customers WHERE id = 'B1'"), 'somebody else', "the other's change stays");
fails("DELETE FROM customers WHERE id = 'B1' AND somebody_else(id) = 'mine'", '40001', qr/is not as it was read/, 'a lost deletion');
fails("UPDATE customers SET name = CASE id WHEN 'B9' THEN somebody_else(id) ELSE 'x' END WHERE id ~ '^B[789]\$'", '40001', qr/[012] rows of foreign table "customers" had been written/, 'in the middle of a statement');

# ---- what is refused
fails("UPDATE customers SET id = 'Z' WHERE id = 'B2'", '0A000', qr/key column "id".*cannot be changed/, 'a key that changes');
is(sql("UPDATE customers SET id = id, name = 'same' WHERE id = 'B2' RETURNING name"), 'same', 'a key that stays may be set');
fails("UPDATE customers SET seen = now() WHERE id = 'B2'", '0A000', qr/column "seen".*cannot be changed/, 'a column that is read only');
fails("TRUNCATE customers", '0A000', qr/cannot be truncated/, 'TRUNCATE');
fails("INSERT INTO customers (id) VALUES ('B2') ON CONFLICT DO NOTHING", '0A000', qr/ON CONFLICT/, 'ON CONFLICT');
fails("BEGIN; UPDATE customers SET name = 'p' WHERE id = 'B2'; PREPARE TRANSACTION 'x'", '0A000', qr/PREPARE/, 'PREPARE TRANSACTION');
fails("BEGIN READ ONLY; UPDATE customers SET name = 'p' WHERE id = 'B2'", '25006', qr/read-only/, 'a read-only transaction');
sql("CREATE FOREIGN TABLE nokey (id text OPTIONS (name 'ID')) SERVER erp OPTIONS (object 'Customers')");
fails("UPDATE nokey SET id = 'x'", '55000', qr/./, 'a table without a key');
sql("ALTER FOREIGN TABLE nokey OPTIONS (ADD updatable 'false')");
fails("INSERT INTO nokey VALUES ('x')", '55000', qr/does not allow inserts/, 'a table that is read only');
sql("ALTER FOREIGN TABLE nokey OPTIONS (SET updatable 'true', ADD write 'outbox')");
fails("INSERT INTO nokey VALUES ('x')", '55000', qr/outbox, and no mapping/, 'write outbox, which nobody delivers');
$erp->rule({ method => 'POST', path => $set }, { status => 405, body => '{"error": {"message": "entity is read-only"}}' }, 1);
fails("INSERT INTO customers (id) VALUES ('R1')", 'K4405', qr/entity is read-only/, 'an entity that is read only');
$erp->rule({ method => 'POST', path => $set }, { reset => 'after' }, 1);
fails("INSERT INTO customers (id) VALUES ('U1')", '08007', qr/./, 'an answer that is lost');
$erp->rule({ method => 'PATCH', path => $set, key => 'B4' }, { hang => JSON::PP::true() }, 1);
$erp->rule({ method => 'POST', path => $set }, { hang => JSON::PP::true() }, 1);
fails("SET statement_timeout = '500ms'; INSERT INTO customers (id) VALUES ('H1')", '57014', qr/statement timeout/, 'a cancel in the middle of a write');

# ---- who wrote what stands, whatever becomes of the transaction
$erp->drop_rules;
sql("BEGIN; INSERT INTO customers (id, name) VALUES ('A1', 'audited'); ROLLBACK");
is(sql("SELECT name FROM customers WHERE id = 'A1'"), 'audited', 'what was written stays written');
done_testing();
