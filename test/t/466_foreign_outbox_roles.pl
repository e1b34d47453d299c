# Foreign tables with write 'outbox': whose rights and credentials count, kinds of
# statements, batches, ids that the system gives, copies of the database.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(usleep);

my $node = Concord::Cluster->create('outboxroles');
my $erp = Concord::Sandbox->new;
my $base = '/odata/v4/sales';

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

sub delivered { return sql('SELECT concord.wait_for_delivery()'); }
sub record { my ($set, $id) = @_; return (grep { $_->{ID} eq $id } values %{ $erp->data("$base/$set") })[0]; }

$erp->set("$base/$_", key => ['ID'], etag => JSON::PP::true()) for qw(Orders North South);
$erp->set('/rest/crm/people', key => ['id']);
sql(qq{
	CREATE EXTENSION pg_concord;
	CREATE ROLE owner; CREATE ROLE writer; CREATE ROLE nobody; CREATE ROLE other;
	GRANT USAGE ON SCHEMA concord TO owner, other; GRANT ALL ON SCHEMA public TO owner, other;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO owner, other;
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url("$base/")]}', timeout '5s', retry_base '50ms', breaker_failures '1000', write 'outbox');
	CREATE SERVER crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[$erp->url('/rest/crm/')]}', retry_base '50ms');
	GRANT USAGE ON FOREIGN SERVER erp TO owner, writer, other;
	CREATE USER MAPPING FOR owner SERVER erp OPTIONS (auth 'bearer', token 'of-owner');
	CREATE USER MAPPING FOR writer SERVER erp OPTIONS (auth 'bearer', token 'of-writer');
	CREATE USER MAPPING FOR other SERVER erp OPTIONS (auth 'bearer', token 'of-other');
	SET ROLE owner;
	CREATE FOREIGN TABLE orders (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), size int OPTIONS (name 'Size')) SERVER erp OPTIONS (object 'Orders', on_missing 'null');
	GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO writer});

