# Events of many mappings are mapped together where they are plain.  A table that
# is locked holds up its own mapping and no other, and is not waited for while
# other tables are locked by us; what is not plain among them is mapped as ever.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('together', conf => "deadlock_timeout = '100ms'");
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $tables = 30;
my $url = $erp->url('/rest/shop/');
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')");
sql(<<~SQL);
	SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, n int, note text)', i) FROM generate_series(1, $tables) i \\gexec
	SELECT concord.create_mapping('t' || i, ('t' || i)::regclass, 'shop', 't' || i, key => '{"id": "id"}',
			fields => CASE WHEN i % 10 = 7 THEN '{"n": "100 / n"}' ELSE '{"n": "n", "note": "note"}' END::jsonb)
		FROM generate_series(1, $tables) i;
	SQL

# each_table STATEMENT: %1$s is the table's number
sub each_table
{
	my ($statement) = @_;
	sql("BEGIN;\n" . join("\n", map { sprintf $statement, $_ } 1 .. $tables) . "\nCOMMIT;");
	return;
}
sub delivered { return sql('SELECT sum(delivered) FROM concord.lane'); }

each_table('INSERT INTO t%1$s VALUES (1, %1$s, NULL);');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'all are delivered');
is(delivered(), $tables, 'once each');

# the courier stands still until the events are there and a table is locked
my $courier = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
sub stopped_while
{
	my ($what) = @_;
	kill STOP => $courier;
	$what->();
	sql("SELECT concord.wait_for_capture('20s')");
	return;
}
my $locker = $node->background_psql('postgres');
stopped_while(sub { each_table('UPDATE t%1$s SET note = repeat(\'%1$s\', 3);') });
$locker->query_safe('BEGIN');
$locker->query_safe('LOCK TABLE t3 IN ACCESS EXCLUSIVE MODE');
kill CONT => $courier;
ok($node->poll("SELECT sum(delivered) + sum(unchanged) = " . (2 * $tables - 1) . " FROM concord.lane"), 'all but the locked one');
is(sql("SELECT delivered FROM concord.lane JOIN concord.mapping m ON m.id = mapping WHERE m.name = 't3'"), '1', 'which waits');
# somebody who has one table locked gets any other, and no deadlock
$locker->query_safe("LOCK TABLE t$_ IN ACCESS EXCLUSIVE MODE") for 1, 2, 4 .. 12;
$locker->query_safe('COMMIT');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'then that, too');
is((values %{ $erp->data('/rest/shop/t3') })[0]{note}, '333', 'with what was written');
is(sql('SELECT count(*) FROM concord.exception'), '0', 'without an exception');
$locker->quit;

# one whose expression raises stands alone; a table that has changed meanwhile is read as it is
stopped_while(sub {
	each_table('UPDATE t%1$s SET n = 0, note = \'z\';');
	sql('ALTER TABLE t5 ADD COLUMN more int DEFAULT 5; SET session_replication_role = replica; ALTER TABLE t6 ALTER COLUMN n TYPE bigint; RESET session_replication_role; ALTER TABLE t8 RENAME COLUMN note TO remark');
});
kill CONT => $courier;
ok($node->poll("SELECT count(*) = 3 FROM concord.exception WHERE state = 'dead' AND rule = 'expression'"), 'three cannot be mapped');
is(sql(q{SELECT string_agg(m.name, ' ' ORDER BY m.id) FROM concord.exception e JOIN concord.mapping m ON m.id = e.mapping}),
	't7 t17 t27', 'those that divide');
my $others = sql(q{SELECT string_agg(concord.wait_for_delivery(name, '30s')::text, ' ') FROM concord.mapping
	WHERE name NOT IN ('t7', 't17', 't27', 't8')});
is($others, join(' ', ('true') x ($tables - 4)), 'the others go on');

$node->stop;
done_testing();
