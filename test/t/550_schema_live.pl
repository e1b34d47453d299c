# Tables change while a courier sends: names are followed under load, owned
# columns are never sent, a dump has owners and their triggers, and alerts are told.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('schema');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(<<"SQL");
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $erp->url('/rest/shop/') ]}');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE TABLE goods (id int PRIMARY KEY, a text, b int, price int);
SELECT concord.create_mapping('goods', 'goods', 'erp', 'goods', '{"Name": "upper(a)", "Twice": "b * 2", "Price": {"column": "price"}}', key => '{"id": "id"}');
SQL

# ---- RENAME while rows are written and sent: each one arrives, with its own values
my $writer = $node->background_psql('postgres');
$writer->query_safe('SET statement_timeout = 0');
my $n = 0;
my %name = (a => 'a', b => 'b');
for my $round (1 .. 12)
{
	my ($column, $type) = $round % 2 ? ('a', 'text') : ('b', 'int');
	$writer->query_safe("INSERT INTO goods SELECT i, 'n' || i, i, 7 FROM generate_series(" . ($n + 1) . ', ' . ($n + 50) . ') i');
	my $new = "${column}_$round";
	sql("BEGIN; INSERT INTO goods VALUES (" . ($n + 51) . ", 'n" . ($n + 51) . "', " . ($n + 51) . ", 7);"
		. " ALTER TABLE goods RENAME $name{$column} TO $new; INSERT INTO goods VALUES (" . ($n + 52) . ", 'n" . ($n + 52) . "', " . ($n + 52) . ', 7); COMMIT');
	$name{$column} = $new;
	$n += 52;
}
$writer->quit;
is(sql("SELECT concord.wait_for_delivery('goods', '60s')"), 't', 'delivered under thirteen versions');
is(sql("SELECT count(*) FROM concord.dead_letter"), '0', 'nothing is dead');
my $data = $erp->data('/rest/shop/goods');
is(scalar(keys %$data), $n, 'each row arrived');
is(scalar(grep { $_->{Name} ne "N$_->{id}" || $_->{Twice} != 2 * $_->{id} || $_->{Price} != 7 } values %$data), 0, 'with its own values');
is(sql("SELECT version FROM concord.mapping WHERE name = 'goods'"), '13', 'a version for each name');
is(sql("SELECT count(*) FROM concord.schema_change WHERE what = 'rename column'"), '12', 'all of them are recorded');
is(sql("SELECT count(*) FROM concord.schema_change WHERE relation_version IS NOT NULL"), '12', 'with the outbox\'s definition before');

# ---- a change of ownership at its place: nothing written after it goes out
sql("SELECT concord.set_owner('goods', '{price}', 'erp', on_local_write => 'report')");
sql("UPDATE goods SET price = 8, $name{a} = 'owned' WHERE id <= 20");
is(sql("SELECT concord.wait_for_delivery('goods', '60s')"), 't', 'delivered');
$data = $erp->data('/rest/shop/goods');
is(scalar(grep { $_->{id} <= 20 && $_->{Name} eq 'OWNED' } values %$data), 20, 'ours is sent');
is(scalar(grep { $_->{Price} != 7 } values %$data), 0, 'what the system owns is not');
is(sql("SELECT count FROM concord.alert WHERE what = 'ownership'"), '20', 'an alert says how many rows');

# ---- alerts are told
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN concord_alert');
sql("SET pg_concord.on_schema_change = 'pause'; ALTER TABLE goods ALTER price TYPE numeric");
is(sql("SELECT state FROM concord.mapping WHERE name = 'goods'"), 'paused', 'a changed type pauses the mapping');
ok($node->poll("SELECT bool_and(told) FROM concord.alert_item", 't'), 'the clerk has told it');
my ($told) = $listener->query('SELECT 1');
like($told . ($listener->{stderr} // ''), qr/concord_alert|1/, 'who listens is told');
$listener->quit;
sql("UPDATE goods SET $name{a} = 'later' WHERE id = 1");
isnt($erp->data('/rest/shop/goods')->{1}{Name} // '', 'LATER', 'nothing is sent meanwhile');
sql("SELECT concord.resume('goods')");
is(sql("SELECT concord.wait_for_delivery('goods', '60s')"), 't', 'resumed, it goes on');

# ---- dump and restore: owners by name, triggers, and what is used once it is activated
sql("SELECT concord.set_owner('goods', '{price}', 'erp'); ALTER TABLE goods DROP COLUMN IF EXISTS gone");
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, 'postgres' ], 'pg_dump');
sql('CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', 'copy', '-f', $dump ], 'restored');
sub copy { return $node->safe_psql('copy', $_[0]); }
is(copy("SELECT source, column_name, owner FROM concord.ownership"), 'goods|price|erp', 'with its owners');
is(copy("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'concord_ownership%'"), '2', 'and triggers');
my ($status, undef, $err) = $node->psql('copy', 'UPDATE goods SET price = 1 WHERE id = 1');
isnt($status, 0, 'which refuse');
like($err, qr/owned by "erp"/, 'as they did');
is(copy("SELECT direction FROM concord.mapping_field WHERE column_name = 'price'"), 'pull', 'the direction follows');
copy("SELECT concord.activate()");
($status, undef, $err) = $node->psql('copy', 'ALTER TABLE goods DROP price');
like($err, qr/cannot follow this change/, 'activated, it knows what it uses');
copy("ALTER TABLE goods RENAME $name{b} TO bb");
like(copy("SELECT definition::text FROM concord.mapping_version ORDER BY version DESC LIMIT 1"), qr/bb \* 2/, 'and follows new names');
copy("DROP EXTENSION pg_concord CASCADE");
is(copy("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'concord_ownership%'"), '0', 'the triggers go with the extension');
copy('UPDATE goods SET price = 1 WHERE id = 1');

$node->stop;
done_testing();
