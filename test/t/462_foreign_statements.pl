# Foreign tables in all kinds of statements: partitions, triggers, generated
# columns, whole rows, prepared statements, audit, cancels, other encodings.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('foreignstatements');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');
my $erp = Concord::Sandbox->new;

sub sql { return $node->safe_psql('postgres', $_[0]); }

for my $set ('North', 'South', 'Things')
{
	$erp->set("/odata/v4/sales/$set", key => $set eq 'Things' ? ['ID'] : [ 'Land', 'Number' ], etag => JSON::PP::true());
}
sql(qq{
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url('/odata/v4/sales/')]}', timeout '5s', breaker_failures '1000');
	CREATE FOREIGN TABLE things (gone int, id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name'), size int OPTIONS (name 'Size'),
		label text OPTIONS (name 'Label') GENERATED ALWAYS AS (upper(name)) STORED) SERVER erp OPTIONS (object 'Things', on_missing 'null');
	ALTER FOREIGN TABLE things DROP COLUMN gone;
	CREATE TABLE orders (land text NOT NULL, number int NOT NULL, name text) PARTITION BY LIST (land);
	CREATE FOREIGN TABLE orders_n (land text OPTIONS (name 'Land', key 'true') NOT NULL, number int OPTIONS (name 'Number', key 'true') NOT NULL, name text OPTIONS (name 'Name'))
		SERVER erp OPTIONS (object 'North', on_missing 'null');
	ALTER TABLE orders ATTACH PARTITION orders_n FOR VALUES IN ('N');
	CREATE FOREIGN TABLE orders_s (name text OPTIONS (name 'Name'), number int OPTIONS (name 'Number', key 'true') NOT NULL, land text OPTIONS (name 'Land', key 'true') NOT NULL)
		SERVER erp OPTIONS (object 'South', on_missing 'null');
	ALTER TABLE orders ATTACH PARTITION orders_s FOR VALUES IN ('S');
	CREATE TABLE orders_here PARTITION OF orders DEFAULT});

# ---- partitions: rows are routed, changed and deleted in each
sql("INSERT INTO orders SELECT CASE g % 3 WHEN 0 THEN 'N' WHEN 1 THEN 'S' ELSE 'X' END, g, 'name ' || g FROM generate_series(1, 9) g");
is(sql("SELECT tableoid::regclass, count(*), sum(number) FROM orders GROUP BY 1 ORDER BY min(number)"), "orders_s|3|12\norders_here|3|15\norders_n|3|18", 'INSERT into partitions, and tableoid');
is(sql("WITH u AS (UPDATE orders SET name = name || '!' WHERE number % 10 > 6 RETURNING land, number, name) SELECT * FROM u ORDER BY land"), "N|9|name 9!\nS|7|name 7!\nX|8|name 8!", 'UPDATE of keys in another order');
is(sql("WITH d AS (DELETE FROM orders WHERE number % 10 > 6 RETURNING land, number, name) SELECT * FROM d ORDER BY land"), "N|9|name 9!\nS|7|name 7!\nX|8|name 8!", 'DELETE with RETURNING from several systems');
is(sql("COPY orders FROM PROGRAM 'printf \"N,21,copied\\nS,22,copied\\n\"' CSV; SELECT land, number FROM orders WHERE name = 'copied' ORDER BY 1"), "N|21\nS|22", 'COPY into partitions');
is(sql("UPDATE orders SET land = 'S' WHERE land = 'X' AND number = 2; SELECT tableoid::regclass, number FROM orders WHERE number % 10 = 2 AND name NOT LIKE 'c%'"), 'orders_s|2', 'a row that moves to a system');

# ---- columns: dropped, generated, whole rows, system columns
sql("INSERT INTO things (id, name, size) SELECT 'T' || g, 'thing ' || g, g FROM generate_series(1, 9) g");
is(sql("SELECT label FROM things WHERE id = 'T3'"), 'THING 3', 'a generated column is written by INSERT');
sql("UPDATE things SET name = 'renamed' WHERE id = 'T3'");
is(sql("SELECT label FROM things WHERE id = 'T3'"), 'RENAMED', 'and by UPDATE');
sql("COPY things (id, name) FROM PROGRAM 'echo T0,zero' CSV");
is(sql("SELECT label FROM things WHERE id = 'T0'"), 'ZERO', 'and by COPY');
sql("ALTER FOREIGN TABLE things ALTER label OPTIONS (ADD read_only 'true'); UPDATE things SET name = 'renamed twice' WHERE id = 'T3'");
is(sql("SELECT name, label FROM things WHERE id = 'T3'"), 'renamed twice|RENAMED', 'not if the system makes it');
is(sql("SELECT t FROM things t ORDER BY size NULLS FIRST LIMIT 1 OFFSET 2"), '(T2,"thing 2",2,"THING 2")', 'a whole row behind an OFFSET');
is(sql("SELECT tableoid::regclass, id FROM things ORDER BY size NULLS FIRST LIMIT 1 OFFSET 2"), 'things|T2', 'tableoid behind an OFFSET');
is(sql("SELECT t FROM things t WHERE id = 'T2' FOR UPDATE"), '(T2,"thing 2",2,"THING 2")', 'FOR UPDATE of a whole row');

