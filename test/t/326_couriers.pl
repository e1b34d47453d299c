# Several couriers: mappings divided among them, one mapping shared by key, under
# load while their number and the shares change.  Each event arrives once, in
# order per key.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(time usleep);

my $set = '/odata/v4/sales/Stock';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('couriers', conf => "max_worker_processes = 40\npg_concord.couriers = 1");

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery(NULL, '60s')"); }

sub couriers
{
	sql("ALTER SYSTEM SET pg_concord.couriers = $_[0]");
	sql('SELECT pg_reload_conf()');
	return;
}

sub running
{
	return $node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", $_[0]);
}

$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);
sql(<<"SQL");
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL, v int NOT NULL DEFAULT 1);
CREATE TABLE tick (id bigint PRIMARY KEY, k int, n int);
CREATE TABLE plain (id int PRIMARY KEY, v int);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata',
  url '@{[ $erp->url('/odata/v4/sales/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook',
  url '@{[ $erp->url('/hook/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'none');
SELECT concord.create_mapping('stock', 'stock', 'erp', 'Stock', '{"Qty": "qty", "V": "v"}', key => '{"ID": "id::text"}',
  options => '{"couriers": 4, "on_key_change": "recreate"}');
SELECT concord.create_mapping('tick', 'tick', 'hook', 'tick', '{"id": "id", "n": "n"}', options => '{"couriers": 3}');
SELECT concord.create_mapping('plain', 'plain', 'erp', 'Plain', '{"V": "v"}', key => '{"ID": "id::text"}');
INSERT INTO stock SELECT i, 0 FROM generate_series(1, 60) i;
INSERT INTO plain SELECT i, 0 FROM generate_series(1, 20) i;
INSERT INTO tick SELECT i, i, 0 FROM generate_series(1, 60) i;
SQL
is(delivered(), 't', 'the records are there');
is(sql("SELECT string_agg(share || '/' || shares, ' ' ORDER BY mapping, share) FROM concord.lane"),
	'0/4 1/4 2/4 3/4 0/3 1/3 2/3 0/1', 'one courier serves all shares of two mappings');
is(sql("SELECT string_agg(mapping || ' ' || delivered, ', ' ORDER BY mapping) FROM concord.status"),
	'plain 20, stock 60, tick 60', 'the status sums them up');
$erp->rule({ path => '/' }, { latency_ms => [ 1, 15 ] });

# load(ROUNDS) changes all rows, round by round, beside the test.
sub load
{
	my ($rounds) = @_;
	my $pid = fork;
	if ($pid == 0)
	{
		for (1 .. $rounds)
		{
			system('psql', '-qX', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c',
				'UPDATE stock SET qty = qty + 1, v = v + 1 WHERE id <= 1000; UPDATE tick SET n = n + 1; UPDATE plain SET v = v + 1');
		}
		POSIX::_exit(0);
	}
	return $pid;
}

# exact(WHAT): all has come, each event once, nothing in the wrong order.
my $seen = 0;
my $resent = 0;    # by resync, which says the same under a key of its own

