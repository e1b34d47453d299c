# A restored database whose mappings are more than rows: a server for each row,
# children, depends, transactions as a whole, references.  Before activate()
# nothing is sent; afterwards it goes on with the links of the original: what is
# there is updated, moved and deleted where it is, and nothing is sent twice.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Concord::Sandbox;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my %shop = map { $_ => Concord::Sandbox->new } qw(a b c);
my $systems = Concord::Dialects->new;
my $crm = $systems->url('salesforce', '/services/data/v60.0/');
my $node = Concord::Cluster->create('restoredocs', conf => "pg_concord.couriers = 2\nmax_worker_processes = 40");
ok($node->ready, 'capture is ready');

my $db = 'postgres';
my $told = 0;
sub sql { return $node->safe_psql($db, $_[0]); }
sub settle { my ($label) = @_; is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$label: delivered"); return; }
sub records { my ($shop, $set) = @_; return values %{ $shop{$shop}->data("/rest/api/$set") // {} }; }
sub ids { my ($shop, $set) = @_; return join ' ', sort { $a <=> $b } map { $_->{id} } records($shop, $set); }

# sent(): what shops and CRM were sent since the last time, in no order
sub sent
{
	my @all = map { my $s = $_; map { my ($p) = $_->{path} =~ m{/rest/api/(.*)}; "$s $_->{method} $p" } grep { $_->{method} ne 'GET' } $shop{$s}->log_entries('/rest/api') } sort keys %shop;
	$_->clear_log for values %shop;
	my @crm = grep { $_->{path} =~ /composite/ } $systems->journal('salesforce');
	push @all, map { "crm $_->{method}" } splice(@crm, $told);
	$told = grep { $_->{path} =~ /composite/ } $systems->journal('salesforce');
	return join ', ', sort @all;
}

for my $name (sort keys %shop)
{
	$shop{$name}->set('/rest/api/products', key => ['id']);
	sql("CREATE SERVER shop_$name FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '@{[ $shop{$name}->url('/rest/api') ]}', retry_base '20ms', retry_cap '100ms', breaker_cooldown '50ms')");
}
sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('composite', 'rest', '{"extends": "salesforce", "batch": {"format": "salesforce_composite"}}');
	CREATE SERVER crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'composite', url '$crm', retry_base '20ms', retry_cap '100ms');
	CREATE USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (auth 'bearer', token '00Dxx!session');
	CREATE TABLE product (id int PRIMARY KEY, shop text, name text);
	CREATE TABLE orders (id int PRIMARY KEY, customer text);
	CREATE TABLE line (order_id int, pos int, product text, PRIMARY KEY (order_id, pos));
	CREATE TABLE remark (id int, order_id int, note text, PRIMARY KEY (order_id, id));
	CREATE TABLE account (id text PRIMARY KEY, name text);
	CREATE TABLE contact (id text PRIMARY KEY, account text, last_name text);
	SELECT concord.create_mapping('products', 'product', 'shop_a', 'products', '{"name": "name", "shop": "shop"}', options => \$\${"route": "'shop_' || shop"}\$\$);
	SELECT concord.create_mapping('orders', 'orders', 'shop_a', 'orders', '{"customer": "customer", "remarks": "(SELECT count(*) FROM remark WHERE order_id = orders.id)"}',
		options => '{"depends": {"remark": {"id": "order_id"}}}');
	SELECT concord.create_mapping('lines', 'line', 'shop_a', 'lines', '{"product": "product", "order": "concord.remote_id(''orders'', order_id)"}', options => '{"parent": {"orders": {"id": "order_id"}}}');
	SELECT concord.alter_mapping('orders', fields => '{"lines": {"children": "lines"}}');
	SELECT concord.create_mapping('accounts', 'account', 'crm', 'Account', '{"Name": "name"}', key => '{"Ext__c": "id"}', options => '{"unit": "transaction"}');
	SELECT concord.create_mapping('contacts', 'contact', 'crm', 'Contact', '{"LastName": "last_name", "AccountId": "concord.remote_id(''accounts'', account)"}', key => '{"Ext__c": "id"}',
		options => '{"unit": "transaction"}')});

# --- the original works: a row that moved, an order with its lines, a transaction as a whole; and what is dead
sql(q{INSERT INTO product VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, 'c', 'three'), (4, 'b', 'four'), (5, 'nowhere', 'five');
	BEGIN; INSERT INTO orders VALUES (1, 'Ada'); INSERT INTO line VALUES (1, 1, 'pen'), (1, 2, 'ink'); COMMIT;
	BEGIN; INSERT INTO contact VALUES ('c1', 'a1', 'One'), ('c2', 'a1', 'Two'); INSERT INTO account VALUES ('a1', 'Acme'); COMMIT;
	BEGIN; INSERT INTO account VALUES ('a2', NULL); INSERT INTO contact VALUES ('c3', 'a2', 'Three'); COMMIT});
settle('the original');
sql(q{UPDATE product SET shop = 'c' WHERE id = 4});
settle('moved in the original');
is(join('|', map { ids($_, 'products') } qw(a b c)), '1|2|3 4', 'rows are at their shops');
is(sql(q{SELECT string_agg(mapping || ' ' || rule, ', ' ORDER BY mapping, rule) FROM concord.dead_letter}), 'accounts refused, contacts unit, products route', 'what is dead')
  or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter'));
