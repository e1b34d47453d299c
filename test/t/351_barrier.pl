# A barrier of a divided mapping (a key that changes from one share to another) that
# stands for long, as its system is down: the other shares wait there, send nothing of what is behind it, and look for
# its end the less often the longer it lasts.  Looks are counted.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time usleep);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('barrier', conf => "max_worker_processes = 40\npg_concord.couriers = 3");
ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# looks(SECONDS): how often somebody read the positions of lanes meanwhile, which is what a look does
sub looks
{
	my ($seconds) = @_;
	my $ask = q{SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_all_tables WHERE relid = 'concord.lane'::regclass};
	my $before = sql($ask);
	usleep(1_000_000 * $seconds);
	return sql($ask) - $before;
}

my $url = $erp->url('/rest/');
sql(qq{CREATE TABLE stock (id int PRIMARY KEY, v int);
	CREATE TABLE plain (id int PRIMARY KEY, v int);
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', retry_base '20ms', retry_cap '100ms', breaker_cooldown '300ms');
	SELECT concord.create_mapping('stock', 'stock', 'erp', 'stock', '{"v": "v"}', options => '{"couriers": 3, "on_key_change": "recreate"}');
	SELECT concord.create_mapping('plain', 'plain', 'erp', 'plain', '{"v": "v"}');
	INSERT INTO stock SELECT i, 1 FROM generate_series(1, 60) i; INSERT INTO plain VALUES (1, 1)});
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'all is delivered');
is(sql(q{SELECT count(*) FROM concord.lane WHERE shares = 3}), '3', 'in three shares');

# --- down: only probes go, without a barrier
my $down = $erp->rule({ path => '/rest' }, { status => 503 });
sql('UPDATE plain SET v = 2');
ok($node->poll("SELECT breaker <> 'closed' FROM concord.status WHERE mapping = 'plain'"), 'a system is down');
usleep(2_000_000);
my $without = looks(5);

# --- a barrier
sql('UPDATE stock SET id = 1001, v = 2 WHERE id = 1; UPDATE stock SET v = 2000 WHERE id BETWEEN 2 AND 30');
is(sql("SELECT concord.wait_for_capture('60s')"), 't', 'a change of key is captured');
my $early = looks(2);
$early += looks(1) for 1 .. ($early > 20 ? 0 : 5);	# told late
usleep(8_000_000);
my $late = looks(5);
cmp_ok($early, '>', 20, "at first the others look often ($early in seconds)");
cmp_ok($late, '>=', 5, "later on they still do ($late in five seconds, without a barrier $without)");
cmp_ok($late, '<=', 150, '... but not two hundred times a second');
is(scalar(grep { $_->{body} =~ /2000/ } $erp->log_entries('/rest/stock')), 0, 'nothing from behind the barrier is sent');

# --- up again
$erp->drop_rule($down);
sql(q{ALTER SERVER erp OPTIONS (ADD timeout '20s')});	# which has it tried at once
my $up = time;
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'up again: all is delivered');
cmp_ok(time - $up, '<', 10, 'soon');
my $want = sql("SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM stock");
is(join(' ', map { "$_->{id}:$_->{v}" } sort { $a->{id} <=> $b->{id} } values %{ $erp->data('/rest/stock') }), $want, 'as the table has it');
my $looks;
for (1 .. 10) { $looks = looks(3); last if $looks <= 6; }	# what was counted before may be told late
cmp_ok($looks, '<=', 6, 'and nobody looks any more');

$node->stop;
done_testing();
