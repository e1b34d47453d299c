# A restored dump and a clone made with TEMPLATE send nothing, and say why,
# until concord.activate(); then their changes go out, and only theirs.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('main');
$node->safe_psql('postgres', 'CREATE DATABASE original');
ok($node->ready('original'), 'capture is ready');

# What the system holds, as "key name" lines.
sub held
{
	my $data = $erp->data('/odata/v4/sales/Goods');
	return join(', ', map { "$_ $data->{$_}{name}" } sort keys %$data);
}

# Each request so far, as "method body".
sub requests { return scalar(() = $erp->log_entries('/odata/v4/sales/Goods')); }

my $url = $erp->url('/odata/v4/sales/');
$erp->set('/odata/v4/sales/Goods', key => ['id']);
$node->safe_psql('original', <<"SQL");
CREATE TABLE goods (id int PRIMARY KEY, name text);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '50ms',
	retry_cap '200ms', breaker_cooldown '200ms');
SELECT concord.create_mapping('goods', 'goods', 'erp', 'Goods', fields => '{"name": "name"}', key => '{"id": "id"}');
SELECT concord.create_topic_mapping('shouts', 'shout', 'erp', 'Goods', fields => '{"name": "payload ->> ''name''"}',
	key => '{"id": "(payload ->> ''id'')::int"}', paused => true);
SQL
$node->safe_psql('original', q(INSERT INTO goods VALUES (1, 'one')));
is($node->safe_psql('original', q(SELECT concord.wait_for_delivery('goods', '60s'))), 't', 'the original delivers');

# something is under way when the copies are made
my $rule = $erp->rule({ path => '/odata/v4/sales/Goods' }, { status => 503 });
$node->safe_psql('original', q(INSERT INTO goods VALUES (2, 'two')));
ok($erp->wait_until(sub { return requests() > 2; }), 'a delivery is repeated');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('original') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restored');
$node->safe_psql('postgres', 'CREATE DATABASE cloned TEMPLATE original');

$erp->drop_rule($rule);
is($node->safe_psql('original', q(SELECT concord.wait_for_delivery('goods', '60s'))), 't', 'the original goes on');
is(held(), '1 one, 2 two', 'and delivered both');

my $sent = requests();
foreach my $copy (qw(restored cloned))
{
	is($node->safe_psql($copy, q(SELECT string_agg(DISTINCT state, ',') FROM concord.status)), 'restored',
		"$copy: mappings are shown as restored");
	$node->safe_psql($copy, q(UPDATE goods SET name = 'wrong' WHERE id = 1; INSERT INTO goods VALUES (9, 'wrong')));
}
like($node->safe_psql('cloned', 'SELECT reason, hint FROM concord.capture'), qr/is a copy of another.*\|.*concord\.activate\(\)/,
	'cloned: concord.capture says what it is and what to do');
is($node->workers('cloned'), '', 'cloned: no worker runs');
# a restored database has workers from the start, and captures, but sends nothing
is($node->safe_psql('restored', q(SELECT concord.wait_for_capture('60s'))), 't', 'restored: capture is ready');
my ($status, $out, $err) = $node->psql('restored', q(SELECT concord.wait_for_delivery('goods', '30s')));
is("$out $err", 'f psql:<stdin>:1: NOTICE:  nothing is delivered: mapping "goods" is restored',
	'restored: waiting is of no use, and says why');
is(requests(), $sent, 'neither has sent a request');

# --- one after the other takes the other's place
my %id = (restored => 10, cloned => 20);
foreach my $copy (qw(restored cloned))
{
	is($node->safe_psql($copy, 'SELECT concord.activate()'), '2', "$copy: activate() starts what it needs, and both mappings");
	is($node->safe_psql($copy, q(SELECT string_agg(mapping || ' ' || state, ', ' ORDER BY mapping) FROM concord.status)),
		'goods active, shouts paused', "$copy: a paused mapping stays paused");
	is($node->safe_psql($copy, 'SELECT count(*) FROM concord.setup_problems()'), '0', "$copy: nothing is missing");
	is($node->safe_psql($copy, 'SELECT state FROM concord.capture'), 'running', "$copy: capture runs");
	is($node->safe_psql($copy, 'SELECT concord.activate()'), '0', "$copy: once");
	$node->safe_psql($copy, "INSERT INTO goods VALUES ($id{$copy}, '$copy')");
	is($node->safe_psql($copy, q(SELECT concord.wait_for_delivery('goods', '60s'))), 't', "$copy: delivers")
	  or diag($node->safe_psql($copy, 'TABLE concord.status; TABLE concord.lane; TABLE concord.lane_start; TABLE concord.system; TABLE concord.exception; SELECT seq,op,new,topic,payload FROM concord.outbox'));
}
is(held(), '1 one, 10 restored, 2 two, 20 cloned', 'what was changed before activate() is not sent');
is(requests(), $sent + 2, 'one request each');

# --- both have workers and slots of their own
is($node->workers($_), 'concord capture 1, concord clerk 1, concord courier 1, concord decoder 1', "workers of $_")
  foreach qw(original restored cloned);
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'pg_concord_%' AND active)),
	'3', 'a slot for each');
$node->safe_psql('original', q(INSERT INTO goods VALUES (3, 'three')));
is($node->safe_psql('original', q(SELECT concord.wait_for_delivery('goods', '60s'))), 't', 'the original delivers as before');

# --- in a transaction that has written, activate() cannot wait for capture
$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE original');
($status, $out, $err) = $node->psql('again', q(INSERT INTO goods VALUES (4, 'four'); SELECT concord.activate()),
	extra_params => ['-1']);
like($err, qr/concord\.activate\(\) cannot be used because capture is not ready/, 'activate() after a write is refused');
is($node->safe_psql('again', 'SELECT concord.activate()'), '2', 'and works by itself');
$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(again cloned restored original);
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'no slot is left');
$node->stop;
done_testing();
