# Salesforce: test/dialects/salesforce.py names its documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP;
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

# --- a changed key: the record keeps its id ("sObject Rows": PATCH /sobjects/Object/Id), all that refers to it and its history
my $link = sub { return $c->sql("SELECT remote_id FROM concord.link WHERE mapping = 'm_salesforce' AND local_key->>'id' = '$_[0]'") };
my $held = sub { return join ' ', sort map { "$_->{Ext__c}:$_->{Name}" } grep { $_->{Ext__c} =~ /^5\d\d/ } values %{ $systems->data('salesforce')->{Account} } };
my $sent = 0;
my $since = sub { my @all = grep { $_->{method} ne 'GET' } $systems->journal('salesforce'); my @new = @all[ $sent .. $#all ]; $sent = @all; return join ' ', map { "$_->{method} " . ($_->{path} =~ m{(Ext__c/.*|Account/[^/]+)$})[0] . " $_->{status}" } @new; };
$c->sql("INSERT INTO $c->{table} VALUES (500, 'renamed', 1), (501, 'gone', 1), (502, 'anew', 1)");
$c->settle('three records');
my %id = map { $_ => $link->($_) } 500, 501, 502;
$since->();
$c->sql("UPDATE $c->{table} SET id = 510, amount = 2 WHERE id = 500");
$c->settle('another key');
is($since->(), "PATCH Account/$id{500} 200", 'a changed key is one update, by the id of Salesforce');
is($held->(), '501:gone 502:anew 510:renamed', 'of the same record');
is($link->(510), $id{500}, 'whose link goes along');
$c->sql("UPDATE $c->{table} SET name = 'later' WHERE id = 510");
$c->settle('an update under the new key');
is($since->(), 'PATCH Ext__c/510 200', 'later changes go by the new key');
$systems->fault('salesforce', match => 'PATCH', act => JSON::PP::true, drop => 0);
$c->sql("UPDATE $c->{table} SET id = 511 WHERE id = 510");
$c->settle('another key, without an answer');
is($held->() . ' ' . $link->(511), "501:gone 502:anew 511:later $id{500}", 'a change of key that nobody confirmed is made once');
$systems->fault('salesforce', match => "Account/$id{501}", status => 404, body => [ { errorCode => 'NOT_FOUND', message => 'The requested resource does not exist' } ]);
$c->sql("UPDATE $c->{table} SET id = 512 WHERE id = 501");
$c->settle('of a record that is gone');
like($held->(), qr/512:gone/, 'a record that is gone is made anew');
$c->sql("SELECT concord.alter_mapping('m_salesforce', options => '{\"on_key_change\": \"recreate\"}')");
$since->();
$c->sql("UPDATE $c->{table} SET id = 513 WHERE id = 502");
$c->settle('recreate');
is($since->(), 'DELETE Ext__c/502 204 PATCH Ext__c/513 201', 'where the mapping wants it, deleted and made anew');
isnt($link->(513), $id{502}, 'with another id');
is($c->sql("SELECT count(*) FROM concord.dead_letter WHERE local_key->>'id' LIKE '5__'"), '0', 'nothing is dead');

done_testing();
