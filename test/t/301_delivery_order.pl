# Order and doubt where several rules meet: deliveries that wait for a record
# behind others of their key, an attempt of unknown outcome that a newer image
# takes the place of, a division whose last events were finished before others.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('order');
my $rest = $erp->url('/rest/api/');
my $hook = $erp->url('/hook/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub body_of { return JSON::PP->new->utf8->decode($_[0]{body}); }

# arrived(PATH, FIELD, ...): the fields of what came there, in order
sub arrived
{
	my ($path, @fields) = @_;
	my @all = map { my $body = body_of($_); join(' ', map { $body->{$_} // 'null' } @fields) } $erp->log_entries($path);
	$erp->clear_log;
	return join(', ', @all);
}

sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms');
	CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$hook', retry_base '20ms', timeout '10s');
	CREATE TABLE parent (id int PRIMARY KEY, note text);
	CREATE TABLE child (id int PRIMARY KEY, parent int, v int);
	SELECT concord.create_mapping('parent', 'parent', 'erp', 'parents', '{"note": "note"}');
	SELECT concord.create_mapping('child', 'child', 'hook', 'child',
		'{"v": "v", "parent": "concord.remote_id(''parent'', parent)"}', options => '{"replay": "events"}')));

# --- the third change waits for a record while the first is under way: the
# second goes before it all the same
my $slow = $erp->rule({ path => '/hook/child', body => '"v":1,' }, { latency_ms => 1500 });
sql('INSERT INTO child VALUES (1, NULL, 1)');
sql('UPDATE child SET v = 2');
sql('UPDATE child SET v = 3, parent = 7');
ok($erp->wait_until(sub { $erp->log_entries('/hook/child') > 0 || sql('SELECT in_flight > 0 FROM concord.system WHERE server = \'hook\'') eq 't' }),
	'the first is under way');
sql("INSERT INTO parent VALUES (7, 'seven')");
is(delivered('parent'), 't', 'the record that the third refers to is there');
is(delivered('child'), 't', 'all are delivered');
is(arrived('/hook/child', 'v', 'parent'), '1 null, 2 null, 3 7', 'in their order');
$erp->drop_rule($slow);

# --- two changes wait for the same record: each is sent with its id
sql('INSERT INTO child VALUES (2, 8, 1)');
ok($node->poll("SELECT waiting = 1 FROM concord.status WHERE mapping = 'child'"), 'one waits');
sql('UPDATE child SET v = 2 WHERE id = 2');
ok($node->poll("SELECT waiting = 1 AND pending = 2 FROM concord.status WHERE mapping = 'child'"), 'another stands behind it');
sql("INSERT INTO parent VALUES (8, 'eight')");
is(delivered('child'), 't', 'both are delivered');
is(arrived('/hook/child', 'v', 'parent'), '1 8, 2 8', 'in their order, with the id that was missing');

# --- an attempt of unknown outcome, a newer image in its place that equals what
# was sent before it, and a restart of the mapping before that is sent
sql(qq(CREATE SERVER doubt FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', timeout '500ms',
		breaker_failures '1', breaker_cooldown '10min');
	CREATE TABLE stock (id int PRIMARY KEY, n int);
	SELECT concord.create_mapping('stock', 'stock', 'doubt', 'stock', '{"n": "n"}', options => '{"coalesce": true}');
	INSERT INTO stock VALUES (1, 1)));
is(delivered('stock'), 't', 'a first image');
my $late = $erp->rule({ path => '/rest/api/stock' }, { latency_ms => 3000, act_first => JSON::PP::true });
sql('UPDATE stock SET n = 2');
ok($node->poll("SELECT breaker <> 'closed' FROM concord.system WHERE server = 'doubt'"), 'the next one arrives, and its answer does not');
is($erp->data('/rest/api/stock')->{1}{n}, 2, 'it did');
sql('UPDATE stock SET n = 1');
ok($node->poll("SELECT count(*) FROM concord.delivery WHERE mapping = 'stock' AND state = 'superseded'", 1), 'a third takes its place');
sql("SELECT concord.pause('stock')");
ok($node->poll("SELECT count(*) FROM concord.leases()", 2), 'the mapping is not served');
sql("SELECT concord.resume('stock')");
$erp->drop_rules;
sql("ALTER SERVER doubt OPTIONS (SET breaker_cooldown '100ms')");
is(delivered('stock'), 't', 'when the system answers all ends');
is($erp->data('/rest/api/stock')->{1}{n}, 1, 'and the third was sent');

# --- a division: what was finished out of turn is the last of the outbox
$erp->clear_log;
sql(qq(CREATE TABLE part (id int PRIMARY KEY, v int);
	SELECT concord.create_mapping('part', 'part', 'hook', 'part', '{"v": "v"}')));
ok($node->poll("SELECT state = 'active' FROM concord.status WHERE mapping = 'part'"), 'another mapping');
$slow = $erp->rule({ path => '/hook/part', body => '"v":1}' }, { latency_ms => 2000 });
sql('INSERT INTO part VALUES (1, 1)');
sql('UPDATE part SET v = 2 WHERE id = 1');
sql('INSERT INTO part VALUES (2, 3)');
ok($node->poll("SELECT NOT isempty(done) FROM concord.lane WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 'part')"),
	'the last one is done before the others');
sql(q(SELECT concord.alter_mapping('part', options => '{"couriers": 2}')));
ok($node->poll('SELECT count(*) FROM concord.lane WHERE shares = 2', 2), 'the mapping is divided');
is(delivered('part'), 't', 'all are delivered');
is(arrived('/hook/part', 'v'), '3, 1, 2', 'each once');
ok($node->poll('SELECT count(*) FROM concord.lane WHERE past IS NOT NULL', 0), 'the past is forgotten');

$node->stop;
done_testing();
