# The sandbox itself: a fake ERP that judged wrongly would hide faults of ours.

use strict;
use warnings;

use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes;

my $erp = Concord::Sandbox->new;
my $set = '/odata/v4/sales/Customers';

sub status
{
	my ($method, $path, $body, $headers) = @_;
	return $erp->request($method, $path, $body, $headers)->{status};
}

# records
$erp->set($set, key => ['ID'], sequence => 'Version');
is(status('POST', $set, '{"ID":"a/b\'c","Limit":0.10,"Version":1}'), 201, 'create');
is(status('POST', $set, '{"ID":"a/b\'c"}'), 409, 'the key exists');
is(status('PATCH', "$set('a%2Fb''c')", '{"Version":2,"Name":null}'), 200, 'change');
is($erp->request('GET', "$set(ID='a%2Fb''c')")->{content},
	'{"@odata.context":"$metadata#Customers/$entity","ID":"a/b\'c","Limit":0.10,"Version":2,"Name":null}',
	'digits are kept as they came');
is(status('PATCH', "$set('new')", '{"Version":1}'), 404, 'PATCH of an absent record');
is(status('PUT', "$set('new')", '{"Version":1}'), 201, 'PUT of an absent record');
is(status('GET', "$set(5)"), 404, '(5) is not (\'5\')');
is(status('DELETE', "$set('new')"), 204, 'delete');
is(status('DELETE', "$set('new')"), 404, 'delete of an absent record');
is($erp->request('GET', "$set/\$count")->{content}, 1, 'count');
is(status('POST', $set, '{"ID":'), 400, 'broken JSON');
is(status('POST', $set, '{}', { 'Content-Type' => 'text/plain' }), 415, 'content type');

# compound keys, whatever their order in the address
$erp->set('/odata/v4/sales/Items', key => [ 'Order', 'Pos' ]);
is(status('POST', '/odata/v4/sales/Items', '{"Pos":1,"Order":"O1"}'), 201, 'two key fields');
is(status('GET', '/odata/v4/sales/Items(Pos=1,Order=\'O1\')'), 200, 'found in any order');

# ETags
$erp->set('/odata/v4/sales/Guarded', etag => JSON::PP::true, match_required => JSON::PP::true);
my $etag = $erp->request('POST', '/odata/v4/sales/Guarded', '{"ID":1}')->{headers}{etag};
ok($etag, 'an ETag comes');
is(status('PATCH', '/odata/v4/sales/Guarded(1)', '{"a":1}'), 428, 'If-Match is demanded');
is(status('PATCH', '/odata/v4/sales/Guarded(1)', '{"a":1}', { 'If-Match' => $etag }), 200, 'the ETag fits');
is(status('PATCH', '/odata/v4/sales/Guarded(1)', '{"a":1}', { 'If-Match' => $etag }), 412, 'it fits once');
is(status('PATCH', '/odata/v4/sales/Guarded(1)', '{"a":1}', { 'If-Match' => '*' }), 200, 'any version');

# plain REST
is($erp->request('POST', '/rest/orders', '{"a":1}')->{content}, '{"a":1,"id":1}', 'REST numbers');
is(status('PATCH', '/rest/orders/1', '{"a":2}'), 200, 'REST change');
is(status('DELETE', '/rest/orders/1'), 204, 'REST delete');

