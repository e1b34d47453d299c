# What is written to foreign tables at once: nulls, how much had been written when
# a statement failed, and the record of it all.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(usleep);

my $node = Concord::Cluster->create('writerules');
my $erp = Concord::Sandbox->new;
my $base = '/odata/v4/sales';
my ($out, $err);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# fails(SQL, SQLSTATE, PATTERN, WHAT): an error, after which the session goes on.
sub fails
{
	my ($sql, $state, $pattern, $what, $on) = @_;

	($on // $node)->psql('postgres', "\\set VERBOSITY verbose\n$sql;\nROLLBACK; SELECT 'still'", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E/, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	like($out, qr/still$/, "$what: the session goes on");
	return;
}

# bodies(SQL): what the system is sent by POST.
sub bodies
{
	my ($sql) = @_;

	$erp->clear_log;
	sql($sql);
	return join(' ', map { $_->{body} =~ s/\s+//gr } grep { $_->{method} eq 'POST' && $_->{path} !~ /batch/ } $erp->log_entries);
}

$erp->set("$base/Things", key => ['ID'], etag => JSON::PP::true());
sql(qq{
	CREATE EXTENSION pg_concord;
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url("$base/")]}', timeout '5s', breaker_failures '1000');
	CREATE FOREIGN TABLE things (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), size int OPTIONS (name 'Size'),
		color text OPTIONS (name 'Color')) SERVER erp OPTIONS (object 'Things', on_missing 'null')});

# ---- nulls of an INSERT
is(bodies("INSERT INTO things (id, name) VALUES ('A1', 'x')"), '{"ID":"A1","Name":"x"}', 'columns that are not named are left out');
is(bodies("INSERT INTO things (id, name, size) VALUES ('A2', 'x', NULL)"), '{"ID":"A2","Name":"x","Size":null}', 'an explicit NULL is sent');
is(bodies("INSERT INTO things (id, name, size) VALUES ('A3', 'x', DEFAULT)"), '{"ID":"A3","Name":"x"}', 'DEFAULT is the system\'s');
is(bodies("INSERT INTO things VALUES ('A4', 'x')"), '{"ID":"A4","Name":"x"}', 'fewer values than columns');
is(bodies("INSERT INTO things (id, size) SELECT 'A' || g, nullif(g, 6) FROM generate_series(5, 6) g"), '{"ID":"A5","Size":5} {"ID":"A6","Size":null}', 'of a SELECT');
is(bodies("PREPARE p (text, int) AS INSERT INTO things (id, size) VALUES (\$1, \$2); SET plan_cache_mode = force_generic_plan; EXECUTE p ('A7', NULL)"), '{"ID":"A7","Size":null}', 'of a parameter');
is(bodies("COPY things (id, name, size) FROM PROGRAM 'echo A8,,8' CSV"), '{"ID":"A8","Name":null,"Size":8}', 'COPY with a list of columns');
is(bodies("COPY things FROM PROGRAM 'echo A9,,9,' CSV"), '{"ID":"A9","Name":null,"Size":9,"Color":null}', 'COPY without');
is(bodies("ALTER FOREIGN TABLE things ALTER color SET DEFAULT 'red'; INSERT INTO things (id) VALUES ('B1')"), '{"ID":"B1","Color":"red"}', 'a default of ours');
is(bodies("ALTER FOREIGN TABLE things ALTER color DROP DEFAULT; ALTER FOREIGN TABLE things OPTIONS (ADD insert_nulls 'omit'); INSERT INTO things (id, name) VALUES ('B2', NULL)"), '{"ID":"B2"}', "insert_nulls 'omit'");
is(bodies("ALTER FOREIGN TABLE things OPTIONS (DROP insert_nulls); ALTER SERVER erp OPTIONS (ADD insert_nulls 'omit'); INSERT INTO things (id, name) VALUES ('B3', NULL)"), '{"ID":"B3"}', 'of the server');
is(bodies("ALTER FOREIGN TABLE things OPTIONS (ADD insert_nulls 'send'); INSERT INTO things (id, name) VALUES ('B4', NULL)"), '{"ID":"B4","Name":null}', 'the table\'s goes first');
fails("ALTER FOREIGN TABLE things OPTIONS (SET insert_nulls 'maybe')", '22023', qr/insert_nulls/, 'a value that is none');
sql("ALTER SERVER erp OPTIONS (DROP insert_nulls)");
sql("CREATE TABLE parts (name text, id text NOT NULL, size int, color text) PARTITION BY LIST (size); ALTER TABLE parts ATTACH PARTITION things DEFAULT");
is(bodies("INSERT INTO parts (id, name) VALUES ('C1', NULL)"), '{"ID":"C1","Name":null}', 'a row that is routed, of a table with other numbers');
sql("CREATE TABLE parts_one PARTITION OF parts FOR VALUES IN (1); INSERT INTO parts (id, size) VALUES ('C2', 1)");
is(bodies("UPDATE parts SET size = 2 WHERE size = 1"), '{"ID":"C2","Name":null,"Size":2,"Color":null}', 'a row that an UPDATE moves is whole');
sql("ALTER TABLE parts DETACH PARTITION things; DROP TABLE parts");