my $links = sql(q{SELECT string_agg(mapping || ' ' || local_key || ' ' || server || ' ' || remote_id, E'\n' ORDER BY mapping, local_key) FROM concord.link});

# --- dumped while something is under way: that stays the original's
$shop{b}->stop;
sql(q{UPDATE product SET name = 'under way' WHERE id = 2});
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$shop{b}->start;
$shop{b}->set('/rest/api/products', key => ['id']);
settle('the original goes on');
sent();
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');

# --- restored: nothing is sent, whatever is done
$db = 'restored';
is(sql(q{SELECT count(*) || ' ' || min(state) || ' ' || max(state) FROM concord.status}), '5 restored restored', 'all of it is paused');
sql(q{UPDATE product SET name = 'too early' WHERE id = 1; UPDATE product SET shop = 'a' WHERE id = 3;
	INSERT INTO remark VALUES (1, 1, 'too early'); UPDATE contact SET last_name = 'Early' WHERE id = 'c1'});
usleep(2_000_000);
is(sent(), '', 'and nothing is sent');
is(sql(q{SELECT string_agg(mapping || ' ' || local_key || ' ' || server || ' ' || remote_id, E'\n' ORDER BY mapping, local_key) FROM concord.link}), $links, 'links say where records are, before');
sql('UPDATE product SET shop = $$c$$ WHERE id = 3');

# --- activated: it goes on
is(sql('SELECT concord.activate()'), '5', 'activate()');
is(sql(q{SELECT string_agg(mapping || ' ' || local_key || ' ' || server || ' ' || remote_id, E'\n' ORDER BY mapping, local_key) FROM concord.link}), $links, '... and afterwards');
is(sql(q{SELECT count(*) FROM concord.route r LEFT JOIN pg_foreign_server s ON s.oid = r.serverid WHERE s.srvname IS DISTINCT FROM r.server}), '0', 'numbers of servers stand for those of this database');
is(sql(q{SELECT count(*) || ' ' || min(state) || ' ' || max(state) FROM concord.status}), '5 active active', 'all are active');
settle('activated');
usleep(1_000_000);
is(sent(), '', 'by itself nothing is sent again');

sql(q{UPDATE product SET name = name; UPDATE orders SET customer = customer; UPDATE account SET name = name WHERE id = 'a1'});
settle('without a change');
is(sent(), 'a PATCH orders/1, a PATCH products/1, b PATCH products/2', 'nor is what the original had sent: but for what was changed meanwhile, here and there');

sql(q{UPDATE product SET shop = 'b', name = 'moved' WHERE id = 4; DELETE FROM product WHERE id = 3; INSERT INTO product VALUES (6, 'c', 'six')});
settle('routes');
is(sent(), 'b PATCH products/4, b POST products, c DELETE products/3, c DELETE products/4, c POST products', 'rows move and go where the original had put them');
is(join('|', map { ids($_, 'products') } qw(a b c)), '1|2 4|6', 'rows are at their shops');

sql(q{INSERT INTO remark VALUES (2, 1, 'more')});
settle('depends');
is(sent(), 'a PATCH orders/1', 'a change of another table is an update');
is((grep { $_->{id} == 1 } records('a', 'orders'))[0]{remarks}, 2, '... with what counts now');
sql(q{UPDATE line SET product = 'pencil' WHERE pos = 1});
sql(q{BEGIN; INSERT INTO orders VALUES (2, 'Bob'); INSERT INTO line VALUES (2, 1, 'nib'); COMMIT});
settle('children');
like(sent(), qr{^a PATCH lines/1,1, .*a POST orders$}, 'a line is updated by its link; a new order goes with its own');

sql(q{BEGIN; UPDATE contact SET last_name = 'Uno' WHERE id = 'c1'; INSERT INTO contact VALUES ('c4', 'a1', 'Four'); UPDATE account SET name = 'Acme Inc.' WHERE id = 'a1'; COMMIT});
settle('a transaction');
is(sent(), 'crm POST', 'a transaction is one request');
my $data = $systems->data('salesforce');
my ($account) = grep { $data->{Account}{$_}{Ext__c} eq 'a1' } keys %{ $data->{Account} };
is(join(' ', map { "$_->{Ext__c}:$_->{LastName}:" . ($_->{AccountId} eq $account) } sort { $a->{Ext__c} cmp $b->{Ext__c} } values %{ $data->{Contact} }), 'c1:Uno:1 c2:Two:1 c4:Four:1',
	'which refers to the record that the original created');

# --- dead letters that came along
sql(q{UPDATE account SET name = 'Corrected' WHERE id = 'a2'});
settle('corrected');
sql(q{SELECT concord.retry_dead('contacts'); UPDATE product SET shop = 'a' WHERE id = 5});
settle('dead letters');
sql(q{SELECT concord.retry_dead('products')});
settle('dead letters again');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'dead letters go again') or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter'));
$data = $systems->data('salesforce');
is(join(' ', map { $_->{Name} } sort { $a->{Name} cmp $b->{Name} } values %{ $data->{Account} }), 'Acme Inc. Corrected', 'each once');
is(join(' ', grep { $_ eq 'c3' } map { $_->{Ext__c} } values %{ $data->{Contact} }), 'c3', 'with what belonged to it');
is(ids('a', 'products'), '1 5', 'and the row that had no shop');
is_deeply([ grep { !/REQUIRED_FIELD_MISSING/ } @{ $systems->wrong('salesforce') // [] } ], [], 'the system was asked nothing wrong');

$node->stop;
done_testing();
