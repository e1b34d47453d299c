# Capture through terminated and killed workers and a killed server: every
# committed change is in the outbox once, in the order of commits.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = Concord::Cluster->create('main', conf => "logical_decoding_work_mem = 1MB\nrestart_after_crash = on");
$node->ready;
$node->safe_psql('postgres', q(
	CREATE TABLE load (id int PRIMARY KEY, v int NOT NULL);
	INSERT INTO concord.captured VALUES ('load'::regclass);));

# A writer: rows of its own; each is inserted, then updated, in transactions of
# one to three changes; some are rolled back, some have savepoints.
my $id = 0;

sub writer
{
	my ($n) = @_;
	my $first = $id + 1;
	$id += $n;
	return Concord::Cluster::start_child('psql', '-X', '-q', '-d', $node->connstr('postgres'),
		'-c', 'SET synchronous_commit = off', '-c', qq(DO \$\$ BEGIN FOR i IN $first..$id LOOP
		INSERT INTO load VALUES (i, 1);
		IF i % 5 = 0 THEN
			ROLLBACK;
		ELSE
			UPDATE load SET v = 2 WHERE id = i;
			IF i % 3 = 0 THEN COMMIT; END IF;
			BEGIN
				UPDATE load SET v = 3 WHERE id = i;
				IF i % 7 = 0 THEN RAISE 'undone'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
			COMMIT;
		END IF;
	END LOOP; END \$\$));
}

# What every check below is: rows and events agree, one by one.
sub check
{
	my ($what) = @_;
	ok($node->poll(q(SELECT concord.wait_for_capture('10s'))), "$what: capture catches up");
	is($node->safe_psql('postgres', q(
		SELECT count(*), count(DISTINCT seq), count(DISTINCT event_id), max(seq) FROM concord.outbox))
		=~ /^(\d+)\|\1\|\1\|\1$/ ? 'same' : $node->safe_psql('postgres', q(
		SELECT count(*), count(DISTINCT seq), count(DISTINCT event_id), max(seq) FROM concord.outbox)),
		'same', "$what: no gap, no repetition");
	is($node->safe_psql('postgres', q(
		WITH e AS (SELECT (new ->> 'id')::int AS id,
				array_agg((new ->> 'v')::int ORDER BY seq) AS vs
			FROM concord.outbox WHERE source = 'public.load' GROUP BY 1)
		SELECT count(*) FROM load FULL JOIN e USING (id)
		WHERE load.v IS DISTINCT FROM e.vs[array_length(e.vs, 1)]
			OR e.vs <> (ARRAY[1, 2, 3])[1:array_length(e.vs, 1)])), '0',
		"$what: each row's events are its history");
	is($node->safe_psql('postgres', q(
		SELECT count(*) FROM (SELECT (lsn, ordinal) <= lag((lsn, ordinal)) OVER (ORDER BY seq) AS wrong
			FROM concord.outbox) o WHERE wrong)), '0', "$what: in the order of commits");
	return;
}

sub pid_of
{
	my ($kind) = @_;
	return $node->safe_psql('postgres', "SELECT ${kind}_pid FROM concord.capture");
}

sub rows_reach
{
	my ($n) = @_;
	return $node->poll("SELECT count(*) > $n FROM concord.outbox");
}

# --- the workers are terminated while there is load
my @writers = map { writer(3000) } 1 .. 2;
foreach my $kind (qw(decoder capture decoder capture))
{
	my $before = $node->safe_psql('postgres', 'SELECT coalesce(max(seq), 0) FROM concord.outbox');
	my $pid = pid_of($kind);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)") if $pid;
	ok($node->poll("SELECT ${kind}_pid IS NOT NULL AND ${kind}_pid IS DISTINCT FROM " . ($pid || 0)
			. " FROM concord.capture"), "$kind runs again after it was terminated");
}
waitpid($_, 0) foreach @writers;
check('terminate');

# --- kill -9 of a worker: it is attached to shared memory, so the server
# restarts all processes
foreach my $kind (qw(decoder capture))
{
	my $seen = $node->safe_psql('postgres', 'SELECT coalesce(max(seq), 0) FROM concord.outbox');
	@writers = map { writer(20000) } 1 .. 2;
	rows_reach($seen + 500);
	my $pid = pid_of($kind);
	$node->crash($pid);
	waitpid($_, 0) foreach @writers;
	ok($node->poll("SELECT ${kind}_pid IS NOT NULL AND ${kind}_pid <> $pid FROM concord.capture"),
		"$kind runs again after kill -9");
	@writers = map { writer(200) } 1 .. 2;
	waitpid($_, 0) foreach @writers;
	check("kill -9 of $kind");
}

