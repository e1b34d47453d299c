# The output plugin over the replication protocol: events share writes, and what
# a client reads line by line is what the SQL functions return.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('main');
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_concord;
	CREATE TABLE item (id int PRIMARY KEY, name text);
	SELECT pg_create_logical_replication_slot('s', 'concord_decoder');
	INSERT INTO item SELECT i, 'Item ' || i FROM generate_series(1, 3000) i;
	UPDATE item SET name = E'two\nlines' WHERE id = 2;
	DELETE FROM item WHERE id < 3;
});
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my $sql = $node->safe_psql('postgres', q{
	SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL)});

# Reads a copy of the slot; returns what was written, and the writes it took.
sub receive
{
	my (%options) = @_;
	my $file = $node->basedir . '/received';
	$node->safe_psql('postgres',
		q{SELECT pg_copy_logical_replication_slot('s', 't')});
	$node->command_ok(
		[
			'pg_recvlogical', '--dbname' => 'postgres', '--slot' => 't',
			'--start', '--no-loop', "--endpos=$end", '--file' => $file,
			map { ('--option' => "$_=$options{$_}") } sort keys %options
		],
		join(' ', 'pg_recvlogical', %options));
	$node->poll(q{SELECT count(*) FROM pg_stat_replication}, 0);
	my $writes = $node->safe_psql('postgres',
		q{SELECT writes FROM concord.decoder WHERE slot = 't'});
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('t')});
	my $received = slurp_file($file);
	unlink $file;
	chomp $received;
	return ($received, $writes);
}

my ($received, $writes) = receive();
is(scalar(split /\n/, $received), 3003, 'a line for each event');
ok($received eq $sql, 'they are what the SQL functions give');
cmp_ok($writes, '<', 3003 / 100, 'events share writes');

($received, $writes) = receive(batch => 'off');
ok($received eq $sql, 'without batching, too');
is($writes, 3003, 'then each event is a write');

done_testing();
