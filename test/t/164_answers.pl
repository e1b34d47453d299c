# What answers mean, on the wire: half ones, ones that are nobody's, ones about
# another record, conflicts, errors inside a 200; and what a dead letter keeps.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('answers');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return is(sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"), 't', "$_[1]: ends"); }
sub dead { return sql("SELECT coalesce(rule, '') || ' ' || coalesce(status, 0) || ' ' || attempts FROM concord.dead_letter WHERE mapping = '$_[0]' ORDER BY delivery DESC LIMIT 1"); }
sub requests { return join(' ', map { $_->{method} } $erp->log_entries($_[0])); }

my $fast = "retry_base '10ms', retry_cap '20ms', retry_limit '3', timeout '2s', breaker_cooldown '50ms', breaker_failures '100'";
my $rest = $erp->url('/rest/api');
my $odata = $erp->url('/odata/v4/sales');
sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	  ('numbering', 'rest', '{"extends": "rest", "remote_id": "assigned", "remote_id_path": "id"}');
	CREATE SERVER nu FOREIGN DATA WRAPPER concord OPTIONS (connector 'numbering', url '$rest', $fast);
	CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', $fast);
	CREATE SERVER od FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$odata', $fast);
	CREATE TABLE numbered (id int PRIMARY KEY, name text);
	CREATE TABLE thing (id int PRIMARY KEY, name text);
	CREATE TABLE strict (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('numbered', 'numbered', 'nu', 'numbered', '{"Name": "name", "Ours": "id"}', '{"Ours": "id"}');
	SELECT concord.create_mapping('thing', 'thing', 're', 'things', '{"Name": "name"}', '{"ID": "id"}');
	SELECT concord.create_mapping('strict', 'strict', 'od', 'Strict', '{"Name": "name"}', '{"ID": "id"}')});
$erp->set('/rest/api/numbered', key => ['id'], assign => JSON::PP::true);
$erp->set('/rest/api/things', key => ['ID']);
$erp->set('/odata/v4/sales/Strict', key => ['ID'], etag => JSON::PP::true, match_required => JSON::PP::true);
my %path = (numbered => '/rest/api/numbered', thing => '/rest/api/things', strict => '/odata/v4/sales/Strict');

# --- no answer, half an answer: the record is there once, as the row is
my @faults = ([ 'reset before', { reset => 'before' } ], [ 'reset after', { reset => 'after' } ], [ 'torn', { torn => JSON::PP::true } ],
	[ 'half a head', { raw => "HTTP/1.1 200 OK\r\nContent-Le" } ], [ 'no HTTP', { raw => "\x15\x03\x01 what" } ],
	[ 'less than it says', { raw => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":" } ],
	[ 'a chunk cut short', { raw => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"id\":" } ]);
