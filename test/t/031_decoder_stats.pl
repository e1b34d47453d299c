# Counters of the decoder where SQL alone cannot look: walsenders, several
# databases, restarts and crashes, slots that come and go, a server that does
# not preload the library.

use strict;
use warnings;

use Concord::Cluster;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = Concord::Cluster->create('stats', conf => "restart_after_crash = on\nlogical_decoding_work_mem = '64kB'");

# counters(COLUMNS, SLOT)
sub counters
{
	my ($columns, $slot) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM concord.decoder WHERE slot = '$slot'");
}

sub make_slot
{
	my ($slot, $database) = @_;
	return $node->safe_psql($database || 'postgres',
		"SELECT slot_name FROM pg_create_logical_replication_slot('$slot', 'concord_decoder')");
}

sub read_slot
{
	my ($slot, $database) = @_;
	return $node->safe_psql($database || 'postgres',
		"SELECT count(*) FROM pg_logical_slot_get_changes('$slot', NULL, NULL, 'tables', 'public.t')");
}

# ---- another database, where the extension is not
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE TABLE t (id int PRIMARY KEY, filler text)');
make_slot('there', 'other');
$node->safe_psql('other', "INSERT INTO t SELECT g, 'x' FROM generate_series(1, 3) AS g");
is(read_slot('there', 'other'), 3, 'three rows in a database without the extension');
is(counters('database, format, inserts, sent, starts', 'there'), 'other|json|3|1|1', 'are counted all the same');
my ($code, $out, $err) = $node->psql('postgres', "SELECT concord.reset_decoder_stats('there')");
like($err, qr/ERROR:  replication slot "there" is not of this database\nDETAIL:  It belongs to database "other"\.\nHINT:  /,
	'a slot of another database is not reset');
$node->safe_psql('postgres', 'SELECT concord.reset_decoder_stats()');
is(counters('inserts', 'there'), 3, 'nor is it with all of this one');

# ---- a walsender whose client does not read: counters rise within a transaction
$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, filler text)');
make_slot('live');
my $rows = 200_000;
$node->safe_psql('postgres', "INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, $rows) AS g");
my $unread = '';
my $receiver = IPC::Run::start([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'live', '--start', '--no-loop',
		'-o', 'tables=public.t', '-o', 'format=binary', '-f', '-' ], '>', \$unread);
ok($node->poll("SELECT inserts > 0 AND sent = 0 AND bytes > 100000 AND writes > 0 FROM concord.decoder WHERE slot = 'live'"),
	'the counters of a transaction that is being sent');
is(counters("pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'live'), format, inserts < $rows", 'live'),
	't|binary|t', 'whose client does not read on');
$receiver->kill_kill;
ok($node->poll("SELECT pid IS NULL FROM concord.decoder WHERE slot = 'live'"), 'its end leaves the slot free');
is(counters('inserts > 0, sent, starts', 'live'), 't|0|1', 'and what was counted');

# ---- read again to the end, and counted again
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{SELECT concord.reset_decoder_stats('live')});
$node->command_ok([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'live', '--start', '--no-loop',
		'-o', 'tables=public.t', '-o', 'format=json', '-f', '/dev/null', '--endpos', $end ], 'pg_recvlogical to an end');
# a walsender outlives its client for a moment
ok($node->poll("SELECT pid IS NULL FROM concord.decoder WHERE slot = 'live'"), 'which ends the reading');
is(counters("format, inserts, sent, starts, last_lsn <= '$end', last_time <= now(), bytes > 200 * inserts", 'live'),
	"json|$rows|1|1|t|t|t", 'everything once');
# a sample counts for 64 changes, also where the process had to wait for a core in it
is(counters("encode_ms > 0, encode_ms < 64 * extract(epoch FROM now() - started_at) * 1000, write_ms > 0", 'live'),
	't|t|t', 'times are plausible');

# ---- transactions sent while in progress, of which one commits; and two at PREPARE
make_slot('early');
$receiver = IPC::Run::start([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'early', '--start', '--no-loop',
		'-o', 'tables=public.t', '-o', 'streaming=on', '-f', '/dev/null' ]);
