# Faults that last, and that come in thousands: a system that is down while
# another works at full speed, answers that all say 429, old images that are sent
# again after newer ones went.
#
# CONCORD_TEST_OUTAGE is how many seconds the one is down (default 4).
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;
use Time::HiRes qw(time usleep);

my $outage = $ENV{CONCORD_TEST_OUTAGE} || 4;
my $node = Concord::Cluster->create('storms');
my $good = Concord::Sandbox->new;
my $bad = Concord::Sandbox->new(recover => 1);
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub status { return sql("SELECT $_[1] FROM concord.status WHERE mapping = '$_[0]'"); }
sub delivered { return is(sql("SELECT concord.wait_for_delivery('$_[0]', '120s')"), 't', $_[1]); }

my $options = "concurrency '16', retry_base '20ms', retry_cap '100ms', breaker_cooldown '200ms'";
$good->set('/rest/good', key => ['id'], sequence => 'v');
$bad->set('/rest/bad', key => ['id'], sequence => 'v');
sql(qq{
	CREATE SERVER good FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $good->url('/rest/') ]}', $options);
	CREATE SERVER bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $bad->url('/rest/') ]}', $options);
	CREATE TABLE good (id int PRIMARY KEY, v int NOT NULL DEFAULT 1, note text);
	CREATE TABLE bad (LIKE good INCLUDING ALL);
	SELECT concord.create_mapping('good', 'good', 'good', 'good', '{"v": "v", "note": "note"}');
	SELECT concord.create_mapping('bad', 'bad', 'bad', 'bad', '{"v": "v", "note": "note"}');
	INSERT INTO good SELECT i FROM generate_series(1, 2000) i;
	INSERT INTO bad SELECT i FROM generate_series(1, 200) i});
delivered('good', 'records there');
delivered('bad', 'and there');

# --- one is down, with work waiting; the other is at full speed
my $speed = sub {
	my ($seconds) = @_;
	my ($n, $began) = (0, time);
	my $slowest = 0;
	while (time - $began < $seconds)
	{
		my $round = time;
		sql('UPDATE good SET v = v + 1');
		$n += sql("SELECT concord.wait_for_delivery('good', '60s')") eq 't' ? 2000 : 0;
		$slowest = time - $round if time - $round > $slowest;
	}
	return ($n / (time - $began), $slowest);
};
$speed->(1);
my ($alone) = $speed->(2);
$bad->stop('KILL');
sql('UPDATE bad SET v = v + 1') for 1 .. 5;
ok($node->poll("SELECT breaker <> 'closed' FROM concord.status WHERE mapping = 'bad'"), 'one system is down');
my ($beside, $slowest) = $speed->($outage);
cmp_ok($beside, '>', 0.5 * $alone, 'the other works as fast as before');
is(status('bad', 'dead'), '0', 'nothing of the one is dead');
is(status('bad', 'pending > 0'), 't', 'it waits');
note(sprintf('%.0f records/s alone, %.0f/s beside a system that was down for %d s; slowest 2000 in %.2f s', $alone, $beside, $outage, $slowest));
$bad->start;
delivered('bad', 'and goes out when it is back');
is(scalar(grep { $_->{v} == 6 } values %{ $bad->data('/rest/bad') }), 200, 'all of it');
is($bad->stats->{order_violations}, 0, 'in order');

# --- every answer is 429, without a word of when
$bad->clear_log;
my $storm = $bad->rule({ path => '/rest/bad' }, { status => 429 });
sql('UPDATE bad SET v = v + 1');
($beside) = $speed->(2);
cmp_ok($beside, '>', 0.5 * $alone, 'a storm of 429: the other works as fast as before');
my $asked = $bad->stats->{requests};
cmp_ok($asked, '>', 0, 'a storm of 429: it is asked');
cmp_ok($asked, '<', 100, 'a storm of 429: now and then');
is(status('bad', "dead || ' ' || retried"), '0 ' . status('bad', 'retried'), 'a storm of 429: nothing is dead');
$bad->drop_rule($storm);
delivered('bad', 'a storm of 429: it ends');
is(sql("SELECT max(attempts) FROM (SELECT attempts FROM concord.delivery WHERE mapping = 'bad' ORDER BY seq DESC LIMIT 200) d"), '1',
	'a storm of 429: no attempt was counted');
is(scalar(grep { $_->{v} == 7 } values %{ $bad->data('/rest/bad') }), 200, 'a storm of 429: all is there');

# --- ten thousand old images, refused then, after newer ones went
my $refuse = $good->rule({ path => '/rest/good', method => 'PATCH', body => '"old"' }, { status => 422 });
sql("UPDATE good SET v = v + 1, note = 'old'") for 1 .. 5;
delivered('good', 'ten thousand are refused');
is(status('good', 'dead'), '10000', 'and dead');
$good->drop_rule($refuse);
sql("UPDATE good SET v = v + 1, note = 'new'");
delivered('good', 'newer ones go');
my $sent = $good->stats->{acted};
is(sql("SELECT concord.retry_dead('good')"), '10000', 'all of them again');
delivered('good', 'end');
is($good->stats->{acted}, $sent, 'none was sent');
is(sql("SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM concord.exception GROUP BY state) s"), 'superseded 10000', 'they are known as superseded');
is(scalar(grep { $_->{note} eq 'new' } values %{ $good->data('/rest/good') }), 2000, 'the newer images stand');

# and where half of the records have something newer only
$refuse = $good->rule({ path => '/rest/good', method => 'PATCH', body => '"older"' }, { status => 422 });
sql("UPDATE good SET v = v + 1, note = 'older'");
delivered('good', 'two thousand more');
$good->drop_rule($refuse);
sql("UPDATE good SET v = v + 1, note = 'newer' WHERE id % 2 = 0");
delivered('good', 'a newer image of half of them');
sql("SELECT concord.retry_dead('good')");
delivered('good', 'again');
my %note;
$note{ $_->{note} }++ foreach values %{ $good->data('/rest/good') };
is_deeply(\%note, { older => 1000, newer => 1000 }, 'each record has its newest');
is(status('good', 'dead'), '0', 'nothing is dead');
is($good->stats->{order_violations}, 0, 'and nothing went back') or diag(explain($good->violations));

$node->stop;
done_testing();
