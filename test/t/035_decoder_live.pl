# Transactions that are read while they are open, prepared, or rolled back; the
# position of a slot whose consumer has nothing to read.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = Concord::Cluster->create('main', conf => "logical_decoding_work_mem = 64kB\nwal_sender_timeout = 30s\nautovacuum = off");
my %receivers;

# receive(SLOT, OPTION => VALUE, ...): a client that writes to a file of its own.
sub receive
{
	my ($slot, %options) = @_;
	my $file = $node->basedir . "/$slot.out";
	my $name = delete $options{application_name} || $slot;
	open my $handle, '>', $file or die "$file: $!";
	close $handle;
	my $log = "$file.log";
	my $client = IPC::Run::start(
		[ 'pg_recvlogical', '-d', $node->connstr('postgres') . " application_name=$name", '-S', $slot, '--start', '--no-loop',
			'-F', '1', '-s', '1', '-f', $file, map { ('-o', "$_=$options{$_}") } sort keys %options ],
		'>', $log, '2>', "$log.err");
	$receivers{$slot} = { client => $client, file => $file };
	$node->poll("SELECT count(*) FROM pg_stat_replication WHERE application_name = '$name'", 1)
	  or diag(slurp_file("$log.err"));
	return;
}

# stop(SLOT): it is gone, and the slot is free.
sub stop
{
	my ($slot) = @_;
	my $receiver = delete $receivers{$slot};
	$receiver->{client}->signal('TERM');
	eval { $receiver->{client}->finish };
	$node->poll("SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'", 'f');
	return;
}

# events(SLOT): what has come so far; an event that is half there does not count.
sub events
{
	my ($slot) = @_;
	my $receiver = $receivers{$slot};
	open my $handle, '<:raw', $receiver->{file} or die "$receiver->{file}: $!";
	seek $handle, $receiver->{read} //= 0, 0;
	while (my $line = <$handle>)
	{
		last unless $line =~ /\n\z/;
		$receiver->{read} += length($line);
		push @{ $receiver->{events} }, JSON::PP->new->decode($line);
	}
	close $handle;
	return @{ $receiver->{events} || [] };
}

# wait_event(SLOT, TEST): until an event passes it.
sub wait_event
{
	my ($slot, $test) = @_;
	my $end = time + $Concord::Cluster::TIMEOUT;
	my @events;
	my $seen = 0;
	do
	{
		@events = events($slot);
		return 1 if grep { $test->() } @events[ $seen .. $#events ];
		$seen = @events;
		usleep(50_000);
	} while (time < $end);
	diag("$slot: " . @events . ' events, last: ' . (@events ? JSON::PP->new->canonical->encode($events[-1]) : ''));
	return 0;
}

# kept(EVENTS): what a consumer has of them once aborts are honoured, at commits.
sub kept
{
	my (%open, @kept);
	foreach my $e (@_)
	{
		my $xid = $e->{xid};
		if ($e->{streamed})
		{
			push @{ $open{$xid} }, $e if $e->{ordinal};
		}
		elsif ($e->{op} eq 'stream_abort')
		{
			my $sub = $e->{subxid};
			$open{$xid} = [ grep { defined $sub && ($_->{subxid} // 0) != $sub } @{ $open{$xid} || [] } ];
		}
		elsif ($e->{op} eq 'stream_commit')
		{
			push @kept, @{ delete $open{$xid} };
		}
		else
		{
			push @kept, $e if exists $e->{ordinal};
		}
	}
	return @kept;
}

# ids(EVENTS)
sub ids { return join ' ', map { $_->{id} } @_ }

sub session { return $node->background_psql('postgres') }

# WAL is sent as far as it is flushed, which the rollback of a savepoint does not do.
sub flush_wal
{
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'flush', '')});
	return;
}

my $x = "repeat('x', 100)";
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_concord;
	CREATE TABLE a (id int PRIMARY KEY, v text);
	CREATE TABLE b (id int PRIMARY KEY, v text);
	ALTER TABLE b ALTER v SET STORAGE EXTERNAL;
	CREATE TABLE nobody (id int);
	SELECT pg_create_logical_replication_slot(s, 'concord_decoder') FROM unnest('{live,whole,bin}'::text[]) s;
});
receive('live', streaming => 'on', include_transaction => 'on', max_value => '1MB', messages => 'app');
receive('bin', streaming => 'on', format => 'binary', messages => 'app');

