# Copies of a database: pg_dump into a server that is not set up, pg_upgrade.
# Neither stops at the extension, and neither starts to capture with what
# belongs to the original.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('original');
ok($node->ready, 'capture is ready');
$node->safe_psql('postgres', 'CREATE TABLE goods (id int PRIMARY KEY, name text)');
my $identity = $node->safe_psql('postgres', 'SELECT system_identifier, epoch FROM concord.identity');

# --- pg_dump and psql, into a server without the library
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
my $plain = Concord::Cluster->create('plain',
	without => [qw(shared_preload_libraries wal_level output_plugin_libraries)],
	conf => 'wal_level = replica');
$plain->safe_psql('postgres', 'CREATE DATABASE restored');
$plain->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $plain->connstr('restored') ],
	'restore without preloading');
isnt($plain->safe_psql('restored', 'SELECT system_identifier, epoch FROM concord.identity'),
	$identity, 'the copy has an identity of its own');
is($plain->safe_psql('restored', 'SELECT count(*) FROM goods'), '0', 'the rest is there');
$plain->stop;

# --- from 17 on pg_upgrade takes logical slots along, and refuses those with WAL
# still to read; ours always has some, so it is dropped first
if ($node->pg_version >= 17)
{
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET pg_concord.enabled = off');
	ok($node->poll('SELECT NOT active FROM pg_replication_slots'), 'pg_concord.enabled = off: nobody reads the slot');
	is($node->safe_psql('postgres', 'SELECT state FROM concord.capture'), 'off', 'and concord.capture says so');
	$node->safe_psql('postgres', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
}

# --- pg_upgrade, into a cluster that is not set up yet
my $new = Concord::Cluster->create('new', start => 0,
	without => [qw(shared_preload_libraries wal_level output_plugin_libraries)],
	conf => 'wal_level = replica');
$node->stop;
my $bindir = $new->config_data('--bindir');
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir or die;
command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bindir,
		'-B', $bindir, '-s', $new->host, '-p', $node->port, '-P', $new->port ],
	'pg_upgrade');
$new->start;
my ($status, $out, $err) = $new->psql('postgres', 'SELECT problem FROM concord.setup_problems()');
like($out, qr/shared_preload_libraries lacks pg_concord/, 'what is missing is said after it');
is($new->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'no slot came along');

my %settings = Concord::Cluster::settings();
$new->append_conf('postgresql.conf', join("\n", map { "$_ = $settings{$_}" } keys %settings) . "\n");
$new->restart;
$new->safe_psql('postgres', 'ALTER DATABASE postgres SET pg_concord.enabled = on');
ok($new->poll(q(SELECT count(*) > 0 FROM pg_stat_activity
	WHERE backend_type = 'concord clerk' AND datname = 'postgres')),
	'workers start in the upgraded cluster');
ok($new->poll(q(SELECT state IN ('running', 'gap') FROM concord.capture)),
	'capture runs, or says that there is a gap');
$new->stop;

done_testing();
