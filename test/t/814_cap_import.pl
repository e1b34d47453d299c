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

# every value, as CAP's database has it
my $json = JSON::PP->new->utf8->canonical->allow_bignum;
sub post
{
	my ($set, $record) = @_;
	my $answer = $http->post("${url}trade/$set", { headers => { 'Content-Type' => 'application/json' }, content => $json->encode($record) });
	ok($answer->{success}, "$set: a record") or diag($answer->{content});
	return;
}
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my @id = map { "00000000-0000-4000-8000-00000000000$_" } 1 .. 4;
post('BusinessPartners', { ID => 'C1', Name => 'Ada', CreditLimit => 12.5, Rating => 3, Turnover => 9007199254740991, Score => 0.1, Blocked => $false, Since => '2024-02-29', ChangedAt => '2026-11-20T08:15:00.123Z' });
post('Samples', { ID => $id[0], Text => "\x{e9}\x{1f600} \"q\" \\ '", Long => "a\nb\t" x 1000, Small => 255, Short => -32768, Whole => -2147483648, Large => 9007199254740991, Exact => 123456.654321,
		Digits => 1234.5, Rough => -2.5e-300, Flag => $true, Day => '0001-01-01', Clock => '23:59:59', Second => '2026-11-20T08:15:00Z', Moment => '2026-11-20T08:15:00.123Z',
		Bytes => 'AP8QIA==', Color => 'green', Home_Street => 'Main St', Home_Country => 'DE', Tags => [ 'a', 'b,c', '"', '' ], Places => [ { Street => 'x', Country => 'FR' } ],
		Amount => 99999999999.99, Currency => 'EUR', Partner_ID => 'C1' });
post('Samples', { ID => $id[1], Text => '', Long => '', Small => 0, Short => 32767, Whole => 2147483647, Large => -9007199254740991, Exact => 0, Digits => -0.001, Rough => 1e15, Flag => $false,
		Day => '9999-12-31', Clock => '00:00:00', Second => '1970-01-01T00:00:00Z', Moment => '1999-12-31T23:59:59.999Z', Bytes => '', Tags => [], Places => [] });
post('Samples', { ID => $id[2] });
post('SalesOrders', { ID => $id[3], Partner => 'C1', Total => 20.5, OrderedAt => '2026-01-01T00:00:00.000Z', Items => [ { Pos => 1, Product => 'P', Quantity => 1.125, Price => 3 }, { Pos => 2, Product => 'Q', Quantity => 2, Price => 4.5 } ] });
post('Prices', { Product => 'P', Currency => 'EUR', Price => 3.99 });
post('Tickets', { Title => 'one' });
post('GuardedPartners', { ID => 'G1', Name => 'Grace', CreditLimit => 1 });

# held(TABLE, COLUMNS): what the database file has, each value in our form
sub held
{
	my ($table, @columns) = @_;
	my $read = q{
import base64, json, sqlite3, sys
from decimal import Decimal
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
def form(kind, v):
    if kind == "json" and v is None: return []     # of a collection OData has no null
    if v is None: return None
    if kind == "bool": return bool(v)
    if kind == "time": return v if "." in v else v.replace("Z", ".000Z")
    if kind == "bytes": return base64.b64encode(base64.b64decode(v) if isinstance(v, str) else v).decode()
    if kind == "json": return json.loads(v)
    if kind == "number": return format(Decimal(repr(v)).normalize(), "f") if v else "0"
    return v
names = [c.split(":") for c in sys.argv[3:]]
rows = db.execute("SELECT %s FROM %s" % (", ".join('"%s"' % n[0] for n in names), sys.argv[2]))
print(json.dumps(sorted([[form(n[-1] if len(n) > 1 else "", v) for n, v in zip(names, row)] for row in rows], key=str)))
};
	open my $out, '-|', 'python3', '-c', $read, "$work/trade.sqlite", $table, @columns or die $!;
	my $text = do { local $/; <$out> };
	close $out;
	return $json->decode($text);
}

# read_through(TABLE, COLUMNS): the same through the foreign table
sub read_through
{
	my ($table, @columns) = @_;
	my @of = map {
		my ($name, $kind) = split /:/;
		$name = "\"$name\"";
		!defined $kind ? $name
		  : $kind eq 'time' ? qq{to_char($name AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')}
		  : $kind eq 'bytes' ? qq{replace(encode($name, 'base64'), E'\\n', '')}
		  : $kind eq 'number' ? qq{trim_scale($name\:\:numeric)\:\:text}
		  : $name;
	} @columns;
	my $row = join(', ', map { s/\\:/:/gr } @of);
	my $rows = $json->decode(sql("SELECT coalesce(jsonb_agg(jsonb_build_array($row)), '[]') FROM trade.$table"));
	return [ sort { $json->encode($a) cmp $json->encode($b) } @$rows ];
}

# same(TABLE HERE, TABLE THERE, COLUMNS: NAME HERE:NAME THERE:KIND)
sub same
{
	my ($here, $there, @columns) = @_;
	my @split = map { [ split /:/ ] } @columns;
	my $held = held($there, map { join ':', @$_[ 1 .. $#$_ ] } @split);
	my $got = read_through($here, map { join ':', $_->[0], @$_[ 2 .. $#$_ ] } @split);
	cmp_ok(scalar @$held, '>', 0, "$here: there is something to compare");
	is_deeply($got, [ sort { $json->encode($a) cmp $json->encode($b) } @$held ], "$here: every value as in CAP's database")
	  or diag($json->pretty->encode([ $got, $held ]));
	return;
}

same('samples', 'trade_Samples', qw(id:ID text:Text long:Long small:Small short:Short whole:Whole large:Large exact:Exact:number digits:Digits:number rough:Rough:number flag:Flag:bool
	day:Day clock:Clock second:Second:time moment:Moment:time bytes:Bytes:bytes color:Color home_street:Home_Street home_country:Home_Country tags:Tags:json places:Places:json
	amount:Amount:number currency:Currency made:Made partner_id:Partner_ID));
same('business_partners', 'trade_BusinessPartners', qw(id:ID name:Name city:City credit_limit:CreditLimit:number rating:Rating turnover:Turnover score:Score:number blocked:Blocked:bool
	since:Since changed_at:ChangedAt:time version:Version));
same('ratings', 'trade_BusinessPartners', qw(id:ID rating:Rating));
same('sales_orders', 'trade_SalesOrders', qw(id:ID partner:Partner total:Total:number ordered_at:OrderedAt:time changed_at:ChangedAt:time note:Note));
same('sales_order_items', 'trade_SalesOrderItems', qw(order_id:Order_ID pos:Pos product:Product quantity:Quantity:number price:Price:number));
same('guarded_partners', 'trade_GuardedPartners', qw(id:ID name:Name credit_limit:CreditLimit:number changed_at:ChangedAt:time));
same('prices', 'trade_Prices', qw(product:Product currency:Currency price:Price:number));
same('tickets', 'trade_Tickets', qw(id:ID title:Title));

# navigations as columns
sql(q{CREATE SCHEMA deep; IMPORT FOREIGN SCHEMA trade LIMIT TO ("SalesOrders", "Samples") FROM SERVER cap INTO deep OPTIONS (names 'snake', navigation 'columns')});
is(sql(q{SELECT jsonb_path_query_array(items, '$[*].Product') FROM deep.sales_orders}), '["P", "Q"]', 'records that belong to one, by $expand');
is(sql(qq{SELECT partner->>'Name' FROM deep.samples WHERE id = '$id[0]'}), 'Ada', 'the record that one refers to');

done_testing();
