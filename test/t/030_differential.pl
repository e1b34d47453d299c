# The same WAL through pgoutput and through concord_decoder, compared row for
# row; see test/differential/README.md.
#
#	CONCORD_SEED=17 CONCORD_TRANSACTIONS=20000 make check TESTS=differential
use strict;
use warnings;
use Concord::Cluster;
use Test::More;

my $node = Concord::Cluster->create('main', conf => "logical_decoding_work_mem = 64kB
autovacuum = off
max_replication_slots = 10");
my $transactions = $ENV{CONCORD_TRANSACTIONS} || 350;
my @seeds = defined $ENV{CONCORD_SEED} ? ($ENV{CONCORD_SEED}) : (1, 1 + int(rand(1_000_000)));

foreach my $seed (@seeds)
{
	my ($compared, $transcript) = (0, '');
	open my $run, '-|', 'python3', "$ENV{CONCORD_SRC}/test/differential/run",
	  '--host', $node->host, '--port', $node->port,
	  '--seed', $seed, '--transactions', $transactions
	  or die "python3: $!";
	while (my $line = <$run>)
	{
		chomp $line;
		if ($line =~ /^(not )?ok - (.*)/)
		{
			$compared++;
			ok(!$1, "seed $seed: $2");
		}
		else
		{
			note($line);
			diag($line) if $transcript =~ /^not ok/m;
		}
		$transcript .= "$line\n";
	}
	close $run;
	is($?, $transcript =~ /^not ok/m ? 256 : 0, "seed $seed: the comparison ran to its end");
	cmp_ok($compared, '>=', 20, "seed $seed: everything was compared");
}

$node->stop;
done_testing();