# ---- how much had been written
$erp->rule({ method => 'POST', path => "$base/Things", body => 'D3' }, { status => 400, body => '{"error": {"message": "no D3"}}' });
fails("INSERT INTO things (id) SELECT 'D' || g FROM generate_series(1, 5) g", 'K4400', qr/no D3.*2 rows of foreign table "things" had been written by this statement/s, 'INSERT, the third refused');
fails("COPY things (id) FROM PROGRAM 'printf \"D11\\nD12\\nD13\\nD3\\nD14\\n\"' CSV", 'K4400', qr/3 rows of foreign table/s, 'COPY, the fourth refused');
$erp->rule({ method => 'PATCH', path => "$base/Things", nth => 2 }, { status => 400, body => '{"error": {"message": "not twice"}}' });
fails("UPDATE things SET size = 1 WHERE id LIKE 'D1%'", 'K4400', qr/not twice.*1 rows of foreign table/s, 'UPDATE, the second refused');
$erp->rule({ method => 'DELETE', path => "$base/Things", nth => 3 }, { status => 400, body => '{"error": {"message": "not thrice"}}' });
fails("DELETE FROM things WHERE id LIKE 'D1%'", 'K4400', qr/not thrice.*2 rows of foreign table/s, 'DELETE, the third refused');
$erp->drop_rules;
sql("DELETE FROM things; ALTER SERVER erp OPTIONS (ADD batch_size '10'); INSERT INTO things (id) VALUES ('E25')");
fails("INSERT INTO things (id) SELECT 'E' || g FROM generate_series(1, 30) g", 'K4409', qr/(2[0-9]) rows of foreign table/, 'batches, one of the third refused');
my ($said) = $err =~ /(\d+) rows of foreign table/;
is(sql("SELECT count(id) - 1 FROM things"), $said, 'as many as are there');
sql("DELETE FROM things; INSERT INTO things (id) VALUES ('F13')");
fails("COPY things (id) FROM PROGRAM 'seq -f F%g 1 30' CSV", 'K4409', qr/(1[0-9]) rows of foreign table/, 'batches of COPY');
($said) = $err =~ /(\d+) rows of foreign table/;
is(sql("SELECT count(id) - 1 FROM things"), $said, 'as many as are there');
sql("DELETE FROM things");
$erp->rule({ method => 'POST', path => "$base/\$batch", nth => 2 }, { hang => JSON::PP::true() });
fails("SET statement_timeout = '1s'; INSERT INTO things (id) SELECT 'G' || g FROM generate_series(1, 30) g", '57014', qr/10 rows of foreign table/, 'a cancel in the second batch');
$erp->drop_rules;
is(sql("SELECT count(id) FROM things"), '10', 'the first one stays');
ok($node->poll("SELECT outcome FROM concord.call_log ORDER BY at DESC LIMIT 1", 'unknown'), 'and of the second it is not known') or diag(sql("SELECT * FROM concord.call_log ORDER BY at DESC LIMIT 2"));

