# Storefronts, shipping, service desks: test/dialects/commerce.py names the
# documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $node = Concord::Cluster->create('commerce');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

# by(COLLECTION, ID, NAME, AMOUNT): reads records whose members have these names
sub by
{
	my ($collection, $id, $name, $amount) = @_;
	return sub {
		my %held = %{ $_[0]{$collection} };
		return { map { ($_->{$id} =~ s/^item-//r) => [ $_->{$name}, $amount ? $_->{$amount} + 0 : undef ] } values %held };
	};
}

my %systems = (
	shopify => {
		url => '/admin/api/2026-01/',
		user_mapping => "auth 'header', header_name 'X-Shopify-Access-Token', token 'shpat_token'",
		object => 'product',
		fields => '{"title": "name", "vendor": "amount::text"}',
		key => q({"handle": "'item-' || id"}),
		held => by('product', 'handle', 'title', 'vendor'),
		link => qr{^gid://shopify/Product/\d+$},
		throttle => { status => 200, body => { errors => [ { message => 'Throttled', extensions => { code => 'THROTTLED' } } ] } },
		retry => { status => 200, body => { errors => [ { message => 'Internal error', extensions => { code => 'INTERNAL_SERVER_ERROR' } } ] } },
		dead => [ { status => 200, body => { data => { set => { record => undef, userErrors => [ { field => ['input'], message => 'Handle is taken' } ] } } } },
			rule => qr/^refused by Shopify$/, answer => qr/Handle is taken/ ],
	},
	bigcommerce => {
		url => '/stores/abc/',
		user_mapping => "auth 'header', header_name 'X-Auth-Token', token 'bc_token'",
		object => 'catalog/products',
		collection => 'products',
		fields => '{"name": "name", "price": "amount", "type": "\'physical\'", "weight": "1"}',
		key => '{"sku": "id::text"}',
		held => by('products', 'sku', 'name', 'price'),
		link => qr/^\d+$/,
		throttle => { status => 429, headers => { 'X-Rate-Limit-Time-Reset-Ms' => '300' }, body => { status => 429, title => 'Too many requests' } },
		retry => { status => 500, body => { status => 500, title => 'Internal error' } },
		dead => [ { status => 422, body => { status => 422, title => 'JSON data is missing or invalid' } }, error => qr/JSON data is missing/ ],
	},
	bigcommerce_customers => {
		url => '/stores/abc/',
		user_mapping => "auth 'header', header_name 'X-Auth-Token', token 'bc_token'",
		object => 'customers',
		fields => '{"first_name": "name", "notes": "amount::text"}',
		key => '{"email": "id::text"}',
		held => by('customers', 'email', 'first_name', 'notes'),
		link => qr/^\d+$/,
	},
	magento => {
		url => '/rest/default/',
		user_mapping => "auth 'bearer', token 'mg_token'",
		object => 'product',
		collection => 'products',
		fields => '{"name": "name", "price": "amount"}',
		key => q({"sku": "'item-' || id"}),
		held => by('products', 'sku', 'name', 'price'),
		link => qr/^\d+$/,
		retry => { status => 400, body => { message => 'Database deadlock found when trying to get lock, Deadlock found' } },
		dead => [ { status => 400, body => { message => 'The "%1" attribute value is empty.', parameters => ['name'] } }, error => qr/attribute value is empty/ ],
	},
	shipstation => {
		user_mapping => "auth 'basic', username 'key', password 'secret'",
		object => 'orders',
		fields => '{"orderNumber": "name", "amountPaid": "amount", "orderStatus": "\'awaiting_shipment\'"}',
		key => '{"orderKey": "id::text"}',
		held => by('orders', 'orderKey', 'orderNumber', 'amountPaid'),
		link => qr/^\d+$/,
		throttle => { status => 429, headers => { 'X-Rate-Limit-Reset' => '1' }, body => '{"message": "Too Many Requests"}' },
		dead => [ { status => 400, body => { Message => 'The request is invalid.' } }, error => qr/The request is invalid/ ],
	},
	servicenow => {
		user_mapping => "auth 'basic', username 'concord', password 'secret'",
		object => 'u_customer',
		fields => '{"u_name": "name", "u_amount": "amount"}',
		key => '{"u_ref": "id::text"}',
		held => by('u_customer', 'u_ref', 'u_name', 'u_amount'),
		link => qr/^[0-9a-f]{32}$/,
		throttle => { status => 429, headers => { 'Retry-After' => '1' }, body => { error => { message => 'Rate limit exceeded' } } },
		retry => { status => 400, body => { error => { message => 'Transaction cancelled: maximum execution time exceeded' }, status => 'failure' } },
		dead => [ { status => 403, body => { error => { message => 'Operation Failed', detail => 'ACL Exception' } } }, status => qr/^403$/ ],
	});

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $c = Concord::Catalogue->new($node, $systems, connector => $name,
		map { $_ => $s->{$_} } qw(url user_mapping object fields key));
	$c->lifecycle($s->{held});
	like($c->sql("SELECT remote_id FROM concord.link WHERE mapping = '$c->{mapping}' AND local_key->>'id' = '5'"),
		$s->{link}, "$name: the link has the system's id");
	my $collection = $s->{collection} // $s->{object};
	$c->once('POST|PUT', 20, sub { scalar grep { /once/ } map { values %$_ } values %{ $_[0]{$collection} } });
	$c->survives('a limit', { match => '', %{ $s->{throttle} } }, 10) if $s->{throttle};
	$c->survives('a failure', { times => 2, %{ $s->{retry} } }, 11) if $s->{retry};
	$c->dead('a refusal', { %{ $s->{dead}[0] } }, 12, @{ $s->{dead} }[ 1 .. $#{ $s->{dead} } ]) if $s->{dead};
	$c->sql("SELECT concord.drop_mapping('$c->{mapping}')");
}

done_testing();
