# Mutated metadata through IMPORT FOREIGN SCHEMA; see test/fuzz/README.md.
#
#	CONCORD_SEED=17 CONCORD_FUZZ_SECONDS=600 make check TESTS=import_fuzz
use strict;
use warnings;
use Concord::Cluster;
use Test::More;

my $node = Concord::Cluster->create('main', conf => 'autovacuum = off');
my $seconds = $ENV{CONCORD_FUZZ_SECONDS} || 3;
my @seeds = defined $ENV{CONCORD_SEED} ? ($ENV{CONCORD_SEED}) : (1, 1 + int(rand(1_000_000)));

foreach my $seed (@seeds)
{
	my @command = ('python3', "$ENV{CONCORD_SRC}/test/fuzz/metadata",
		'--host', $node->host, '--port', $node->port, '--seed', $seed, '--seconds', $seconds);
	my $told = `@command 2>&1`;
	is($?, 0, "seed $seed");
	$? == 0 ? note($told) : diag($told);
}
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal/,
	'no process has crashed');

$node->stop;
done_testing();
