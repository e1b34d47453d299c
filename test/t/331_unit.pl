# Option unit: the changes of one transaction for one system are one change set,
# which SAP CAP does as a whole or not at all.

use strict;
use warnings;

use Concord::Cluster;
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep time);

my $dir = "$ENV{CONCORD_SRC}/test/peers/cap";
plan skip_all => 'left out by SKIP_PEERS' if Concord::Cluster::left_out('cap');

my $work = File::Temp->newdir;
my $port = Concord::Cluster::free_port();
my $url = "http://127.0.0.1:$port/odata/v4/trade/";
my $http = HTTP::Tiny->new(timeout => 10);
Concord::Cluster::start_child("$dir/serve", "$work/trade.sqlite", $port);
my $end = time + 60;
usleep(100_000) until $http->get($url)->{success} || time > $end;
ok($http->get($url)->{success}, 'CAP serves');

my $node = Concord::Cluster->create('unit', conf => "max_worker_processes = 40\nrestart_after_crash = on\npg_concord.couriers = 2");
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub settle { is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$_[0]: delivered"); return; }
sub there { my ($set, $filter) = @_; return $http->get("$url$set/\$count?\$filter=$filter")->{content}; }

sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('capjson', 'odata', '{"extends": "odata", "batch": {"format": "odata_batch_json"}}');
	CREATE SERVER multi FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '50ms', retry_cap '200ms');
	CREATE SERVER json FOREIGN DATA WRAPPER concord OPTIONS (connector 'capjson', url '$url', retry_base '50ms', retry_cap '200ms');
	CREATE TABLE customer (id text PRIMARY KEY, name text, rating text, via text);
	CREATE TABLE "order" (id uuid PRIMARY KEY, customer text, note text, via text);
	CREATE TABLE price (product text, currency text, price text, via text, PRIMARY KEY (product, currency))});
for my $s ('multi', 'json')
{
	sql(qq{SELECT concord.create_mapping('c_$s', 'customer', '$s', 'BusinessPartners', '{"Name": "name", "Rating": "rating"}', key => '{"ID": "id"}',
			filter => \$\$via = '$s'\$\$, options => '{"unit": "transaction"}');
		SELECT concord.create_mapping('o_$s', '"order"', '$s', 'SalesOrders', '{"Partner": "customer", "Note": "note"}', key => '{"ID": "id"}',
			filter => \$\$via = '$s'\$\$, options => '{"unit": "transaction"}');
		SELECT concord.create_mapping('p_$s', 'price', '$s', 'Prices', '{"Price": "price"}', key => '{"Product": "product", "Currency": "currency"}',
			filter => \$\$via = '$s'\$\$, options => '{"unit": "transaction"}')});
}