# bin_too(): the other reader has decoded what is there: it would not send what
# it finds rolled back.
sub bin_too
{
	flush_wal();
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
	$node->poll("SELECT sent_lsn >= '$lsn' FROM pg_stat_replication WHERE application_name = 'bin'");
	return;
}

# ---- open transactions, in turns
my ($one, $two) = (session(), session());
$one->query_safe("BEGIN; INSERT INTO a SELECT i, $x FROM generate_series(1, 2000) i");
ok(wait_event('live', sub { $_->{streamed} && ($_->{key}{id} // 0) == 1000 }), 'an open transaction is read');
$two->query_safe("BEGIN; INSERT INTO a SELECT i, $x FROM generate_series(10001, 12000) i");
ok(wait_event('live', sub { $_->{streamed} && ($_->{key}{id} // 0) == 11000 }), 'another one');
$one->query_safe("INSERT INTO a SELECT i, $x FROM generate_series(2001, 4000) i");
ok(wait_event('live', sub { $_->{streamed} && ($_->{key}{id} // 0) == 3000 }), 'and the first again');
$node->safe_psql('postgres', "SELECT pg_logical_emit_message(false, 'app', 'hello'); INSERT INTO a VALUES (50000, 'short')");
ok(wait_event('live', sub { ($_->{content} // '') eq 'hello' }), 'a message outside transactions waits for nobody');
ok(wait_event('live', sub { ($_->{key}{id} // 0) == 50000 && !$_->{streamed} && $_->{lsn} }), 'nor does a transaction that was short');

# a savepoint's rollback is told while the transaction is open
$one->query_safe("SAVEPOINT s; INSERT INTO a SELECT i, $x FROM generate_series(5001, 7000) i");
ok(wait_event('live', sub { $_->{streamed} && $_->{subxid} && ($_->{key}{id} // 0) == 6000 }), 'changes of a savepoint name it');
bin_too();
$one->query_safe('ROLLBACK TO s');
flush_wal();
ok(wait_event('live', sub { $_->{op} eq 'stream_abort' && $_->{subxid} && $_->{lsn} }), 'its rollback is told');
$one->query_safe("SAVEPOINT t; INSERT INTO b VALUES (1, repeat('y', 20000000))");
ok(wait_event('live', sub { ($_->{table} // '') eq 'b' && $_->{streamed} }), 'a value that was on disk');
my ($large) = grep { ($_->{table} // '') eq 'b' } events('live');
bin_too();
$one->query_safe('ROLLBACK TO t');
flush_wal();
ok(wait_event('live', sub { $_->{op} eq 'stream_abort' && ($_->{subxid} // 0) == $large->{subxid} }), 'its rollback is told, too');
$one->query_safe("SAVEPOINT u; SELECT pg_logical_emit_message(true, 'app', repeat('m', 1000)) FROM generate_series(1, 300)");
ok(wait_event('live', sub { ($_->{content} // '') =~ /^mmm/ && $_->{subxid} }), 'messages of a savepoint name it');
my ($message) = grep { ($_->{content} // '') =~ /^mmm/ } events('live');
bin_too();
$one->query_safe('ROLLBACK TO u');
flush_wal();
ok(wait_event('live', sub { $_->{op} eq 'stream_abort' && ($_->{subxid} // 0) == $message->{subxid} }), 'and go with it');
$two->query_safe('ROLLBACK');
ok(wait_event('live', sub { $_->{op} eq 'stream_abort' && !$_->{subxid} }), 'a whole transaction is rolled back');
$one->query_safe("INSERT INTO a VALUES (4001, 'last'); COMMIT");
ok(wait_event('live', sub { $_->{op} eq 'stream_commit' && $_->{time} && $_->{lsn} }), 'the other commits');

my @events = events('live');
my @blocks = map { $_->{xid} } grep { $_->{op} eq 'stream_start' } @events;
my $turns = grep { $blocks[$_] != $blocks[ $_ - 1 ] } 1 .. $#blocks;
cmp_ok($turns, '>=', 2, 'blocks came in turns');
my ($commit) = grep { $_->{op} eq 'stream_commit' } @events;
my @own = grep { $_->{xid} && $_->{xid} == $commit->{xid} && $_->{ordinal} } @events;
is(join(',', map { $_->{ordinal} } @own), join(',', 1 .. $commit->{events}), 'events are numbered over blocks');

# what is left is what is sent without streaming
receive('whole', messages => 'app');
ok(wait_event('whole', sub { ($_->{key}{id} // 0) == 4001 }), 'without streaming');
my @whole = events('whole');
is(scalar(@whole), 4003, 'rows and a message');
is(ids(sort { $a->{id} cmp $b->{id} } kept(@events), grep { ($_->{transactional} // 1) == 0 } @events),
	ids(sort { $a->{id} cmp $b->{id} } @whole), 'both have the same events, by their ids');

# ---- caches: what another transaction reads between blocks is not this one's
$node->safe_psql('postgres', 'CREATE SCHEMA old; CREATE TABLE old.c (id int PRIMARY KEY, v text)');
$one->query_safe("BEGIN; ALTER SCHEMA old RENAME TO renamed; INSERT INTO renamed.c SELECT i, $x FROM generate_series(1, 2000) i");
ok(wait_event('live', sub { ($_->{schema} // '') eq 'renamed' && $_->{key}{id} == 1000 }), 'a schema under its new name');
$node->safe_psql('postgres', "INSERT INTO old.c VALUES (100000, 'as others see it')");
ok(wait_event('live', sub { ($_->{schema} // '') eq 'old' && $_->{key}{id} == 100000 }), 'others have the old one');
$one->query_safe("INSERT INTO renamed.c SELECT i, $x FROM generate_series(2001, 4000) i; COMMIT");
ok(wait_event('live', sub { ($_->{table} // '') eq 'c' && $_->{key}{id} == 4000 }), 'the rest');
is(join(' ', sort { $a cmp $b } map { $_->{schema} } grep { ($_->{table} // '') eq 'c' && $_->{key}{id} > 2000 } events('live')),
	join(' ', 'old', ('renamed') x 2000), 'every row under its name');

# ---- definitions that were sent in what is rolled back
$one->query_safe("BEGIN; ALTER TABLE a ADD w int; INSERT INTO a SELECT i, $x FROM generate_series(60001, 62000) i");
ok(wait_event('live', sub { ($_->{key}{id} // 0) == 61000 && exists $_->{new}{w} }), 'a new column');
bin_too();
$one->query_safe('ROLLBACK');
$node->safe_psql('postgres', "INSERT INTO a VALUES (63001, 'without')");
$one->query_safe("BEGIN; ALTER TABLE a ADD w int; INSERT INTO a SELECT i, $x FROM generate_series(60001, 62000) i; COMMIT");
$node->safe_psql('postgres', "INSERT INTO a VALUES (63002, 'with')");
ok(wait_event('live', sub { ($_->{key}{id} // 0) == 63002 && exists $_->{new}{w} }), 'the same column again');
my ($without) = grep { ($_->{key}{id} // 0) == 63001 } events('live');
ok(!exists $without->{new}{w}, 'others were without it');

# varint(BYTES, POSITION): value, and the position after it
sub varint
{
	my ($bytes, $p) = @_;
	my ($v, $shift) = (0, 0);
	for (;;)
	{
		my $byte = ord(substr($$bytes, $p++, 1));
		$v |= ($byte & 127) << $shift;
		$shift += 7;
		return ($v, $p) if $byte < 128;
	}
}
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$node->poll("SELECT bool_and(confirmed_flush_lsn >= '$lsn') FROM pg_replication_slots WHERE slot_name = 'bin'");
my $bytes = slurp_file($receivers{bin}{file});
my ($p, $number, %known, %rows, $last, @kinds, $unknown) = (0);
while ($p < length($bytes))
{
	# the client ends each write with a line end
	$p++, next if substr($bytes, $p, 1) eq "\n";
	my $kind = substr($bytes, $p, 1);
	my ($length, $start) = varint(\$bytes, $p + 1);
	($number) = varint(\$bytes, $start) if $length;
	$known{$number}++ if $kind eq 'R';
	$unknown++ if $kind =~ /^[IUDT]$/ && !$known{$number};
	$rows{$number}++ if $kind eq 'I';
	push @kinds, $kind unless @kinds && $kinds[-1] eq $kind;
	$p = $start + $length;
}
is($unknown // 0, 0, 'each definition came before what uses it, be it in what was rolled back');
is(scalar(grep { $_ > 1 } values %known), 0, 'and once');
is(scalar(keys %known), 5, 'definitions: a, a with w, b, c under two names');
my %seen = map { $_ => 1 } @kinds;
is(join('', sort keys %seen), 'ABCEHIKMRSX', 'all kinds of messages of streaming');

# ---- prepared: read at once, its fate by another client
stop('live');
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('two', 'concord_decoder')});
receive('two', two_phase => 'on', streaming => 'on', two_phase_gid => 'p*', tables => 'public.a');
$node->safe_psql('postgres', "BEGIN; INSERT INTO a VALUES (70001, 'p'); PREPARE TRANSACTION 'p1'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO a VALUES (70002, 'q'); PREPARE TRANSACTION 'q1'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO a SELECT i, $x FROM generate_series(71001, 73000) i; PREPARE TRANSACTION 'p2'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO nobody VALUES (1); PREPARE TRANSACTION 'p3'");
ok(wait_event('two', sub { $_->{op} eq 'prepare' && $_->{gid} eq 'p1' }), 'PREPARE');
ok(wait_event('two', sub { $_->{op} eq 'stream_prepare' && $_->{gid} eq 'p2' && $_->{events} == 2000 }), 'PREPARE of a transaction that came in blocks');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p2'; COMMIT PREPARED 'p3'");
ok(wait_event('two', sub { $_->{op} eq 'rollback_prepared' && $_->{gid} eq 'p2' && $_->{prepare_lsn} }), 'ROLLBACK PREPARED');
is(scalar(grep { ($_->{key}{id} // 0) == 70002 } events('two')), 0, 'a gid that is not decoded at PREPARE');
is(scalar(grep { ($_->{gid} // '') eq 'p3' } events('two')), 0, 'nothing of a transaction without anything to send');
$lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$node->poll("SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'two'");
stop($_) foreach qw(two bin whole);
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot(s) FROM unnest('{bin,whole,live}'::text[]) s");
receive('two', two_phase_gid => 'p*', streaming => 'on', tables => 'public.a');
$node->safe_psql('postgres', "COMMIT PREPARED 'p1'");
$node->safe_psql('postgres', "COMMIT PREPARED 'q1'");
ok(wait_event('two', sub { $_->{op} eq 'commit_prepared' && $_->{gid} eq 'p1' }), 'COMMIT PREPARED for another client');
ok(wait_event('two', sub { ($_->{key}{id} // 0) == 70002 && !$_->{gid} }), 'the other comes at COMMIT PREPARED');
is(scalar(grep { ($_->{key}{id} // 0) == 70001 } events('two')), 0, 'rows are not sent again');

# ---- a server that crashes with a transaction in progress
$one = session();
$one->query_safe("BEGIN; INSERT INTO a SELECT i, $x FROM generate_series(80001, 82000) i");
ok(wait_event('two', sub { $_->{streamed} && ($_->{key}{id} // 0) == 81000 }), 'in progress');
$node->stop('immediate');
eval { $receivers{two}{client}->finish };
eval { $one->quit };
$node->start;
receive('two', two_phase_gid => 'p*', streaming => 'on', tables => 'public.a');
$node->safe_psql('postgres', "INSERT INTO a VALUES (83001, 'after the crash')");
ok(wait_event('two', sub { ($_->{key}{id} // 0) == 83001 }), 'the stream goes on');
is(scalar(grep { ($_->{key}{id} // 0) > 80000 && $_->{key}{id} < 83000 } kept(events('two'))), 0, 'nothing of it is left');

# ---- origins by name: one that is dropped and created again
$node->safe_psql('postgres', q{
	SELECT pg_replication_origin_create(n) FROM unnest('{north,south}'::text[]) n;
	SELECT pg_create_logical_replication_slot('o', 'concord_decoder')});
my (undef, undef, $error) = $node->psql('postgres', q{START_REPLICATION SLOT "o" LOGICAL 0/0 ("origin" 'north, west')}, replication => 'database');
like($error, qr/replication origin "west" does not exist/, 'a walsender refuses a name that does not exist');
receive('o', origin => 'north,south');
sub from
{
	my ($origin, $id) = @_;
	$node->safe_psql('postgres', "SELECT pg_replication_origin_session_setup('$origin'); INSERT INTO a VALUES ($id, '$origin')");
	return;
}
from('north', 90001);
$node->safe_psql('postgres', "INSERT INTO a VALUES (90002, 'none')");
from('south', 90003);
$node->safe_psql('postgres', q{SELECT pg_replication_origin_create('west')});
from('west', 90004);
$node->safe_psql('postgres', q{SELECT pg_replication_origin_drop('south'); SELECT pg_replication_origin_create('east')});
from('east', 90005);
$node->safe_psql('postgres', q{SELECT pg_replication_origin_create('south')});
from('south', 90006);
from('north', 90007);
ok(wait_event('o', sub { ($_->{key}{id} // 0) == 90007 && $_->{origin} eq 'north' }), 'origins by name');
is(join(' ', map { "$_->{key}{id} $_->{origin}" } events('o')), '90001 north 90003 south 90006 south 90007 north',
	'an origin counts by its name, whatever id it has');
stop('o');

# ---- a slot of which nothing is sent moves on, and holds no commit back
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('o'); SELECT pg_create_logical_replication_slot('idle', 'concord_decoder')});
receive('idle', tables => 'public.none_of_them', two_phase => 'on', application_name => 'waiting');
$node->safe_psql('postgres', "INSERT INTO nobody SELECT generate_series(1, 50000)");
$lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
ok($node->poll("SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'idle'"), 'a filtered slot moves on');
$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'waiting'; SELECT pg_reload_conf()});
ok($node->poll(q{SELECT sync_state FROM pg_stat_replication WHERE application_name = 'waiting'}, 'sync'), 'commits wait for it');
my $begun = time;
$node->safe_psql('postgres', "INSERT INTO nobody VALUES ($_)") foreach 1 .. 2;
$node->safe_psql('postgres', "BEGIN; INSERT INTO nobody VALUES (3); PREPARE TRANSACTION 'w'");
$node->safe_psql('postgres', "COMMIT PREPARED 'w'");
cmp_ok(time - $begun, '<', 25, 'commits without anything to send, before the timeout');
is(scalar(events('idle')), 0, 'nothing was sent');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
stop($_) foreach keys %receivers;

done_testing();
