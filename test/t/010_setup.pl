# CREATE EXTENSION in servers that lack something says at once what, by name,
# with the line to add; what it needs is checked again by concord.setup_problems().
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $problems = q(SELECT string_agg(problem || ' -> ' || advice, E'\n' ORDER BY problem)
	FROM concord.setup_problems());

# --- nothing is set: everything is said in one warning, and it is no error
my $bare = Concord::Cluster->create('bare',
	without => [qw(shared_preload_libraries wal_level output_plugin_libraries)],
	conf => "wal_level = minimal\nmax_replication_slots = 0\nmax_wal_senders = 0\nmax_worker_processes = 2");
my ($status, $out, $err) =
  $bare->psql('postgres', 'CREATE EXTENSION pg_concord');
is($status, 0, 'CREATE EXTENSION works without preloading');
like($err, qr/WARNING:.*cannot capture changes/, 'it warns');
like($err, qr/HINT:.*^shared_preload_libraries = 'pg_concord'$/ms, 'preload: the line to add');
like($err, qr/DETAIL:.*wal_level is minimal/s, 'wal_level: what is wrong');
like($err, qr/HINT:.*^wal_level = logical$/ms, 'wal_level: the line to add');
like($err, qr/HINT:.*^max_replication_slots = [1-9]/ms, 'slots: the line to add');
like($err, qr/HINT:.*^max_worker_processes = [1-9]/ms, 'workers: the line to add');
SKIP:
{
	skip 'this server has no output_plugin_libraries', 1
	  unless Concord::Cluster::knows_plugin_list();
	like($err,
		qr/HINT:.*^output_plugin_libraries = 'pgoutput, test_decoding, concord_decoder'$/ms,
		'output_plugin_libraries: the line to add');
}
like($bare->safe_psql('postgres', $problems),
	qr/shared_preload_libraries lacks pg_concord -> shared_preload_libraries = 'pg_concord'/,
	'setup_problems says the same');
like($bare->safe_psql('postgres', 'SELECT reason, hint FROM concord.capture'),
	qr/wal_level is minimal.*\|.*wal_level = logical/, 'so does concord.capture');
is($bare->safe_psql('postgres', q(LOAD 'pg_concord'; SHOW pg_concord.couriers)), '1',
	'settings exist once the library is loaded');
is($bare->workers('postgres'), '', 'no worker runs');

# --- the settings are added as advised: workers start by themselves
my %settings = Concord::Cluster::settings();
$bare->append_conf('postgresql.conf',
	join("\n", map { "$_ = $settings{$_}" } keys %settings) . "\n");
$bare->restart;
is($bare->safe_psql('postgres', $problems), '', 'nothing is missing any more');
ok($bare->poll(
		q(SELECT count(*) > 0 FROM pg_stat_activity
		  WHERE backend_type LIKE 'concord %' AND datname = 'postgres')),
	'workers start after the restart, without another CREATE EXTENSION');
ok($bare->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))) eq 't',
	'capture gets ready');
$bare->stop;

# --- only output_plugin_libraries is missing
SKIP:
{
	skip 'this server has no output_plugin_libraries', 2
	  unless Concord::Cluster::knows_plugin_list();
	my $node = Concord::Cluster->create('plugins', without => ['output_plugin_libraries']);
	($status, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION pg_concord');
	like($err, qr/DETAIL:  output_plugin_libraries lacks concord_decoder\.$/m, 'only that is said');

	# the setting can be changed with a reload; ALTER SYSTEM wants it unquoted
	$node->safe_psql('postgres',
		'ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, concord_decoder');
	$node->restart;
	is($node->safe_psql('postgres', $problems), '', 'and then it is not');
	$node->stop;
}

# --- from 19 on the first logical slot turns logical decoding on where wal_level is replica
my $replica = Concord::Cluster->create('replica', conf => 'wal_level = replica');
if ($replica->pg_version->major >= 19)
{
	is($replica->safe_psql('postgres', 'SHOW effective_wal_level'), 'replica', 'replica: no logical decoding at first');
	ok($replica->ready, 'replica: capture gets ready');
	is($replica->safe_psql('postgres', 'SHOW effective_wal_level'), 'logical', 'replica: its slot turns logical decoding on');
	is($replica->safe_psql('postgres', $problems), '', 'replica: nothing is missing');
	$replica->safe_psql('postgres', q(CREATE TABLE item (id int PRIMARY KEY, n int);
		INSERT INTO concord.captured VALUES ('item'::regclass)));
	$replica->restart;
	$replica->safe_psql('postgres', q(INSERT INTO item VALUES (1, 1); UPDATE item SET n = 2; DELETE FROM item;
		SELECT concord.emit('topic', '1')));
	$replica->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s')));
	is($replica->safe_psql('postgres', q(SELECT string_agg(op, ' ' ORDER BY seq) FROM concord.outbox)),
		'insert update delete emit', 'replica: changes and messages are captured');
	$replica->safe_psql('postgres', 'DROP EXTENSION pg_concord');
	ok($replica->poll('SHOW effective_wal_level', 'replica'), 'replica: with the slot logical decoding goes');
}
else
{
	($status, $out, $err) = $replica->psql('postgres', 'CREATE EXTENSION pg_concord');
	like($err, qr/DETAIL:  wal_level is replica\.$/m, 'replica: only that is said');
	like($err, qr/HINT:.*^wal_level = logical$/ms, 'replica: and what to set');
}
$replica->stop;

# --- no worker slot is left: said in concord.capture, and mended by a restart
my $full = Concord::Cluster->create('full',
	without => ['max_worker_processes'],
	conf => 'max_worker_processes = 4');
($status, $out, $err) = $full->psql('postgres', 'CREATE EXTENSION pg_concord');
like($err, qr/max_worker_processes is 4/, 'CREATE EXTENSION says that workers do not fit');
ok($full->poll_log(qr/no worker slot is free for "concord/), 'the log says it');
ok($full->poll(q(SELECT reason LIKE '%no worker slot free%' AND hint LIKE '%max_worker_processes = %'
	FROM concord.capture)), 'concord.capture says it');
ok($full->poll(q(SELECT count(*) > 0 FROM concord.setup_problems()
	WHERE problem LIKE 'max_worker_processes is 4: no worker slot free%')),
	'setup_problems says it');
$full->append_conf('postgresql.conf', 'max_worker_processes = 16');
$full->restart;
ok($full->poll(
		q(SELECT count(DISTINCT backend_type) = 4 FROM pg_stat_activity
		  WHERE backend_type LIKE 'concord %' AND datname = 'postgres'
		  AND backend_type <> 'concord scout')),
	'all workers run after the restart');

# --- settings of the database are not the workers'
$full->safe_psql('postgres', q(ALTER DATABASE postgres SET role = 'pg_monitor';
	ALTER DATABASE postgres SET search_path = public;
	ALTER DATABASE postgres SET default_transaction_read_only = on));
$full->restart;
$ENV{PGOPTIONS} = '-c role=none -c default_transaction_read_only=off';
ok($full->poll('SELECT concord.wait_for_capture()'), 'workers run as who they are');
$full->safe_psql('postgres', q(SELECT concord.emit('settings', '{}')));
ok($full->poll(q(SELECT concord.wait_for_capture() AND
	(SELECT count(*) = 1 FROM concord.outbox WHERE topic = 'settings'))),
	'and write the outbox');
delete $ENV{PGOPTIONS};
$full->stop;

done_testing();
