# A private server with pg_concord: a thin layer over PostgreSQL::Test::Cluster.
#
#	my $node = Concord::Cluster->create('main', conf => "pg_concord.couriers = 2");
#	$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
#	$node->poll("SELECT count(*) FROM got", 3);           # until it is 3
#	my $erp = $node->sandbox;                              # its base URL
#
# Every wait polls something that can be observed, and dies after TIMEOUT
# seconds with what was seen last.
package Concord::Cluster;

use strict;
use warnings;

use parent 'PostgreSQL::Test::Cluster';

use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils ();    # its functions would hide methods
use Test::More ();
use Time::HiRes qw(usleep time);

our $TIMEOUT = $ENV{CONCORD_TEST_TIMEOUT} || 60;

# The settings that the extension needs; a hash, so that a test may leave out
# or change one.
sub settings
{
	my %settings = (
		shared_preload_libraries => "'pg_concord'",
		wal_level => 'logical',
		max_worker_processes => 24,
		max_replication_slots => 20,
		max_wal_senders => 10,
		max_prepared_transactions => 10,
		autovacuum => 'on',
		log_line_prefix => q('%m [%p] %b %q%a '));
	$settings{output_plugin_libraries} =
	  q('pgoutput, test_decoding, concord_decoder')
	  if knows_plugin_list();
	return %settings;
}

# Whether this minor version has output_plugin_libraries.
sub knows_plugin_list
{
	my $all = `postgres --describe-config 2>/dev/null`;
	return $all =~ /^output_plugin_libraries\b/m;
}

# create(NAME, conf => TEXT, without => [SETTING, ...], start => 0)
sub create
{
	my ($class, $name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	bless $node, $class;
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	my %settings = settings();
	delete $settings{$_} foreach @{ $options{without} || [] };
	$node->append_conf('postgresql.conf',
		join("\n", map { "$_ = $settings{$_}" } sort keys %settings) . "\n");
	$node->append_conf('postgresql.conf', $options{conf} . "\n")
	  if $options{conf};
	$node->start unless exists $options{start} && !$options{start};
	return $node;
}

# poll(QUERY, EXPECTED, DATABASE): runs it until it gives EXPECTED ('t').
sub poll
{
	my ($self, $query, $expected, $database) = @_;
	$expected = 't' unless defined $expected;
	$database ||= 'postgres';
	my $end = time + $TIMEOUT;
	my ($out, $err);
	for (;;)
	{
		($out, $err) = (undef, undef);
		# a server that is not up yet: psql may be gone before it has the query
		eval { $self->psql($database, $query, stdout => \$out, stderr => \$err); 1 }
		  or $@ =~ /Broken pipe/
		  or die $@;
		return 1 if defined $out && $out eq $expected;
		last if time > $end;
		usleep(50_000);
	}
	Test::More::diag("poll: $query\nexpected: $expected\nlast: "
		  . ($out // '') . "\nerror: " . ($err // ''));
	return 0;
}

# poll_log(PATTERN, OFFSET): until the server's log matches behind OFFSET.
sub poll_log
{
	my ($self, $pattern, $offset) = @_;
	my $end = time + $TIMEOUT;
	do
	{
		return 1 if substr(PostgreSQL::Test::Utils::slurp_file($self->logfile), $offset || 0) =~ $pattern;
		usleep(50_000);
	} while (time < $end);
	return 0;
}

# crash(PID): kills a process of the server, and waits until the server, which
# restarts all of them, is there again.
sub crash
{
	my ($self, $pid) = @_;
	my $offset = -s $self->logfile;
	kill('KILL', $pid) or return 0;
	return $self->poll_log(qr/database system is ready to accept connections/, $offset);
}

# within(SECONDS, LABEL, CODE): CODE takes less time than that, or returns less,
# where it measures by itself.  On a machine that is busy anything is slow now and
# then; what is slow by itself is slow each time: the best of five counts.
sub within
{
	my ($seconds, $label, $code) = @_;
	my @took;
	for (1 .. 5)
	{
		my $begin = time;
		my $measured = $code->();
		push @took, $measured // time - $begin;
		last if $took[-1] < $seconds;
	}
	return Test::More::ok($took[-1] < $seconds, sprintf('%s (%.2f s)', $label, $took[-1]))
	  || Test::More::diag("wanted less than $seconds s, took @took");
}

# workers(DATABASE): their kinds, sorted, each with its number.
sub workers
{
	my ($self, $database) = @_;
	return $self->safe_psql('postgres',
		"SELECT string_agg(backend_type || ' ' || n, ', ' ORDER BY backend_type)
		 FROM (SELECT backend_type, count(*) AS n FROM pg_stat_activity
			   WHERE backend_type LIKE 'concord %' AND datname = '$database'
			   AND backend_type <> 'concord scout' GROUP BY 1) AS w");
}

# ready(DATABASE): the extension is there and capture runs.
sub ready
{
	my ($self, $database) = @_;
	$database ||= 'postgres';
	$self->safe_psql($database, 'CREATE EXTENSION IF NOT EXISTS pg_concord');
	return $self->safe_psql($database,
		"SELECT concord.wait_for_capture('60s')") eq 't';
}

# free_port: a TCP port on the loopback that nobody uses now.
sub free_port
{
	my $socket = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => 0,
		Proto => 'tcp',
		Listen => 1) or die "no free port: $!";
	return $socket->sockport;
}

# sandbox(ARGUMENTS): starts the fake ERP on a free port; returns its base URL.
# It is ended with the test.
our @children;

sub sandbox
{
	my ($self, @arguments) = @_;
	my $port = free_port();
	my $program = "$ENV{CONCORD_SRC}/test/sandbox/sandbox";
	start_child($program, '--port', $port, @arguments);
	wait_port($port) or die "the sandbox does not listen";
	return "http://127.0.0.1:$port";
}

# left_out(PEER): whether we were told to do without a peer of test/peers.
sub left_out
{
	my ($peer) = @_;
	return scalar grep { $_ eq $peer } split(/[\s,]+/, $ENV{SKIP_PEERS} || '');
}

# start_child(PROGRAM, ...): runs it, its output in the test's log folder.
sub start_child
{
	my @command = @_;
	my $log = $PostgreSQL::Test::Utils::log_path . '/child_' . scalar(@children) . '.log';
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDOUT, '>', $log);
		open(STDERR, '>&', \*STDOUT);
		exec(@command) or POSIX::_exit(127);
	}
	push @children, $pid;
	return $pid;
}

# stop_child(PID, SIGNAL)
sub stop_child
{
	my ($pid, $signal) = @_;
	kill($signal || 'TERM', $pid);
	waitpid($pid, 0);
	@children = grep { $_ != $pid } @children;
	return;
}

# wait_port(PORT): until somebody listens there.
sub wait_port
{
	my ($port) = @_;
	my $end = time + $TIMEOUT;
	while (time < $end)
	{
		return 1
		  if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port,
			Proto => 'tcp');
		usleep(20_000);
	}
	return 0;
}

END
{
	my $status = $?;
	my @all = @children;	# stop_child takes them out
	stop_child($_) foreach @all;
	$? = $status;
}

1;
