# One bad mapping, event or transaction holds nobody else: a mapping that cannot
# be evaluated is broken and heals, a key that no link takes is a dead letter, a
# drop that is not committed stands in nobody's way.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('broken');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }

sub reaches
{
	my ($name, $state) = @_;
	return $node->poll("SELECT state FROM concord.mapping WHERE name = '$name'", $state);
}

sql(<<"SQL");
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[ $erp->url('/odata/v4/sales/') ]}');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE TABLE good (id int PRIMARY KEY, name text);
CREATE TABLE bad (id int PRIMARY KEY, name text, rank int);
SELECT concord.create_mapping('good', 'good', 'erp', 'Good', '{"Name": "name"}', key => '{"ID": "id::text"}');
SELECT concord.create_mapping('bad', 'bad', 'erp', 'Bad', '{"Rank": "rank + 1"}', key => '{"ID": "id::text"}');
SELECT concord.create_topic_mapping('topic', 'topic', 'erp', 'Topic', '{"A": "payload->>''a''"}', key => '{"ID": "md5(key)"}');
SQL

# a column goes where no event trigger sees it, and comes back
sql("INSERT INTO bad VALUES (1, 'one', 1); INSERT INTO good VALUES (1, 'one')");
is(delivered('bad'), 't', 'a mapping works');
sql("SET session_replication_role = replica; ALTER TABLE bad DROP COLUMN rank; RESET session_replication_role; INSERT INTO bad VALUES (2, 'two')");
ok(reaches('bad', 'broken'), 'it is broken without its column');
like(sql("SELECT state_reason FROM concord.status WHERE mapping = 'bad'"), qr/"rank" does not exist/, 'it says why');
is(sql("SELECT pending FROM concord.status WHERE mapping = 'bad'"), 1, 'its event is kept');
sql("INSERT INTO good VALUES (2, 'two')");
is(delivered('good'), 't', 'others go on');
sql("ALTER TABLE bad ADD COLUMN rank int DEFAULT 7");
ok(reaches('bad', 'active'), 'it heals by itself');
is(delivered('bad'), 't', 'what it had kept is delivered');
ok($erp->data('/odata/v4/sales/Bad')->{"'2'"}, 'the system has it');

# a preview knows what the system has
is(sql("SELECT method FROM concord.preview('good', 'id = 1')"), 'PATCH', 'a known record would be updated');
sql("SELECT concord.pause('good'); INSERT INTO good VALUES (3, 'three')");
is(sql("SELECT method FROM concord.preview('good', 'id = 3')"), 'POST', 'a new one created');
sql("SELECT concord.resume('good')");

# a key that no link can be stored under
sql("SELECT concord.emit('topic', '{}', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i));"
	. " SELECT concord.emit('topic', '{}', 'short')");
is(delivered('topic'), 't', 'the topic is delivered');
is(sql("SELECT rule || ' ' || count(*) FROM concord.dead_letter WHERE mapping = 'topic' GROUP BY rule"), 'key 1',
	'the long key is a dead letter');

# keys that JSON, or an address, has no form of
sql(<<"SQL");
CREATE TABLE endless (id float8, at timestamptz, PRIMARY KEY (id, at));
CREATE TABLE bytes (id bytea PRIMARY KEY, name text);
CREATE SERVER plain FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $erp->url('/rest/') ]}');
SELECT concord.create_mapping('endless', 'endless', 'erp', 'Endless', '{"Id": "id::text"}', key => '{"ID": "id::text || at"}');
SELECT concord.create_mapping('numbers', 'endless', 'erp', 'Numbers', '{"Id": "id"}');
SELECT concord.create_mapping('bytes', 'bytes', 'plain', 'bytes', '{"name": "name"}');
INSERT INTO endless VALUES ('NaN', 'infinity'), ('-Infinity', '-infinity'), (1, '2026-11-20');
INSERT INTO bytes VALUES ('', 'none'), ('\\x00', 'one');
SQL
is(delivered($_), 't', "$_ is delivered") foreach qw(endless numbers bytes);
is(sql("SELECT state FROM concord.mapping WHERE state <> 'active'"), '', 'no mapping is broken');
is(sql("SELECT string_agg(local_key->>'id', ' ' ORDER BY local_key->>'id') FROM concord.link WHERE mapping = 'endless'"),
	'-Infinity 1 NaN', 'an expression may give them a form');
is(sql("SELECT rule, count(*) FROM concord.dead_letter WHERE mapping = 'numbers' GROUP BY 1"), 'number|2', 'or they are dead letters');
is(sql("SELECT rule, error FROM concord.dead_letter WHERE mapping = 'bytes'"), 'key|key "id" is empty',
	'no bytes name no record');
sql("DELETE FROM bytes");
is(delivered('bytes'), 't', 'their rows are deleted');
is(scalar(grep { $_->{path} eq '/rest/bytes/' } $erp->log_entries), 0, 'nothing was asked of the collection');

# a mapping is compiled again, its table having changed, while what it has mapped is under way
sql(<<"SQL");
CREATE TABLE wide (id int PRIMARY KEY, a text, b text, c text, d text);
SELECT concord.create_mapping('wide', 'wide', 'erp', 'Wide', '{"A": "a", "B": "b", "C": "c", "D": "d"}', key => '{"ID": "id::text"}');
SQL
my $courier = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
$erp->rule({ path => '/odata/v4/sales/Wide', method => 'POST' }, { latency_ms => 2000 }, 20);
sql("INSERT INTO wide SELECT i, 'a', 'b', 'c', 'd' FROM generate_series(1, 20) i");
ok($node->poll("SELECT in_flight > 0 FROM concord.system WHERE server = 'erp'", 't'), 'they are under way');
sql("SET session_replication_role = replica; ALTER TABLE wide ADD COLUMN more text, ADD COLUMN other int; RESET session_replication_role;"
	. " INSERT INTO wide (id, a) SELECT i, repeat('a', 100) FROM generate_series(21, 400) i");
is(delivered('wide'), 't', 'they are delivered');
sql("UPDATE wide SET more = 'more'");
is(delivered('wide'), 't', 'and so is what changes nothing of what is sent');
is(scalar(grep { $_->{method} eq 'PATCH' && $_->{path} =~ m{/Wide} } $erp->log_entries), 0, 'which was known to be the same');
is(sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'"), $courier, 'by the same courier');

# a drop that somebody has not committed yet
sql("BEGIN; SELECT concord.drop_mapping('topic'); PREPARE TRANSACTION 'drop'");
sql("SELECT concord.emit('topic', '{}', 'while it is dropped'); INSERT INTO good VALUES (4, 'four')");
is(delivered('good'), 't', 'others go on while a mapping is being dropped');
ok($node->poll("SELECT count(*) FROM concord.delivery WHERE mapping = 'topic' AND state = 'done'", 2), 'and so does it');
sql("COMMIT PREPARED 'drop'");
ok($node->poll(
		"SELECT count(*) FROM concord.lane l FULL JOIN concord.link_item k USING (mapping)"
		. " FULL JOIN concord.exception e USING (mapping)"
		. " WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = mapping)", 0), 'nothing of it is left');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/courier ERROR/, 'no courier failed');

done_testing();
