# Salesforce: test/dialects/salesforce.py names its documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $node = Concord::Cluster->create('salesforce');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

my $c = Concord::Catalogue->new($node, $systems,
	connector => 'salesforce',
	url => '/services/data/v60.0/',
	user_mapping => "auth 'bearer', token '00Dxx!session'",
	object => 'Account',
	fields => '{"Name": "name", "Amount__c": "amount"}',
	key => '{"Ext__c": "id"}');
$c->lifecycle(sub { my %held = %{ $_[0]{Account} }; return { map { $_->{Ext__c} => [ $_->{Name}, $_->{Amount__c} ] } values %held } });
like($c->sql("SELECT remote_id FROM concord.link WHERE mapping = 'm_salesforce' AND local_key->>'id' = '1'"),
	qr/^001xx\d{10}AAA$/, 'the link has the id of Salesforce');
$c->survives('a locked row', { match => 'PATCH', status => 400, times => 2,
	body => [ { errorCode => 'UNABLE_TO_LOCK_ROW', message => 'unable to obtain exclusive access to this record' } ] }, 10);
$c->survives('the daily limit', { match => 'PATCH', status => 403, headers => { 'Retry-After' => '1' },
	body => [ { errorCode => 'REQUEST_LIMIT_EXCEEDED', message => 'TotalRequests Limit exceeded.' } ] }, 11);
$c->dead('several records match', { match => 'PATCH', status => 300, body => [ '/a', '/b' ] }, 12,
	rule => qr/^several records match$/, status => qr/^300$/);
$c->dead('a field is missing', { match => 'PATCH', status => 400,
	body => [ { errorCode => 'REQUIRED_FIELD_MISSING', message => 'Required fields are missing: [Industry]' } ] }, 13,
	answer => qr/REQUIRED_FIELD_MISSING/, request => qr{^PATCH .*/sobjects/Account/Ext__c/13});

done_testing();
