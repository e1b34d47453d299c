# Systems of the catalogue that take many records or messages in a request of
# their own form: each has its own outcome, and none of their limits is passed.
# test/dialects names the documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('catalogue_batches');
my $systems = Concord::Dialects->new;
my $json = JSON::PP->new;
ok($node->ready, 'capture is ready');

my $aws = q{auth 'sigv4', access_key 'AKID', secret_key 'secret', region 'eu-central-1', aws_service};
my $whole = '{"name": "name", "amount": "amount"}';

# names(COLLECTION, NAME): the names of all records of a collection
sub names { my ($collection, $name) = @_; return sub { return map { $_->{$name} } values %{ $_[0]{$collection} // {} } }; }

# read gives the names that the system holds, most what it takes at once; busy:
# it can fail one of many for a moment; change: records, not messages
my %systems = (
	google_pubsub => { user_mapping => "auth 'bearer', token 'ya29.token'", object => 'projects/p/topics/items', options => '"ordering": "none"', most => 100,
		read => sub { return map { $_->{data}{name} } @{ $_[0]{'projects/p/topics/items'} } } },
	kafka_rest => { object => 'items', busy => 1, most => 100, read => sub { return map { $_->{value}{data}{name} } @{ $_[0]{items} } } },
	azure_service_bus => { user_mapping => "auth 'bearer', token 'eyJ.token'", object => 'items', most => 100,
		read => sub { return map { $_->{body}{name} } @{ $_[0]{items} } } },
	aws_eventbridge => { user_mapping => "$aws 'events'", object => 'orders', busy => 1, most => 10,
		read => sub { return map { $json->decode($_->{Detail})->{name} } @{ $_[0]{orders} } } },
	sqs => { user_mapping => "$aws 'sqs'", object => '123456789012/items', busy => 1, most => 10,
		read => sub { return map { $json->decode($_->{MessageBody})->{name} } @{ $_[0]{'123456789012/items'} } } },
	sqs_fifo => { user_mapping => "$aws 'sqs'", object => '123456789012/items.fifo', busy => 1, most => 10,
		read => sub { return map { $json->decode($_->{MessageBody})->{name} } @{ $_[0]{'123456789012/items.fifo'} } } },
	salesforce => { url => '/services/data/v60.0/', user_mapping => "auth 'bearer', token '00Dxx!session'", object => 'Account', busy => 1, most => 200, change => 1,
		fields => '{"Name": "name", "Amount__c": "amount"}', key => '{"Ext__c": "id"}', read => names('Account', 'Name') },
	odoo => { user_mapping => "auth 'bearer', token '6578616d706c65206a736f6e20617069206b6579'", object => 'res.partner', most => 1000, change => 1, updates_alone => 1,
		fields => '{"name": "name", "credit_limit": "amount"}', key => '{"ref": "id::text"}', read => names('res.partner', 'name') },
	sage_intacct => { url => '/ia/api/v1/', user_mapping => "auth 'bearer', token 'intacct_token'", object => 'accounts-receivable/customer', busy => 1, most => 500, change => 1,
		fields => '{"name": "name", "creditLimit": "amount"}', key => '{"id": "id::text"}', read => names('customer', 'name') },
	bigcommerce_customers => { url => '/stores/abc/', user_mapping => "auth 'header', header_name 'X-Auth-Token', token 'bc_token'", object => 'customers', most => 10, change => 1,
		fields => '{"first_name": "name"}', key => '{"email": "id::text"}', read => names('customers', 'first_name') });

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $options = '{' . join(', ', '"batch_size": 60, "linger": "300ms"', $s->{options} // ()) . '}';
	my $c = Concord::Catalogue->new($node, $systems, connector => $name, fields => $s->{fields} // $whole, key => $s->{key} // '{"id": "id"}',
		options => $options, map { $_ => $s->{$_} } qw(url user_mapping object));
	my $held = sub { return [ sort $s->{read}->($systems->data($name)) ] };
	my $largest = sub {
		my @counts = map { my $body = $_->{body}; scalar(() = $body =~ /\bn\d+\b/g) } $systems->journal($name);
		return (sort { $b <=> $a } @counts)[0];
	};

	$c->sql("INSERT INTO $c->{table} SELECT i, 'n' || i, i FROM generate_series(1, 120) i");
	$c->settle('a load');
	is_deeply($held->(), [ sort map { "n$_" } 1 .. 120 ], "$name: all are there, once each");
	my $batched = $systems->settings($name)->{batched} // 0;
	cmp_ok($batched, '>=', 60, "$name: they came in batches");
	cmp_ok($largest->(), '<=', $s->{most}, "$name: none is larger than the system takes");

	# one is refused, one is not taken at first
	$c->sql("INSERT INTO $c->{table} SELECT i, CASE i WHEN 203 THEN 'refuse-me' WHEN 205 THEN 'busy-one' ELSE 'm' || i END, i FROM generate_series(201, 208) i");
	is($c->sql("SELECT concord.wait_for_delivery('$c->{mapping}', '60s')"), 't', "$name: delivered");
	is($c->sql("SELECT string_agg(local_key->>'id', ',') FROM concord.dead_letter WHERE mapping = '$c->{mapping}'"), '203', "$name: the one that is refused is dead, and no other");
	is_deeply([ grep { !/^n/ } @{ $held->() } ], [ sort 'busy-one', map { "m$_" } 201, 202, 204, 206, 207, 208 ], "$name: the others are there, once each");
	cmp_ok($c->sql("SELECT max(attempts) FROM concord.delivery WHERE mapping = '$c->{mapping}' AND local_key->>'id' = '205'"), '>=', 2, "$name: one of many was tried again") if $s->{busy};
	is_deeply($systems->wrong($name), [], "$name: nothing was refused but that");

	if ($s->{change})
	{
		$c->sql("SELECT concord.discard_dead('$c->{mapping}', NULL, 'test')");
		$c->sql("DELETE FROM $c->{table} WHERE id = 203");
		$c->settle('what was refused is deleted');
		my $before = $systems->settings($name)->{batched};
		$c->sql("UPDATE $c->{table} SET name = 'u' || id");
		$c->settle('updates');
		is_deeply($held->(), [ sort map { "u$_" } 1 .. 120, 201, 202, 204 .. 208 ], "$name: updates have arrived, each at its own record");
		cmp_ok($systems->settings($name)->{batched} - $before, '>=', 60, "$name: updates came in batches") unless $s->{updates_alone};
		$c->sql("DELETE FROM $c->{table}");
		$c->settle('deletions');
		is_deeply($held->(), [], "$name: deletions have arrived");
	}
	$c->sql("SELECT concord.drop_mapping('$c->{mapping}')");
}

# different ordering keys in one publish request are refused by Pub/Sub: so is the option
my ($status, undef, $error) = $node->psql('postgres',
	q[CREATE TABLE ordered (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('ordered', 'ordered', 's_google_pubsub', 'projects/p/topics/items', '{"name": "name"}', options => '{"batch_size": 5}')]);
isnt($status, 0, 'Pub/Sub: batches of messages that have an order are refused');
like($error, qr/has no batches of messages that have an order.*HINT:.*"ordering" to "none"/s, 'and the error says what to do');

done_testing();
