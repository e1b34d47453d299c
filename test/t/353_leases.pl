# More mappings and shares than there is room for in shared memory: those beyond
# are held by advisory locks, and all the same each is served by one courier, is
# handed over, and nothing is sent twice.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $mappings = 12;
my $set = '/rest/shop/';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('leases', conf => <<~CONF);
	max_worker_processes = 40
	pg_concord.couriers = 2
	pg_concord.max_leases = 5
	CONF
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery(NULL, '60s')"); }
my $locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 3 AND granted";
my $leases = 'SELECT count(*) FROM concord.leases()';

my $url = $erp->url($set);
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', retry_base '20ms')");
sql(<<~SQL);
	SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, v int)', i) FROM generate_series(1, $mappings) i \\gexec
	SELECT concord.create_mapping('t' || i, ('t' || i)::regclass, 'shop', 't' || i, '{"v": "v"}', key => '{"id": "id"}',
			options => CASE WHEN i = $mappings THEN '{"couriers": 2}' ELSE '{}' END::jsonb)
		FROM generate_series(1, $mappings) i;
	SQL

# the rows of all, or the next version of them
my $version = 0;
sub write_all
{
	$version++;
	sql(join("\n", map { "INSERT INTO t$_ SELECT i, $version FROM generate_series(1, 10) i ON CONFLICT (id) DO UPDATE SET v = $version;" }
		  1 .. $mappings));
	return;
}

# each record has been sent each version once, in order
sub check
{
	my ($what) = @_;
	my %seen;

	for my $entry ($erp->log_entries)
	{
		my ($table, $id) = $entry->{path} =~ m{shop/(t\d+)(?:/(\d+))?$} or next;
		my $body = JSON::PP::decode_json($entry->{body});

		$id //= $body->{id};
		push @{ $seen{"$table $id"} }, $body->{v};
	}
	is(scalar keys %seen, 10 * $mappings, "$what: all records are there");
	is_deeply([ grep { "@{ $seen{$_} }" ne join(' ', 1 .. $version) } sort keys %seen ], [], "$what: each version once, in order");
	return;
}

write_all();
is(delivered(), 't', 'all are delivered');
is(sql($leases), '5', 'the table is full');
is(sql($locks), $mappings + 1 - 5, 'the others are locks');
ok($node->poll_log(qr/more than 5 mappings and shares are being delivered/), 'the log says so');
check('full');

# a place that is given back is taken by the next one that begins
sql("SELECT concord.pause('t$_')") for 1 .. $mappings;
ok($node->poll($leases, '0'), 'paused mappings give back their places');
ok($node->poll($locks, '0'), '... and locks');
sql("SELECT concord.resume('t$_')") for reverse 1 .. $mappings;
write_all();
is(delivered(), 't', 'all are delivered again');
is(sql($leases), '5', 'in other hands');
check('resumed');

# two couriers become one, which gets all, and three
for my $couriers (1, 3)
{
	sql("ALTER SYSTEM SET pg_concord.couriers = $couriers");
	sql('SELECT pg_reload_conf()');
	ok($node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", $couriers), "$couriers couriers");
	write_all();
	is(delivered(), 't', '... deliver all');
	check("$couriers couriers");
}
ok($node->poll("SELECT count(*) > 1 FROM (SELECT pid FROM concord.leases() UNION SELECT pid FROM pg_locks"
		  . " WHERE locktype = 'advisory' AND objsubid = 3) AS p"), 'several have something');

# one is terminated while all are sent: the others, or the next, go on
write_all();
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier' ORDER BY pid LIMIT 1");
kill TERM => $pid;
is(delivered(), 't', 'a courier that ends leaves nothing behind');
is(sql("SELECT count(*) FROM concord.leases() WHERE pid = $pid"), '0', 'no place in the table');
is(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 3 AND pid = $pid"), '0', 'no lock');
ok($node->poll("SELECT ($leases) + ($locks) = " . ($mappings + 1)), 'all are served by somebody');
is(sql('SELECT count(*) FROM concord.exception'), '0', 'without an exception');

# a crash empties both
$node->stop('immediate');
$node->start;
write_all();
is(delivered(), 't', 'after a crash all go on');
ok($node->poll("SELECT ($leases) + ($locks) = " . ($mappings + 1)), 'held by somebody');
is(sql($leases), '5', 'the table is full again');

$node->stop;
done_testing();
