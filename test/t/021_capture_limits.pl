# Capture's bounds: memory, savepoints, WAL that an idle database keeps,
# transactions in the way of the slot, retention.
use strict;
use warnings;
use Concord::Cluster;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $rows = $ENV{CONCORD_TEST_ROWS} || 300_000;
my $node = Concord::Cluster->create('main', conf => join("\n",
		'logical_decoding_work_mem = 1MB', 'fsync = off', 'max_wal_size = 4GB',
		'pg_concord.outbox_retention = 1d'));

# --- the slot waits for a transaction that runs; its process is shown
$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, note text)');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe('INSERT INTO t VALUES (-1)');
my $blocker = $session->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
ok($node->poll("SELECT blockers = '{$blocker}' AND NOT ready AND state = 'creating slot' FROM concord.capture"),
	'a transaction in the way of the slot is shown');
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('200ms'))), 'f', 'wait_for_capture gives up');
my ($status, $out, $err) = $node->psql('postgres', q(SET pg_concord.start_timeout = '200ms'; SELECT concord.emit('t', '{}')));
like($err, qr/capture is not ready.*processes $blocker to end/s, 'emit says who is in the way');
my $start = time;
($status, $out, $err) = $node->psql('postgres', q(BEGIN; SELECT txid_current(); SELECT concord.emit('t', '{}')));
like($err, qr/written already.*wait_for_capture/s, 'emit in a transaction that has written is refused');
ok(time - $start < 20, 'and does not wait');
$session->query_safe('COMMIT');
$session->quit;
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'capture is ready once it has ended');
$node->safe_psql('postgres', q(INSERT INTO concord.captured VALUES ('t'::regclass)));

# --- create_mapping waits for a transaction that writes the table, no longer than lock_timeout, and says for whom
$node->safe_psql('postgres', q(
	CREATE TABLE goods (id int PRIMARY KEY);
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/')));
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe('INSERT INTO goods VALUES (1)');
$blocker = $session->query_safe('SELECT pg_backend_pid()');
($status, $out, $err) = $node->psql('postgres', q(SET lock_timeout = '1ms';
	SELECT concord.create_mapping('goods', 'goods', 'erp', 'g', '{"Id": "id"}', paused => true)));
like($err, qr/could not lock table "goods" within lock_timeout/, 'a table that is being written');
like($err, qr/What is captured changes only while no transaction is writing the table/, 'and why that matters');
like($err, qr/Wait for or end the transactions of these processes: $blocker\./, 'and who does it');
$session->query_safe('COMMIT');
$session->quit;

# --- 10,000 savepoints, half of them rolled back
$node->safe_psql('postgres', q(DO $$ BEGIN
	FOR i IN 1..10000 LOOP
		BEGIN
			INSERT INTO t VALUES (i, 'savepoint');
			IF i % 2 = 0 THEN RAISE 'undone'; END IF;
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END $$));
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'savepoints: captured');
is($node->safe_psql('postgres', q(SELECT count(*), count(DISTINCT new ->> 'id'), max(ordinal), bool_and((new ->> 'id')::int % 2 = 1)
	FROM concord.outbox WHERE new ->> 'note' = 'savepoint')), '5000|5000|5000|t', 'savepoints: those that were kept');

# --- memory: anonymous memory of both workers stays flat over a large transaction
sub anonymous_kb
{
	my ($pid) = @_;
	my $status = eval { slurp_file("/proc/$pid/status") } || '';
	return $status =~ /RssAnon:\s+(\d+)/ ? $1 : 0;
}

SKIP:
{
	skip 'needs /proc', 3 unless -r '/proc/self/status';
	skip 'a sanitizer keeps what is freed', 3 if $ENV{CONCORD_SANITIZED};
	my ($decoder, $capture) = split(/\|/, $node->safe_psql('postgres', 'SELECT decoder_pid, capture_pid FROM concord.capture'));
	my %base = (decoder => anonymous_kb($decoder), capture => anonymous_kb($capture));
	my %most = %base;
	$node->safe_psql('postgres', "INSERT INTO t SELECT i, repeat('note ', 40) || i FROM generate_series(100001, 100000 + $rows) i");
	my $waiting = Concord::Cluster::start_child('psql', '-X', '-q', '-d', $node->connstr('postgres'),
		'-c', q(SELECT concord.wait_for_capture('5min')));
	while (waitpid($waiting, POSIX::WNOHANG()) == 0)
	{
		my %now = (decoder => anonymous_kb($decoder), capture => anonymous_kb($capture));
		foreach (keys %now) { $most{$_} = $now{$_} if $now{$_} > $most{$_} }
		usleep(20_000);
	}
	is($node->safe_psql('postgres', "SELECT count(*) FROM concord.outbox WHERE (new ->> 'id')::int > 100000"), $rows,
		"memory: $rows rows of one transaction captured");
	foreach my $kind (qw(decoder capture))
	{
		my $grown = int(($most{$kind} - $base{$kind}) / 1024);
		note("$kind: $base{$kind} kB before, at most $most{$kind} kB");
		ok($grown < 48, "memory: $kind stays flat");
	}
}

# --- an idle database does not keep WAL: the slot follows what others write
$node->safe_psql('postgres', 'CREATE DATABASE other');
my $lsn = $node->safe_psql('other', q(
	CREATE TABLE filler AS SELECT i, repeat('x', 500) AS note FROM generate_series(1, 60000) i;
	SELECT pg_current_wal_insert_lsn()));
ok($node->poll("SELECT '$lsn'::pg_lsn - confirmed_flush_lsn < 20000000 FROM pg_replication_slots"),
	'idle: the slot is confirmed beyond WAL of other databases');
my $events = $node->safe_psql('postgres', 'SELECT events FROM concord.capture');
# restart_lsn follows once running transactions were logged, as checkpoints do
my $moved = 0;
my $end = time + $Concord::Cluster::TIMEOUT;
while (time < $end)
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->safe_psql('other', "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 17)");
	$moved = $node->safe_psql('postgres', "SELECT restart_lsn > '$lsn' FROM pg_replication_slots") eq 't';
	last if $moved;
	usleep(300_000);
}
ok($moved, 'idle: WAL is given back');
is($node->safe_psql('postgres', 'SELECT events FROM concord.capture'), $events, 'idle: nothing was captured');

