# An id that the system gives and that is another record's already: nothing is
# linked to it, the delivery is a dead letter, and the first record keeps its
# own.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $node = Concord::Cluster->create('ids');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/rest/');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub settle { return sql("SELECT concord.wait_for_delivery(timeout => '60s')"); }
sub links { return sql("SELECT string_agg(local_key->>'id' || '=' || remote_id, ' ' ORDER BY local_key->>'id') FROM concord.link WHERE mapping = '$_[0]'"); }

sql(qq{
	CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', concurrency '16');
	CREATE TABLE person (id int PRIMARY KEY, name text);
	CREATE TABLE place (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('person', 'person', 'shop', 'people', '{"name": "name"}', key => '{"ours": "id"}',
		options => '{"remote_id": "assigned", "remote_id_path": "id"}');
	SELECT concord.create_mapping('place', 'place', 'shop', 'places', '{"name": "name"}')});

# the first is 71, and the second is answered with 71 too
$erp->rule({ path => '/rest/people', method => 'POST' }, { status => 201, body => '{"id": 71}' }, 2);
sql("INSERT INTO person VALUES (1, 'Ada')");
is(settle(), 't', 'the first');
is(links('person'), '1=71', 'is linked');
sql("INSERT INTO person VALUES (2, 'Grace')");
is(settle(), 't', 'the second');
is(links('person'), '1=71', 'is not');
is(sql("SELECT local_key->>'id', rule, status, attempts, answer, error FROM concord.dead_letter"),
	'2|id in use|201|1|{"id": 71}|the system answered with id "71", which is linked to {"id": 1} already; nothing was linked',
	'a dead letter says why');
like(sql('SELECT request FROM concord.dead_letter'), qr{^POST .*/rest/people.*Grace}s, 'and has the request');
like(sql("SELECT last_error FROM concord.status WHERE mapping = 'person'"), qr/"71"/, 'as the status has');
is(sql("SELECT dead FROM concord.status WHERE mapping = 'person'"), '1', 'it is counted');

# once the system gives another id it goes through
$erp->rule({ path => '/rest/people', method => 'POST' }, { status => 201, body => qq({"id": 72}\r\n) }, 1);
sql("SELECT concord.retry_dead('person')");
is(settle(), 't', 'again');
is(links('person'), '1=71 2=72', 'with an id of its own');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letter is left');

# many at once, so that several end in one transaction: one of them has it
$erp->rule({ path => '/rest/people', method => 'POST' }, { status => 201, body => '{"id": "same"}', latency_ms => 50 });
sql("INSERT INTO person SELECT i, 'Many' FROM generate_series(100, 115) i");
is(settle(), 't', 'the same id for many');
is(sql("SELECT count(*) FROM concord.link WHERE remote_id = 'same'"), '1', 'one of them is linked');
is(sql("SELECT count(*), count(DISTINCT rule), min(rule) FROM concord.dead_letter"), '15|1|id in use', 'the others are dead letters');
my $owner = sql("SELECT local_key->>'id' FROM concord.link WHERE remote_id = 'same'");
is(sql(qq{SELECT count(*) FROM concord.dead_letter WHERE error LIKE '%linked to {"id": $owner} already%'}), '15', 'that name the one');
is(sql("SELECT concord.local_key('person', 'same')"), qq({"id": $owner}), 'which local_key() finds');
is(sql("SELECT concord.local_key('person', 'nobody') IS NULL"), 't', 'and nothing else');

# an id is free once its record was deleted, and stays with a row whose key changes
$erp->drop_rules;
$erp->rule({ path => '/rest/people', method => 'POST' }, { status => 201, body => '{"id": 71}' });
$erp->rule({ path => '/rest/people' }, { status => 200, body => '{"id": 71}' });
sql("UPDATE person SET id = 3, name = 'Ada L.' WHERE id = 1");
is(settle(), 't', 'another key');
is(links('person') =~ /\b3=71\b/, 1, 'the record goes with it') or diag(links('person'));
sql("DELETE FROM person WHERE id = 3");
sql("INSERT INTO person VALUES (4, 'Heir')");
is(settle(), 't', 'a delete and a create');
is(links('person') =~ /\b4=71\b/, 1, 'the id may be used again') or diag(links('person'));
is(sql("SELECT count(*) FROM concord.dead_letter"), '15', 'no new dead letters');

# ids that follow from our key are in no index, and are found as well
sql("INSERT INTO place VALUES (1, 'Here')");
is(settle(), 't', 'a record with a key of ours');
is(sql("SELECT concord.local_key('place', '1')"), '{"id": 1}', 'local_key() there');
is(sql("SELECT string_agg(m.name || ' ' || k.assigned, ', ' ORDER BY m.name)
	FROM (SELECT DISTINCT mapping, assigned FROM concord.link_item WHERE present) k JOIN concord.mapping m ON m.id = k.mapping"),
	'person true, place false', 'which links are in the index');

# the rows that went in past the executor are where the index says
is(sql("SET enable_seqscan = off; SET enable_bitmapscan = off;
	SELECT count(*) FROM concord.link_item WHERE assigned AND remote_id IS NOT NULL AND mapping IN (SELECT id FROM concord.mapping WHERE name = 'person')"),
	sql("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;
	SELECT count(*) FROM concord.link_item WHERE assigned AND remote_id IS NOT NULL"), 'the index has all of them');

$node->stop;
done_testing();