# judgements
$erp->clear_log;
status('PATCH', "$set('a%2Fb''c')", '{"Version":5}', { 'Idempotency-Key' => 'k5' });
status('PATCH', "$set('a%2Fb''c')", '{"Version":6}', { 'Idempotency-Key' => 'k6' });
status('PATCH', "$set('a%2Fb''c')", '{"Version":5}', { 'Idempotency-Key' => 'k5' });
my $stats = $erp->stats;
is($stats->{duplicates_same_key}, 1, 'a repeat with the same idempotency key is a duplicate');
is($stats->{order_violations}, 0, 'and no violation of order');
status('PATCH', "$set('a%2Fb''c')", '{"Version":4}', { 'Idempotency-Key' => 'k4' });
status('PATCH', "$set('a%2Fb''c')", '{"Version":6}', { 'Idempotency-Key' => 'k6b' });
status('PATCH', "$set('a%2Fb''c')", '{"Version":7}', { 'Idempotency-Key' => 'k6' });
$stats = $erp->stats;
is($stats->{order_violations}, 1, 'a number that goes down is a violation');
is($stats->{duplicates_other_key}, 1, 'the same number under another key is counted apart');
is($stats->{key_reused}, 1, 'a key with another body is a violation');
is(scalar @{ $erp->violations }, 2, 'violations are listed');
is(scalar(grep { $_->{acted} } $erp->log_entries($set)), 6, 'the log has them all');

# faults
my %faults = (
	'a status' => [ { status => 503, headers => { 'Retry-After' => '7' } }, sub { $_[0]{status} == 503 && $_[0]{headers}{'retry-after'} eq '7' } ],
	'a reset' => [ { reset => 'before' }, sub { $_[0]{status} == 599 } ],
	'a torn answer' => [ { torn => JSON::PP::true }, sub { $_[0]{status} == 599 && $_[0]{content} =~ /length|Unexpected end/i } ],
	'a NUL' => [ { nul => JSON::PP::true, status => 200 }, sub { $_[0]{content} =~ /a\0b/ } ],
	'invalid UTF-8' => [ { invalid_utf8 => JSON::PP::true, status => 200 }, sub { $_[0]{content} =~ /\xff\xfe/ } ],
	'raw bytes' => [ { raw => "nonsense\r\n\r\n" }, sub { $_[0]{status} == 599 } ],
	'credentials' => [ { auth => { bearer => 'secret' } }, sub { $_[0]{status} == 401 } ]);
foreach my $name (sort keys %faults)
{
	my ($action, $check) = @{ $faults{$name} };
	$erp->drop_rules;
	$erp->rule({ path => '/odata/' }, $action, 1);
	# not GET: the client repeats a GET by itself when an answer is torn
	ok($check->($erp->request('PATCH', "$set('a%2Fb''c')", '{"Version":9}')), "fault: $name");
	is(status('GET', "$set('a%2Fb''c')"), 200, "fault: $name, once");
}

$erp->drop_rules;
$erp->rule({ method => 'POST', path => '/rest/' }, { reset => 'after' }, 1);
is(status('POST', '/rest/orders', '{"id":77}'), 599, 'reset after acting');
is(status('GET', '/rest/orders/77'), 200, 'it was acted on');
$erp->drop_rules;
$erp->rule({ method => 'POST', nth => 2 }, { status => 500 });
is(status('POST', '/hook/x', '{}'), 204, 'nth: the first passes');
is(status('POST', '/hook/x', '{}'), 500, 'nth: the second does not');
is(status('POST', '/hook/x', '{}'), 204, 'nth: the third does');
is($erp->request('POST', '/_control/rules', '{"action":{"statsu":500}}')->{status}, 400,
	'a misspelt fault is refused');

# faults over time
$erp->drop_rules;
$erp->rule({ path => '/hook/' }, { latency_ms => 150 });
my $before = Time::HiRes::time();
is(status('POST', '/hook/x', '{}'), 204, 'latency: the answer comes');
cmp_ok(Time::HiRes::time() - $before, '>=', 0.15, 'latency: later');
$erp->drop_rules;
$erp->rule({ path => '/hook/' }, { limit => { requests => 2, window_ms => 60000 }, headers => { 'Retry-After' => '1' } });
is_deeply([ map { status('POST', '/hook/x', '{}') } 1 .. 3 ], [ 204, 204, 429 ], 'a limit');

# the same port after a restart
my $url = $erp->url;
$erp->stop('KILL');
$erp->start;
is($erp->url, $url, 'restart on the same port');
is(status('GET', "$set('a%2Fb''c')"), 404, 'a restarted sandbox is empty');

done_testing();
