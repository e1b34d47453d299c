# Lanes that begin behind what the courier has read for the others, and rows of
# concord.lane, which a courier writes past the executor: whatever happens to the
# table meanwhile, positions and counts are right and nothing is sent twice.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('lanes', conf => 'restart_after_crash = on');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery(" . ($_[0] ? "'$_[0]'" : 'NULL') . ", '60s')"); }

my $url = $erp->url('/rest/shop/');
my $server = "SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')";
sql(<<~SQL);
	CREATE $server;
	CREATE ROLE app;
	SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, v int)', i) FROM generate_series(1, 20) i \\gexec
	SELECT concord.create_mapping('t' || i, ('t' || i)::regclass, 'shop', 't' || i, '{"v": "v"}', key => '{"id": "id"}')
		FROM generate_series(1, 20) i;
	SQL

# what has come, for each table: the versions of each record, in order
sub all_arrived
{
	my %seen;

	for my $entry ($erp->log_entries)
	{
		my ($table, $id) = $entry->{path} =~ m{shop/(\w+)(?:/(\d+))?$};
		next if !defined $table || $entry->{method} eq 'GET';
		my $body = JSON::PP::decode_json($entry->{body});

		push @{ $seen{$table}{ $id // $body->{id} } }, $body->{v};
	}
	return \%seen;
}
sub arrived { return all_arrived()->{ $_[0] } // {}; }

# ---- a new lane behind the head: its role may not send yet when it begins, and
# the courier reads on for others

sql(<<~'SQL');
	CREATE TABLE late (id int PRIMARY KEY, v int);
	ALTER TABLE late OWNER TO app;
	GRANT USAGE ON FOREIGN SERVER shop TO app;
	GRANT USAGE ON SCHEMA concord TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO app;
	BEGIN;
	SET LOCAL ROLE app;
	SELECT concord.create_mapping('late', 'late', 'shop', 'late', '{"v": "v"}', key => '{"id": "id"}');
	RESET ROLE;
	REVOKE USAGE ON FOREIGN SERVER shop FROM app;
	COMMIT;
	SQL
ok($node->poll("SELECT state FROM concord.status WHERE mapping = 'late'", 'denied'), 'a mapping whose role may not');
for my $version (1 .. 3)
{
	sql("INSERT INTO late SELECT i, $version FROM generate_series(1, 700) i ON CONFLICT (id) DO UPDATE SET v = $version");
	sql("INSERT INTO t$_ SELECT i, $version FROM generate_series(1, 50) i ON CONFLICT (id) DO UPDATE SET v = $version") for 1 .. 20;
}
is(delivered("t$_"), 't', "t$_ does not wait for it") for 1, 20;
is(sql('SELECT (SELECT cursor FROM concord.lane JOIN concord.mapping m ON m.id = mapping WHERE name = $$late$$)'
	  . ' < (SELECT min(cursor) FROM concord.lane JOIN concord.mapping m ON m.id = mapping WHERE name <> $$late$$)'), 't', 'it is behind them');
is(scalar keys %{ arrived('late') }, 0, 'nothing of it was sent');

sql('GRANT USAGE ON FOREIGN SERVER shop TO app');
ok($node->poll("SELECT state FROM concord.status WHERE mapping = 'late'", 'active'), 'now its role may');
# others go on at the head while it reads for itself
sql("UPDATE t$_ SET v = 4") for 1 .. 20;
sql('UPDATE late SET v = 4');
is(delivered(), 't', 'it catches up');
my $all = all_arrived();
my $late = $all->{late};
is(scalar keys %$late, 700, 'all its records are there');
is_deeply([ grep { "@{ $late->{$_} }" ne '1 2 3 4' } keys %$late ], [], 'each version once, in order');
my @wrong = map { my $seen = $all->{"t$_"}; grep { "@{ $seen->{$_} }" ne '1 2 3 4' } keys %$seen } 1 .. 20;
is_deeply(\@wrong, [], 'so with the others');

# it is at the head now, and goes on there
sql('INSERT INTO late VALUES (1001, 1)');
is(delivered('late'), 't', 'then it goes with the others');
is_deeply(arrived('late')->{1001}, [1], '... once');

# one that was paused begins again behind the head; killed while it is there
sql("SELECT concord.pause('late')");
sql("INSERT INTO t$_ SELECT i, 1 FROM generate_series(51, 100) i") for 1 .. 20;
sql('INSERT INTO late SELECT i, 1 FROM generate_series(2001, 4000) i');
is(delivered("t20"), 't', 'others are ahead');
my $sent = sql("SELECT delivered FROM concord.status WHERE mapping = 'late'");
sql("SELECT concord.resume('late')");
ok($node->poll("SELECT delivered > $sent + 100 FROM concord.status WHERE mapping = 'late'"), 'some of it has been sent');
my $killed = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
ok($node->crash($killed), 'killed');
ok($node->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'concord courier' AND pid <> $killed"), 'the server is back');
is(delivered(), 't', 'all is delivered');
$late = arrived('late');
is(scalar keys %$late, 2701, 'all records are there');
my @twice = grep { grep { $_ > 1 } @{ $late->{$_} }[ 1 .. $#{ $late->{$_} } ] } grep { $_ > 2000 } keys %$late;
is_deeply(\@twice, [], 'no record has a version that it did not have');

# ---- rows of concord.lane

my $delivered = 'SELECT sum(delivered) FROM concord.lane';
my $before;
my $round = 10;

# go(WHAT): each table's row changes; the counts and positions say so
sub go
{
	my ($what) = @_;
	$round++;
	$before = sql($delivered);
	sql(join("\n", map { "UPDATE t$_ SET v = $round WHERE id <= 2;" } 1 .. 20));
	is(delivered(), 't', "$what: delivered");
	is(sql($delivered) - $before, 40, "$what: counted");
	ok($node->poll("SELECT count(DISTINCT cursor) = 1 AND bool_and(done = '{}') FROM concord.lane"), "$what: all at the same place");
	return;
}
go('as ever');

# where the rows are is not where they were
sql('VACUUM FULL concord.lane');
go('after VACUUM FULL');
sql('REINDEX TABLE concord.lane');
go('after REINDEX');
sql('CREATE TABLE kept AS SELECT * FROM concord.lane');
{
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");

	# rows in others' places, and versions that the courier has not made
	kill STOP => $pid;
	sql('BEGIN; DELETE FROM concord.lane; INSERT INTO concord.lane SELECT * FROM kept ORDER BY mapping DESC; COMMIT; VACUUM concord.lane');
	sql('UPDATE concord.lane SET last_error = NULL') for 1 .. 50;
	kill CONT => $pid;
}
go('rows in other places');

# many versions stay in their blocks, and the index has few entries
my $pages = sql('SELECT pg_relation_size($$concord.lane$$)');
for my $i (1 .. 60)
{
	sql(join("\n", map { "UPDATE t$_ SET v = v + 1 WHERE id = 1;" } 1 .. 20));
	delivered() if $i % 5 == 0;
}
is(delivered(), 't', 'many small commits');
cmp_ok(sql('SELECT pg_relation_size($$concord.lane$$)'), '<=', $pages + 16 * 8192, 'the table does not grow with them');

# somebody has a row: the courier waits for that, and counts on what was written
my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN');
$other->query_safe("UPDATE concord.lane SET delivered = delivered + 1000 WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 't7')");
$before = sql("SELECT delivered FROM concord.lane WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 't7')");
sql('UPDATE t7 SET v = 99 WHERE id = 1');
ok($node->poll("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'concord courier' AND wait_event_type = 'Lock'"), 'the courier waits');
$other->query_safe('COMMIT');
$other->quit;
is(delivered(), 't', 'then it goes on');
is(sql("SELECT delivered FROM concord.lane WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 't7')"), $before + 1001, 'both are counted');

# a trigger and an index of somebody's own
sql(<<~'SQL');
	CREATE TABLE seen (mapping int);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (new.mapping); RETURN new; END';
	CREATE TRIGGER note BEFORE UPDATE ON concord.lane FOR EACH ROW EXECUTE FUNCTION note();
	SQL
go('with a trigger');
is(sql('SELECT count(DISTINCT mapping) >= 20 FROM seen'), 't', 'which is called');
sql('DROP TRIGGER note ON concord.lane; CREATE INDEX lane_cursor ON concord.lane (cursor)');
go('with another index');
is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM concord.lane WHERE cursor = (SELECT max(cursor) FROM concord.lane)}), '21', '... which is right');
sql('DROP INDEX concord.lane_cursor');
go('without it');

# ---- tables that have only been looked at

sql('ANALYZE t1, t2, t3');
go('after ANALYZE');
$node->stop;
done_testing();