# ---- triggers
sql(q{CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.size := 77; RETURN NEW; END$$;
	CREATE TABLE seen (what text);
	CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (OLD.name || '>' || NEW.name || ' ' || NEW.size); RETURN NULL; END$$;
	CREATE TRIGGER a BEFORE UPDATE ON things FOR EACH ROW EXECUTE FUNCTION before_row();
	CREATE TRIGGER b AFTER UPDATE ON things FOR EACH ROW EXECUTE FUNCTION after_row();
	UPDATE things SET name = 'by trigger' WHERE id = 'T4'});
is(sql("SELECT name, size FROM things WHERE id = 'T4'; SELECT what FROM seen"), "by trigger|77\nthing 4>by trigger 77", 'what a trigger sets is written');
sql("DROP TRIGGER a ON things; DROP TRIGGER b ON things");
sql("CREATE VIEW big AS SELECT * FROM things WHERE size + 0 > 5 WITH CHECK OPTION");
my ($out, $err);
$node->psql('postgres', "UPDATE big SET size = 1 WHERE id = 'T9'", stderr => \$err);
like($err, qr/violates check option/, 'a view with check option');

# ---- a prepared statement when its connector changes
sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('lists', 'rest', '{"extends": "rest", "read": {"filter": {"in": "{name}={values}", "eq": "{name}={value}"}}}');
	CREATE SERVER lists FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[$erp->url('/list/')]}');
	CREATE SERVER plain FOREIGN DATA WRAPPER concord OPTIONS (connector 'lists', url '@{[$erp->url('/list/')]}');
	CREATE FOREIGN TABLE listed (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER plain OPTIONS (object 'plain/x', query 'rows=60', list_size '2')});
is(sql(q{SET plan_cache_mode = force_generic_plan; PREPARE p (int[]) AS SELECT count(*) FROM listed WHERE id = ANY ($1); EXECUTE p ('{1,2,3,4,5}');
	UPDATE concord.connector SET definition = '{"extends": "rest"}' WHERE name = 'lists'; EXECUTE p ('{1,2,3,4,5}')}), "5\n5", 'a list that can no longer be asked for in parts');
sql(q{UPDATE concord.connector SET definition = '{"extends": "rest", "read": {"filter": {"in": "oneof={values}&of={name}"}}}' WHERE name = 'lists'});
is(sql(q{SELECT count(*) FROM listed WHERE id = ANY (ARRAY(SELECT generate_series(1, 5)))}), "5", 'a template that begins with the values');
is(sql(q{PREPARE q AS SELECT id FROM things ORDER BY id LIMIT 2; EXECUTE q; ALTER FOREIGN TABLE things OPTIONS (ADD pushdown 'false'); EXECUTE q; ALTER FOREIGN TABLE things OPTIONS (DROP pushdown)}),
	"T0\nT1\nT0\nT1", 'options that change under a prepared statement');

is(sql(q{SET plan_cache_mode = force_generic_plan; UPDATE concord.connector SET definition = '{"extends": "rest", "read": {"filter": {"eq": "{name}={value}"}}}' WHERE name = 'lists';
	PREPARE r AS SELECT name FROM listed WHERE id = 3; EXPLAIN (VERBOSE, COSTS OFF) EXECUTE r; EXECUTE r; UPDATE concord.connector SET definition = '{"extends": "rest"}' WHERE name = 'lists';
	EXPLAIN (VERBOSE, COSTS OFF) EXECUTE r; EXECUTE r}) =~ s/.*?(\?\S+|^name.*?$|Foreign Scan)\n?|.*\n?/defined $1 && $1 ne 'Foreign Scan' ? "$1\n" : ''/germ, "?ID=3&rows=60\nname of 3\n?rows=60\nname of 3\n", 'a plan is made anew when its connector changes');

