# A streaming standby: nothing runs there and everything can be read; after
# promotion workers start by themselves and deliver what was pending. A slot
# that did not come along is a gap, and said to be one.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $url = $erp->url('/odata/v4/sales/');
my $node = Concord::Cluster->create('primary');
ok($node->ready, 'capture is ready');
$erp->set('/odata/v4/sales/Goods', key => ['id']);
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE goods (id int PRIMARY KEY, name text);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '50ms',
	retry_cap '200ms', breaker_cooldown '200ms');
SELECT concord.create_mapping('goods', 'goods', 'erp', 'Goods', fields => '{"name": "name"}', key => '{"id": "id"}');
INSERT INTO goods VALUES (1, 'one');
SQL
is($node->safe_psql('postgres', q(SELECT concord.wait_for_delivery(timeout => '60s'))), 't', 'the primary delivers');

$node->backup('copy');
my $standby = bless PostgreSQL::Test::Cluster->new('standby'), 'Concord::Cluster';
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;

# --- on the standby
my $workers = q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'concord %');
is($standby->safe_psql('postgres', $workers), '0', 'no worker runs on a standby');
is($standby->safe_psql('postgres', 'SELECT state, ready FROM concord.capture'), 'standby|f', 'concord.capture says that it is one');
like($standby->safe_psql('postgres', 'SELECT reason FROM concord.capture'), qr/start when it is promoted/, 'and when they will');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM concord.setup_problems()'), '0', 'nothing is missing there');
is($standby->safe_psql('postgres', 'SELECT mapping, state FROM concord.status'), 'goods|active', 'concord.status can be read');
is($standby->safe_psql('postgres', q(SELECT new ->> 'name' FROM concord.outbox WHERE op = 'insert')), 'one', 'so can the outbox');
$standby->safe_psql('postgres', "TABLE concord.$_")
  foreach qw(mapping mapping_version mapping_field system delivery dead_letter link);
foreach my $call (q(wait_for_capture()), q(wait_for_delivery()), q(emit('topic', '1')), q(pause('goods')),
	q(drop_mapping('goods')), q(activate()), q(set_up()), q(reset_capture()))
{
	my ($status, $out, $err) = $standby->psql('postgres', "SELECT concord.$call");
	like($err, qr/ERROR: .*(recovery|read-only transaction)/, "$call is refused");
}

# --- something is pending when the primary ends
$erp->rule({ path => '/odata/v4/sales/Goods' }, { status => 503 });
$node->safe_psql('postgres', q(INSERT INTO goods VALUES (2, 'two')));
ok($erp->wait_until(sub { return scalar(() = $erp->log_entries('/odata/v4/sales/Goods')) > 2; }),
	'a delivery is repeated');
$node->safe_psql('postgres', q(SELECT concord.wait_for_capture()));
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
$node->stop('immediate');
$erp->drop_rules;
$standby->promote;

# --- after promotion
ok($standby->poll("SELECT ($workers) >= 4"), 'workers start by themselves');
ok($erp->wait_until(sub { return exists $erp->data('/odata/v4/sales/Goods')->{2}; }), 'what was pending is delivered');
ok($standby->poll(q(SELECT state IN ('running', 'gap') FROM concord.capture)), 'capture has looked for its slot');
if ($standby->safe_psql('postgres', 'SELECT state FROM concord.capture') eq 'gap')
{
	$standby->safe_psql('postgres', q(INSERT INTO goods VALUES (3, 'missed')));
	like($standby->safe_psql('postgres', 'SELECT reason, hint FROM concord.capture'),
		qr/slot "pg_concord_\d+" is missing.*\|.*concord\.reset_capture\(\)/, 'the slot is missed, and what to do is said');
	ok($standby->poll_log(qr/capture has stopped: replication slot "pg_concord_\d+" is missing/), 'the log says so');
	my ($status, $out, $err) = $standby->psql('postgres', q(SELECT concord.emit('topic', '1')));
	like($err, qr/capture is not ready/, 'emit is refused meanwhile');
	is($standby->safe_psql('postgres', q(SELECT concord.wait_for_capture('0s'))), 'f', 'nobody is told that all is captured');
	$standby->safe_psql('postgres', 'SELECT concord.reset_capture()');
	is($standby->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'capture goes on');
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM concord.capture_gap'), '1', 'the gap is recorded');
}
$standby->safe_psql('postgres', q(INSERT INTO goods VALUES (4, 'four'); UPDATE goods SET name = 'uno' WHERE id = 1));
is($standby->safe_psql('postgres', q(SELECT concord.wait_for_delivery(timeout => '60s'))), 't', 'the new primary delivers');
is($erp->data('/odata/v4/sales/Goods')->{1}{name}, 'uno', 'an update arrives');
is($erp->data('/odata/v4/sales/Goods')->{4}{name}, 'four', 'an insert, too');
is($erp->stats->{order_violations}, 0, 'in order');
$standby->stop;
done_testing();
