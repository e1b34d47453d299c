# SAP S/4HANA in both versions of OData, SAP Business One: test/dialects/sap.py
# names the documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('sap');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

# by(SET, ID, NAME, AMOUNT): reads records whose members have these names
sub by
{
	my ($set, $id, $name, $amount) = @_;
	return sub { return { map { ($_->{$id} =~ s/^C//r) => [ $_->{$name}, $_->{$amount} + 0 ] } values %{ $_[0]{$set} } } };
}

# requests(DIALECT, METHOD): what came with this method
sub requests
{
	my ($dialect, $method) = @_;
	return grep { $_->{method} =~ /^(?:$method)$/ && $_->{path} !~ /Login/ } $systems->journal($dialect);
}

# conflict(C, ID): another changes a record between our look and our update
sub conflict
{
	my ($c, $id) = @_;
	my $n = () = requests($c->{dialect}, 'PATCH|MERGE');
	my $true = JSON::PP::true();

	$systems->set($c->{dialect}, changed_by_another => $true);
	$c->sql("UPDATE $c->{table} SET name = 'mine' WHERE id = $id");
	$c->settle('a change by another');
	my @sent = requests($c->{dialect}, 'PATCH|MERGE');
	is(join(' ', map { $_->{status} } @sent[ $n .. $#sent ]), '412 204', "$c->{connector}: the update is made again with the new tag");
	isnt($sent[-1]{headers}{'if-match'}, $sent[-2]{headers}{'if-match'}, "$c->{connector}: which is another one");
	return;
}

my %error = (
	sap_s4 => sub { return { error => { code => $_[0], message => $_[1] } } },
	sap_s4_v2 => sub { return { error => { code => $_[0], message => { lang => 'en', value => $_[1] } } } });
foreach my $name ('sap_s4', 'sap_s4_v2')
{
	my $root = $name eq 'sap_s4' ? '/sap/opu/odata4/sap/api_bp/srvd_a2x/sap/bp/' : '/sap/opu/odata/sap/';
	my %args = (
		connector => $name,
		url => $root,
		server_options => "service '" . ($name eq 'sap_s4' ? '0001' : 'API_BUSINESS_PARTNER') . q(', headers '{"sap-client": "100"}'),
		user_mapping => "auth 'session', username 'CONCORD', password 'secret'");
	my $c = Concord::Catalogue->new($node, $systems, %args,
		object => 'A_BusinessPartner',
		fields => '{"OrganizationBPName1": "name", "CreditLimit": "amount"}',
		key => '{"BusinessPartner": "id::text"}');

	$c->lifecycle(by('A_BusinessPartner', 'BusinessPartner', 'OrganizationBPName1', 'CreditLimit'));
	my ($update) = requests($name, 'PATCH|MERGE');
	is("$update->{method} " . ($update->{path} =~ s{.*/}{}r),
		($name eq 'sap_s4' ? 'PATCH' : 'MERGE') . " A_BusinessPartner('2')", "$name: verb and address");
	is(scalar(grep { ($_->{headers}{'x-csrf-token'} // '') eq 'Fetch' } requests($name, 'GET')), 1, "$name: one session");
	conflict($c, 1);
	$systems->set($name, sessions_end => JSON::PP::true());
	$c->sql("UPDATE $c->{table} SET name = 'later' WHERE id = 1");
	$c->settle('a session that is over');
	is(scalar(grep { ($_->{headers}{'x-csrf-token'} // '') eq 'Fetch' } requests($name, 'GET')), 2, "$name: then another one");
	$c->once('POST', 20, sub { scalar grep { $_->{OrganizationBPName1} eq 'once' } values %{ $_[0]{A_BusinessPartner} } });
	$c->survives('a locked record', { match => 'POST', status => 400, times => 2,
		body => $error{$name}->('R11/888', 'Business partner 10 is currently being processed by user MILLER') }, 10);
	$c->survives('a service that is not active', { match => 'POST', status => 403,
		body => $error{$name}->('/IWFND/MED/170', "No service found for namespace '', name 'X', version '0001'") }, 11);
	$c->dead('a message', { match => 'POST', status => 400, body => $error{$name}->('R1/166', 'Country XX is not defined') }, 12,
		status => qr/^400$/, error => qr/Country XX is not defined/);
	is($c->sql("SELECT rule || ' ' || outcome FROM concord.explain_outcome('$name', 403, '{\"x-csrf-token\": \"Required\"}')"),
		'CSRF token refused down', "$name: a token that is still refused");

	# numbers of the system's, found by our key
	my $orders = Concord::Catalogue->new($node, $systems, %args,
		server => "o_$name", mapping => "o_$name", table => "order_$name",
		object => 'A_SalesOrder',
		fields => '{"SalesOrderType": "name", "TotalNetAmount": "amount"}',
		key => '{"PurchaseOrderByCustomer": "id::text"}',
		options => '{"remote_id": "assigned", "remote_id_path": "SalesOrder"}');
	$orders->lifecycle(by('A_SalesOrder', 'PurchaseOrderByCustomer', 'SalesOrderType', 'TotalNetAmount'));
	like($orders->sql("SELECT remote_id FROM concord.link WHERE mapping = 'o_$name' AND local_key->>'id' = '5'"), qr/^\d{10}$/, "$name: the link has the number");
	$orders->once('POST', 20, sub { scalar grep { $_->{SalesOrderType} eq 'once' } values %{ $_[0]{A_SalesOrder} } });
	$c->sql("SELECT concord.drop_mapping(m) FROM unnest(ARRAY['m_$name', 'o_$name']) m");
}

my %args = (
	connector => 'sap_b1',
	url => '/b1s/v2/',
	user_mapping => "auth 'session', company 'SBODEMO', username 'concord', password 'secret'");
my $c = Concord::Catalogue->new($node, $systems, %args,
	object => 'BusinessPartners',
	fields => '{"CardName": "name", "CreditLimit": "amount", "CardType": "\'cCustomer\'"}',
	key => q({"CardCode": "'C' || id"}));
$c->lifecycle(by('BusinessPartners', 'CardCode', 'CardName', 'CreditLimit'));
conflict($c, 1);
$systems->set('sap_b1', sessions_end => JSON::PP::true());
$c->sql("UPDATE $c->{table} SET name = 'later' WHERE id = 1");
$c->settle('a session that is over');
is(scalar(grep { $_->{path} =~ /Login/ } $systems->journal('sap_b1')), 2, 'sap_b1: one login more');
$c->once('POST', 20, sub { scalar grep { $_->{CardName} eq 'once' } values %{ $_[0]{BusinessPartners} } });
$c->survives('a change by another at creation', { match => 'POST', status => 400,
	body => { error => { code => '-2039', message => 'Another user or another operation modified data (ODBC -2039)' } } }, 10);
$c->survives('a record that exists', { match => 'POST', status => 400, act => JSON::PP::true(),
	body => { error => { code => '-2035', message => 'Business partner code assigned to a business partner' } } }, 11);
$c->dead('a business rule', { match => 'POST', status => 400, body => { error => { code => '-5002', message => 'Group code is not valid' } } }, 12,
	status => qr/^400$/, error => qr/Group code is not valid/);
is($c->sql("SELECT outcome FROM concord.explain_outcome('sap_b1', 401, body => '{\"error\": {\"code\": 301, \"message\": {\"value\": \"Invalid session.\"}}}')"),
	'down', 'sap_b1: the code as version 1 has it');

my $orders = Concord::Catalogue->new($node, $systems, %args,
	server => 'o_b1', mapping => 'o_b1', table => 'order_b1',
	object => 'Orders',
	fields => '{"Comments": "name", "DocTotal": "amount"}',
	key => '{"NumAtCard": "id::text"}',
	options => '{"remote_id": "assigned", "remote_id_path": "DocEntry"}');
$orders->lifecycle(by('Orders', 'NumAtCard', 'Comments', 'DocTotal'));
like(join(' ', map { $_->{path} } requests('sap_b1', 'DELETE')), qr{/Orders\(\d\)$}, 'sap_b1: numbers are keys without quotes');
$orders->once('POST', 20, sub { scalar grep { $_->{Comments} eq 'once' } values %{ $_[0]{Orders} } });

done_testing();
