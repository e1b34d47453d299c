# A session that calls many times in one transaction keeps nothing of it.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('live_memory');
ok($node->ready, 'capture is ready');

my $url = $erp->url('/rest/shop/');
$node->safe_psql('postgres', qq(CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')));

# grown(BEFORE): kB that 500 calls leave behind in one transaction, after 100
sub grown
{
	my ($before) = @_;
	my $calls = "SELECT count(*) FROM generate_series(1, %d) i, LATERAL concord.call('shop', 'GET', 'things/' || i);\n";
	my $total = "SELECT 'total ' || sum(total_bytes) / 1024 FROM pg_backend_memory_contexts;\n";
	my $out = $node->safe_psql('postgres', "BEGIN;\n$before;\n" . sprintf($calls, 100) . $total .
		join('', map { "SELECT (SELECT status FROM concord.call('shop', 'GET', 'things/1'));\n" } 1 .. 500) . $total . 'ROLLBACK');
	my ($first, $last) = $out =~ /total (\d+)/g;
	return $last - $first;
}

cmp_ok(grown('SELECT 1'), '<', 500, 'a transaction with many calls');
cmp_ok(grown("ALTER SERVER shop OPTIONS (ADD timeout '7s')"), '<', 500, 'one that has changed the server');

done_testing();
