# What comes in: records that wait for their parent, parents in a circle, the
# applier killed over and over, and nothing sent back that came from there.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('inbound', conf => "track_commit_timestamp = on\nrestart_after_crash = on");
my $rest = $erp->url('/rest/api/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub applied { return sql("SELECT applied || '/' || rejected || '/' || waiting FROM concord.apply_records('$_[0]', ARRAY['$_[1]'])"); }

sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms', breaker_cooldown '100ms');
	CREATE TABLE parent (id int PRIMARY KEY, name text);
	CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent, name text);
	CREATE TABLE one (id int PRIMARY KEY, two_id int);
	CREATE TABLE two (id int PRIMARY KEY, one_id int REFERENCES one);
	ALTER TABLE one ADD FOREIGN KEY (two_id) REFERENCES two;));
my %fields = (parent => '{"name": {"column": "name", "owner": "erp"}}',
	child => '{"name": {"column": "name", "owner": "erp"}, "parent": {"column": "parent_id", "owner": "erp"}}',
	one => '{"two": {"column": "two_id", "owner": "erp"}}', two => '{"one": {"column": "one_id", "owner": "erp"}}');
sql("SELECT concord.create_mapping('$_', '$_', 'erp', '$_', '$fields{$_}', key => '{\"id\": \"id\"}')") foreach sort keys %fields;

# a missing parent
is(applied('child', '{"id": 1, "name": "first", "parent": 7}'), '0/0/1', 'a record waits for its parent');
is(applied('child', '{"id": 2, "name": "second", "parent": 8}'), '0/0/1', 'and another one');
like(sql("SELECT waits_for FROM concord.inbox WHERE remote_id = '1'"), qr/^row:\d+:\{"id": 7\}$/, 'what it waits for is known');
is(applied('parent', '{"id": 7, "name": "seven"}'), '1/0/0', 'the parent comes');
ok($node->poll("SELECT count(*) = 1 FROM child WHERE id = 1 AND parent_id = 7"), 'then the record is applied');
is(sql("SELECT string_agg(remote_id, ' ') FROM concord.inbox"), '2', 'the other one still waits');
sql("INSERT INTO parent (id) VALUES (8)");
ok($node->poll("SELECT count(*) = 1 FROM child WHERE id = 2"), 'a parent that is made here is found, too');
is(sql("SELECT count(*) FROM concord.inbox"), '0', 'the inbox is empty');

# parents in a circle
is(applied('one', '{"id": 1, "two": 1}'), '0/0/1', 'a record waits');
is(applied('two', '{"id": 1, "one": 1}'), '0/1/0', 'for one that waits for it');
is(sql("SELECT string_agg(mapping || ' ' || state || ' ' || rule, ', ' ORDER BY mapping) FROM concord.inbox"),
	'one parked circle, two parked circle', 'both are parked');
is(sql("SELECT concord.discard_inbox('one', NULL, 'test') + concord.discard_inbox('two', NULL, 'test')"), '2', 'and given up');

