# Values whose output function raises, read by a walsender: each event says so,
# and the stream goes on; also in transactions that are sent in progress.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('main', without => ['shared_preload_libraries'],
	conf => join("\n", 'logical_decoding_work_mem = 64kB', 'fsync = off'));
$node->safe_psql('postgres', q(
	CREATE TYPE odd;
	CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal STRICT AS 'int4in';
	CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal STRICT AS 'enum_out';
	CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
	CREATE TYPE mood AS ENUM ('glad');
	CREATE TABLE t (id int PRIMARY KEY, note text, v odd);
	SELECT pg_create_logical_replication_slot('s', 'concord_decoder');
	-- every third value has a text
	INSERT INTO t SELECT i, repeat('x', 100), CASE WHEN i % 3 = 0 THEN (SELECT oid FROM pg_enum) ELSE i END::text::odd
	FROM generate_series(1, 3000) i;
	INSERT INTO t VALUES (3001, 'after', NULL)));
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');

foreach my $options ('', 'streaming=on')
{
	$node->safe_psql('postgres', q(SELECT pg_copy_logical_replication_slot('s', 'reader')));
	my ($out, $err);
	my $done = PostgreSQL::Test::Utils::run_log(['pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 'reader', '--start',
			'--no-loop', '--endpos', $lsn, '-f', '-', map { ('-o', $_) } grep { $_ } $options], '>', \$out, '2>', \$err);
	ok($done, "reading ends in good order $options") or diag($err);
	is(scalar(() = $out =~ /"failed":\{"v":\{"sqlstate":"22P03","message":"invalid internal value for enum: \d+"\}\}/g), 2000,
		"each value without a text is told $options");
	is(scalar(() = $out =~ /"v":"glad"/g), 1000, "the others are there $options");
	is(scalar(() = $out =~ /"note":"after"/g), 1, "the stream goes on $options");
	like($out, qr/"op":"stream_commit"/, 'it was sent in progress') if $options;
	$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('reader')));
}
is(scalar(() = slurp_file($node->logfile) =~ /WARNING:  a value of column "v" of table "public.t" cannot be encoded/g), 2,
	'the log tells of it once for each reading');

$node->stop;
done_testing();
