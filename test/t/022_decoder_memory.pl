# The output plugin's memory: what a reading through pg_recvlogical takes
# above one that sends nothing (tables = 'none.none': core's work is the same).
#
#	CONCORD_TEST_ROWS=5000000	rows of the one large transaction
#	CONCORD_TEST_VALUE=600		megabytes of the large values
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

plan skip_all => 'needs /proc' unless -r '/proc/self/status';
plan skip_all => 'a sanitizer keeps what is freed' if $ENV{CONCORD_SANITIZED};

my $rows = $ENV{CONCORD_TEST_ROWS} || 300_000;
my $value = $ENV{CONCORD_TEST_VALUE} || 40;
my $node = Concord::Cluster->create('main', without => ['shared_preload_libraries'],
	conf => join("\n", 'logical_decoding_work_mem = 1MB', 'fsync = off', 'max_wal_size = 8GB', 'autovacuum = off'));

# anonymous_kb(PID): the process's own memory now, without shared buffers
sub anonymous_kb
{
	my ($pid) = @_;
	my $status = eval { slurp_file("/proc/$pid/status") } || '';
	return $status =~ /RssAnon:\s+(\d+)/ ? $1 : 0;
}

# take(SLOT, LSN, OPTIONS): reads a copy of the slot up to LSN; gives what the
# walsender had at most, and once it was done, in megabytes
sub take
{
	my ($slot, $lsn, @options) = @_;
	$node->safe_psql('postgres', "SELECT pg_copy_logical_replication_slot('$slot', 'reader')");
	my $file = "$PostgreSQL::Test::Utils::tmp_check/reader.out";
	my $reader = Concord::Cluster::start_child('pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 'reader',
		'--start', '--no-loop', '-s', '1', '-F', '0', '-f', $file, map { ('-o', $_) } @options);
	ok($node->poll(q(SELECT active FROM pg_replication_slots WHERE slot_name = 'reader')), "@options: the reader is there")
		or return (0, 0);
	my $pid = $node->safe_psql('postgres', q(SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'reader'));
	my $most = 0;
	my $end = time + 10 * $Concord::Cluster::TIMEOUT;
	my $done = 0;
	for (my $n = 1; !$done && time < $end; $n++)
	{
		my $now = anonymous_kb($pid);
		$most = $now if $now > $most;
		usleep(1_000);
		$done = $n % 500 == 0 && $node->safe_psql('postgres',
			"SELECT flush_lsn >= '$lsn' FROM pg_stat_replication WHERE pid = $pid") eq 't';
	}
	ok($done, "@options: everything was read");
	my $after = anonymous_kb($pid);
	my $size = -s $file;
	Concord::Cluster::stop_child($reader);
	unlink $file;
	$node->poll(q(SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'reader'));
	$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('reader')));
	note(sprintf('%s: at most %.1f MB, then %.1f MB; %.1f MB sent', "@options", $most / 1024, $after / 1024, $size / 1048576));
	return ($most / 1024, $after / 1024, $size / 1048576);
}

# make_slot(NAME, SQL): a slot that has what SQL writes in front of it
sub make_slot
{
	my ($name, @sql) = @_;
	$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('$name', 'concord_decoder')");
	$node->safe_psql('postgres', $_) foreach @sql;
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
}

$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, note text, at timestamptz DEFAULT '2026-01-01', n numeric DEFAULT 1.50, a int[] DEFAULT '{1,2}');
	CREATE TABLE v (id int PRIMARY KEY, plain text, packed text, fast text, raw bytea, doc jsonb);
	ALTER TABLE v ALTER plain SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL, ALTER doc SET STORAGE EXTERNAL));
$node->psql('postgres', 'ALTER TABLE v ALTER fast SET COMPRESSION lz4');

# --- one large transaction
my $lsn = make_slot('rows', "INSERT INTO t SELECT i, repeat('note ', 20) || i FROM generate_series(1, $rows) i");
my ($floor) = take('rows', $lsn, 'tables=none.none');
foreach my $format (qw(json binary))
{
	my ($most, $after, $sent) = take('rows', $lsn, "format=$format");
	ok($sent > $rows / 1048576 * 100, "$format: $rows rows were sent");
	ok($most - $floor < 64, "$format: $rows rows of one transaction stay within 64 MB");
}
$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('rows')));

# --- large values, each in a row of its own
my $text = "SELECT repeat('0123456789', $value * 104857) AS v";
$lsn = make_slot('large',
	"INSERT INTO v (id, plain) SELECT 1, v FROM ($text) x",
	"INSERT INTO v (id, packed) SELECT 2, v FROM ($text) x",
	"INSERT INTO v (id, fast) SELECT 3, v FROM ($text) x",
	# a jsonb has 256 MB at most
	"INSERT INTO v (id, doc) SELECT 4, to_jsonb(ARRAY[left(v, 250000000)]) FROM ($text) x",
	# the largest event last: core's send buffer keeps its size
	"INSERT INTO v (id, raw) SELECT 5, v::bytea FROM ($text) x");
my @floor = take('large', $lsn, 'tables=none.none');
foreach my $format (qw(json binary cloudevents debezium))
{
	my ($most, $after, $sent) = take('large', $lsn, "format=$format", 'max_value=1MB');
	ok($sent < 0.1, "$format: markers instead of values of $value MB");
	ok($most - $floor[0] < 8, "$format: a value above max_value costs nothing");
	ok($after - $floor[1] < 8, "$format: nor later");

	# The value where it was compressed, the event, and core's send buffer, which
	# a walsender keeps for good; base 64 has 4/3 times a bytea's bytes, and an
	# event 512 MB at most.
	($most, $after, $sent) = take('large', $lsn, "format=$format", 'max_value=0');
	my $event = ($format eq 'binary' ? 1 : 4 / 3) * $value;
	$event = 512 if $event > 512;
	ok($sent > 4 * $value, "$format: without max_value, values are sent") if $value <= 300;
	ok($most - $floor[0] < 3 * $value + 8, "$format: at most three times a value");
	ok($after - $floor[1] < $event + 32, "$format: given back after the row");
}
$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('large')));

# --- a session that reads again and again keeps nothing of it.  What it has
#     after the first time is malloc's, and caches that lie above what was freed.
my $more = $value < 100 ? 100 : $value > 300 ? 300 : $value;
$text = "SELECT repeat('0123456789', $more * 104857) AS v";
make_slot('session', "INSERT INTO v (id, plain) SELECT 6, v FROM ($text) x",
	"SELECT pg_logical_emit_message(true, 'large', v) FROM ($text) x");
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $before;
foreach my $options ("'format', 'json'", "'format', 'binary'", "'format', 'json'", "'format', 'binary'")
{
	is($session->query_safe("SELECT count(*) FROM pg_logical_slot_peek_binary_changes('session', NULL, NULL, 'max_value', '0', $options)
		WHERE length(data) > $more * 1000000"), 2, "session: a row and a message of $more MB as $options");
	my $now = anonymous_kb($pid);
	note("session: $now kB after it");
	ok($now - $before < 16 * 1024, 'session: nothing is kept') if defined $before;
	$before = $now unless defined $before && $before > $now;
}
$session->quit;
$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('session')));

$node->stop;
done_testing();