# ---- the record survives: a rollback, a crash right after
sql("ALTER SERVER erp OPTIONS (DROP batch_size); SELECT concord.wait_for_capture()");
sql("DELETE FROM concord.call_record");
sql("BEGIN; INSERT INTO things (id) VALUES ('H1'); SAVEPOINT s; UPDATE things SET size = 1 WHERE id = 'H1'; ROLLBACK TO s; ROLLBACK");
my @processes = split /\n/, sql('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
$node->kill9;
for (1 .. 600)
{
	last unless kill 0, @processes;
	usleep(100_000);
}
$node->start;
ok($node->poll("SELECT string_agg(method || ' ' || outcome, ', ' ORDER BY at) FROM concord.call_log", 'POST done, PATCH done'), 'what was rolled back is recorded, also when the server was killed right after');
is(sql("SELECT concord.wait_for_capture('60s')"), 't', 'once more read');
is(sql("SELECT count(*), count(DISTINCT id) FROM concord.call_record"), '4|2', 'each once');

# ---- who may read it
sql("CREATE ROLE app; GRANT USAGE ON FOREIGN SERVER erp TO app; GRANT ALL ON things TO app");
fails("SET ROLE app; SELECT * FROM concord.call_log", '42501', qr/permission denied/, 'the record');
sql("GRANT USAGE ON SCHEMA concord TO app");
fails("SET ROLE app; SELECT * FROM concord.call_log", '42501', qr/permission denied/, 'also with the schema');
fails("SET ROLE app; SELECT * FROM concord.call_record", '42501', qr/permission denied/, 'and its table');
fails("SET ROLE app; SELECT * FROM concord.cache", '42501', qr/permission denied/, 'the cache');
sql("REVOKE USAGE ON SCHEMA concord FROM app; SET ROLE app; INSERT INTO things (id) VALUES ('I1')");
ok($node->poll("SELECT role || ' ' || session_role FROM concord.call_log ORDER BY at DESC LIMIT 1", 'app ' . sql('SELECT current_user')), 'whose writes are in it all the same');
sql("GRANT USAGE ON SCHEMA concord TO app; GRANT SELECT ON concord.call_log TO app");
is(sql("SET ROLE app; SELECT count(*) FROM concord.call_log"), '3', 'a GRANT lets him');

# ---- a standby
$node->backup('copy');
my $standby = bless PostgreSQL::Test::Cluster->new('standby'), 'Concord::Cluster';
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
fails("INSERT INTO things (id) VALUES ('S1')", '25006', qr/read-only/, 'a write on a standby', $standby);
fails("SELECT concord.call('erp', 'POST', 'Things', '{\"ID\": \"S1\"}')", '25006', qr/recovery|read-only/, 'a call that writes, there', $standby);
is($standby->safe_psql('postgres', "SELECT id FROM things WHERE id = 'I1'"), 'I1', 'reading works');
$standby->stop;

# ---- settings that are missing
sql("CREATE FOREIGN TABLE later (id text OPTIONS (name 'ID', key 'true') NOT NULL) SERVER erp OPTIONS (object 'Things', write 'outbox'); SELECT concord.create_write_mapping('later_out', 'later')");
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
fails("INSERT INTO things (id) VALUES ('N1')", '55000', qr/shared_preload_libraries/, 'not preloaded: a direct write');
fails("INSERT INTO later (id) VALUES ('N1')", '55000', qr/shared_preload_libraries/, 'not preloaded: through the outbox');
sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_concord'\nwal_level = minimal\nmax_wal_senders = 0");    # from 19 on replica would do, with a slot
$node->restart;
fails("INSERT INTO things (id) VALUES ('N1')", '55000', qr/wal_level/, 'wal_level: a direct write');
fails("INSERT INTO later (id) VALUES ('N1')", '55000', qr/wal_level/, 'wal_level: through the outbox');
is(sql("SELECT count(id) FROM things WHERE id = 'N1'"), '0', 'nothing was sent');
done_testing();