for my $s ('multi', 'json')
{
	my $id = sub { return sprintf('%08d-0000-4000-8000-%012d', $_[0], $s eq 'json') };
	my $all = sub {
		my ($n) = @_;
		return join ' ', there('BusinessPartners', "startswith(ID,'$s$n-')"), there('SalesOrders', "Partner%20eq%20'$s$n-1'"),
		  there('Prices', "startswith(Product,'$s$n-')");
	};

	# --- three tables, one transaction
	sql("BEGIN; INSERT INTO customer VALUES ('$s" . "1-1', 'Ada', '1', '$s');
		INSERT INTO \"order\" VALUES ('@{[$id->(1)]}', '$s" . "1-1', 'first', '$s');
		INSERT INTO price SELECT '$s" . "1-' || i, 'EUR', i, '$s' FROM generate_series(1, 3) i;
		UPDATE customer SET name = 'Ada L.' WHERE id = '$s" . "1-1'; COMMIT");
	settle("$s, one transaction");
	is($all->(1), '1 1 3', "$s: all of it is there");
	is(sql('SELECT count(*) FROM concord.dead_letter'), '0', "$s: nothing is dead")
	  or diag(sql('SELECT mapping, rule, error, answer, request FROM concord.dead_letter LIMIT 3'));

	# --- one in the middle is refused: none arrives
	sql("BEGIN; INSERT INTO customer VALUES ('$s" . "2-1', 'Bob', '1', '$s'), ('$s" . "2-2', 'Eve', 'much', '$s');
		INSERT INTO \"order\" VALUES ('@{[$id->(2)]}', '$s" . "2-1', 'second', '$s');
		INSERT INTO price VALUES ('$s" . "2-1', 'EUR', '5', '$s'); COMMIT");
	settle("$s, refused");
	is($all->(2), '0 0 0', "$s: nothing of a refused transaction is there");
	is(sql("SELECT string_agg(mapping || ' ' || rule, ',' ORDER BY mapping) FROM concord.dead_letter WHERE rule = 'unit'"),
		"c_$s unit,o_$s unit,p_$s unit", "$s: the others are dead with it");
	is(sql("SELECT count(*) FROM concord.dead_letter WHERE rule = 'unit' AND error LIKE '%$s" . "2-2%not a valid Integer%'"), '3', "$s: and name it");
	is(sql("SELECT local_key->>'id' || ' ' || status FROM concord.dead_letter WHERE rule <> 'unit'"), "$s" . '2-2 400', "$s: the one that is to blame");

	# --- a later transaction, and corrected: all arrive
	sql("SELECT concord.alter_mapping('c_$s', fields => '{\"Name\": \"name\", \"Rating\": \"CASE WHEN rating ~ ''^[0-9]+\$'' THEN rating END\"}')");
	is(sql("SELECT concord.retry_dead('p_$s')"), '4', "$s: one takes the others along");
	settle("$s, again");
	is($all->(2), '2 1 1', "$s: all are there");
	is(sql('SELECT count(*) FROM concord.dead_letter'), '0', "$s: and nothing is dead")
	  or diag(sql('SELECT mapping, rule, error, answer, request FROM concord.dead_letter LIMIT 3'));

	# --- updates and deletes, and one that is unchanged
	sql("BEGIN; UPDATE customer SET name = name; UPDATE \"order\" SET note = 'new' WHERE via = '$s'; DELETE FROM price WHERE via = '$s' AND product = '$s" . "1-3'; COMMIT");
	settle("$s, changes");
	is($all->(1), '1 1 2', "$s: deleted");
	is(there('SalesOrders', "Note%20eq%20'new'"), $s eq 'json' ? '4' : '2', "$s: updated");

	# --- too large
	sql("INSERT INTO price SELECT '$s" . "3-' || i, 'EUR', '1', '$s' FROM generate_series(1, 101) i");
	settle("$s, too large");
	is(sql("SELECT count(*), min(rule), bool_and(error LIKE '%has 101 changes%') FROM concord.dead_letter"), '101|unit|t', "$s: one that is too large is dead as a whole");
	is($all->(3), '0 0 0', "$s: and nothing of it was sent");
	sql("SELECT concord.discard_dead('p_$s', NULL, 'test')");
}

# --- killed while transactions are under way: each is there once, or not at all before
sql(q{SELECT concord.pause_system('multi')});
for my $n (1 .. 40)
{
	sql("BEGIN; INSERT INTO customer VALUES ('k$n-1', 'K', '1', 'multi'), ('k$n-2', 'K', '1', 'multi');
		INSERT INTO price VALUES ('k$n-1', 'EUR', '1', 'multi'); COMMIT");
}
sql(q{SELECT concord.resume_system('multi')});
my $killed = 0;
for (1 .. 3)
{
	my $log = -s $node->logfile;

	$node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '2');
	for my $pid (split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'}))
	{
		$killed += kill 'KILL', $pid;
	}
	$node->poll_log(qr/database system is ready to accept connections/, $log);
}
cmp_ok($killed, '>=', 3, 'couriers were killed');
settle('killed');
is(there('BusinessPartners', "startswith(ID,'k')") . ' ' . there('Prices', "startswith(Product,'k')"), '80 40', 'killed: all are there');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'killed: nothing is dead')
  or diag(sql('SELECT mapping, rule, error, answer, request FROM concord.dead_letter LIMIT 3'));

# --- what is refused when it is written
sql("CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')");
for ([ q{SELECT concord.create_mapping('x', 'customer', 're', 'x', '{"name": "name"}', options => '{"unit": "transaction"}')}, qr/cannot deliver a transaction as a whole/ ],
	[ q{SELECT concord.alter_mapping('c_json', options => '{"coalesce": true}')}, qr/cannot be used with "coalesce"/ ],
	[ q{SELECT concord.alter_mapping('c_json', options => '{"unit": "row"}')}, qr/unit/ ])
{
	my ($ret, $out, $err) = $node->psql('postgres', $_->[0]);
	like($err, $_->[1], "refused: $_->[1]");
}
done_testing();
