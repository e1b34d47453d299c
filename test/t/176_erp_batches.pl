# Systems that take OData's $batch: many records in a request, each with its own
# outcome.  test/dialects/parts.py names the documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $node = Concord::Cluster->create('erp_batches');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

my $sap = { user_mapping => "auth 'session', username 'CONCORD', password 'secret'", object => 'A_BusinessPartner',
	fields => '{"OrganizationBPName1": "name", "CreditLimit": "amount"}', key => '{"BusinessPartner": "id::text"}', id => 'BusinessPartner', name => 'OrganizationBPName1' };
my %systems = (
	sap_s4 => { %$sap, url => '/sap/opu/odata4/sap/api_bp/srvd_a2x/sap/bp/0001/', server_options => q(headers '{"sap-client": "100"}'), bad => { code => 'R1/1', message => 'Country XX' } },
	sap_s4_v2 => { %$sap, url => '/sap/opu/odata/sap/API_BUSINESS_PARTNER/', server_options => q(headers '{"sap-client": "100"}'), bad => { code => 'R1/1', message => { value => 'Country XX' } } },
	sap_b1 => { url => '/b1s/v2/', user_mapping => "auth 'session', company 'SBODEMO', username 'concord', password 'secret'", object => 'BusinessPartners',
		fields => '{"CardName": "name", "CreditLimit": "amount"}', key => '{"CardCode": "id::text"}', id => 'CardCode', name => 'CardName', bad => { code => '-5002', message => 'Country XX' } },
	business_central => { url => '/v2.0/production/api/v2.0/', user_mapping => "auth 'bearer', token 'eyJ0.entra.token'",
		object => 'companies(f6f49b0a-0001-4c2b-9b4e-6b7f0b1d0c01)/customers', set => 'customers',
		fields => '{"displayName": "name", "creditLimit": "amount"}', key => '{"number": "id::text"}', id => 'number', name => 'displayName',
		bad => { code => 'Application_FieldValidationException', message => 'Country XX' } },
	dataverse => { url => '/api/data/v9.2/', user_mapping => "auth 'bearer', token 'eyJ0.entra.token'", object => 'accounts',
		fields => '{"name": "name", "creditlimit": "amount"}', key => '{"accountnumber": "id::text"}', id => 'accountnumber', name => 'name', bad => { code => '0x80048d19', message => 'Country XX' } });

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $c = Concord::Catalogue->new($node, $systems, connector => $name, options => '{"batch_size": 20, "linger": "300ms"}',
		map { $_ => $s->{$_} } qw(url user_mapping server_options object fields key));
	my $held = sub { return { map { $_->{ $s->{id} } => $_->{ $s->{name} } } values %{ $systems->data($name)->{ $s->{set} // $s->{object} } } } };

	$c->sql("INSERT INTO $c->{table} SELECT i, 'n' || i, i FROM generate_series(1, 50) i");
	$c->settle('a load');
	is_deeply($held->(), { map { $_ => "n$_" } 1 .. 50 }, "$name: all are there");
	cmp_ok($systems->settings($name)->{batched} // 0, '>=', 40, "$name: they came in batches");

	# one of them is refused
	$systems->fault($name, match => '(POST|PATCH) (?!.*batch)', status => 400, body => { error => $s->{bad} });
	$c->sql("INSERT INTO $c->{table} SELECT i, 'n' || i, i FROM generate_series(51, 60) i");
	is($c->sql("SELECT concord.wait_for_delivery('$c->{mapping}', '60s')"), 't', "$name: delivered");
	is($c->sql("SELECT count(*) || ' ' || min(status) || ' ' || bool_and(error LIKE '%Country XX%') FROM concord.dead_letter WHERE mapping = '$c->{mapping}'"), '1 400 true', "$name: one is dead, with its own answer");
	is(scalar(keys %{ $held->() }), 59, "$name: the others are there");
	is_deeply($systems->wrong($name), [], "$name: the system refused nothing else");
	$c->sql("SELECT concord.drop_mapping('$c->{mapping}')");
}

done_testing();
