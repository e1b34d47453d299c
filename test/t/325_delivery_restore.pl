# A restored database, activated: its outbox counts from the beginning, and yet
# changes of records that the original had sent go out, and the dead letters
# that came along are older than they are.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $url = $erp->url('/rest/');
my $node = Concord::Cluster->create('restore');
ok($node->ready, 'capture is ready');
$node->safe_psql('postgres', qq(
	CREATE TABLE goods (id int PRIMARY KEY, name text);
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url');
	SELECT concord.create_mapping('goods', 'goods', 'erp', 'goods', fields => '{"name": "name"}',
		checks => '{"named": "name <> ''''"}');));
$node->safe_psql('postgres', "INSERT INTO goods SELECT i, 'old' FROM generate_series(1, 200) i");
$node->safe_psql('postgres', "INSERT INTO goods VALUES (300, '')");
is($node->safe_psql('postgres', q(SELECT concord.wait_for_delivery('goods'))), 't', 'the original has sent');

$node->safe_psql('postgres', q(
	CREATE ROLE agent SUPERUSER;
	SET ROLE agent;
	CREATE TABLE item (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('item', 'item', 'erp', 'item', fields => '{"name": "name"}');
	RESET ROLE;
	ALTER TABLE item OWNER TO CURRENT_USER;
	ALTER ROLE agent RENAME TO broker;));
ok($node->poll("SELECT definer = 'broker' FROM concord.mapping WHERE name = 'item'"),
	'a role that is renamed is followed');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'DROP ROLE broker');
ok($node->poll(q(SELECT state = 'denied' AND state_reason = 'role "broker" does not exist'
	FROM concord.mapping WHERE name = 'item')), 'a role that is dropped denies its mappings');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');

$erp->clear_log;
$node->safe_psql('restored', "UPDATE goods SET name = 'too early' WHERE id = 3");
is(scalar($erp->log_entries), 0, 'nothing is sent before activate()');
is($node->safe_psql('restored', 'SELECT concord.activate()'), '2', 'activate()');
is($node->safe_psql('restored', q(SELECT m.definer, m.state, m.state_reason, v.created_by
	FROM concord.mapping m JOIN concord.mapping_version v ON v.mapping = m.id WHERE m.name = 'item')),
	'broker|denied|role "broker" does not exist|agent', 'a definer that is missing');
$node->safe_psql('restored', q(SELECT concord.set_definer('item', current_user)));
$node->safe_psql('restored', "INSERT INTO item VALUES (1, 'one')");
is($node->safe_psql('restored', q(SELECT concord.wait_for_delivery('item'))), 't', 'its mapping with another definer');
is($erp->data->{'/rest/item'}{1}{name}, 'one', 'it sends');
$node->safe_psql('restored', "UPDATE goods SET name = 'new' WHERE id = 1");
$node->safe_psql('restored', "DELETE FROM goods WHERE id = 2");
$node->safe_psql('restored', "UPDATE goods SET name = 'named' WHERE id = 300");
is($node->safe_psql('restored', q(SELECT concord.wait_for_delivery('goods'))), 't', 'the copy has sent');
my $goods = $erp->data->{'/rest/goods'};
is($goods->{1}{name}, 'new', 'an update of a record that the original sent');
ok(!exists $goods->{2}, 'a delete of such a record');
is($goods->{300}{name}, 'named', 'the correction of a dead letter');
is($goods->{3}{name}, 'old', 'what was changed before activate() is not sent');

$node->safe_psql('restored', q(SELECT concord.retry_dead('goods')));
is($node->safe_psql('restored', q(SELECT concord.wait_for_delivery('goods'))), 't', 'dead letters again');
is($erp->data->{'/rest/goods'}{300}{name}, 'named', 'an older dead letter does not overwrite it');
is($node->safe_psql('restored', 'SELECT count(*) FROM concord.dead_letter'), '0', 'none is left');

$node->stop;
done_testing();
