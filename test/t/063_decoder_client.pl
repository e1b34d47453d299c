# The client that doc/decoder.md shows takes every kind of event that its
# options bring, and confirms whole transactions.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use Test::More;

my $node = Concord::Cluster->create('main');
my $file = $node->basedir . '/received';
my @client = ('python3', "$ENV{CONCORD_SRC}/test/formats/client.py",
	"$ENV{CONCORD_SRC}/doc/decoder.md");

# What the client prints.
sub client
{
	my @arguments = @_;
	my ($out, $err);
	IPC::Run::run([ @client, @arguments ], '>', \$out, '2>', \$err);
	is($err, '', "client @{[ @arguments ? 'reads' : 'starts' ]}");
	return split /\n/, $out;
}

$node->safe_psql('postgres', q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	SELECT pg_create_logical_replication_slot('docs', 'concord_decoder');
	INSERT INTO item VALUES (1, E'line\u2028end'), (2, 'x');
	UPDATE item SET id = 3 WHERE id = 1;
	DELETE FROM item WHERE id = 2;
	ALTER TABLE item REPLICA IDENTITY NOTHING;
	UPDATE item SET v = 'y';
	DELETE FROM item;
	TRUNCATE item});
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my @options = client();
is("@options", 'tables=public.item messages= include_transaction=true',
	'options of the client');
$node->command_ok(
	[
		'pg_recvlogical', '--dbname' => 'postgres', '--slot' => 'docs',
		'--start', '--no-loop', "--endpos=$end", '--file' => $file,
		map { ('--option' => $_) } @options
	],
	'received');
my @printed = client($file);
is_deeply(
	[ map { (split)[0] } @printed ],
	[
		qw(insert insert confirmed update confirmed delete confirmed
		  update confirmed delete confirmed truncate confirmed)
	],
	'events that the client takes');
is($printed[0], "insert {'id': 1}", 'the key of an event');
my ($last) = $printed[-1] =~ /confirmed (\S+)/;
is($node->safe_psql('postgres', "SELECT '$last'::pg_lsn <= '$end'::pg_lsn AND '$last' > restart_lsn FROM pg_replication_slots"),
	't', 'what is confirmed is a position of this WAL');

$node->stop;
done_testing();
