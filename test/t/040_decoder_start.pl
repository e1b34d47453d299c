# What the decoder checks when a walsender starts to stream: options against
# what exists now, before anything is sent, and without taking what exists now
# for what existed at the place in the WAL.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('start');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id int PRIMARY KEY, secret text);
SELECT pg_create_logical_replication_slot('s', 'concord_decoder');
INSERT INTO item VALUES (1, 'before');
CREATE PUBLICATION late FOR TABLE item WHERE (id <> 3);
INSERT INTO item VALUES (2, 'published'), (3, 'filtered');
SQL
my $end = $node->lsn('flush');
$node->safe_psql('postgres', q(SELECT pg_switch_wal()));

# what pg_recvlogical says and prints with these options
sub receive {
	my (%options) = @_;
	my @command = ('pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 's', '--start', '--no-loop',
		'--endpos', $end, '-f', '-', map { ('-o', "$_=$options{$_}") } sort keys %options);
	my ($out, $err);
	IPC::Run::run(\@command, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($out, $err);
}

my ($out, $err) = receive(publication_names => 'late,nowhere');
is($out, '', 'with a publication that does not exist nothing is sent');
like($err, qr/ERROR:  publication "nowhere" does not exist/, 'and the start is refused');
like($err, qr/HINT:  Create it, or leave it out/, 'with a way on');

($out, $err) = receive(publication_names => 'late', columns => 'public.item(-secret),public.item(-secrets)', include_time => 'off',
	include_lsn => 'off', include_xid => 'off', include_id => 'off');
like($err, qr/WARNING:  column "secrets" of table "public.item" in option "columns" does not exist/, 'a slip of the pen is told');
like($err, qr/WARNING:  publication "late" does not exist at this point of the WAL/, 'what exists now did not exist there');
is($out, qq({"op":"insert","schema":"public","table":"item","ordinal":1,"key":{"id":2},"new":{"id":2}}\n),
	'what it published is sent, and no more');

($out, $err) = receive(tables => 'public.items');
like($err, qr/WARNING:  table "public.items" in option "tables" does not exist/, 'a table that does not exist is told');
($out, $err) = receive(columns => 'public.item(secret, -id)');
like($err, qr/ERROR:  invalid value for option "columns".*DETAIL:  At character 21, names with a minus/s, 'a contradiction is refused');

done_testing();