# --- an immediate shutdown of the server
@writers = map { writer(20000) } 1 .. 2;
rows_reach($node->safe_psql('postgres', 'SELECT max(seq) FROM concord.outbox') + 500);
$node->stop('immediate');
waitpid($_, 0) foreach @writers;
$node->start;
check('immediate shutdown');

# --- a large transaction is interrupted in the middle: it is split over
# commits, and goes on where it was
$node->safe_psql('postgres', q(CREATE TABLE big (id int PRIMARY KEY, note text);
	INSERT INTO concord.captured VALUES ('big'::regclass);));
my $last = $node->safe_psql('postgres', 'SELECT max(seq) FROM concord.outbox');
$node->safe_psql('postgres', q(INSERT INTO big SELECT i, 'row ' || i FROM generate_series(1, 200000) i));
for my $n (1 .. 3)
{
	$node->poll("SELECT last_seq > $last + $n * 20000 FROM concord.capture");
	my $pid = pid_of($n % 2 ? 'capture' : 'decoder');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)") if $pid;
}
ok($node->poll(q(SELECT concord.wait_for_capture('10s'))), 'large: capture catches up');
is($node->safe_psql('postgres', qq(SELECT count(*), count(DISTINCT new ->> 'id'), max(ordinal), count(DISTINCT xid::text),
	bool_and(seq - $last = ordinal AND ordinal = (new ->> 'id')::int)
	FROM concord.outbox WHERE seq > $last)), '200000|200000|200000|1|t', 'large: each row once, in order');
is($node->safe_psql('postgres', 'SELECT partial_lsn IS NULL FROM concord.capture_state'), 't',
	'large: nothing is left in part');

# --- the slot is gone: capture stops and says so, emit is refused, until somebody decides
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
$node->safe_psql('postgres', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
$node->safe_psql('postgres', q(INSERT INTO load VALUES (-1, 1)));
my ($status, $out, $err) = $node->psql('postgres', q(SELECT concord.emit('t', '{}')));
like($err, qr/not preloaded.*shared_preload_libraries/s, 'emit is refused where the library is not preloaded');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_concord'");
$node->start;
ok($node->poll(q(SELECT state = 'gap' AND reason LIKE '%is missing' AND hint LIKE '%reset_capture%' FROM concord.capture)),
	'gap: shown in concord.capture');
ok($node->poll_log(qr/capture has stopped: replication slot "pg_concord_\d+" is missing/), 'gap: said in the log');
($status, $out, $err) = $node->psql('postgres', q(SET pg_concord.start_timeout = '1s'; SELECT concord.emit('t', '{}')));
like($err, qr/capture is not ready.*is missing/s, 'gap: emit is refused');
$node->safe_psql('postgres', 'SELECT concord.reset_capture()');
ok($node->poll(q(SELECT concord.wait_for_capture('10s'))), 'gap: capture goes on after reset_capture()');
is($node->safe_psql('postgres', 'SELECT count(*), bool_and(reason LIKE \'%is missing\') FROM concord.capture_gap'), '1|t',
	'gap: recorded');
$node->safe_psql('postgres', q(INSERT INTO load VALUES (-2, 1); SELECT concord.wait_for_capture('60s')));
is($node->safe_psql('postgres', q(SELECT string_agg(new ->> 'id', ',') FROM concord.outbox WHERE (new ->> 'id')::int < 0)), '-2',
	'gap: what follows is captured');

# --- without logical WAL there is nothing to capture: emit says so
$node->safe_psql('postgres', 'DROP EXTENSION pg_concord');
ok($node->poll('SELECT count(*) = 0 FROM pg_replication_slots'), 'DROP EXTENSION drops the slot');
$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
($status, $out, $err) = $node->psql('postgres', q(SELECT concord.emit('t', '{}')));
like($err, qr/"wal_level" is lower than (logical|replica).*wal_level = logical/s, 'emit is refused where WAL is not logical');
is($node->safe_psql('postgres', q(SELECT ready, hint LIKE '%wal_level = logical%' FROM concord.capture)), 'f|t',
	'concord.capture says what to set');

$node->stop;
done_testing();
