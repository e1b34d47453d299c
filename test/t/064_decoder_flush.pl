# Small transactions that follow one another share a send() (decoder/flush.c).
# Nothing may be late, lost or out of order by it: not where the stream falls
# silent, not before something long, not when either end dies, and not after an
# ERROR in the plugin.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use Concord::Stream;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# What is left in a buffer would come with the next WAL, or with the keepalive
# after half of this.
my $node = Concord::Cluster->create('main', conf => join("\n",
	'wal_sender_timeout = 10min', 'checkpoint_timeout = 1h', 'autovacuum = off', 'logical_decoding_work_mem = 1MB',
	'log_min_messages = debug1'));
my $LATE = 5;

$node->safe_psql('postgres', q{
	CREATE TABLE item (id int PRIMARY KEY);
	CREATE TABLE bulk (id int, note text);
	CREATE PROCEDURE singles(a int, b int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN a .. b LOOP
			INSERT INTO item VALUES (i);
			COMMIT;
		END LOOP;
	END $$});
my $last = 0;

# singles(N): commits N transactions of a row each; ids go on.
sub singles
{
	my ($n) = @_;
	$node->safe_psql('postgres', sprintf('CALL singles(%d, %d)', $last + 1, $last + $n));
	$last += $n;
	return;
}

# ids(MESSAGE): of its events.
sub ids
{
	my ($message) = @_;
	return unless $message->{type} eq 'w';
	return $message->{data} =~ /"new":\{"id":(\d+)\}/g;
}

# The part of the log that says how often a flush was postponed in a reading.
sub postponed
{
	my ($offset) = @_;
	$node->poll_log(qr/postponed \d+ of \d+ flushes/, $offset) or return (0, 0);
	return substr(slurp_file($node->logfile), $offset) =~ /postponed (\d+) of (\d+) flushes/;
}

# What a walsender waits for that has sent all; 17 has renamed it.
sub wait_event
{
	return $node->pg_version < 17 ? 'WalSenderWaitForWAL' : 'WalSenderWaitForWal';
}

sub create_slot
{
	my ($slot) = @_;
	$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('$slot', 'concord_decoder')");
	return;
}

# consumer(): a process that reads slot sync, confirms what it has at once, and
# ends the copy when it gets SIGUSR1.
sub consumer
{
	my $child = fork();
	if ($child == 0)
	{
		$SIG{TERM} = 'DEFAULT';    # the server is the parent's to stop
		my $client = Concord::Stream->new($node, 'postgres', application_name => 'consumer');
		$client->start('sync', messages => '');
		$SIG{USR1} = sub { $client->done };
		for (;;)
		{
			my $message = $client->receive(60) or next;
			last if $message->{type} =~ /^(c|E|eof)$/;
			$client->reply($message->{lsn});
		}
		POSIX::_exit(0);
	}
	push @Concord::Cluster::children, $child;
	return $child;
}

sub free_slot
{
	my ($slot) = @_;
	$node->poll("SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'", 'f');
	return;
}

# ---- a stream that falls silent
create_slot('s');
my $stream = Concord::Stream->new($node, 'postgres');
$stream->start('s', messages => '');
my ($next, $late) = (1, 0);
foreach my $n (1000, 1, 2, 3, 10, 1000, (1) x 20, 100, 1000)
{
	singles($n);
	my $since = time;
	while ($next <= $last)
	{
		my $message = $stream->receive($LATE) or last;
		foreach (ids($message))
		{
			is($_, $next, 'events come in order') if $_ != $next;
			$next = $_ + 1;
		}
	}
	$late++ if time - $since >= $LATE;
}
is($next, $last + 1, 'all events are there while nothing else happens');
is($late, 0, 'none of them late');
ok($node->poll(q{SELECT total_txns FROM pg_stat_replication_slots WHERE slot_name = 's'}, $last), 'and the statistics of the slot have each transaction')
  or diag($node->safe_psql('postgres', 'SELECT total_txns FROM pg_stat_replication_slots'), " of $last");

# records of all sizes, several at a time, which are flushed to the disk in parts
$node->safe_psql('postgres', 'CREATE SEQUENCE ids START 1000001');
my $file = $node->basedir . '/writer.sql';
open my $handle, '>', $file or die "$file: $!";
print $handle q{
	\set size random(1, 60000)
	\set lazy random(0, 3)
	SELECT set_config('synchronous_commit', CASE WHEN :lazy > 0 THEN 'off' ELSE 'on' END, false);
	INSERT INTO item VALUES (nextval('ids'));
	SELECT pg_logical_emit_message(false, 'noise', repeat('x', :size));
};
close $handle;
foreach my $round (1 .. 5)
{
	$node->command_ok([ 'pgbench', '-n', '-f', $file, '-c', 4, '-t', 100, 'postgres' ], "writers, round $round");
	my ($got, $since) = (0, time);
	while ($got < 400)
	{
		my $message = $stream->receive($LATE) or last;
		$got += ids($message);
	}
	is($got, 400, 'and all that they wrote');
	cmp_ok(time - $since, '<', $LATE, 'not late');
}
$node->safe_psql('postgres', 'TRUNCATE item');

# ---- the client ends the copy, and goes on with the connection
while (my $message = $stream->receive(0.5)) { $stream->reply($message->{lsn}) if $message->{lsn} }
singles(20000);
my $log = -s $node->logfile;
my ($seen, $type) = (0, '');
$next = $last - 20000 + 1;
while (my $message = $stream->receive($LATE))
{
	$type = $message->{type};
	last if $type eq 'c';
	foreach (ids($message))
	{
		$seen++ if $_ == $next++;
	}
	$stream->done if $seen == 5000;
}
is($type, 'c', 'the server ends the copy, too');
is($next - ($last - 20000 + 1), $seen, 'after events without a gap');
cmp_ok($seen, '>=', 5000, 'of which there are enough');
$stream->finish;
is($stream->query('IDENTIFY_SYSTEM')->[0][3], 'postgres', 'the connection goes on');
my ($spared, $wanted) = postponed($log);
cmp_ok($wanted, '>=', 5000, 'each write was to be flushed');
cmp_ok($spared, '>', $wanted * 0.8, 'which waited for others where more was to come');

is($stream->query('SELECT 1')->[0][0], 1, 'and takes SQL');

# without sharing; another connection, for core takes a second copy for ended
$log = -s $node->logfile;
$stream = Concord::Stream->new($node, 'postgres');
$stream->start('s', messages => '', batch => 'off');
my @again;
while (my $message = $stream->receive($LATE))
{
	last if $message->{type} eq 'c';
	$stream->done if !@again && push @again, ids($message);
}
is($again[0], $last - 20000 + 1, 'reading starts again where it was confirmed');
$stream->finish;
unlike(substr(slurp_file($node->logfile), $log), qr/postponed/, 'without option batch nothing is postponed');

# ---- pg_recvlogical stops at a position
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->command_ok([ 'pg_recvlogical', '-d', 'postgres', '-S', 's', '--start', '--no-loop', "--endpos=$end", '-f', "$file.out", '-o', 'messages=' ],
	'pg_recvlogical up to a position');
is(scalar(() = slurp_file("$file.out") =~ /"op":"insert"/g), 20000, 'has all before it');
free_slot('s');

# ---- over TLS, where what is sent goes through the library's own buffers
SKIP:
{
	skip 'the server has no TLS', 3 unless $node->safe_psql('postgres', 'SHOW ssl_library');
	my $data = $node->data_dir;
	system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout $data/server.key -out $data/server.crt >/dev/null 2>&1") == 0 or die 'openssl';
	chmod 0600, "$data/server.key";
	$node->append_conf('postgresql.conf', "ssl = on\nlisten_addresses = '127.0.0.1'");
	$node->append_conf('pg_hba.conf', 'hostssl all all 127.0.0.1/32 trust');
	$node->restart;
	create_slot('tls');
	singles(20000);
	$end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$log = -s $node->logfile;
	my $url = sprintf('host=127.0.0.1 port=%d dbname=postgres user=%s sslmode=require', $node->port, scalar getpwuid($<));
	$node->command_ok([ 'pg_recvlogical', '-d', $url, '-S', 'tls', '--start', '--no-loop', "--endpos=$end", '-f', "$file.tls", '-o', 'messages=' ],
		'pg_recvlogical over TLS');
	is(join(' ', slurp_file("$file.tls") =~ /"new":\{"id":(\d+)\}/g), join(' ', $last - 19999 .. $last), 'has all of it, in order');
	($spared, $wanted) = postponed($log);
	cmp_ok($spared, '>', $wanted * 0.8, 'where small writes wait as well');
	free_slot('tls');
}

# ---- small transactions before a record of which only a part is on disk
$node->append_conf('postgresql.conf', "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB");
$node->reload;
create_slot('part');
singles(5);
my $writer = Concord::Stream->new($node, 'postgres');
# longer than a segment, at whose end WAL is flushed; the rest waits for the commit
$writer->query('BEGIN');
$writer->query(q{SELECT pg_logical_emit_message(false, 'part', repeat('x', 20000000))});
$stream = Concord::Stream->new($node, 'postgres');
my $begun = time;
# core sends a keepalive before it sleeps, unless the client is ahead
$stream->start('part', messages => '', -written => 2**62);
$next = $last - 4;
while ($next <= $last)
{
	my $message = $stream->receive($LATE) or last;
	foreach (ids($message)) { $next++ if $_ == $next }
}
is($next, $last + 1, 'events before half a record');
cmp_ok(time - $begun, '<', $LATE, 'do not wait for the rest of it');
is($node->safe_psql('postgres', q{SELECT wait_event FROM pg_stat_replication AS r JOIN pg_stat_activity USING (pid)
	WHERE r.state <> 'startup' AND pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() - 10000}), wait_event(), 'for which the walsender waits');
$writer->query('COMMIT');
$node->append_conf('postgresql.conf', "wal_writer_delay = 200ms\nwal_writer_flush_after = 1MB");
$node->reload;
$stream->cut;
free_slot('part');

# ---- small transactions before one that takes long and says nothing
create_slot('small');
$writer->query('BEGIN');
$writer->query(q{INSERT INTO bulk SELECT i, 'note ' || i FROM generate_series(1, 500000) i});
singles(10);
$writer->query('COMMIT');
singles(1);
$stream = Concord::Stream->new($node, 'postgres');
$begun = time;
$stream->start('small', messages => '', tables => 'public.item');
my %came;
while (!exists $came{$last})
{
	my $message = $stream->receive(60) or last;
	$came{$_} = time - $begun foreach ids($message);
}
is(scalar(keys %came), 11, 'all events around a large transaction');
note(sprintf('before it after %.3f s, behind it after %.3f s', $came{ $last - 1 }, $came{$last}));
# what was read before them is in the first time, its replay in the second only
cmp_ok($came{$last} - $came{ $last - 1 }, '>', 0.03, 'those before it come before it is replayed');
$stream->cut;
free_slot('small');

# ---- either end dies, again and again, amid a backlog
create_slot('crash');
my ($first, $safe, $sessions) = ($last + 1, 0, 0);
singles(60000);
my $behind = $last;
$next = $first;
my ($gaps, $unsaid) = (0, 0);
srand 7;
while ($next <= $behind && $sessions < 200)
{
	my $kind = $sessions++ % 4;
	my $until = $next + 200 + int(rand(4000));
	my $client = Concord::Stream->new($node, 'postgres');
	$client->start('crash', messages => '');
	# what was confirmed does not come again, what was not does
	my $expected;
	while ($next <= $behind)
	{
		my $message = $client->receive($LATE) or last;
		last if $message->{type} =~ /^(E|eof)$/;
		foreach (ids($message))
		{
			$expected //= $_;
			$gaps++ if $_ != $expected || $_ > $next;
			$expected = $_ + 1;
			$next = $expected if $expected > $next;
		}
		# as pg_recvlogical does: whatever position came, all before it is safe
		$client->reply($message->{lsn}, 1) if $message->{lsn} && rand() < 0.02;
		last if $next >= $until;
	}
	if ($kind == 0) { $client->cut }
	elsif ($kind == 1)
	{
		$node->safe_psql('postgres', q{SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'crash'});
		my $message;
		do { $message = $client->receive($LATE) } while ($message && $message->{type} =~ /^[wk]$/);
		$unsaid++ unless $message && $message->{type} eq 'E' && $message->{fields}{C} eq '57P01';
	}
	elsif ($kind == 2 && $sessions < 20)
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($kind == 3)
	{
		$client->done;
		my $message;
		do { $message = $client->receive($LATE) } while ($message && $message->{type} =~ /^[wk]$/);
		$unsaid++ unless $message && $message->{type} eq 'c';
	}
	$client->cut;
	free_slot('crash');
}
is($next, $behind + 1, "all events in $sessions sessions");
is($gaps, 0, 'none left out, none out of order');
is($unsaid, 0, 'who is terminated, or ends it, hears of it');

# ---- an ERROR in the plugin
create_slot('failed');
my $bad = $last + 501;
$node->safe_psql('postgres', "CREATE PUBLICATION failing FOR TABLE item WHERE (1 / (id - $bad) IS NOT NULL);
	CREATE PUBLICATION sound FOR TABLE item");
singles(1000);
$stream = Concord::Stream->new($node, 'postgres');
foreach my $round (1, 2)
{
	$stream->start('failed', messages => '', publication_names => 'failing');
	$next = $bad - 500;
	my $message;
	while ($message = $stream->receive($LATE))
	{
		last unless $message->{type} =~ /^[wk]$/;
		foreach (ids($message)) { $next++ if $_ == $next }
	}
	is($message && $message->{fields}{C}, '22012', "a row filter fails, round $round");
	is($next, $bad, 'after all that came before it');
	$stream->finish;
	is($stream->query('IDENTIFY_SYSTEM')->[0][3], 'postgres', 'the same connection answers a command');
}
is($stream->query('SELECT count(*) FROM item WHERE id >= ' . ($bad - 500))->[0][0], 1000, 'and SQL');
is(scalar(@{ $stream->query(q{SELECT data FROM pg_logical_slot_peek_changes('failed', NULL, NULL, 'messages', '', 'batch', 'on')}) }), 1000,
	'reading by SQL in it');
$stream->start('failed', messages => '', publication_names => 'sound');
$next = $bad - 500;
while ($next <= $last)
{
	my $message = $stream->receive($LATE) or last;
	foreach (ids($message)) { $next++ if $_ == $next }
}
is($next, $last + 1, 'and is read to the end with another publication');
$stream->cut;
free_slot('failed');

# ---- commits that wait for the consumer
create_slot('sync');
my $child = consumer();
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'consumer'");
$node->reload;
$node->poll(q{SELECT sync_state FROM pg_stat_replication WHERE application_name = 'consumer'}, 'sync');
my $slow = time;
$node->command_ok([ 'pgbench', '-n', '-f', $file, '-c', 4, '-t', 100, 'postgres' ], 'commits with a synchronous consumer');
cmp_ok(time - $slow, '<', 30, 'wait for no keepalive');

# of several that are flushed at once none waits for the next (1600 flushes would be
# postponed); on a busy machine some are seen late, and then may wait
kill('USR1', $child);
free_slot('sync');
Concord::Cluster::stop_child($child);
$child = consumer();
$node->poll(q{SELECT sync_state FROM pg_stat_replication WHERE application_name = 'consumer'}, 'sync');
$log = -s $node->logfile;
my $lazy = Concord::Stream->new($node, 'postgres');
foreach my $round (1 .. 20)
{
	$lazy->query('SET synchronous_commit = off');
	$lazy->query(sprintf('CALL singles(%d, %d)', $last + 1, $last + 20));
	$lazy->query('SET synchronous_commit = on');
	$lazy->query(sprintf('INSERT INTO item VALUES (%d)', $last + 21));
	$last += 21;
}
$lazy->cut;
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
kill('USR1', $child);
($spared, $wanted) = postponed($log);
cmp_ok($spared, '<', 800, "420 commits that have just begun to wait are sent: $spared flushes were postponed");
Concord::Cluster::stop_child($child);

$node->stop;
done_testing();