my $id = 0;
for my $fault (@faults)
{
	my ($label, $action) = @$fault;
	$id++;
	for my $table (qw(thing strict))
	{
		$erp->rule({ method => 'POST', path => $path{$table} }, $action, 1);
		sql("INSERT INTO $table VALUES ($id, 'new')");
		delivered($table, "$table: $label to a create");
		$erp->rule({ method => 'PATCH', path => $path{$table} }, $action, 1);
		sql("UPDATE $table SET name = 'changed' WHERE id = $id");
		delivered($table, "$table: $label to an update");
		is($erp->data($path{$table})->{ $table eq 'thing' ? $id : "($id)" }{Name} // $erp->data($path{$table})->{$id}{Name}, 'changed', "$table: $label: arrives");
		$erp->rule({ method => 'DELETE', path => $path{$table} }, $action, 1);
		sql("DELETE FROM $table WHERE id = $id");
		delivered($table, "$table: $label to a deletion");
	}
}
is(sql("SELECT string_agg(mapping || ': ' || rule || ' ' || coalesce(error, ''), ', ') FROM concord.dead_letter"), '', 'nothing is dead');
is(scalar(keys %{ $erp->data($path{$_}) }), 0, "$_: all is gone") for qw(thing strict);

# --- where the system gives ids: what is no answer, and what has no id
sub number
{
	my ($label, $action, $n) = @_;
	$id++;
	$erp->clear_log;
	$erp->rule({ method => 'POST', path => $path{numbered} }, $action, $n);
	sql("INSERT INTO numbered VALUES ($id, '$label')");
	delivered('numbered', $label);
	return;
}
sub linked { return sql("SELECT count(*) FROM concord.link WHERE mapping = 'numbered' AND local_key ->> 'id' = '$id' AND remote_id IS NOT NULL"); }
my $page = '<!DOCTYPE html><html><head><title>Sign in</title></head><body></body></html>';
my @nobody = (
	[ 'a login page', { status => 200, headers => { 'Content-Type' => 'text/html' }, body => $page } ],
	[ 'a page that says it is JSON', { status => 200, headers => { 'Content-Type' => 'application/json' }, body => $page } ],
	[ 'half an object', { status => 201, headers => { 'Content-Type' => 'application/json' }, body => '{"id": 7' } ],
	[ 'compressed', { status => 201, headers => { 'Content-Type' => 'application/json', 'Content-Encoding' => 'gzip' },
		body_hex => '1f8b08000000000002ffab564a4c4e4e55b232d5512a4a2d2eca2c4955b2322dd6010000ffff' } ]);
for my $case (@nobody)
{
	number($case->[0], $case->[1], 1);
	is(requests($path{numbered}), 'POST POST', "$case->[0]: asked again");
	is(linked(), '1', "$case->[0]: linked then");
}
for my $case ([ 'JSON without the id', { status => 201, headers => { 'Content-Type' => 'application/json' }, body => '{"ok": true}' }, 201 ],
	[ 'an empty answer', { status => 200, body => '' }, 200 ], [ 'no content', { status => 204, body => '' }, 204 ])
{
	number($case->[0], $case->[1], 1);
	is(dead('numbered'), "no id $case->[2] 1", "$case->[0]: dead at once, or there would be two");
	is(requests($path{numbered}), 'POST', "$case->[0]: once");
	is(linked(), '0', "$case->[0]: not linked");
	sql("SELECT concord.discard_dead('numbered', NULL, 'seen')");
}
number('always a page', $nobody[0][1], 10);
is(dead('numbered'), 'a page, not an answer 200 4', 'a page for ever: dead, by that name');
$erp->drop_rules;
sql("SELECT concord.discard_dead('numbered', NULL, 'seen')");

# --- an answer about another record
number('mixed up', { latency_ms => 0 }, 0);
my $known = sql("SELECT remote_id FROM concord.link WHERE mapping = 'numbered' AND local_key ->> 'id' = '$id'");
like($known, qr/^\d+$/, 'an id was given');
my $other = { status => 200, headers => { 'Content-Type' => 'application/json' }, body => '{"id": 99999, "Name": "other"}' };
$erp->rule({ method => 'PATCH', path => $path{numbered} }, $other, 1);
sql("UPDATE numbered SET name = 'mine' WHERE id = $id");
delivered('numbered', 'an answer about another record');
is($erp->data($path{numbered})->{$known}{Name}, 'mine', 'asked again, and carried out');
$erp->rule({ method => 'PATCH', path => $path{numbered} }, $other);
sql("UPDATE numbered SET name = 'again' WHERE id = $id");
delivered('numbered', 'always about another record');
is(dead('numbered'), 'another record 200 4', 'dead, by that name');
like(sql("SELECT error FROM concord.dead_letter WHERE mapping = 'numbered'"), qr/about record "99999", not "$known"/, 'saying which');
is(sql("SELECT remote_id FROM concord.link WHERE mapping = 'numbered' AND local_key ->> 'id' = '$id'"), $known, 'the link is as it was');
$erp->drop_rules;
sql("SELECT concord.discard_dead('numbered', NULL, 'seen')");

# --- conflicts: read again, write again, three times; then later, which counts
sql("INSERT INTO strict VALUES (500, 'first')");
delivered('strict', 'conflicts: create');
for my $n (1, 3)
{
	$erp->clear_log;
	$erp->rule({ method => 'PATCH', path => $path{strict} }, { status => 412 }, $n);
	sql("UPDATE strict SET name = 'in spite of $n' WHERE id = 500");
	delivered('strict', "$n conflicts");
	is(requests($path{strict}), join(' ', ('PATCH GET') x $n, 'PATCH'), "$n conflicts: each time read again");
	is(sql("SELECT attempts FROM concord.delivery WHERE mapping = 'strict' AND state = 'done' ORDER BY seq DESC LIMIT 1"), '1', "$n conflicts: one attempt");
}
$erp->clear_log;
$erp->rule({ method => 'PATCH', path => $path{strict} }, { status => 412 });
sql("UPDATE strict SET name = 'never' WHERE id = 500");
delivered('strict', 'conflicts for ever');
is(dead('strict'), 'precondition 412 4', 'conflicts for ever: dead after retry_limit');
is(requests($path{strict}), join(' ', (('PATCH GET') x 3, 'PATCH') x 4), 'conflicts for ever: a bounded number of requests');
$erp->drop_rules;
sql("SELECT concord.retry_dead('strict')");
delivered('strict', 'conflicts: retried by hand');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'strict'"), '0', 'conflicts: and well');
sql("INSERT INTO thing VALUES (500, 'first')");
delivered('thing', 'conflict without tags: create');
$erp->clear_log;
$erp->rule({ method => 'PATCH', path => $path{thing} }, { status => 409 }, 2);
sql("UPDATE thing SET name = 'later' WHERE id = 500");
delivered('thing', 'conflict without tags');
is(requests($path{thing}), 'PATCH PATCH PATCH', 'conflict without tags: tried again later');
$erp->rule({ method => 'PATCH', path => $path{strict} }, { status => 412 }, 1);
$erp->rule({ method => 'GET', path => $path{strict} }, { status => 404 }, 1);
sql("UPDATE strict SET name = 'made' WHERE id = 500");
delivered('strict', 'a record that is gone when it is read again');
is(sql("SELECT count(*) FROM concord.dead_letter"), '0', 'is created, or found to be there');

# --- errors inside a 200, and rules that change under way
sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	  ('graph', 'rest', '{"extends": "rest", "outcomes": [{"name": "user errors", "status": 200, "path": "data.*.userErrors", "outcome": "dead"},
		{"name": "cost", "status": 200, "path": "errors[*].extensions.code", "equals": "THROTTLED", "outcome": "throttle", "retry_after": {"path": "errors[*].wait", "unit": "ms"}}]}');
	CREATE SERVER gr FOREIGN DATA WRAPPER concord OPTIONS (connector 'graph', url '$rest', $fast);
	CREATE TABLE graph (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('graph', 'graph', 'gr', 'graph', '{"Name": "name"}', '{"ID": "id"}')});
