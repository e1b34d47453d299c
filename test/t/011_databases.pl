# Workers of several databases: DROP DATABASE, RENAME, SET TABLESPACE and
# TEMPLATE stop them first, DROP EXTENSION ends them, and no slot is left.
use strict;
use warnings;
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('main');
my $all = 'concord capture 1, concord clerk 1, concord courier 1, concord decoder 1';

sub workers_query
{
	my ($database) = @_;
	return "SELECT coalesce(string_agg(backend_type || ' ' || n, ', ' ORDER BY backend_type), 'none')
		 FROM (SELECT backend_type, count(*) AS n FROM pg_stat_activity
			   WHERE backend_type LIKE 'concord %' AND datname = '$database'
			   AND backend_type <> 'concord scout' GROUP BY 1) AS w";
}

# --- one set per database that has the extension, and only those
foreach my $name (qw(one two plain))
{
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION pg_concord') if $name ne 'plain';
}
ok($node->poll(workers_query($_), $all), "workers run in $_") foreach qw(one two);
is($node->safe_psql($_, q(SELECT concord.wait_for_capture('60s'))), 't', "capture is ready in $_")
  foreach qw(one two);
is($node->workers('plain'), '', 'none in a database without it');

# --- the number of couriers follows the setting
$node->append_conf('postgresql.conf', 'pg_concord.couriers = 3');
$node->reload;
ok($node->poll(workers_query('one'),
		'concord capture 1, concord clerk 1, concord courier 3, concord decoder 1'),
	'three couriers after a reload');
$node->append_conf('postgresql.conf', 'pg_concord.couriers = 1');
$node->reload;
ok($node->poll(workers_query('one'), $all), 'one courier after another');

# --- RENAME
$node->safe_psql('postgres', 'ALTER DATABASE one RENAME TO uno');
ok($node->poll(workers_query('uno'), $all), 'RENAME: workers run again under the new name');

# --- a command that fails gives the workers back
my ($status, $out, $err) = $node->psql('postgres', 'ALTER DATABASE uno RENAME TO two');
isnt($status, 0, 'RENAME to a name that is taken fails');
ok($node->poll(workers_query('uno'), $all), 'and the workers run again');

# --- TEMPLATE: a copy has no workers of its own until somebody says so
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE uno');
ok($node->poll(workers_query('uno'), $all), 'TEMPLATE: workers of the source run again');
is($node->workers('copy'), '', 'the copy has none');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# --- SET TABLESPACE
my $dir = PostgreSQL::Test::Utils::tempdir;
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$dir'");
$node->safe_psql('postgres', 'ALTER DATABASE uno SET TABLESPACE elsewhere');
ok($node->poll(workers_query('uno'), $all), 'SET TABLESPACE: workers run again');

# --- a role that may not drop the database does not stop its workers
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN CREATEDB');
my $pids = q(SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
	WHERE datname = 'uno' AND backend_type LIKE 'concord %' AND backend_type <> 'concord scout');
my $before = $node->safe_psql('postgres', $pids);
($status, $out, $err) = $node->psql('postgres', 'SET ROLE nobody; DROP DATABASE uno');
like($err, qr/must be owner of database uno/, 'DROP DATABASE by another role is refused');
is($node->safe_psql('postgres', $pids), $before, 'and the same workers run');

# --- DROP DATABASE, with and without FORCE
$node->safe_psql('postgres', 'DROP DATABASE uno');
$node->safe_psql('postgres', 'DROP DATABASE two WITH (FORCE)');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0',
	'DROP DATABASE leaves no slot');

# --- DROP EXTENSION while workers run; off and on again
$node->ready('postgres');
ok($node->poll(workers_query('postgres'), $all), 'workers run');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET pg_concord.enabled = off');
ok($node->poll(workers_query('postgres'), 'none'), 'pg_concord.enabled = off stops them');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1',
	'and keeps the slot');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET ALL');
ok($node->poll(workers_query('postgres'), $all),
	'a setting that was taken away is set again: the extension is there');
$node->safe_psql('postgres', 'DROP EXTENSION pg_concord');
ok($node->poll('SELECT count(*) FROM pg_replication_slots', '0'), 'DROP EXTENSION leaves no slot');
ok($node->poll(workers_query('postgres'), 'none'), 'and no worker');

# --- dropped while the library is not loaded: the launcher cleans up at start
$node->ready('postgres');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
($status, $out, $err) = $node->psql('postgres', 'DROP EXTENSION pg_concord');
is($status, 0, 'DROP EXTENSION works without preloading');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1',
	'the slot stays where nobody can drop it');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_concord'");
$node->restart;
ok($node->poll('SELECT count(*) FROM pg_replication_slots', '0'),
	'and is dropped once the library is loaded again');

# --- DROP EXTENSION that is prepared, then committed by another session
$node->ready('postgres');
$node->safe_psql('postgres', q(BEGIN; DROP EXTENSION pg_concord; PREPARE TRANSACTION 'gone'));
$node->safe_psql('postgres', q(COMMIT PREPARED 'gone'));
ok($node->poll('SELECT count(*) FROM pg_replication_slots', '0'),
	'a prepared DROP EXTENSION leaves no slot either');

# --- workers that die come back
$node->ready('postgres');
foreach my $kind (qw(decoder capture courier clerk))
{
	# the decoder and the capture worker end and start together
	$node->poll(workers_query('postgres'), $all);
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord $kind'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok($node->poll("SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'concord $kind' AND pid <> $pid", '1'),
		"the $kind comes back after pg_terminate_backend");
}
my $launcher = $node->safe_psql('postgres',
	q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord launcher'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
ok($node->poll("SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'concord launcher' AND pid <> $launcher", '1'),
	'so does the launcher');
$node->safe_psql('postgres', 'CREATE DATABASE three');
$node->safe_psql('three', 'CREATE EXTENSION pg_concord');
ok($node->poll(workers_query('three'), $all), 'and starts workers');
ok($node->poll(workers_query('postgres'), $all), 'and keeps those that it found, one of each');
$node->safe_psql('postgres', 'DROP DATABASE three');

# --- an immediate stop and a restart
$node->stop('immediate');
$node->start;
ok($node->poll(workers_query('postgres'), $all), 'workers run after a crash');
is($node->safe_psql('postgres', q(SELECT concord.wait_for_capture('60s'))), 't',
	'and capture is ready');
$node->stop;

done_testing();
