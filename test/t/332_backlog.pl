# Many pending events: a courier that starts in front of them starts as quickly,
# and needs as little memory, as in front of few; while the system is down, while
# one record holds up its key, and while all of it is delivered.
#
# CONCORD_TEST_ROWS is how many (default 40000; a million takes a few minutes).
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time usleep);

plan(skip_all => 'needs /proc') unless -r '/proc/self/status';

my $rows = $ENV{CONCORD_TEST_ROWS} || 40_000;
my $limit = 150;    # MiB of a courier's own memory
my $node = Concord::Cluster->create('backlog', conf => "max_wal_size = 8GB\nautovacuum = off");
my $erp = Concord::Sandbox->new(no_log => 1);
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub pid { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'"); }

# own(PID): resident memory that is not shared memory of the server, in MiB
sub own
{
	my ($pid) = @_;
	my %size;
	open(my $file, '<', "/proc/$pid/status") or return 0;
	while (<$file>) { $size{$1} = $2 if /^(VmRSS|RssShmem):\s+(\d+) kB/; }
	close($file);
	return (($size{VmRSS} // 0) - ($size{RssShmem} // 0)) / 1024;
}

# watch(CONDITION, SECONDS): until it holds; the most memory that was seen
sub watch
{
	my ($condition, $seconds) = @_;
	my ($pid, $most, $until) = (pid(), 0, time + $seconds);
	until ($condition->() || time > $until)
	{
		my $now = own($pid);
		$most = $now if $now > $most;
		usleep(100_000);
	}
	my $now = own($pid);
	return $now > $most ? $now : $most;
}

sub restart
{
	my $began = time;
	$node->stop('fast');
	$node->start;
	$node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '1');
	return $began;
}

my $url = $erp->url('/hook/in');
my $rest = $erp->url('/rest/');
sql(qq{
	CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$url', concurrency '4', breaker_cooldown '100ms', retry_base '100ms', retry_cap '500ms');
	CREATE TABLE wide (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b text, c numeric, d timestamptz DEFAULT now());
	SELECT concord.create_mapping('wide', 'wide', 'hook', 'wide', '{"a": "a", "b": "upper(b)", "c": "c", "d": "d"}',
		options => '{"batch_size": 100, "audit": "off"}')});
$erp->control('POST', 'sets', { path => '/hook/in', keep => JSON::PP::false });

# a courier without anything to do
sql("INSERT INTO wide (a, b, c) VALUES (0, 'first', 0)");
is(sql("SELECT concord.wait_for_delivery('wide')"), 't', 'the first is delivered');
my $idle = own(pid());
ok($idle > 0 && $idle < $limit, sprintf('idle: %.0f MiB', $idle));

# the system is away, and all of them wait
$erp->stop;
for (my $left = $rows; $left > 0; $left -= 100_000)
{
	my $n = $left < 100_000 ? $left : 100_000;
	sql("INSERT INTO wide (a, b, c) SELECT i, 'row ' || i || repeat('.', 60), i * 1.25 FROM generate_series(1, $n) i");
}
is(sql("SELECT concord.wait_for_capture('600s')"), 't', 'all are captured');
is(sql("SELECT pending >= least($rows, 100000) FROM concord.status WHERE mapping = 'wide'"), 't', 'and pending (counted up to 100000)');
my $down = watch(sub { return 0; }, 3);
ok($down < $limit, sprintf('%d pending, the system down: %.0f MiB', $rows, $down));

# a restart in front of them
my $began = restart();
ok($node->poll("SELECT breaker <> 'closed' FROM concord.status WHERE mapping = 'wide'"), 'a new courier has tried');
my $start = time - $began;
cmp_ok($start, '<', 20, sprintf('%.1f s after the stop of the old one', $start));
$down = watch(sub { return 0; }, 3);
ok($down < $limit, sprintf('started with %d pending: %.0f MiB', $rows, $down));

# a status of a million is a look at positions, not at events
my $asked = time;
sql('SELECT * FROM concord.status');
cmp_ok(time - $asked, '<', 5, sprintf('the status takes %.0f ms', 1000 * (time - $asked)));

# the system is back: all of it goes out
$began = time;
$erp->start;
my $most = watch(sub { return sql("SELECT pending = 0 FROM concord.status WHERE mapping = 'wide'") eq 't'; }, 900);
my $took = time - $began;
is(sql("SELECT concord.wait_for_delivery('wide', '60s')"), 't', 'all are delivered');
ok($most < $limit, sprintf('while %d were delivered in %.0f s: %.0f MiB', $rows, $took, $most));
is(sql("SELECT delivered = $rows + 1 FROM concord.status WHERE mapping = 'wide'"), 't', 'each of them once') or diag(sql('SELECT * FROM concord.status'));
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
note(sprintf('%d pending: idle %.1f MiB, waiting %.1f MiB, delivering %.1f MiB, %.1f s from stop to first try, %.0f events/s',
		$rows, $idle, $down, $most, $start, $rows / $took));

$node->stop;
done_testing();
