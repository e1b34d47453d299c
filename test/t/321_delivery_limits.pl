# How long things are kept: what a mapping behind still needs, mappings that
# give up their place, finished deliveries, and replay beyond all that.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('limits', conf => "pg_concord.outbox_retention = 0\npg_concord.hold_limit = ''\nmax_prepared_transactions = 2");

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Runs a query and returns what it gave and the messages.
sub sql_all
{
	my ($out, $err);
	$node->psql('postgres', $_[0], stdout => \$out, stderr => \$err);
	return ($out, $err);
}

sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub notes { return join(',', map { JSON::PP->new->utf8->decode($_->{body})->{note} } $erp->log_entries("/hook/$_[0]")); }

# turn(N): the outbox goes on to its next table N times
sub turn
{
	my ($n) = @_;
	my $opened = sql("SELECT extract(epoch FROM max(opened_at)) FROM concord.outbox_ring");
	for (1 .. $n)
	{
		ok($node->poll("SELECT concord.emit('turn', '{}') IS NOT NULL AND extract(epoch FROM max(opened_at)) > $opened FROM concord.outbox_ring"),
			'the outbox goes on to its next table');
		$opened = sql("SELECT extract(epoch FROM max(opened_at)) FROM concord.outbox_ring");
	}
	return;
}

# retain(CONDITION): a new clerk cleans at once
sub retain
{
	my ($condition, $label) = @_;
	my $gone = 'f';

	# The clerk leaves a table that is being read for its next round, and our
	# question reads it: ask seldom, and send for a clerk again.
	for my $try (0 .. 150)
	{
		sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord clerk'")
			if $try % 5 == 0;
		usleep(300_000);
		$gone = sql("SELECT $condition");
		last if $gone eq 't';
	}
	is($gone, 't', $label);
	return;
}

sql(<<"SQL");
CREATE TABLE behind (id int PRIMARY KEY, note text);
CREATE TABLE other (id int PRIMARY KEY, note text);
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '@{[ $erp->url('/hook/') ]}');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'none');
SELECT concord.create_mapping('behind', 'behind', 'hook', 'behind', '{"note": "note"}');
SELECT concord.create_mapping('other', 'other', 'hook', 'other', '{"note": "note"}');
INSERT INTO behind VALUES (1, 'first');
SQL
is(delivered('behind'), 't', 'a first event');

# --- events that a mapping behind needs outlive their retention
turn(1);
is(delivered('behind'), 't', 'nothing is left in the first table');
sql("SELECT concord.pause('behind'); INSERT INTO behind VALUES (2, 'second')");
my $start = sql('SELECT now()');
turn(2);
is(sql("SELECT concord.wait_for_delivery('other', '60s')"), 't', 'another mapping goes on');
retain("NOT EXISTS (SELECT FROM concord.outbox WHERE new ->> 'note' = 'first')", 'retention: what nobody needs goes');
is(sql("SELECT count(*) FROM concord.outbox WHERE new ->> 'note' = 'second'"), '1', 'what a mapping behind needs stays');
sql("SELECT concord.resume('behind')");
is(delivered('behind'), 't', 'it catches up');
is(notes('behind'), 'first,second', 'and has lost nothing');

# --- replay from before what is kept
turn(1);
sql("INSERT INTO behind VALUES (3, 'third')");
is(delivered('behind'), 't', 'a third event');
retain("NOT EXISTS (SELECT FROM concord.outbox WHERE new ->> 'note' = 'second')", 'retention: the second goes when it was delivered');
my ($out, $err) = sql_all("SELECT concord.replay('behind', from_time => '$start')");
my $oldest = sql("SELECT to_char(min(committed_at), 'YYYY-MM-DD HH24:MI:SS.MS') FROM concord.outbox");
like($err, qr/ERROR:  events before \Q$oldest\E.* are not kept any more/, 'replay from before the oldest kept event is refused, with its time');
$erp->clear_log;
is(sql("SELECT concord.replay('other', from_time => (SELECT min(committed_at) FROM concord.outbox))"), '0',
	'replay from that time, of a mapping without events, is none');
is(sql("SELECT concord.replay('behind')"), '1', 'replay of what is kept');
is(delivered('behind'), 't', 'ends');
is(notes('behind'), 'third', 'and is sent');

