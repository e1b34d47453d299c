# From 16 on a standby decodes, too: what its slot gives is what the primary's
# gives, by SQL and by a walsender, and goes on when it is promoted.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('primary', start => 0, without => ['shared_preload_libraries'], conf => "autovacuum = off\nlogical_decoding_work_mem = 64kB");
if ($node->pg_version < 16)
{
	plan skip_all => 'standbys decode from PostgreSQL 16 on';
}
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sql(q{CREATE EXTENSION hstore;
	CREATE TYPE mood AS ENUM ('well');
	CREATE TABLE item (id int PRIMARY KEY, note text, tags hstore, mood mood);
	ALTER TABLE item ALTER note SET STORAGE EXTERNAL;
	CREATE TABLE other (id int);
	CREATE PUBLICATION even FOR TABLE item (id, note) WHERE (id % 2 = 0);
	SELECT pg_create_physical_replication_slot('standby', true)});
$node->backup('copy');
my $standby = bless PostgreSQL::Test::Cluster->new('standby'), 'Concord::Cluster';
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\nhot_standby_feedback = on\nwal_receiver_status_interval = 1s");
$standby->start;
$node->poll(q{SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'standby'});

# a slot there waits for what the primary says of running transactions
my $create = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr('postgres'), '-c',
		q{SELECT 'made' FROM unnest('{s,live}'::text[]) n, pg_create_logical_replication_slot(n, 'concord_decoder')} ], '>', \my $made, '2>', \my $said);
for (1 .. 600)
{
	last if $standby->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL}) eq '2';
	sql('SELECT pg_log_standby_snapshot()');
	select undef, undef, undef, 0.1;
}
$create->finish;
is($made, "made\nmade\n", 'slots on the standby') or diag($said);
sql(q{SELECT pg_create_logical_replication_slot('s', 'concord_decoder')});

# changes(FROM): of all kinds; some of them spill, some are rolled back
sub changes
{
	my ($from) = @_;
	sql("INSERT INTO item SELECT i, repeat('x', i % 7 * 500), hstore('k', i::text), 'well' FROM generate_series($from, $from + 99) i;
		UPDATE item SET tags = tags || 'a=>1' WHERE id BETWEEN $from AND $from + 20; DELETE FROM item WHERE id = $from + 5;
		INSERT INTO other VALUES ($from); DELETE FROM other WHERE id = $from;
		BEGIN; INSERT INTO item SELECT i, repeat('y', 1000) FROM generate_series($from + 100, $from + 399) i;
		SAVEPOINT a; UPDATE item SET note = 'gone' WHERE id > $from + 100; ROLLBACK TO a;
		ALTER TABLE item ADD c$from int DEFAULT 3; UPDATE item SET c$from = id WHERE id = $from + 200; COMMIT;
		ALTER TABLE item DROP c$from; TRUNCATE other");
	return;
}
sub caught_up { $node->wait_for_catchup($standby, 'replay', $node->lsn('insert')); return; }
changes(1);
caught_up();
my $end = $node->lsn('insert');
foreach my $options ("'tables', 'public.*'", "'tables', 'public.*', 'streaming', 'on'", "'publication_names', 'even'", "'format', 'cloudevents', 'tables', 'public.*'",
	"'format', 'debezium', 'schema', 'inline', 'tables', 'public.item'")
{
	# blocks end where memory is full, which is the same place; when it is now is not
	my ($here, $there) = map {
		join "\n", map { s/"ts_(?:ms|us|ns)":\d+//gr } split /\n/, $_->safe_psql('postgres', "SELECT data FROM pg_logical_slot_peek_changes('s', '$end', NULL, 'messages', '', $options)")
	} $node, $standby;
	cmp_ok(length($here), '>', 10_000, "$options: there is much");
	ok($here eq $there, "$options: the standby gives the same");
}

# a walsender there, while it is promoted
my $file = $standby->basedir . '/live';
my $receiver = IPC::Run::start([ 'pg_recvlogical', '-d', $standby->connstr('postgres'), '-S', 'live', '--start', '--no-loop', '-F', '1', '-s', '1',
		'-f', $file, '-o', 'tables=public.item', '-o', 'include_transaction=on' ], '>', \my $out, '2>', \my $err);
sub received { return -e $file ? slurp_file($file) : ''; }
sub wait_received
{
	my ($pattern) = @_;
	for (1 .. 10 * $Concord::Cluster::TIMEOUT) { return 1 if received() =~ $pattern; select undef, undef, undef, 0.1; }
	return 0;
}
ok(wait_received(qr/"key":\{"id":400\}/), 'a walsender of the standby sends');
changes(1001);
ok(wait_received(qr/"key":\{"id":1400\}/), 'and what comes then');
sql('INSERT INTO item (id) SELECT generate_series(2001, 2500)');
caught_up();
$node->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', q{INSERT INTO item (id) SELECT generate_series(3001, 3500); INSERT INTO item (id, note) VALUES (4000, 'last')});
ok(wait_received(qr/"note":"last"/), 'it goes on when it has become the primary');
$receiver->signal('TERM');
eval { $receiver->finish };
my @ids = received() =~ /"op":"insert".*?"key":\{"id":(\d+)\}/g;
my %times;
$times{$_}++ foreach @ids;
is(join(' ', grep { $times{$_} != 1 } keys %times), '', 'no row came twice');
is(scalar(keys %times), 400 + 400 + 500 + 501, 'and all of them came');
is(join(' ', @ids), join(' ', sort { $a <=> $b } @ids), 'in order');
unlike(slurp_file($standby->logfile), qr/PANIC:|TRAP:|was terminated by signal/, 'no process has crashed');

$standby->stop;
done_testing();