# nothing goes back that came from there
sql(qq(CREATE TABLE item (id int PRIMARY KEY, name text, note text, seen int DEFAULT 0);));
sql(q(SELECT concord.create_mapping('item', 'item', 'erp', 'items', '{"name": {"column": "name", "owner": "shared", "policy": "newest"},
	"note": "note"}', key => '{"id": "id"}')));
sql("INSERT INTO item VALUES (1, 'made here', 'n')");
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
is(sql("SELECT base FROM concord.link_item k JOIN concord.mapping m ON m.id = k.mapping WHERE m.name = 'item'"),
	'{"name": "made here"}', 'what was sent of a shared field is what both sides had last');
$erp->clear_log;
is(applied('item', '{"id": 1, "name": "made there", "note": "n"}'), '1/0/0', 'their change is applied');
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
is(sql('SELECT name FROM item WHERE id = 1'), 'made there', 'it is there');
is(scalar(grep { $_->{method} ne 'GET' } $erp->log_entries('/rest')), 0, 'and is not sent back');
is(applied('item', '{"id": 2, "name": "new there", "note": null}'), '1/0/0', 'a new record makes a row');
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
is(scalar(grep { $_->{method} ne 'GET' } $erp->log_entries('/rest')), 0, 'which is not sent back either');

sql(q(CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'by the trigger'; RETURN NEW; END $$;
	CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW WHEN (NEW.name = 'touched') EXECUTE FUNCTION touch();));
is(applied('item', '{"id": 1, "name": "touched", "note": "n"}'), '1/0/0', 'a change that a trigger adds to');
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
is(scalar(grep { $_->{method} ne 'GET' && $_->{body} =~ /by the trigger/ } $erp->log_entries('/rest')), 1, 'is sent');
is(sql("SELECT count(*) > 0 FROM concord.outbox WHERE topic = 'concord.apply' AND payload ->> 'server' = 'erp'"), 't',
	'the outbox says where changes come from');
is(sql("SELECT forged FROM concord.capture"), '0', 'and takes that for ours') if sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'concord.capture'::regclass AND attname = 'forged'");

# a local change that is not sent yet, and theirs
sql('DROP TRIGGER touch ON item');
sql("SELECT concord.pause('item')");
sql("UPDATE item SET note = 'ours' WHERE id = 1");
is(applied('item', '{"id": 1, "name": "theirs"}'), '1/0/0', 'their change meets one of ours');
$erp->clear_log;
sql("SELECT concord.resume('item')");
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
my @bodies = map { $_->{body} } grep { $_->{method} ne 'GET' } $erp->log_entries('/rest');
note(join(' ', @bodies), sql("SELECT string_agg(state || ' ' || seq, ', ' ORDER BY seq) FROM concord.delivery WHERE mapping = 'item'"));
is(scalar(grep { /touched/ } @bodies), 0, 'the older image of the shared field is never sent');
is(scalar(grep { /ours/ } @bodies), 1, 'our change is, once');

# the newest wins
sql("UPDATE item SET name = 'newer here' WHERE id = 1");
is(sql("SELECT concord.wait_for_delivery('item', '60s')"), 't', 'delivered');
sql("SELECT concord.pause_system('erp')");
sql("UPDATE item SET name = 'pending here' WHERE id = 1");
is(sql(q(SELECT applied || '/' || conflicts FROM concord.apply_records('item', ARRAY['{"id": 1, "name": "old there"}'],
	remote_changed => ARRAY[now() - interval '1 hour']))), '0/0', 'an older change there');
is(sql('SELECT name FROM item WHERE id = 1'), 'pending here', 'loses');
is(sql(q(SELECT applied || '/' || conflicts FROM concord.apply_records('item', ARRAY['{"id": 1, "name": "new there again"}'],
	remote_changed => ARRAY[now() + interval '1 hour']))), '1/0', 'a newer one');
is(sql('SELECT name FROM item WHERE id = 1'), 'new there again', 'wins');
is(sql("SELECT string_agg(winner, ' ' ORDER BY conflict) FROM concord.conflict_log WHERE mapping = 'item'"), 'local remote', 'the log says so');
sql("SELECT concord.resume_system('erp')");

# kill -9: nothing is lost, nothing applied twice
my $rows = 6000;
sql(qq(CREATE TABLE bulk (id int PRIMARY KEY, name text); CREATE TABLE bulk_log (id int, what text);
	CREATE FUNCTION bulk_log() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(0.001); INSERT INTO bulk_log VALUES (NEW.id, TG_OP); RETURN NULL; END \$\$;
	CREATE TRIGGER bulk_log AFTER INSERT OR UPDATE ON bulk FOR EACH ROW EXECUTE FUNCTION bulk_log();));
sql(q(SELECT concord.create_mapping('bulk', 'bulk', 'erp', 'bulk', '{"name": {"column": "name", "owner": "erp"}}', key => '{"id": "id"}')));
sql(qq(INSERT INTO concord.inbox_item (mapping, origin, op, record)
	SELECT m.id, 'receive', 'upsert', format('{"id": %s, "name": "n%s"}', i, i) FROM concord.mapping m, generate_series(1, $rows) i WHERE m.name = 'bulk'));
my $kills = 0;
my $until = time + 120;
while ($kills < 3 && time < $until)
{
	my ($rc, $out) = $node->psql('postgres', "SELECT coalesce((SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord applier'), 0) || ' ' || (SELECT count(*) FROM bulk)");
	last if defined $out && $out =~ / $rows$/;
	next unless defined $out && $out =~ /^(\d+) (\d+)/ && $1 > 0 && $2 > $kills * 1000;
	$kills++ if $node->crash($1);
}
ok($kills > 0, 'the applier was killed');
ok($node->poll("SELECT count(*) = $rows FROM bulk"), 'all is there');
is(sql('SELECT count(*) FROM bulk_log'), $rows, 'and was written once');
ok($node->poll("SELECT count(*) = 0 FROM concord.inbox WHERE mapping = 'bulk'"), 'the inbox is empty');

done_testing();
