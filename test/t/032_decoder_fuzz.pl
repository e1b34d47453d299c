# Random and mutated options and values through the decoder; see
# test/fuzz/README.md.
#
#	CONCORD_SEED=17 CONCORD_FUZZ_SECONDS=600 make check TESTS=fuzz
use strict;
use warnings;
use Concord::Cluster;
use Test::More;

my $node = Concord::Cluster->create('main', conf => "logical_decoding_work_mem = 64kB
autovacuum = off");
my $seconds = $ENV{CONCORD_FUZZ_SECONDS} || 3;
my @seeds = defined $ENV{CONCORD_SEED} ? ($ENV{CONCORD_SEED}) : (1, 1 + int(rand(1_000_000)));

foreach my $fuzzer (qw(options values))
{
	foreach my $seed (@seeds)
	{
		my @command = ('python3', "$ENV{CONCORD_SRC}/test/fuzz/$fuzzer",
			'--host', $node->host, '--port', $node->port, '--seed', $seed, '--seconds', $seconds);
		my $told = `@command`;
		is($?, 0, "$fuzzer, seed $seed");
		$? == 0 ? note($told) : diag($told);
	}
}
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal/,
	'no process has crashed');

$node->stop;
done_testing();
