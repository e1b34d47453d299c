# SAP CAP takes our batches, multipart and JSON: it ends up equal to our table.

use strict;
use warnings;

use Concord::Cluster;
use File::Temp;
use HTTP::Tiny;
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

my $node = Concord::Cluster->create('capbatch');
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('capjson', 'odata', '{"extends": "odata", "batch": {"format": "odata_batch_json"}}');
	CREATE SERVER multi FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', batch_size '40');
	CREATE SERVER json FOREIGN DATA WRAPPER concord OPTIONS (connector 'capjson', url '$url', batch_size '40');
	CREATE TABLE customers (id text PRIMARY KEY, name text, via text)});
for my $server ('multi', 'json')
{
	sql(qq{SELECT concord.create_mapping('$server', 'customers', '$server', 'BusinessPartners', '{"Name": "name"}', key => '{"ID": "id"}', filter => \$\$via = '$server'\$\$,
			options => '{"linger": "300ms"}');
		INSERT INTO customers SELECT '$server' || i, 'n' || i, '$server' FROM generate_series(1, 100) i});
	is(sql("SELECT concord.wait_for_delivery('$server', '60s')"), 't', "$server: creates");
	sql("UPDATE customers SET name = 'é' || id WHERE via = '$server'; DELETE FROM customers WHERE via = '$server' AND id LIKE '%7'");
	is(sql("SELECT concord.wait_for_delivery('$server', '60s')"), 't', "$server: updates and deletes");
	is(sql("SELECT count(*) FROM concord.dead_letter"), '0', "$server: nothing is dead")
	  or diag(sql("SELECT error, answer, request FROM concord.dead_letter LIMIT 2"));
	is($http->get("${url}BusinessPartners/\$count?\$filter=startswith(Name,'%C3%A9$server')")->{content}, 90, "$server: as in the table");
}
done_testing();