foreach my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('postgres', "BEGIN; INSERT INTO t SELECT -g, 'x' FROM generate_series(100, 5000) AS g; PREPARE TRANSACTION '$end'");
	ok($node->poll("SELECT streamed = 1 AND sent = 0 AND inserts > 0 FROM concord.decoder WHERE slot = 'early'"), "sent before its $end");
	$node->safe_psql('postgres', "$end PREPARED '$end'");
	ok($node->poll('SELECT ' . ($end eq 'COMMIT' ? 'sent' : 'stream_aborted') . " = 1 FROM concord.decoder WHERE slot = 'early'"), $end);
	$node->safe_psql('postgres', "DELETE FROM t WHERE id <= -100");
	ok($node->poll("SELECT (sent, inserts, deletes) = (2, 4901, 4901) FROM concord.decoder WHERE slot = 'early'"), 'and all after it') if $end eq 'COMMIT';
	$node->safe_psql('postgres', "SELECT concord.reset_decoder_stats('early')") if $end eq 'COMMIT';
}
$receiver->kill_kill;
$node->safe_psql('postgres', "SELECT slot_name FROM pg_create_logical_replication_slot('prepared', 'concord_decoder', false, true)");
$node->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES (-$_, 'x'); PREPARE TRANSACTION '$_'") foreach 10, 11;
read_slot('prepared');
is(counters('prepared, sent, streamed, inserts', 'prepared'), '2|2|0|2', 'two were prepared and sent');
$node->safe_psql('postgres', "$_") foreach "COMMIT PREPARED '10'", "ROLLBACK PREPARED '11'";
is(read_slot('prepared'), 2, 'their ends are sent');
is(counters('prepared, sent, inserts, last_time > started_at - interval \'1min\'', 'prepared'), '2|2|2|t', 'and are no transactions of their own');

# ---- slots come and go, and take each other's places
make_slot('first');
$node->safe_psql('postgres', "INSERT INTO t VALUES (-1, 'x')");
read_slot('first');
is(counters('inserts, starts', 'first'), '1|1', 'a slot');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('first')");
is(counters('count(*)', 'first'), 0, 'goes, and its row with it');
make_slot('second');
make_slot('first');
is(counters('inserts, starts, format', $_), '0|0|', "$_ begins at zero") foreach qw(first second);
$node->safe_psql('postgres', "INSERT INTO t VALUES (-2, 'x')");
read_slot('second');
$node->safe_psql('postgres', "SELECT pg_copy_logical_replication_slot('second', 'third')");
is(counters('inserts, starts', 'third'), '0|0', 'a copy of a slot is another slot');
is(counters('inserts, starts', 'second'), '1|1', 'the one that was copied keeps its counters');
is($node->safe_psql('postgres',
		q{SELECT slot_name FROM pg_create_logical_replication_slot('passing', 'concord_decoder', true);
		  SELECT inserts, temporary FROM concord.decoder JOIN pg_replication_slots ON slot_name = slot WHERE slot = 'passing'}),
	"passing\n0|t", 'a temporary slot');
ok($node->poll("SELECT count(*) = 0 FROM concord.decoder WHERE slot = 'passing'"), 'is gone with its session');

# ---- nothing is kept over a restart; the slots are still listed
$node->restart;
is(counters('inserts IS NULL, stats_reset IS NULL, database', 'live'), 't|t|postgres', 'after a restart nothing was counted');
$node->safe_psql('postgres', "INSERT INTO t VALUES (-3, 'x')");
read_slot('second');
is(counters('inserts, starts, stats_reset IS NOT NULL', 'second'), '1|1|t', 'counting begins with the next reading');
ok($node->poll('SELECT ready FROM concord.capture'), 'capture runs');
ok($node->crash($node->safe_psql('postgres', 'SELECT decoder_pid FROM concord.capture')), 'a crash');
ok($node->poll("SELECT inserts IS NULL FROM concord.decoder WHERE slot = 'second'"), 'nor over a crash');
ok($node->poll('SELECT starts > 0 FROM concord.decoder JOIN concord.capture USING (slot)'), 'capture\'s decoder counts again');

# ---- a server that does not preload the library
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', "INSERT INTO t VALUES (-4, 'x')");
cmp_ok(read_slot('second'), '>=', 1, 'the plugin works without the library');
is(counters('database, pid, format, inserts, starts, stats_reset', 'second'), 'postgres|||||', 'and nobody counts');
($code, $out, $err) = $node->psql('postgres', 'SELECT concord.reset_decoder_stats()');
like($err, qr/ERROR:  pg_concord was not loaded when the server started\nHINT:  /, 'nothing can be reset');

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:|signal 11|signal 6/, 'no process crashed by itself');
$node->stop;
done_testing();
