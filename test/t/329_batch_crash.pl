# Crashes under load, as 310_delivery_crash.pl, with batches: records by $batch,
# where each part has its own idempotency key, events as batches of CloudEvents.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep);

my $set = '/odata/v4/sales/Stock';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('batchcrash', conf => "fsync = on\nrestart_after_crash = on");

ok($node->ready, 'capture runs');
$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL, v int NOT NULL DEFAULT 1);
CREATE TABLE tick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, n int);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata',
  url '@{[ $erp->url('/odata/v4/sales/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook',
  url '@{[ $erp->url('/hook/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'none');
SELECT concord.create_mapping('stock', 'stock', 'erp', 'Stock', '{"Qty": "qty", "V": "v"}', key => '{"ID": "id::text"}',
  options => '{"batch_size": 25}');
SELECT concord.create_mapping('tick', 'tick', 'hook', 'tick', '{"what": "what", "n": "n"}', options => '{"batch_size": 25}');
INSERT INTO stock SELECT i, 0 FROM generate_series(1, 40) i;
SQL
is($node->safe_psql('postgres', "SELECT concord.wait_for_delivery('stock', '30s')"), 't', 'the records are there');
$erp->rule({ path => '/' }, { latency_ms => [ 1, 25 ] });

# Rounds of changes, each a transaction: half of the keys, new ones, and as many
# ticks.  A create that may have arrived is looked for and not written again.
my $rounds = 0;

sub change
{
	my ($n) = @_;
	my $script = '';
	for (1 .. $n)
	{
		$rounds++;
		$script .= "BEGIN; UPDATE stock SET qty = qty + 1, v = v + 1 WHERE id <= 40 AND id % 2 = $rounds % 2;
			 INSERT INTO stock SELECT 1000 + $rounds * 20 + i, i FROM generate_series(1, 20) i;
			 INSERT INTO tick (what, n) SELECT 'round', $rounds FROM generate_series(1, 20); COMMIT;\n";
	}
	$node->safe_psql('postgres', $script);
	return;
}

sub courier
{
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
}

# The server comes back by itself after a worker was killed.
sub wait_up
{
	my @ready = ('pg_isready', '-q', '-h', $node->host, '-p', $node->port);

	for (1 .. 1200)
	{
		last if system(@ready) == 0;
		usleep(50_000);
	}
	is(system(@ready), 0, 'the server is back');
	return;
}

for my $round (1 .. 2)
{
	ok($node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '1'),
		'there is a courier');
	my $pid = courier();
	my $seen = $erp->stats->{requests};
	change(20);
	ok($erp->wait_until(sub { $_[0]->stats->{requests} > $seen + 50 }), 'it is at work');
	kill 'KILL', $pid;
	usleep(300_000);
	wait_up();
}
change(20);
$node->stop('immediate');
$node->start;
change(20);
my $courier = courier();
kill 'TERM', $courier if $courier;
change(5);

ok($node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '1'),
	'a courier runs again');
is($node->safe_psql('postgres', "SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'all is delivered');
my $want = $node->safe_psql('postgres', "SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM stock");
my $data = $erp->data($set);
my $have = join ',', map { "$_->{ID}:$_->{V}" } sort { $a->{ID} <=> $b->{ID} } values %$data;
is($have, $want, 'the ERP holds what the table holds');

my %ticks = map { $_->{headers}{'ce-id'} => 1 } grep { $_->{headers}{'ce-id'} } $erp->log_entries('/hook/tick');
is(scalar(keys %ticks), $node->safe_psql('postgres', 'SELECT count(*) FROM tick'), 'every event has come');
my $stats = $erp->stats;
is($stats->{order_violations}, 0, 'in order per record') or diag(explain($erp->violations));
is($stats->{key_reused}, 0, 'no idempotency key came with another body');
cmp_ok(scalar(grep { $_->{path} =~ /batch/ } $erp->log_entries('/odata/v4/sales/$batch')), '>', 10, 'there were batches');
is($stats->{duplicates_other_key}, 0, 'nothing came twice under two keys');
note("repeats with the same key: $stats->{duplicates_same_key}");
is($node->safe_psql('postgres', 'SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

done_testing();