# --- all indexes of the outbox get its rows: one's own, and one that takes the
# place of the primary key while rows arrive
my @outbox = map { "concord.outbox_$_" } 0 .. 7;
$node->safe_psql('postgres', "CREATE INDEX ON $_ (nevents, last_seq)") for @outbox;
my $writer = Concord::Cluster::start_child('psql', '-X', '-q', '-d', $node->connstr('postgres'),
	'-c', q(DO $$ BEGIN FOR i IN 1 .. 3000 LOOP INSERT INTO t VALUES (1000000 + i, 'index'); COMMIT; END LOOP; END $$));
while (waitpid($writer, POSIX::WNOHANG()) == 0)
{
	$node->safe_psql('postgres', "REINDEX TABLE CONCURRENTLY $_") for @outbox;
}
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'indexes: all is captured');
sub chunks { return $node->safe_psql('postgres', join ';', $_[0], map { "SELECT count(*), max(last_seq) FROM $_ WHERE $_[1]" } @outbox); }
my $heap = chunks('SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off', 'nevents > 0');
like($heap, qr/^[1-9]/m, 'indexes: there are chunks');
is(chunks('SET enable_seqscan = off', 'nevents > 0'), $heap, 'indexes: one\'s own has them all');
is(chunks('SET enable_seqscan = off', 'last_seq > 0'), $heap, 'indexes: so has the one that was made anew');

# --- an asynchronous commit is captured without another one
$node->safe_psql('postgres', q(SET synchronous_commit = off; INSERT INTO t VALUES (-2, 'async')));
ok($node->poll(q(SELECT EXISTS (SELECT FROM concord.outbox WHERE new ->> 'note' = 'async'))), 'asynchronous commit');

# --- retention: the ring turns, and the clerk truncates what is old and not needed
$node->append_conf('postgresql.conf', 'pg_concord.outbox_retention = 0');
$node->reload;
ok($node->poll(q(SELECT concord.emit('turn', '{}') IS NOT NULL AND count(*) FILTER (WHERE state = 'closed') >= 3 FROM concord.outbox_ring)),
	'retention: the ring turns');
is($node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT last_seq + 1 AS next, lead(first_seq) OVER (ORDER BY first_seq) AS first
	FROM concord.outbox_ring WHERE state <> 'free') r WHERE next <> first)), '0', 'retention: tables follow each other');
$node->restart;
ok($node->poll(q(SELECT count(*) = 0 FROM concord.outbox_ring WHERE state = 'closed')), 'retention: old tables are freed');
is($node->safe_psql('postgres', q(SELECT count(*) FROM concord.outbox WHERE new ->> 'note' = 'savepoint')), '0',
	'retention: their events are gone');
$node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s')));
$node->safe_psql('postgres', q(INSERT INTO t VALUES (-3, 'after')));
ok($node->poll(q(SELECT EXISTS (SELECT FROM concord.outbox WHERE new ->> 'note' = 'after'))), 'retention: capture goes on');

$node->stop;
done_testing();