# ---- who may create the mapping, who may write
fails("SET ROLE other; SELECT concord.create_write_mapping('orders_out', 'orders')", '42501', qr/must be owner of foreign table "orders"/, "another's table");
sql("REVOKE USAGE ON FOREIGN SERVER erp FROM owner");
fails("SET ROLE owner; SELECT concord.create_write_mapping('orders_out', 'orders')", '42501', qr/permission denied for foreign server erp/, 'no USAGE');
sql("GRANT USAGE ON FOREIGN SERVER erp TO owner; CREATE TABLE plain (id int)");
fails("SELECT concord.create_write_mapping('x', 'plain')", '42809', qr/is not a foreign table/, 'a table');
sql("SET ROLE owner; SELECT concord.create_write_mapping('orders_out', 'orders')");
$erp->clear_log;
sql("SET ROLE writer; INSERT INTO orders VALUES ('O1', 'by writer', 1)");
delivered();
is(record('Orders', 'O1')->{Name}, 'by writer', 'a role without rights in schema concord writes');
my ($post) = grep { $_->{method} eq 'POST' } $erp->log_entries;
is($post->{headers}{authorization} // $post->{headers}{Authorization}, 'Bearer of-owner', "with the definer's credentials") or diag(explain($post));
is(sql("SELECT headers::jsonb ->> 'role', headers::jsonb ->> 'table' FROM concord.outbox WHERE key = '{\"ID\": \"O1\"}'"), 'writer|public.orders', 'the event says who it was');
$erp->clear_log;
sql("SET ROLE writer; UPDATE orders SET size = 2 WHERE id = 'O1'");
delivered();
is(join(' ', map { "$_->{method} " . ($_->{headers}{authorization} // $_->{headers}{Authorization}) } grep { $_->{method} =~ /GET|PATCH/ } $erp->log_entries), 'GET Bearer of-writer PATCH Bearer of-owner',
	"it is read with the writer's own") or diag(explain([ $erp->log_entries ]));
fails("SET ROLE nobody; INSERT INTO orders VALUES ('N', 'x')", '42501', qr/permission denied for foreign table orders/, 'a role without the privilege');
sql("GRANT INSERT ON orders TO nobody");
fails("SET ROLE nobody; INSERT INTO orders VALUES ('N', 'x')", '42501', qr/permission denied for foreign server erp/, 'a role without USAGE');
sql("SET ROLE owner; CREATE VIEW seen AS SELECT id, name FROM orders WHERE size > 0; GRANT INSERT ON seen TO nobody");
sql("SET ROLE nobody; INSERT INTO seen VALUES ('V1', 'by view')");
delivered();
is(sql("SELECT headers::jsonb ->> 'role' FROM concord.outbox WHERE key = '{\"ID\": \"V1\"}'") . ' ' . record('Orders', 'V1')->{Name}, 'owner by view', "a view's owner writes");
fails("SET ROLE writer; SELECT concord.emit('concord.write.orders_out', '{\"operation\": \"delete\", \"key\": {\"ID\": \"O1\"}, \"fields\": {}}', headers => '{\"columns\": [\"25:-1:ID\"]}')", '42501', qr/permission denied/, 'nobody forges');

# ---- the owner changes
sql("GRANT other TO CURRENT_USER; ALTER VIEW seen OWNER TO other; ALTER FOREIGN TABLE orders OWNER TO other; GRANT INSERT ON orders TO writer");
fails("SET ROLE writer; INSERT INTO orders VALUES ('W', 'x')", '42501', qr/role "owner" must be owner of foreign table "orders".*set_definer/s, "the mapping of who does not own the table any more");
sql("SELECT concord.set_definer('orders_out', 'other')");
$erp->clear_log;
sql("SET ROLE writer; INSERT INTO orders VALUES ('W1', 'handed over')");
delivered();
($post) = grep { $_->{method} eq 'POST' } $erp->log_entries;
is($post->{headers}{authorization} // $post->{headers}{Authorization}, 'Bearer of-other', 'the new definer delivers');

# ---- batches
sql("ALTER SERVER erp OPTIONS (ADD batch_size '50')");
$erp->clear_log;
sql("SET ROLE other; INSERT INTO orders SELECT 'B' || g, 'batched', g FROM generate_series(1, 500) g");
delivered();
is(scalar(grep { $_->{ID} =~ /^B/ } values %{ $erp->data("$base/Orders") }), 500, 'rows go in batches');
cmp_ok(scalar(grep { $_->{path} =~ /batch/ } $erp->log_entries), '>=', 5, 'of requests');
cmp_ok(scalar(grep { $_->{method} eq 'POST' && $_->{path} !~ /batch|Orders/ } $erp->log_entries), '==', 0, 'and nothing else');
sql("SET ROLE other; BEGIN; UPDATE orders SET size = 0 WHERE id ~ '^B.*7\$'; DELETE FROM orders WHERE id ~ '^B.*7\$'; COMMIT");
delivered();
is(scalar(grep { $_->{ID} =~ /^B/ } values %{ $erp->data("$base/Orders") }), 450, 'changed and deleted in batches');
is(sql("SELECT count(*) FROM concord.dead_letter"), '0', 'nothing is dead');

# ---- kinds of statements
sql(q{CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$;
	CREATE TABLE log (what text);
	CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP || ' ' || coalesce(NEW.name, OLD.name)); RETURN NULL; END$$;
	CREATE TRIGGER a BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION before_row();
	CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION after_row()});
sql("INSERT INTO orders VALUES ('T1', 'trigger')");
delivered();
sql("UPDATE orders SET name = 'again' WHERE id = 'T1'");
delivered();
sql("DELETE FROM orders WHERE id = 'T1'");
delivered();
is(sql("SELECT string_agg(what, ', ') FROM log"), 'INSERT TRIGGER, UPDATE AGAIN, DELETE AGAIN', 'triggers see rows');
is(record('Orders', 'T1'), undef, 'and what they set is written') or diag(explain(record('Orders', 'T1')));
sql("DROP TRIGGER a ON orders; DROP TRIGGER b ON orders");
is(sql("WITH i AS (INSERT INTO orders SELECT 'S' || id, name, size FROM orders WHERE id IN ('O1', 'W1') RETURNING id) SELECT * FROM i ORDER BY id"), "SO1\nSW1", 'INSERT of what the table itself has');
delivered();
is(record('Orders', 'SO1')->{Size}, 2, 'is there');
sql("CREATE TABLE news AS SELECT 'O1' AS id, 'joined' AS name; UPDATE orders SET name = n.name FROM news n WHERE n.id = orders.id");
delivered();
is(record('Orders', 'O1')->{Name}, 'joined', 'UPDATE with a join');
is(sql("WITH gone AS (DELETE FROM orders WHERE id = 'SO1' RETURNING *) INSERT INTO news SELECT id, name FROM gone RETURNING id"), 'SO1', 'a deletion in WITH');
delivered();
is(sql("DO \$\$BEGIN BEGIN INSERT INTO orders VALUES ('E1', 'caught'); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN INSERT INTO orders VALUES ('E2', 'handled'); END; END\$\$; SELECT concord.wait_for_delivery()"), 't', 'a block with a handler');
is((defined record('Orders', 'E1') ? 'sent' : 'not') . ' ' . record('Orders', 'E2')->{Name}, 'not handled', 'what its error undid is not sent');
fails("BEGIN; DECLARE c CURSOR FOR SELECT * FROM orders FOR UPDATE; FETCH c; UPDATE orders SET name = 'x' WHERE CURRENT OF c", '0A000', qr/./, 'WHERE CURRENT OF');
fails("MERGE INTO orders USING news n ON n.id = orders.id WHEN MATCHED THEN UPDATE SET name = n.name", '0A000', qr/./, 'MERGE');
fails("TRUNCATE orders", '0A000', qr/cannot be truncated/, 'TRUNCATE');

# ---- partitions: here, at once, and through the outbox
sql(q{CREATE TABLE parts (id text NOT NULL, land text NOT NULL, name text) PARTITION BY LIST (land);
	CREATE FOREIGN TABLE parts_n (id text OPTIONS (name 'ID', key 'true') NOT NULL, land text OPTIONS (name 'Land', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'North', on_missing 'null');
	CREATE FOREIGN TABLE parts_s (name text OPTIONS (name 'Name'), land text OPTIONS (name 'Land') NOT NULL, id text OPTIONS (name 'ID', key 'true') NOT NULL) SERVER erp OPTIONS (object 'South', write 'direct', on_missing 'null');
	ALTER TABLE parts ATTACH PARTITION parts_n FOR VALUES IN ('N'); ALTER TABLE parts ATTACH PARTITION parts_s FOR VALUES IN ('S');
	CREATE TABLE parts_here PARTITION OF parts DEFAULT;});
$erp->set("$base/North", key => [ 'ID', 'Land' ], etag => JSON::PP::true());
sql("SELECT concord.create_write_mapping('parts_out', 'parts_n')");
sql("BEGIN; INSERT INTO parts SELECT 'P' || g, CASE g % 3 WHEN 0 THEN 'N' WHEN 1 THEN 'S' ELSE 'X' END, 'part' FROM generate_series(1, 9) g; ROLLBACK");
is(scalar(values %{ $erp->data("$base/South") // {} }), 3, 'what is written at once stays');
sql("SELECT concord.wait_for_capture()");
is(scalar(values %{ $erp->data("$base/North") // {} }), 0, 'what goes through the outbox does not');
sql("DELETE FROM parts; INSERT INTO parts SELECT 'P' || g, CASE g % 3 WHEN 0 THEN 'N' WHEN 1 THEN 'S' ELSE 'X' END, 'part' FROM generate_series(1, 9) g");
delivered();
is(join(',', map { scalar(values %{ $erp->data("$base/$_") }) } qw(North South)) . ',' . sql('SELECT count(*) FROM parts_here'), '3,3,3', 'rows go to each');
sql("UPDATE parts SET land = 'N' WHERE land = 'X' AND id = 'P2'; COPY parts FROM PROGRAM 'echo P20,N,copied' CSV");
delivered();
is(scalar(values %{ $erp->data("$base/North") }), 5, 'one that moves, one that is copied');

fails("MERGE INTO parts USING (VALUES ('P30', 'N')) v (id, land) ON false WHEN NOT MATCHED THEN INSERT (id, land) VALUES (v.id, v.land)", '0A000', qr/parts_n/, 'MERGE into what is partitioned');
sql("INSERT INTO parts (id, land) VALUES ('P30', 'N')");
delivered();

# ---- keys are the record's
is(sql("SELECT concord.replay('parts_out', keys => '[{\"ID\": \"P30\", \"Land\": \"N\"}]')"), '1', 'replay() by key');
delivered();
is(sql("SELECT rule FROM concord.dead_letter WHERE mapping = 'parts_out'"), 'exists', 'an INSERT that is replayed meets what it has made');
sql("SELECT concord.discard_dead('parts_out', NULL, 'seen')");
fails("SELECT concord.replay('orders_out', keys => '{\"key\": \"O1\"}')", '22023', qr/One looks like \{"ID": \.\.\.\}/, 'a key that is none');
is(sql("SELECT concord.remote_id('orders_out', 'O1'::text)"), 'O1', 'remote_id()');

# ---- a transaction that does not see that the mapping has gone
sql("CREATE FOREIGN TABLE short (id text OPTIONS (name 'ID', key 'true') NOT NULL) SERVER erp OPTIONS (object 'Orders'); SELECT concord.create_write_mapping('short_out', 'short')");
my $session = 'psql -XAtq -d "' . $node->connstr('postgres') . '" -c';
fails("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) > 0 FROM concord.mapping; \n\\! $session \"SELECT concord.drop_mapping('short_out')\"\nINSERT INTO short VALUES ('R1')", '40001', qr/was changed meanwhile/, 'REPEATABLE READ');

# ---- a connector that has no records, only events
sql("CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '" . $erp->url('/hook/') . "');
	CREATE FOREIGN TABLE notices (id text OPTIONS (key 'true') NOT NULL, what text) SERVER hook OPTIONS (object 'notices', write 'outbox'); SELECT concord.create_write_mapping('notices_out', 'notices')");
$erp->clear_log;
sql("INSERT INTO notices VALUES ('n1', 'hello')");
delivered();
($post) = grep { $_->{path} =~ /notices/ } $erp->log_entries;
is($post->{body} . ($post->{headers}{'ce-subject'} // ''), '{"what":"hello"}n1', 'a webhook is told, with the key as subject') or diag(explain($post));

# ---- a database whose encoding is not UTF-8
sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', "SET client_encoding = 'UTF8'; CREATE EXTENSION pg_concord;
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '" . $erp->url("$base/") . "', write 'outbox');
	CREATE FOREIGN TABLE orders (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'Orders', on_missing 'null');
	SELECT concord.create_write_mapping('latin_out', 'orders')");
$node->safe_psql('latin', "SET client_encoding = 'UTF8'; INSERT INTO orders VALUES ('L\x{c3}\x{a9}', 'caf\x{c3}\x{a9}')");
is($node->safe_psql('latin', 'SELECT concord.wait_for_delivery()'), 't', 'LATIN1');
is(record('Orders', "L\x{e9}")->{Name}, "caf\x{e9}", 'arrives as it is');

# ---- ids that the system gives
sql(q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('numbered', 'rest', '{"extends": "rest", "remote_id": "assigned", "remote_id_path": "id"}')});
sql("CREATE SERVER numbered FOREIGN DATA WRAPPER concord OPTIONS (connector 'numbered', url '" . $erp->url('/rest/crm/') . "');
	CREATE FOREIGN TABLE beings (id int OPTIONS (key 'true'), name text) SERVER numbered OPTIONS (object 'beings')");
is(sql("INSERT INTO beings (name) VALUES ('Zoe') RETURNING id > 0, name"), 't|Zoe', 'at once, RETURNING has the id');
is(sql("UPDATE beings SET name = 'Zoey' WHERE name = 'Zoe' RETURNING name; DELETE FROM beings WHERE name = 'Zoey'; SELECT count(*) FROM beings"), "Zoey\n0", 'by which it is changed and deleted');
sql("CREATE FOREIGN TABLE people (id int OPTIONS (key 'true'), name text) SERVER crm OPTIONS (object 'people', write 'outbox');
	SELECT concord.create_write_mapping('people_out', 'people', '{\"remote_id\": \"assigned\", \"remote_id_path\": \"id\"}')");
is(sql("INSERT INTO people (name) VALUES ('Ada'), ('Bob') RETURNING id IS NULL, name"), "t|Ada\nt|Bob", 'an id that is not known yet is null');
delivered();
is(sql("SELECT string_agg(name, ',' ORDER BY name) FROM people WHERE id IS NOT NULL"), 'Ada,Bob', 'the system gives it');
sql("UPDATE people SET name = 'Bea' WHERE name = 'Bob'; SELECT concord.wait_for_delivery(); DELETE FROM people WHERE name = 'Ada'");
delivered();
is(sql("SELECT string_agg(name, ',') FROM people"), 'Bea', 'and is written by it');
is(sql("SELECT count(*) FROM concord.dead_letter"), '0', 'nothing is dead');

# ---- a copy of the database writes nothing before it is told to
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');
is($node->safe_psql('restored', "SELECT foreign_table FROM concord.mapping WHERE name = 'orders_out'"), 'orders', 'the mapping is of the table here');
my ($out, $err);
$node->psql('restored', "\\set VERBOSITY verbose\nINSERT INTO orders VALUES ('Z1', 'copy')", stderr => \$err);
like($err, qr/55000.*comes from another database.*activate/s, 'a copy does not write');
is($node->safe_psql('restored', 'SELECT concord.activate() > 0'), 't', 'activate()');
$node->safe_psql('restored', "INSERT INTO orders VALUES ('Z1', 'copy')");
is($node->safe_psql('restored', 'SELECT concord.wait_for_delivery()'), 't', 'then it does');
is(record('Orders', 'Z1')->{Name}, 'copy', 'as the original');

# ---- a crash right after the commit
sql("SELECT concord.pause('orders_out'); INSERT INTO orders SELECT 'K' || g, 'crash' FROM generate_series(1, 50) g");
my @processes = split /\n/, sql('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
$node->kill9;
# they notice, and leave the shared memory
for (1 .. 600)
{
	last unless kill 0, @processes;
	usleep(100_000);
}
$node->start;
sql("SELECT concord.resume('orders_out')");
is(delivered(), 't', 'after kill -9 of the server');
is(scalar(grep { $_->{ID} =~ /^K/ } values %{ $erp->data("$base/Orders") }), 50, 'all that was committed is sent');
is(sql("SELECT count(*) FROM concord.dead_letter"), '0', 'once');

# ---- stale
sql("UPDATE concord.mapping SET state = 'stale' WHERE name = 'orders_out'");
fails("INSERT INTO orders VALUES ('ST', 'x')", '55000', qr/mapping "orders_out" is stale.*resume/s, 'a stale mapping takes nothing that it would not deliver');
done_testing();
