# What SAP CAP says of its service becomes foreign tables, with its types and
# its labels, and every value read through them is the one that CAP's database
# holds.

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
my $url = "http://127.0.0.1:$port/odata/v4/";
my $http = HTTP::Tiny->new(timeout => 10);
Concord::Cluster::start_child("$dir/serve", "$work/trade.sqlite", $port);
my $end = time + 60;
usleep(100_000) until $http->get("${url}trade/")->{success} || time > $end;
ok($http->get("${url}trade/")->{success}, 'CAP serves');

my $node = Concord::Cluster->create('capimport');
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(qq{CREATE SERVER cap FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE USER MAPPING FOR CURRENT_USER SERVER cap OPTIONS (auth 'none');
	CREATE SCHEMA trade; IMPORT FOREIGN SCHEMA trade FROM SERVER cap INTO trade OPTIONS (names 'snake')});

is(sql(q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'trade'::regnamespace}),
	'business_partners guarded_partners prices ratings sales_order_items sales_orders samples tickets', 'every entity set is a table');
is(sql(q{SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'trade.samples'::regclass AND attnum > 0}),
	join(', ', 'id uuid', 'text character varying(20)', 'long text', 'small smallint', 'short smallint', 'whole integer', 'large bigint',
		'exact numeric(18,6)', 'digits numeric', 'rough double precision', 'flag boolean', 'day date', 'clock time without time zone',
		'second timestamp with time zone', 'moment timestamp with time zone', 'bytes bytea', 'color character varying(10)',
		'home_street character varying(60)', 'home_country character varying(2)', 'tags character varying(10)[]', 'places jsonb',
		'amount numeric(15,2)', 'currency character varying(3)', 'made integer', 'partner_id character varying(40)'),
	'its columns, the stream left out');
is(sql(q{SELECT obj_description('trade.samples'::regclass)}), 'Sample: A value of every type', 'what CAP says of an entity');
my %comment = map { split /=/, $_, 2 } split /\|/, sql(q{SELECT string_agg(attname || '=' || replace(description, E'\n', '; '), '|') FROM pg_attribute
	JOIN pg_description ON objoid = attrelid AND objsubid = attnum WHERE attrelid = 'trade.samples'::regclass});
is_deeply(\%comment, { id => 'Sample ID', text => 'Text: At most twenty characters', color => 'One of: red, green', home_street => 'Street', home_country => 'Country',
	amount => 'Amount; Unit: currency', currency => 'Currency', made => 'Made by the system', partner_id => 'Partner; References business_partners(id)' }, 'and of its elements');
is(sql(q{SELECT array_to_string(attfdwoptions, ',') FROM pg_attribute WHERE attrelid = 'trade.samples'::regclass AND attname = 'made'}),
	'name=Made,read_only=true', 'what cannot be written');
is(sql(q{SELECT array_to_string(ftoptions, ',') || ': ' || obj_description(ftrelid, 'pg_class') FROM pg_foreign_table WHERE ftrelid = 'trade.ratings'::regclass}),
	'service=trade,object=Ratings,updatable=false: Read only', 'an entity that is read only');
is(sql(q{SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'trade.sales_order_items'::regclass AND attfdwoptions @> '{key=true}' AND attnotnull}),
	'order_id,pos', 'a key of two parts');

done_testing();