my $json = { 'Content-Type' => 'application/json' };
$erp->rule({ path => '/rest/api/graph' }, { status => 200, headers => $json, body => '{"data": {"create": {"userErrors": [{"message": "Email is invalid"}]}}}' }, 1);
sql("INSERT INTO graph VALUES (1, 'a')");
delivered('graph', 'an error inside a 200');
is(dead('graph'), 'user errors 200 1', 'an error inside a 200: dead, by the rule');
is(sql("SELECT error FROM concord.dead_letter WHERE mapping = 'graph'"), 'HTTP status 200: Email is invalid', 'with what it says');
sql("SELECT concord.discard_dead('graph', NULL, 'seen')");
$erp->rule({ path => '/rest/api/graph' }, { status => 200, headers => $json, body => '{"errors": [{"extensions": {"code": "THROTTLED"}, "wait": 300}]}' }, 1);
$erp->clear_log;
sql("INSERT INTO graph VALUES (2, 'b')");
delivered('graph', 'throttled inside a 200');
my @times = map { $_->{at} } $erp->log_entries('/rest/api/graph');
is(scalar @times, 2, 'throttled inside a 200: two requests');
cmp_ok($times[1] - $times[0], '>=', 290_000, 'throttled inside a 200: not before the time it says') if @times == 2;
is(sql("SELECT attempts FROM concord.delivery WHERE mapping = 'graph' ORDER BY seq DESC LIMIT 1"), '1', 'throttled inside a 200: no attempt counted');
sql(q{UPDATE concord.connector SET definition = definition || '{"outcomes": [{"name": "new rule", "status": 418, "outcome": "dead"}]}' WHERE name = 'graph'});
$erp->rule({ path => '/rest/api/graph' }, { status => 418 }, 1);
sql("INSERT INTO graph VALUES (3, 'c')");
delivered('graph', 'a changed connector');
is(dead('graph'), 'new rule 418 1', 'a changed connector: its new rule');
sql("INSERT INTO concord.connector (name, protocol, definition) VALUES ('graph2', 'rest', '{\"extends\": \"graph\"}');
	 ALTER SERVER gr OPTIONS (SET connector 'graph2'); SELECT concord.discard_dead('graph', NULL, 'seen')");
sql(q{UPDATE concord.connector SET definition = definition || '{"outcomes": [{"name": "newer rule", "status": 418, "outcome": "dead"}]}' WHERE name = 'graph'});
$erp->rule({ path => '/rest/api/graph' }, { status => 418 }, 1);
sql("INSERT INTO graph VALUES (4, 'd')");
delivered('graph', 'a changed connector that another extends');
is(dead('graph'), 'newer rule 418 1', 'a changed connector that another extends: its new rule');
sql("SELECT concord.discard_dead('graph', NULL, 'seen')");

# --- a dead letter after several requests: what failed, and what came before
$erp->rule({ method => 'POST', path => $path{thing} }, { status => 422, headers => $json, body => '{"error": "name must be unique"}' }, 1);
sql("INSERT INTO thing VALUES (600, 'taken')");
delivered('thing', 'refused, and not there');
is(dead('thing'), 'refused 422 1', 'the verdict is on the create');
like(sql("SELECT request FROM concord.dead_letter WHERE mapping = 'thing'"), qr/\APOST \Q$rest\E\/things\n\n\{.*"Name":"taken".*\}\n\nAll requests: POST \S+: 422; GET \S+: 404\z/s,
	'the request is the one that failed, with all that were made');
like(sql("SELECT answer FROM concord.dead_letter WHERE mapping = 'thing'"), qr/name must be unique/, 'the answer is the one to it');
sql("SELECT concord.discard_dead('thing', NULL, 'seen')");
$erp->rule({ method => 'POST', path => $path{thing} }, { status => 409 }, 1);
$erp->rule({ method => 'GET', path => $path{thing} }, { status => 200, headers => $json, body => '{"ID": 601, "Name": "theirs"}' }, 1);
$erp->rule({ method => 'PATCH', path => $path{thing} }, { status => 400, headers => $json, body => '{"error": "frozen"}' }, 1);
sql("INSERT INTO thing VALUES (601, 'ours')");
delivered('thing', 'there, and refused');
is(dead('thing'), 'refused 400 1', 'the verdict is on the update');
like(sql("SELECT request FROM concord.dead_letter WHERE mapping = 'thing'"), qr/\APATCH \S+\n\n\{.*\}\n\nBefore it: POST \S+: 409; GET \S+: 200\z/s, 'after what it came');
sql("SELECT concord.discard_dead('thing', NULL, 'seen')");

# --- credentials inside bodies, escaped, and where a text is cut
my $token = 'to"k/en\\5ecret-value-of-some-length';
(my $quoted = $token) =~ s/(["\\])/\\$1/g;
(my $percent = $token) =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER re OPTIONS (auth 'header', header_name 'X-Api-Key', token '" . $token . "')");
sql("SELECT concord.alter_mapping('thing', fields => '{\"Name\": \"name\", \"Password\": \"''db-5ecret''\"}')");
my $body = '{"error": "refused ' . $quoted . '", "url": "/x?key=' . $percent . '", "access_token" : "their-5ecret", "a": {"apiKey":"5ecret\"5ecret"},'
  . '"inner": "{\"client_secret\": \"inner-5ecret\", \"x\": 1}", "token": 5, "kept": "kept"}';
$erp->rule({ method => 'POST', path => $path{thing} }, { status => 400, headers => $json, body => $body }, 1);
sql("INSERT INTO thing VALUES (602, '" . $token . "')");
delivered('thing', 'credentials in bodies');
my $kept = sql("SELECT request || answer || error FROM concord.dead_letter WHERE mapping = 'thing'");
unlike($kept, qr/5ecret/, 'no credential is kept, in no form');
like($kept, qr/"Password":"\*\*\*"/, 'of ours: hidden by name');
like($kept, qr/"access_token" : "\*\*\*", "a": \{"apiKey":"\*\*\*"\},"inner": "\{\\"client_secret\\": \\"\*\*\*\\", \\"x\\": 1\}", "token": 5, "kept": "kept"/,
	'of theirs: hidden by name, and nothing else');
sql("SELECT concord.discard_dead('thing', NULL, 'seen')");
for my $length (470, 490, 8180, 8190)
{
	$erp->rule({ method => 'POST', path => $path{thing} }, { status => 400, body => ('x' x $length) . $token . ('y' x 20000) }, 1);
	sql("INSERT INTO thing VALUES (60$length, 'z')");
	delivered('thing', "a secret at $length");
	my $all = sql("SELECT coalesce(answer, '') || coalesce(error, '') || d.last_error FROM concord.dead_letter, concord.status d
				   WHERE concord.dead_letter.mapping = 'thing' AND d.mapping = 'thing'");
	unlike($all, qr/to"k/, "a secret at $length: no part of it");
	cmp_ok(sql("SELECT max(length(answer)) FROM concord.dead_letter WHERE mapping = 'thing'"), '<=', 8192, "a secret at $length: cut");
	sql("SELECT concord.discard_dead('thing', NULL, 'seen')");
}

$node->stop;
done_testing();
