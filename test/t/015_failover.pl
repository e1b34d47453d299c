# From 17 on the slot goes along to a standby: after a failover capture goes on
# where it was. Each row that the new primary has is in its outbox once, in
# order; where a standby that is named lacks WAL, nothing gets ahead of it.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('primary', start => 0);
if ($node->pg_version < 17)
{
	plan skip_all => 'standbys take logical slots along from PostgreSQL 17 on';
}
$node->append_conf('postgresql.conf', "wal_level = logical\nmax_wal_senders = 10");
$node->start;
ok($node->ready, 'capture is ready');
is($node->safe_psql('postgres', 'SELECT failover FROM pg_replication_slots'), 't', 'its slot is one that goes along');
$node->safe_psql('postgres', q(SELECT pg_create_physical_replication_slot('standby', true);
	CREATE TABLE item (id int PRIMARY KEY);
	INSERT INTO concord.captured VALUES ('item'::regclass)));

$node->backup('copy');
my $standby = bless PostgreSQL::Test::Cluster->new('standby'), 'Concord::Cluster';
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'
primary_conninfo = 'host=" . $node->host . ' port=' . $node->port . " dbname=postgres'
hot_standby_feedback = on
sync_replication_slots = on
wal_receiver_status_interval = 1s");
$standby->start;
$node->append_conf('postgresql.conf', "synchronized_standby_slots = 'standby'");
$node->reload;
ok($node->poll(q(SELECT active FROM pg_replication_slots WHERE slot_type = 'physical')), 'the standby streams');
$node->safe_psql('postgres', 'INSERT INTO item VALUES (1)');
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'a change is captured while it does');

# the slot is ready there once it has moved beyond what the standby began with
my $synced = 0;
for (1 .. 300)
{
	$node->safe_psql('postgres', q(SELECT pg_log_standby_snapshot(), concord.emit('move', '1');
		SELECT concord.wait_for_capture('60s')));
	$synced = $standby->safe_psql('postgres', q(SELECT count(*) FROM pg_replication_slots
		WHERE synced AND NOT temporary AND invalidation_reason IS NULL));
	last if $synced;
	select(undef, undef, undef, 0.2);
}
is($synced, '1', 'the slot is on the standby');

# --- a standby that is away holds capture up, and concord.capture says so
$standby->stop;
$node->safe_psql('postgres', 'INSERT INTO item VALUES (2)');
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('2s'))), 'f', 'nothing gets ahead of a standby that is named');
ok($node->poll(q(SELECT state = 'running' AND reason LIKE '%synchronized_standby_slots' FROM concord.capture)),
	'what is waited for is shown');
is($node->safe_psql('postgres', q(SELECT count(*) FROM concord.outbox WHERE op = 'insert')), '1', 'the outbox waits');
$standby->start;
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'it goes on with the standby');
ok($node->poll('SELECT reason IS NULL FROM concord.capture'), 'and nothing is waited for any more');

# --- the primary ends under load
my $pgbench = "$ENV{TESTDATADIR}/load.sql";
open my $file, '>', $pgbench or die "$pgbench: $!";
print $file "INSERT INTO item SELECT coalesce(max(id), 0) + 1 FROM item;\n";
close $file;
my $load = Concord::Cluster::start_child('pgbench', '-n', '-c', 1, '-T', 60, '-f', $pgbench, $node->connstr('postgres'));
ok($node->poll('SELECT confirmed_flush_lsn > ' . "'" . $node->lsn('insert') . "'"
		  . q( FROM pg_replication_slots WHERE slot_type = 'logical')), 'the slot moves under load');
ok($standby->poll(q(SELECT (SELECT max(id) FROM item) > 100)), 'so does the standby');
$node->stop('immediate');
Concord::Cluster::stop_child($load);
$standby->append_conf('postgresql.conf', "synchronized_standby_slots = ''");
$standby->promote;
ok($standby->poll(q(SELECT state FROM concord.capture), 'running'), 'capture runs in the new primary: there is no gap');
$standby->safe_psql('postgres', 'INSERT INTO item SELECT max(id) + 1 FROM item');
is($standby->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'it captures');
is($standby->safe_psql('postgres', q(SELECT count(*) FROM concord.capture_gap)), '0', 'no gap is recorded');
is($standby->safe_psql('postgres', q(SELECT (SELECT array_agg((new ->> 'id')::int ORDER BY seq) FROM concord.outbox WHERE op = 'insert')
	= (SELECT array_agg(id ORDER BY id) FROM item))), 't', 'each row is in its outbox once, in order');
is($standby->safe_psql('postgres', q(SELECT count(*) > 100 FROM concord.outbox WHERE op = 'insert')), 't', 'there were many');
$standby->stop;
done_testing();