# ---- long lists are parted by the length of the address, too
sql("CREATE FOREIGN TABLE digits (id numeric OPTIONS (name 'ID')) SERVER lists OPTIONS (object 'odata/x', query 'rows=60')");
$erp->clear_log;
is(sql("SELECT count(*) FROM digits WHERE id = ANY (ARRAY(SELECT CASE WHEN g < 6 THEN g ELSE 10 ^ 500::numeric + g END FROM generate_series(1, 40) g))"), '5', 'a list of long values');
my @long = map { length($_->{query} // '') } grep { ($_->{query} // '') =~ /filter/ } $erp->log_entries;
cmp_ok(scalar(@long), '>', 1, 'in more than one request');
cmp_ok((sort { $b <=> $a } @long)[0], '<', 6200, 'none of them too long');

# ---- a join that looks keys up asks for each value once
sql("CREATE TABLE local_things AS SELECT g % 3 + 1 AS id FROM generate_series(1, 600) g; ANALYZE local_things;
	CREATE FOREIGN TABLE looked (id int OPTIONS (name 'ID'), name text OPTIONS (name 'Name')) SERVER lists OPTIONS (object 'odata/y', query 'rows=60', rows '1000000')");
$erp->clear_log;
is(sql("SET pg_concord.enable_lookup_join = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT count(f.name) FROM local_things l JOIN looked f ON f.id = l.id"), '600', 'look-ups of 600 rows');
is(scalar(grep { ($_->{query} // '') =~ /filter/ } $erp->log_entries), 3, 'three requests: Memoize remembers');

# ---- memory of many batches
sql("ALTER SERVER erp OPTIONS (ADD batch_size '50')");
my $peak = sub {
	my ($from, $n) = @_;
	my $out = sql("INSERT INTO things (id, name) SELECT 'M' || g, repeat('m', 5000) FROM generate_series($from + 1, $from + $n) g; SELECT pg_read_file('/proc/' || pg_backend_pid() || '/status')");
	return $out =~ /VmHWM:\s+(\d+)/ ? $1 : die $out;
};
my ($few, $many) = ($peak->(0, 100), $peak->(100, 3000));
cmp_ok($many - $few, '<', 4000, "3000 rows take $many kB, 100 rows $few kB");

# ---- a cancel in the middle of a batch
$erp->rule({ method => 'POST' }, { hang => JSON::PP::true() }, 1);
$node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '500ms'; INSERT INTO things (id) SELECT 'H' || g FROM generate_series(1, 20) g;\nSET statement_timeout = 0; SELECT 'left', sum(in_flight) FROM concord.system",
	stdout => \$out, stderr => \$err, on_error_stop => 0);
like($err, qr/ERROR:  57014.*0 rows of foreign table "things" had been written/s, 'a cancel in the middle of a batch') or diag($err);
like($out, qr/left\|0?$/, 'leaves no request behind');
$erp->drop_rules;
is(sql("INSERT INTO things (id) VALUES ('H30'), ('H31'); SELECT count(*) FROM things WHERE id LIKE 'H3_'"), '2', 'and the next batch is sent');

# ---- who wrote what
is(sql("BEGIN; INSERT INTO things (id, name) VALUES ('A1', 'audited'); DELETE FROM things WHERE id = 'A1'; ROLLBACK"), '', 'a transaction that is rolled back');
ok($node->poll("SELECT string_agg(concat_ws(' ', role, server, method, outcome, status / 100), ', ' ORDER BY at) FROM concord.call_log WHERE pid = (SELECT pid FROM concord.call_log WHERE method = 'DELETE' AND url ~ 'A1')",
	'postgres erp POST done 2, postgres erp DELETE done 2'), 'is in the audit');

# ---- a database whose encoding is not UTF-8
sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', "SET client_encoding = 'UTF8'; CREATE EXTENSION pg_concord;
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '" . $erp->url('/odata/v4/sales/') . "');
	CREATE FOREIGN TABLE things (id text OPTIONS (name 'ID', key 'true') NOT NULL, name text OPTIONS (name 'Name')) SERVER erp OPTIONS (object 'Things', on_missing 'null');
	INSERT INTO things VALUES ('L\x{c3}\x{a9}', 'caf\x{c3}\x{a9}')");
is($node->safe_psql('latin', "SELECT octet_length(name), ascii(substr(name, 4)), name = 'caf' || chr(233) FROM things WHERE id = 'L' || chr(233)"), '4|233|t', 'LATIN1: written, asked for and read');
is(sql("SET client_encoding = 'UTF8'; SELECT ascii(substr(name, 4)) FROM things WHERE id = 'L' || chr(233)"), '233', 'as the system has it');
sql("INSERT INTO things (id, name) VALUES ('L2', chr(8364))");
$node->psql('latin', "\\set VERBOSITY verbose\nSELECT name FROM things WHERE id = 'L2'", stderr => \$err);
like($err, qr/ERROR:  22P05/, 'a character that LATIN1 has not is an error');
done_testing();