# --- a mapping held for longer than it may be gives up its place
sql("SELECT concord.pause('behind');
	 INSERT INTO behind SELECT i, 'lost ' || repeat(md5(i::text), 20) FROM generate_series(1001, 2000) i");
is(sql("SELECT concord.wait_for_capture('60s')"), 't', 'much is captured');
$node->append_conf('postgresql.conf', "pg_concord.hold_limit = '100kB'");
$node->reload;
ok($node->poll("SELECT state = 'stale' AND state_reason LIKE '%hold_limit%' FROM concord.status WHERE mapping = 'behind'"),
	'beyond hold_limit a paused mapping is stale, with the reason');
like(sql("SELECT state_reason FROM concord.status WHERE mapping = 'behind'"), qr/resume\(\)/, 'and what to do');
is(sql("SELECT state FROM concord.status WHERE mapping = 'other'"), 'active', 'another is not');
($out, $err) = sql_all("SELECT concord.wait_for_delivery('behind', '30s')");
like("$out $err", qr/^f.*NOTICE:.*stale/s, 'waiting for it ends at once');
turn(1);
retain("NOT EXISTS (SELECT FROM concord.outbox WHERE new ->> 'note' LIKE 'lost%')", 'its events may go');
$erp->clear_log;
sql("INSERT INTO behind VALUES (4, 'between')");
sql("SELECT concord.resume('behind'); INSERT INTO behind VALUES (5, 'anew')");
is(delivered('behind'), 't', 'resumed, it begins anew');
is(notes('behind'), 'anew', 'with what changes from then on');
is(sql("SELECT state FROM concord.status WHERE mapping = 'behind'"), 'active', 'it is active');

# --- so does one whose system is down
$erp->stop;
sql("INSERT INTO behind SELECT i, 'lost ' || repeat(md5(i::text), 20) FROM generate_series(3001, 4000) i");
ok($node->poll("SELECT state = 'down' FROM concord.system WHERE server = 'hook'"), 'a system goes down');
$node->reload;
ok($node->poll("SELECT state = 'stale' FROM concord.status WHERE mapping = 'behind'"), 'its mapping becomes stale');
$erp->start;
sql("ALTER SERVER hook OPTIONS (ADD timeout '20s')");
sql("INSERT INTO other VALUES (1, 'after')");
is(delivered('other'), 't', 'the system is back');

# --- finished deliveries are kept for delivery_retention
sql("INSERT INTO concord.delivery_log_$_ (mapping, version, seq, op, outcome, attempts, committed_at, finished_at)
	 SELECT id, 1, 0, 'I', 'd', 1, now() - interval '30 days', now() - interval '30 days' FROM concord.mapping WHERE name = 'other'") for 0 .. 3;
is(sql("SELECT count(*) FROM concord.delivery WHERE seq = 0"), '4', 'deliveries of a month ago');
retain("count(*) <= 1 FROM concord.delivery WHERE seq = 0", 'go, but for the table in use');
is(sql("SELECT count(*) FROM concord.delivery WHERE mapping = 'other' AND seq > 0 AND state = 'done'"), '1', 'those of today stay');

# --- what has become too old while nobody cleaned goes in short transactions, and what may not go stays
my $rows = $ENV{CONCORD_TEST_ROWS} || 200_000;
my $few = int($rows / 4);
my %old = (
	call_record => ["INSERT INTO concord.call_record SELECT gen_random_uuid(), 'begin', now() - interval '30 days', '{}' FROM generate_series(1, $rows)",
		"INSERT INTO concord.call_record SELECT gen_random_uuid(), 'begin', now(), '{}' FROM generate_series(1, 3)"],
	operation => ["INSERT INTO concord.operation (at, what, role, session_role) SELECT now() - interval '100 days', 'test', 'x', 'x' FROM generate_series(1, $rows)",
		"INSERT INTO concord.operation (at, what, role, session_role) SELECT now() - interval '80 days', 'test', 'x', 'x' FROM generate_series(1, 3)"],
	link_item => ["INSERT INTO concord.link_item (mapping, local_key, seq, present, changed_at) SELECT m.id, jsonb_build_object('id', -i), 1, i <= 3, now() - interval '30 days' FROM concord.mapping m, generate_series(1, $few) i WHERE m.name = 'other'",
		"INSERT INTO concord.link_item (mapping, local_key, seq, present) SELECT m.id, jsonb_build_object('id', -$few - i), 1, false FROM concord.mapping m, generate_series(1, 3) i WHERE m.name = 'other'"],
	exception => ["INSERT INTO concord.exception (mapping, version, seq, event_id, op, committed_at, event, state, changed_at) SELECT m.id, 1, 0, gen_random_uuid(), 'I', now(), '', CASE WHEN i <= 3 THEN 'dead' ELSE 'discarded' END, now() - interval '30 days' FROM concord.mapping m, generate_series(1, $few) i WHERE m.name = 'other'",
		"INSERT INTO concord.exception (mapping, version, seq, event_id, op, committed_at, event, state) SELECT m.id, 1, 0, gen_random_uuid(), 'I', now(), '', 'superseded' FROM concord.mapping m, generate_series(1, 3) i WHERE m.name = 'other'"]);
my %kept = (call_record => 3, operation => 3, link_item => 6, exception => 6);
my %mine = (call_record => 'true', operation => "what = 'test'", link_item => "(local_key ->> 'id')::int < 0", exception => 'seq = 0');
sql(q{CREATE TABLE cleaned (what text, xid xid8);
	CREATE FUNCTION cleaned() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.cleaned VALUES (TG_TABLE_NAME, pg_current_xact_id()); RETURN NULL; END$$});
for my $table (sort keys %old)
{
	sql("CREATE TRIGGER cleaned AFTER DELETE ON concord.$table FOR EACH STATEMENT EXECUTE FUNCTION cleaned()");
	sql("BEGIN; $old{$table}[0]; $old{$table}[1]; COMMIT");
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord clerk'");
	my ($longest, $left) = (0, -1);
	my $until = time + 240;
	while ($left != $kept{$table} && time < $until)
	{
		my $line = sql("SELECT (SELECT count(*) FROM concord.$table WHERE $mine{$table}), coalesce((SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity WHERE backend_type = 'concord clerk'), 0)");
		($left, my $age) = split /\|/, $line;
		$longest = $age if $age > $longest;
		usleep(20_000);
	}
	is($left, $kept{$table}, "$table: what is too old is gone, the rest is there");
	sql("DROP TRIGGER cleaned ON concord.$table");
	cmp_ok(sql("SELECT count(DISTINCT xid) FROM cleaned WHERE what = '$table'"), '>=', 4, sprintf('%s: in several transactions, the longest of %.2f s', $table, $longest));
	sql("DELETE FROM concord.$table WHERE $mine{$table}");
}

# --- an index that somebody has made on them finds all of them
sql("CREATE INDEX mine_$_ ON concord.delivery_log_$_ USING brin (seq int8_bloom_ops); SELECT brin_summarize_new_values('concord.mine_$_')") for 0 .. 3;
my $before = sql("SELECT count(*) FROM concord.delivery");
sql("INSERT INTO other SELECT i, 'indexed' FROM generate_series(2, 60) i");
is(delivered('other'), 't', 'more is delivered');
is(sql("SELECT count(*) - $before FROM concord.delivery"), '59', 'and is in the log');
is(join(' ', map { sql("BEGIN; UPDATE pg_index SET indisvalid = false WHERE indrelid = 'concord.delivery_log_$_'::regclass AND indexrelid <> 'concord.mine_$_'::regclass;
	SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_material = off;
	SELECT count(*) FROM (SELECT seq FROM concord.delivery_log_$_ OFFSET 0) o WHERE NOT EXISTS (SELECT FROM concord.delivery_log_$_ l WHERE l.seq = o.seq); ROLLBACK") } 0 .. 3),
	'0 0 0 0', 'a bloom index has every one');

# --- one whose making was given up is no reason not to deliver
sql("BEGIN; " . join(' ', map { "LOCK TABLE concord.delivery_log_$_ IN ROW EXCLUSIVE MODE;" } 0 .. 3) . " PREPARE TRANSACTION 'busy'");
for my $n (0 .. 3)
{
	my $making = Concord::Cluster::start_child('psql', '-X', '-q', '-d', $node->connstr('postgres'),
		'-c', "CREATE INDEX CONCURRENTLY given_up_$n ON concord.delivery_log_$n (seq)");
	ok($node->poll("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('concord.given_up_$n')", '1'), 'an index is being made');
	sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY given_up_$n%'");
	Concord::Cluster::stop_child($making, 'ZERO');    # it ends by itself
}
sql("ROLLBACK PREPARED 'busy'");
is(sql("SELECT count(*) FROM pg_index WHERE NOT indisready AND indrelid::regclass::text LIKE 'concord.delivery_log%'"), '4', 'indexes that are not ready');
sql("INSERT INTO other SELECT i, 'not ready' FROM generate_series(61, 70) i");
is(delivered('other'), 't', 'their tables are written');
is(sql("SELECT count(*) - $before FROM concord.delivery"), '69', 'all rows are there');

$node->stop;
done_testing();
