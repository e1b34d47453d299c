# Delivery against an ERP that can be told to fail: order per key, retry, dead
# letters, breaker, pause, replay, links.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $set = '/odata/v4/sales/Customers';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('delivery');

ok($node->ready, 'capture runs');
$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Runs a query and returns what it gave and the messages.
sub sql_all
{
	my ($out, $err);
	$node->psql('postgres', $_[0], stdout => \$out, stderr => \$err);
	return ($out, $err);
}

sub delivered { return sql("SELECT concord.wait_for_delivery('cust', '60s')"); }
sub status { return sql("SELECT $_[0] FROM concord.status WHERE mapping = 'cust'"); }
sub held { return $erp->data($set)->{"'$_[0]'"} // {}; }

sql(<<"SQL");
CREATE TABLE cust (id int PRIMARY KEY, name text, v int NOT NULL DEFAULT 1);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata',
  url '@{[ $erp->url('/odata/v4/sales/') ]}', concurrency '8', retry_base '50ms', retry_cap '200ms',
  breaker_failures '5', breaker_cooldown '100ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
SELECT concord.create_mapping('cust', 'cust', 'erp', 'Customers',
  '{"Name": "trim(name)", "V": "v"}', key => '{"ID": "id::text"}',
  checks => '{"has a name": "name IS NOT NULL"}',
  options => '{"retry_limit": 3}');
SQL

# the straight way
sql("INSERT INTO cust SELECT i, 'name ' || i FROM generate_series(1, 50) i");
is(delivered(), 't', 'fifty rows are delivered');
is(scalar(keys %{ $erp->data($set) }), 50, 'fifty records are there');
is(status('delivered'), '50', 'and counted');
is(sql("SELECT count(*) FROM concord.link"), '50', 'with a link each');

# unchanged
sql("UPDATE cust SET name = name || ' ' WHERE id <= 10");
is(delivered(), 't', 'updates that change nothing there');
is(status('unchanged'), '10', 'are not sent');

# order per key under load
sql("UPDATE cust SET v = v + 1, name = 'v' || v + 1 WHERE id <= 5") for 1 .. 20;
is(delivered(), 't', 'many changes of few keys');
is(held(3)->{V}, 21, 'the last one stands');
is($erp->stats->{order_violations}, 0, 'in order');

# key change and delete
sql("UPDATE cust SET id = 60, v = v + 1 WHERE id = 50; DELETE FROM cust WHERE id = 49");
is(delivered(), 't', 'a change of key and a delete');
is(join(',', map { defined held($_)->{ID} ? 1 : 0 } 49, 50, 60), '0,0,1', 'arrive');

# a record that fails for a while: retried, and only its key waits
$erp->clear_log;
$erp->rule({ key => "'7'" }, { status => 500 }, 2);
sql("UPDATE cust SET v = v + 1, name = 'a' WHERE id = 7; UPDATE cust SET v = v + 1, name = 'b' WHERE id = 7;
	 UPDATE cust SET v = v + 1, name = 'other' WHERE id = 8");
is(delivered(), 't', 'a record that fails twice');
is(held(7)->{Name}, 'b', 'arrives');
is(held(8)->{Name}, 'other', 'as do others');
cmp_ok(status('retried'), '>=', 1, 'after retries');
is($erp->stats->{order_violations}, 0, 'and in order');
is(status('dead'), '0', 'nothing is dead');

# a record that is refused: dead at once, with what happened
my $refuse = $erp->rule({ key => "'11'" },
	{ status => 422, body => '{"error":{"message":"no such group"}}' });
sql("UPDATE cust SET v = v + 1, name = 'bad' WHERE id = 11");
is(delivered(), 't', 'a record that is refused');
is(sql("SELECT mapping || ' ' || op || ' ' || status || ' ' || (answer LIKE '%no such group%')::text || ' '
			|| (request LIKE '%bad%')::text || ' ' || (local_key ->> 'id') FROM concord.dead_letter"),
	'cust update 422 true true 11', 'is a dead letter with request and answer');
sql("UPDATE cust SET v = v + 1, name = 'bad too' WHERE id = 11");
is(delivered(), 't', 'and does not hold later events of its key');
is(status('dead'), '2', 'which may die as well');
$erp->drop_rule($refuse);
is(sql("SELECT concord.retry_dead('cust', filter => 'status = 422')"), '2', 'both again');
is(delivered(), 't', 'they end');
is(held(11)->{Name}, 'bad too', 'the newest image is there');
is(sql("SELECT string_agg(state, ',' ORDER BY seq) FROM concord.exception"), 'superseded',
	'the older one is superseded');

# an older image never overwrites a newer one
$refuse = $erp->rule({ key => "'12'", body => 'old image' }, { status => 400 });
sql("UPDATE cust SET v = v + 1, name = 'old image' WHERE id = 12; UPDATE cust SET v = v + 1, name = 'new image' WHERE id = 12");
is(delivered(), 't', 'an image is refused, a newer one goes');
$erp->drop_rule($refuse);
is(sql("SELECT concord.retry_dead('cust')"), '1', 'the old one again');
is(delivered(), 't', 'ends');
is(held(12)->{Name}, 'new image', 'the newer image stays');
is(status('dead'), '0', 'nothing is dead');

# checks; discard
sql("UPDATE cust SET v = v + 1, name = NULL WHERE id = 13");
is(delivered(), 't', 'a row that fails a check');
is(sql("SELECT rule FROM concord.dead_letter"), 'has a name', 'is dead under its name');
is(sql("SELECT concord.discard_dead('cust', NULL, 'not wanted')"), '1', 'and can be given up');
is(status('dead'), '0', 'then nothing is dead');
my ($out, $err) = sql_all("SELECT concord.retry_dead('cust', filter => 'true) OR (true')");
like($err, qr/syntax error|must be one condition/, 'a filter that is no condition is refused');
($out, $err) = sql_all("SELECT concord.retry_dead('cust', filter => '1 FROM pg_class')");
like($err, qr/must be one condition/, 'nor is more than a condition taken');

# retries end
$refuse = $erp->rule({ key => "'14'" }, { status => 409 });
my $failing = $erp->rule({ key => "'15'" }, { status => 500 });
sql("UPDATE cust SET v = v + 1, name = 'never' WHERE id IN (14, 15)");
is(delivered(), 't', 'records that always fail');
cmp_ok(sql("SELECT max(attempts) FROM concord.dead_letter"), '<=', 4, 'are dead after retry_limit');
cmp_ok(status('dead'), '>=', 1, 'and said to be');
$erp->drop_rules;
sql("SELECT concord.retry_dead('cust')");
is(delivered(), 't', 'again');
is(held(15)->{Name}, 'never', 'they arrive');

# throttling: waits as long as it is told to, costs no attempt
$erp->rule({ method => 'PATCH' }, { status => 429, headers => { 'Retry-After' => '1' } }, 3);
my $before = status('retried');
sql("UPDATE cust SET v = v + 1, name = 'throttled' WHERE id BETWEEN 20 AND 30");
is(delivered(), 't', 'a system that throttles');
is(held(25)->{Name}, 'throttled', 'gets all of it later');
is(status('retried'), $before, 'and no attempt is counted');

# an outage: the breaker opens, nothing dies, nothing is lost
$erp->stop;
sql("UPDATE cust SET v = v + 1, name = 'outage' WHERE id BETWEEN 20 AND 40");
ok($node->poll("SELECT breaker <> 'closed' AND state = 'down' FROM concord.system WHERE server = 'erp'"),
	'the breaker opens when the system is gone');
is(sql("SELECT concord.wait_for_delivery('cust', '1s')"), 'f', 'nothing is delivered');
is(status('dead') . ' ' . (status('pending') > 0 ? 1 : 0), '0 1', 'nothing is dead, all is pending');
$erp->start;
$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);
is(delivered(), 't', 'it goes on by itself');
is(sql("SELECT breaker || ' ' || state FROM concord.system WHERE server = 'erp'"), 'closed ok', 'the breaker is closed');
is(held(33)->{Name}, 'outage', 'and everything is there');

# pause and resume
sql("SELECT concord.pause('cust'); UPDATE cust SET v = v + 1, name = 'while paused' WHERE id = 1");
($out, $err) = sql_all("SELECT concord.wait_for_delivery('cust', '30s')");
is($out, 'f', 'waiting for a paused mapping ends at once');
like($err, qr/NOTICE:.*paused/, 'and says why');
sql("SELECT concord.resume('cust')");
is(delivered(), 't', 'resumed');
is(held(1)->{Name}, 'while paused', 'what came meanwhile is sent');
sql("SELECT concord.pause_system('erp'); UPDATE cust SET v = v + 1, name = 'system paused' WHERE id = 1");
($out, $err) = sql_all("SELECT concord.wait_for_delivery('cust', '30s')");
like("$out $err", qr/^f.*NOTICE:.*paused/s, 'a paused system says so');
sql("SELECT concord.resume_system('erp')");
is(delivered(), 't', 'and goes on');
is(held(1)->{Name}, 'system paused', 'with all');

# a right that is taken and given back
sql("CREATE ROLE clerk; GRANT CREATE, USAGE ON SCHEMA public TO clerk; ALTER TABLE cust OWNER TO clerk;
	 GRANT USAGE ON FOREIGN SERVER erp TO clerk; CREATE USER MAPPING FOR clerk SERVER erp OPTIONS (auth 'none');
	 SELECT concord.set_definer('cust', 'clerk')");
sql("UPDATE cust SET v = v + 1, name = 'as clerk' WHERE id = 2");
is(delivered(), 't', 'another definer');
sql("REVOKE USAGE ON FOREIGN SERVER erp FROM clerk");
ok($node->poll("SELECT state = 'denied' AND state_reason LIKE '%USAGE%' FROM concord.status WHERE mapping = 'cust'"),
	'without USAGE it is denied, with the reason');
sql("UPDATE cust SET v = v + 1, name = 'while denied' WHERE id = 2");
sql("GRANT USAGE ON FOREIGN SERVER erp TO clerk");
ok($node->poll("SELECT state = 'active' FROM concord.status WHERE mapping = 'cust'"), 'and active once it is given');
is(delivered(), 't', 'then it delivers');
is(held(2)->{Name}, 'while denied', 'what waited');

# replay of state: the newest image, also where the record was lost there
$erp->request('DELETE', "$set('3')");
$erp->clear_log;
is(sql("SELECT concord.replay('cust', keys => '[{\"id\": 3}, {\"id\": 4}]')"), '2', 'two keys again');
is(delivered(), 't', 'end');
is(held(3)->{V}, 21, 'the record is there again, as it was last');
is(scalar(grep { $_->{method} ne 'GET' } $erp->log_entries($set)) >= 2 ? 1 : 0, 1, 'both were sent');

# a corrected mapping repairs what is pending
$failing = $erp->rule({ method => 'PATCH', body => 'wrong' }, { status => 503 });
sql("SELECT concord.alter_mapping('cust', fields => '{\"Name\": \"''wrong '' || name\"}')");
sql("UPDATE cust SET v = v + 1, name = 'repaired' WHERE id = 5");
$node->poll("SELECT count(*) > 0 FROM concord.system WHERE breaker <> 'closed'");
sql("SELECT concord.alter_mapping('cust', fields => '{\"Name\": \"name\"}')");
is(delivered(), 't', 'a mapping is corrected while its events are pending');
is(held(5)->{Name}, 'repaired', 'they go as it says now');

# a truncate that stands for deletes, and rows that come right after it
sql("SELECT concord.alter_mapping('cust', options => '{\"truncate\": \"delete\"}')");
sql("UPDATE cust SET v = v + 1, name = 'before'; TRUNCATE cust; INSERT INTO cust VALUES (1, 'after', 1000), (70, 'new', 1)");
is(delivered(), 't', 'a truncate');
is(join(',', sort { $a <=> $b } map { $_->{ID} } values %{ $erp->data($set) }), '1,70',
	'removes what was there, and only that');
is(held(1)->{Name}, 'after', 'what came after it stands');
is(status('dead'), '0', 'nothing is dead');

# without order, deliveries of one record are under way together, and each of
# them believes that it is the first
sql("CREATE TABLE loose (id int PRIMARY KEY, v int)");
sql("SELECT concord.create_mapping('loose', 'loose', 'erp', 'Loose', '{\"V\": \"v\"}', key => '{\"ID\": \"id::text\"}',
	options => '{\"ordering\": \"none\"}', paused => true)");
sql("INSERT INTO loose SELECT i, 1 FROM generate_series(1, 3) i");
sql("UPDATE loose SET v = v + 1") for 1 .. 3;
my $courier = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'";
my $before = sql($courier);
sql("SELECT concord.resume('loose')");
is(sql("SELECT concord.wait_for_delivery('loose', '60s')"), 't', 'deliveries without order');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'loose'"), '3', 'leave one link each');
is(sql($courier), $before, 'and the courier well');

# two couriers share the mappings
$node->append_conf('postgresql.conf', 'pg_concord.couriers = 2');
$node->reload;
ok($node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '2'), 'two couriers');
sql("CREATE TABLE pair (id int PRIMARY KEY, v int); ALTER TABLE pair OWNER TO clerk");
sql("SELECT concord.create_mapping('pair', 'pair', 'erp', 'Pairs', '{\"V\": \"v\"}', key => '{\"ID\": \"id::text\"}')");
sql("INSERT INTO pair SELECT i, i FROM generate_series(1, 20) i; UPDATE cust SET v = v + 1, name = 'shared'");
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'deliver');
ok($node->poll("SELECT count(DISTINCT pid) FROM concord.leases()", '2'),
	'each has a mapping of its own');
is(held(70)->{Name}, 'shared', 'everything arrives');

is($erp->stats->{key_reused}, 0, 'no idempotency key came with another body');
is($erp->stats->{order_violations}, 0, 'nothing was out of order');

done_testing();