sub exact
{
	my ($what, $once) = @_;
	is(delivered(), 't', "$what: all is delivered");
	my $want = sql("SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM stock");
	my $data = $erp->data($set);
	ok(join(',', map { "$_->{ID}:$_->{V}" } sort { $a->{ID} <=> $b->{ID} } values %$data) eq $want,
		"$what: the ERP holds what the table holds");
	my %ids;
	my (%last, $back);
	for my $entry ($erp->log_entries('/hook/tick'))
	{
		my $body = JSON::PP->new->decode($entry->{body});
		next if $ids{ $entry->{headers}{'ce-id'} }++;
		$back++ if defined $last{ $body->{id} } && $last{ $body->{id} } >= $body->{n};
		$last{ $body->{id} } = $body->{n};
	}
	my $twice = grep { $_ > 1 } values %ids;
	my $events = sql("SELECT count(*) FROM concord.outbox WHERE source = 'public.tick'");
	is(scalar(keys %ids), $events, "$what: every event has come");
	is($twice, 0, "$what: and once") if $once;
	is($back // 0, 0, "$what: in order per key");
	my $stats = $erp->stats;
	is($stats->{order_violations}, 0, "$what: no record went back") or diag(explain($erp->violations));
	is($stats->{duplicates_other_key}, $resent, "$what: nothing came twice under two keys");
	is($stats->{duplicates_same_key}, $seen, "$what: nor under the same") if $once;
	$seen = $stats->{duplicates_same_key};
	return;
}

# --- their number changes
my $pid = load(40);
for my $n (4, 2, 3, 1, 4)
{
	couriers($n);
	ok(running($n), "$n run");
	usleep(400_000);
}
waitpid($pid, 0);
exact('number of couriers', 1);
ok(running(4), 'four run');
ok(
	$node->poll(
		"SELECT count(DISTINCT pid) >= 3 FROM concord.leases()"),
	'the shares lie with several');

# --- the number of shares changes
$pid = load(40);
for my $n (2, 1, 5, 3)
{
	sql("SELECT concord.alter_mapping('stock', options => '{\"couriers\": $n}'), concord.alter_mapping('tick', options => '{\"couriers\": $n}')");
	ok($node->poll("SELECT count(*) FROM concord.lane WHERE shares = $n", 2 * $n + ($n == 1 ? 1 : 0)), "into $n");
	usleep(400_000);
}
waitpid($pid, 0);
exact('number of shares', 1);
ok($node->poll('SELECT count(*) FROM concord.lane WHERE past IS NOT NULL', '0'), 'the past is forgotten');

# --- keys that change from one share to another, beside changes of others and
# answers that have some of them tried again
$erp->drop_rules;
$erp->rule({ path => $set, every => 9 }, { status => 500 });
$erp->rule({ path => '/' }, { latency_ms => [ 1, 15 ] });
$pid = load(20);
for my $round (1 .. 10)
{
	sql("UPDATE stock SET id = id + 1000 * (CASE WHEN id > 1000 THEN -1 ELSE 1 END), v = v + 1 WHERE id % 10 = $round % 10 AND id % 3 = 1");
}
waitpid($pid, 0);
exact('changes of key', 0);
$erp->drop_rules;
$erp->rule({ path => '/' }, { latency_ms => [ 1, 15 ] });

# --- TRUNCATE stands between what is before and after, in all shares
sql("SELECT concord.alter_mapping('stock', options => '{\"truncate\": \"delete\"}')");
sql("BEGIN; UPDATE stock SET v = v + 1; TRUNCATE stock; INSERT INTO stock SELECT i, 0, 1000 FROM generate_series(50, 80) i; COMMIT");
exact('truncate', 1);

# --- rows again, and events again, in shares
is(sql("SELECT concord.resync('stock')"), '31', 'rows again');
$resent = 31;
exact('resync', 1);
$erp->drop_rules;
my $dead = $erp->rule({ path => $set, body => '4711' }, { status => 422 });
sql('UPDATE stock SET qty = 4711, v = v + 1 WHERE id < 70');
is(delivered(), 't', 'some are refused');
is(sql("SELECT dead FROM concord.status WHERE mapping = 'stock'"), '20', 'and dead');
$erp->drop_rule($dead);
is(sql("SELECT concord.retry_dead('stock')"), '20', 'all again');
exact('dead letters', 0);

# --- couriers that are ended
$erp->rule({ path => '/' }, { latency_ms => [ 1, 15 ] });
$pid = load(40);
for (1 .. 6)
{
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier' ORDER BY random() LIMIT 2");
	usleep(200_000);
}
waitpid($pid, 0);
exact('ended couriers', 0);

# --- one that stays away: another takes over what it had
my $away = sql("SELECT pid FROM concord.leases() WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 'plain')");
my $name = sql("SELECT application_name FROM pg_stat_activity WHERE pid = $away");
# it stays away the longer, the more often it was ended
my ($start, $took, $back);
for my $try (1 .. 8)
{
	$node->poll("SELECT count(*) FROM pg_stat_activity WHERE application_name = '$name'", '1');
	my $ended = sql("SELECT max(pid) FROM pg_stat_activity WHERE application_name = '$name'");
	sql("SELECT pg_terminate_backend($ended, 60000)");
	next if $try < 3;
	$start = time;
	sql("UPDATE plain SET v = -$try");
	is(sql("SELECT concord.wait_for_delivery('plain', '60s')"), 't', 'what it had is delivered');
	$took = time - $start;
	$back = sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = '$name'");
	last if $took < 4 && $back eq '0';
}
cmp_ok($took, '<', 4, 'within seconds');
is($back, '0', 'while it is away');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

done_testing();
