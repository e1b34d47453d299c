# Generated columns that are stored nowhere, from PostgreSQL 18 on: WAL does
# not have them, so no event does; whoever asks for one is told, and never
# given NULL for it.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('virtual', start => 0);
if ($node->pg_version->major < 18)
{
	plan skip_all => 'tables have virtual generated columns from PostgreSQL 18 on';
}
$node->start;
ok($node->ready, 'capture is ready');
$node->safe_psql('postgres', q(
	CREATE TABLE item (id int PRIMARY KEY, n int,
		twice int GENERATED ALWAYS AS (n * 2) VIRTUAL, half int GENERATED ALWAYS AS (n / 2) STORED);
	ALTER TABLE item REPLICA IDENTITY FULL;
	INSERT INTO concord.captured VALUES ('item'::regclass);
	CREATE PUBLICATION filtered FOR TABLE item WHERE (twice > 10) WITH (publish_generated_columns = stored, publish = 'insert');
	SELECT pg_create_logical_replication_slot('own', 'concord_decoder')));
$node->safe_psql('postgres', q(INSERT INTO item VALUES (1, 4), (2, 6); UPDATE item SET n = 8 WHERE id = 1; DELETE FROM item WHERE id = 2));

# --- the decoder
my $changes = q(SELECT string_agg(data, E'\n') FROM pg_logical_slot_peek_changes('own', NULL, NULL, 'include_id', 'off', 'include_lsn', 'off',
	'include_time', 'off', 'include_xid', 'off', 'tables', 'public.item'%s));
is($node->safe_psql('postgres', sprintf $changes, ''),
	q({"op":"insert","schema":"public","table":"item","ordinal":1,"key":{"id":1},"new":{"id":1,"n":4,"half":2}}
{"op":"insert","schema":"public","table":"item","ordinal":2,"key":{"id":2},"new":{"id":2,"n":6,"half":3}}
{"op":"update","schema":"public","table":"item","ordinal":1,"key":{"id":1},"old":{"id":1,"n":4,"half":2},"new":{"id":1,"n":8,"half":4}}
{"op":"delete","schema":"public","table":"item","ordinal":1,"key":{"id":2},"old":{"id":2,"n":6,"half":3}}),
	'events do not have it');
my ($status, $out, $err) = $node->psql('postgres', sprintf $changes, q(, 'columns', 'public.item(id, twice)'));
like($err, qr/WARNING:  column "twice" of table "public.item" in option "columns" is a virtual generated column/,
	'option columns: whoever names it is told');
(my $published = sprintf $changes, '') =~ s/'tables', 'public.item'/'publication_names', 'filtered'/;
is($node->safe_psql('postgres', $published),
	q({"op":"insert","schema":"public","table":"item","ordinal":1,"key":{"id":2},"new":{"id":2,"n":6,"half":3}}),
	'a row filter may speak of it');

# --- the outbox and mappings
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't', 'changes are captured');
is($node->safe_psql('postgres', q(SELECT string_agg(coalesce(new, old)::text, ' ' ORDER BY seq) FROM concord.outbox)),
	'{"n": "4", "id": "1", "half": "2"} {"n": "6", "id": "2", "half": "3"} {"n": "8", "id": "1", "half": "4"} {"n": "6", "id": "2", "half": "3"}',
	'nor does the outbox');
my $erp = Concord::Sandbox->new;
$node->safe_psql('postgres', "CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '"
	  . $erp->url('/odata/v4/sales/') . "')");
$erp->set('/odata/v4/sales/Items', key => ['id']);
my $create = q(SELECT concord.create_mapping('items', 'item', 'erp', 'Items', fields => '{"Twice": "%s"}', key => '{"id": "id"}'%s));
foreach my $expression ('twice', 'item.twice', 'old.twice + 1')
{
	($status, $out, $err) = $node->psql('postgres', sprintf $create, $expression, '');
	like($err, qr/column "twice" is a virtual generated column.*HINT:  Write its expression/s, "mapping: $expression is refused");
}
foreach my $expression ('to_jsonb(item)', 'old IS NULL', '(item).twice')
{
	($status, $out, $err) = $node->psql('postgres', sprintf $create, $expression, '');
	like($err, qr/the whole row cannot be used, because it has the virtual generated column "twice"/,
		"mapping: $expression is refused");
}
($status, $out, $err) = $node->psql('postgres', sprintf $create, 'n', q(, filter => 'twice > 3'));
like($err, qr/column "twice" is a virtual generated column/, 'mapping: so is a filter');
$node->safe_psql('postgres', sprintf $create, 'n * 2', q(, filter => 'old.n IS DISTINCT FROM n'));
$node->safe_psql('postgres', q(INSERT INTO item VALUES (3, 5)));
is($node->safe_psql('postgres', q(SELECT concord.wait_for_delivery(timeout => '60s'))), 't', 'its expression is delivered');
is($erp->data('/odata/v4/sales/Items')->{3}{Twice}, 10, 'as it is');

# --- one that comes later: what is mapped does not change
$node->safe_psql('postgres', q(ALTER TABLE item ADD COLUMN thrice int GENERATED ALWAYS AS (n * 3) VIRTUAL;
	INSERT INTO item VALUES (4, 7)));
is($node->safe_psql('postgres', q(SELECT concord.wait_for_delivery(timeout => '60s'))), 't', 'a later one disturbs nothing');
is($erp->data('/odata/v4/sales/Items')->{4}{Twice}, 14, 'nor what is delivered');
$node->stop;
done_testing();
