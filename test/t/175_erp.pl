# NetSuite, Sage Intacct, Tryton, Sage X3: test/dialects/erp.py names the
# documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('erp');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

# by(COLLECTION, ID, NAME, AMOUNT): reads records whose members have these names
sub by
{
	my ($collection, $id, $name, $amount) = @_;
	return sub { return { map { ($_->{$id} =~ s/^item-//r) => [ $_->{$name}, $_->{$amount} + 0 ] } values %{ $_[0]{$collection} } } };
}

sub netsuite { return { title => 'Error', status => 400, 'o:errorDetails' => [ { detail => $_[1] // 'an error', 'o:errorCode' => $_[0] } ] }; }
sub intacct { return { 'ia::result' => { 'ia::error' => { code => $_[0], message => $_[1] // 'an error' } }, 'ia::meta' => { totalError => 1 } }; }
sub tryton { return { id => 1, error => \@_ }; }
sub x3 { return { data => undef, errors => [ { message => $_[0] } ] }; }

my %systems = (
	netsuite => {
		url => '/services/rest/',
		user_mapping => "auth 'oauth1', consumer_key 'ck', consumer_secret 'cs', token 'tk', token_secret 'ts', realm 'TSTDRV1'",
		object => 'customer',
		collection => 'customer',
		fields => '{"companyName": "name", "creditLimit": "amount"}',
		key => q({"externalId": "'item-' || id"}),
		held => by('customer', 'externalId', 'companyName', 'creditLimit'),
		link => qr/^item-5$/,
		throttle => [
			{ status => 429, body => netsuite('REQUEST_LIMIT_EXCEEDED') },
			{ status => 400, body => netsuite('CONCURRENCY_LIMIT_EXCEEDED', 'Concurrent request limit exceeded. Request blocked.') },
			{ status => 400, body => netsuite('RCRD_HAS_BEEN_CHANGED', 'Record has been changed') } ],
		dead => [ { status => 400, body => netsuite('INVALID_CONTENT', 'Invalid value for the field subsidiary') }, error => qr/field subsidiary/, status => qr/^400$/ ],
	},
	sage_intacct => {
		url => '/ia/api/v1/',
		user_mapping => "auth 'bearer', token 'intacct_token'",
		object => 'accounts-receivable/customer',
		collection => 'customer',
		fields => '{"name": "name", "creditLimit": "amount"}',
		key => '{"id": "id::text"}',
		held => by('customer', 'id', 'name', 'creditLimit'),
		link => qr/^\d+$/,
		throttle => [
			{ status => 429, headers => { 'Retry-After' => '1' }, body => intacct('tooManyRequests') },
			{ status => 500, body => intacct('serverError') },
			{ status => 422, act => JSON::PP::true(), body => intacct('operationFailed', 'Another Customer with the given value(s) already exists') } ],
		dead => [ { status => 207, body => intacct('invalidRequest', 'Payload contains errors') }, rule => qr/^not all of it$/, error => qr/Payload contains errors/ ],
	},
	tryton => {
		url => '/erp/',
		user_mapping => "auth 'basic', username 'concord', password 'secret'",
		object => 'party.party',
		fields => q({"name": "name", "credit": "jsonb_build_object('__class__', 'Decimal', 'decimal', amount::text)"}),
		key => '{"code": "id::text"}',
		held => by('party.party', 'code', 'name', 'credit'),
		link => qr/^\d+$/,
		throttle => [
			{ status => 200, body => tryton('ConcurrencyException', 'Records have been modified in the meanwhile') },
			{ status => 200, body => tryton("could not serialize access due to concurrent update\n", 'Traceback') },
			{ status => 429, body => '' } ],
		dead => [ { status => 200, body => tryton('UserError', [ 'The field "Name" is required.', '', undef ]) }, rule => qr/^refused by Tryton$/, error => qr/field "Name" is required/ ],
	},
	sage_x3 => {
		url => '/xtrem/',
		server_options => q(headers '{"x-xtrem-endpoint": "SEED"}'),
		user_mapping => "auth 'bearer', token 'x3_token'",
		object => 'x3MasterData/customer',
		collection => 'customer',
		fields => '{"companyName1": "name", "creditLimit": "amount"}',
		key => '{"code": "id::text"}',
		held => by('customer', 'code', 'companyName1', 'creditLimit'),
		link => qr/^5$/,
		throttle => [
			{ status => 200, body => x3('Customer is locked by user MILLER') },
			{ status => 200, act => JSON::PP::true(), body => x3('Record already exists') } ],
		dead => [ { status => 200, body => x3('Site AA9 does not belong to the company') }, rule => qr/^refused by Sage X3$/, error => qr/Site AA9/ ],
	});

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $collection = $s->{collection} // $s->{object};
	my $id = 10;
	my $c = Concord::Catalogue->new($node, $systems, connector => $name,
		map { $_ => $s->{$_} } qw(url user_mapping server_options object fields key));

	$c->lifecycle($s->{held});
	like($c->sql("SELECT remote_id FROM concord.link WHERE mapping = '$c->{mapping}' AND local_key->>'id' = '5'"), $s->{link}, "$name: the link's id");
	$c->once('PUT|POST', 40, sub { scalar grep { grep { defined && $_ eq 'once' } values %$_ } values %{ $_[0]{$collection} } });
	$c->survives("answer $id", { match => 'PUT|POST', %$_ }, $id++) foreach @{ $s->{throttle} };
	$c->dead('a refusal', { match => 'PUT|POST', %{ $s->{dead}[0] } }, 30, @{ $s->{dead} }[ 1 .. $#{ $s->{dead} } ]);
	$c->sql("SELECT concord.drop_mapping('$c->{mapping}')");
}

is($node->safe_psql('postgres', q{SELECT rule || ' ' || outcome FROM concord.explain_outcome('netsuite', 400, body => '{"o:errorDetails": [{"o:errorCode": "IDEMPOTENCY_ERROR"}]}')}),
	'already submitted done', 'netsuite: a job that is known');
is($node->safe_psql('postgres', q{SELECT outcome FROM concord.explain_outcome('sage_intacct', 409, body => '{"ia::result": {"ia::error": {"code": "idempotencyKeyMismatch"}}}')}),
	'dead', 'sage_intacct: a key that was used with another body');

is($node->safe_psql('postgres', q{SELECT string_agg(otherwise || ' ' || outcome, ', ' ORDER BY otherwise DESC) FROM (VALUES
		('read', '{"data": {"x3MasterData": {"customer": {"read": null}}}}'),
		('delete', '{"data": null, "errors": [{"message": "Customer 7: record not found"}]}'),
		('read', '{"data": {"x3MasterData": {"customer": {"read": {"code": "7"}}}}}')) v (op, answer),
	concord.explain_outcome('sage_x3', 200, body => answer, operation => op)}),
	'done gone, dead gone', 'sage_x3: what is not there');

# values are literals: what a text holds does not end it
my $sent = join "\n", map { $_->{body} } $systems->journal('sage_x3');
like($sent, qr/create\(data: \{code:\\"1\\",.*companyName1:\\"Ada \\\\\\"L\\\\\\" /, 'sage_x3: quotes within a literal');

# what cannot be a name in a document is said, and sends nothing
my $c = Concord::Catalogue->new($node, $systems, connector => 'sage_x3', server => 'x3_bad', mapping => 'x3_bad', table => 'item_bad',
	(map { $_ => $systems{sage_x3}{$_} } qw(url user_mapping server_options object key)), fields => '{"a}) { x": "name"}');
my $n = () = $systems->journal('sage_x3');
$c->sql("INSERT INTO item_bad VALUES (1, 'a', 1)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM concord.dead_letter WHERE mapping = 'x3_bad'"), 'sage_x3: a name that is none ends as a dead letter');
like($c->sql("SELECT error FROM concord.dead_letter WHERE mapping = 'x3_bad'"), qr/is not a name of GraphQL/, 'sage_x3: which says why');
is(scalar(() = $systems->journal('sage_x3')), $n, 'sage_x3: nothing was sent');

done_testing();
