# Dataverse and Business Central: test/dialects/microsoft.py names the documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('microsoft');
my $systems = Concord::Dialects->new;
my $true = JSON::PP::true();
my $user = "auth 'bearer', token 'eyJ0.entra.token'";
ok($node->ready, 'capture is ready');

# changes(DIALECT): the updates that came
sub changes { return grep { $_->{method} eq 'PATCH' } $systems->journal($_[0]); }

sub error { return { error => { code => $_[0], message => $_[1] // 'an error' } }; }

# Dataverse: the row's alternate key is in the address, by name
my $c = Concord::Catalogue->new($node, $systems,
	connector => 'dataverse',
	url => '/api/data/v9.2/',
	user_mapping => $user,
	object => 'accounts',
	fields => '{"name": "name", "creditlimit": "amount"}',
	key => '{"accountnumber": "id::text"}');
$c->lifecycle(sub { return { map { $_->{accountnumber} => [ $_->{name}, $_->{creditlimit} + 0 ] } values %{ $_[0]{accounts} } } });
is((changes('dataverse'))[0]{path} =~ s{.*/}{}r =~ s/\d/N/r, "accounts(accountnumber='N')", 'dataverse: the key by its name');
$c->once('PATCH', 20, sub { scalar grep { $_->{name} eq 'once' } values %{ $_[0]{accounts} } });
$c->survives('too many requests', { match => 'PATCH', status => 429, headers => { 'Retry-After' => '1' },
	body => error('0x80072322', 'Number of requests exceeded the limit of 6000 over time window of 300 seconds.') }, 10);
$c->survives('a race of two creates', { match => 'PATCH', status => 412, act => $true, body => error('0x80060892') }, 11);
$c->dead('a duplicate of another row', { match => 'PATCH', status => 412, body => error('0x80040333', 'a duplicate of the current record already exists') }, 12,
	rule => qr/^duplicate of another row$/);
$c->dead('a wrong value', { match => 'PATCH', status => 400, body => error('0x80048d19', 'Error identified in Payload') }, 13,
	error => qr/Error identified in Payload/);
# a 412 of the other kind
is($c->sql("SELECT outcome FROM concord.explain_outcome('dataverse', 412, body => '{\"error\": {\"code\": \"0x80060882\"}}', operation => 'update')"),
	'conflict', 'dataverse: a stale version is a conflict');

# Business Central: POST gives an id, all else goes by it
my %args = (
	connector => 'business_central',
	url => '/v2.0/production/api/v2.0/',
	server_options => "service 'companies(f6f49b0a-0001-4c2b-9b4e-6b7f0b1d0c01)'",
	user_mapping => $user,
	object => 'customers',
	fields => '{"displayName": "name", "creditLimit": "amount"}',
	key => '{"number": "id::text"}');
my $held = sub { return { map { $_->{number} => [ $_->{displayName}, $_->{creditLimit} + 0 ] } values %{ $_[0]{customers} } } };
$c = Concord::Catalogue->new($node, $systems, %args);
$c->lifecycle($held);
like($c->sql("SELECT remote_id FROM concord.link WHERE mapping = '$c->{mapping}' AND local_key->>'id' = '5'"), qr/^[0-9a-f-]{36}$/, 'business_central: the link has the id');
is((changes('business_central'))[0]{headers}{'if-match'}, '*', 'business_central: If-Match is sent');
$c->once('POST', 20, sub { scalar grep { $_->{displayName} eq 'once' } values %{ $_[0]{customers} } });
$c->survives('a full queue', { match => 'POST', status => 503, headers => { 'Retry-After' => '1' }, body => '' }, 10);
$c->survives('a tenant that is not there', { match => 'POST', status => 500, body => error('Internal_TenantUnavailable') }, 11);
$c->survives('a create that was made', { match => 'POST', status => 400, act => $true, body => error('Internal_EntityWithSameKeyExists', 'is there') }, 14);
$c->dead('a validation', { match => 'POST', status => 400, body => error('Application_FieldValidationException', 'The Country/Region Code does not exist') }, 12,
	error => qr/Country.Region Code does not exist/);
$c->sql("SELECT concord.drop_mapping('$c->{mapping}'); TRUNCATE $c->{table}");
$systems->reset_all('business_central');

# numbers are of type Code, whose letters are upper case there (Code data type, learn.microsoft.com): a record that
# is found by ours is ours
$c = Concord::Catalogue->new($node, $systems, %args, server => 'bc4', mapping => 'bc4', table => 'item_bc4', key => q({"number": "'k\u00e4se-' || id"}));
$c->survives('a folded number: a create that was made', { match => 'POST', status => 400, act => $true, body => error('Internal_EntityWithSameKeyExists', 'is there') }, 30);
$c->survives('a folded number: no answer', { match => 'POST', act => $true, drop => 0 }, 31);
is(join(' ', sort map { $_->{number} eq "K\x{c4}SE-30" || $_->{number} eq "K\x{c4}SE-31" ? 'ours' : $_->{number} } values %{ $systems->data('business_central')->{customers} }), 'ours ours', 'business_central: each once, as the system writes it');
is($c->sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'bc4'"), '0', 'business_central: none is taken for another record')
  or diag($c->sql("SELECT rule, error, answer FROM concord.dead_letter WHERE mapping = 'bc4'"));
$c->sql("UPDATE item_bc4 SET name = 'later' WHERE id = 30");
$c->settle('an update of it');
is(scalar(grep { $_->{displayName} eq 'later' } values %{ $systems->data('business_central')->{customers} }), 1, 'business_central: and updated later on');
$c->sql("SELECT concord.drop_mapping('bc4')");
$systems->reset_all('business_central');

# with tags: another's change is seen, the record read, the write repeated
$c = Concord::Catalogue->new($node, $systems, %args, server => 'bc2', mapping => 'bc2', table => 'item_bc2', options => '{"if_match": "etag"}');
$c->lifecycle($held);
$systems->set('business_central', changed_by_another => $true);
my $n = () = changes('business_central');
$c->sql("UPDATE item_bc2 SET name = 'mine' WHERE id = 1");
$c->settle('a change by another');
my @sent = changes('business_central');
is(join(' ', map { $_->{status} } @sent[ $n .. $#sent ]), '409 200', 'business_central: the update is made again');
isnt($sent[-1]{headers}{'if-match'}, $sent[-2]{headers}{'if-match'}, 'business_central: with another tag');

done_testing();
