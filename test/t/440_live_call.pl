# concord.call() and concord.lookup(): what goes out, what comes back, the
# SQLSTATE of everything that goes wrong, and what is refused before anything
# is sent; writes are recorded, also where the transaction is rolled back.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $true = JSON::PP::true;
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('live_call');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# state(SQL): the SQLSTATE and the text of the error; 00000 where there is none
sub state
{
	my ($sql, @more) = @_;
	my ($out, $err);
	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 1, @more);
	my ($state, $text) = ($err // '') =~ /(?:ERROR|FATAL):\s+(\w{5}): (.*)/s;
	return wantarray ? ($state // '00000', $text // '') : $state // '00000';
}

# fails(SQL, SQLSTATE, NAME, PATTERN)
sub fails
{
	my ($sql, $expected, $name, $pattern) = @_;
	my ($state, $text) = &state($sql);
	is($state, $expected, "$name: $expected") or diag($text);
	like($text, $pattern, "$name: its text") if $pattern;
	return;
}

# during(ACTION, MATCH, CODE): code runs while the sandbox misbehaves
sub during
{
	my ($action, $match, $code) = @_;
	my $rule = $erp->rule($match, $action);
	$code->();
	$erp->drop_rules;
	return;
}

sub last_request
{
	my @all = $erp->log_entries($_[0]);
	return $all[-1];
}

# header(NAME): of the last request
sub header
{
	my $headers = last_request()->{headers};
	my ($name) = grep { lc $_ eq lc $_[0] } keys %$headers;
	return defined $name ? $headers->{$name} : undef;
}

my ($rest, $odata) = ($erp->url('/rest/shop/'), $erp->url('/odata/v4/sales/'));
sql(qq(CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', timeout '2s', breaker_failures '1000', breaker_cooldown '1ms', headers '{"X-Tenant": "seven"}')));
sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$odata', timeout '2s', breaker_failures '1000')));

# --- what goes out and what comes back ---
is(sql(q(SELECT status, body, cached, raw IS NOT NULL, elapsed > '0' FROM concord.call('shop', 'post', 'things', body => '{"id": 7, "price": 1.50, "name": "Łódź"}'))),
	'201|{"id": 7, "name": "Łódź", "price": 1.50}|f|t|t', 'POST');
is(header('Content-Type'), 'application/json', 'its type');
is(header('X-Tenant'), 'seven', 'headers of the server');
is(sql(q(SELECT body FROM concord.call('shop', 'GET', 'things/7'))), '{"id": 7, "name": "Łódź", "price": 1.50}', 'GET');
is(sql(q(SELECT body FROM concord.call('shop', 'GET', '/things/7'))), '{"id": 7, "name": "Łódź", "price": 1.50}', 'a slash stands for the url');
is(sql(qq(SELECT body ->> 'id' FROM concord.call('shop', 'GET', '${rest}things/7'))), '7', 'an address under the url');
is(sql(q(SELECT status FROM concord.call('shop', 'PATCH', 'things/7', body => '{"name": "x"}'))), '200', 'PATCH');
is(sql(q(SELECT status, body IS NULL, raw IS NULL FROM concord.call('shop', 'HEAD', 'things/7'))), '200|t|t', 'HEAD');
is(sql(q(SELECT status, headers ->> 'content-type' FROM concord.call('shop', 'GET', 'things/8'))), '404|application/json', 'a status is a result');
is(sql(q(SELECT status FROM concord.call('shop', 'DELETE', 'things/7'))), '204', 'DELETE');
sql(q(SELECT concord.call('shop', 'GET', 'a b/ü?x=1&y=Grüße', query => '{"$filter": "a eq ''b'' & c+d", "n": [1, 2.50, true], "none": null}')));
is(last_request()->{path} . '?' . last_request()->{query},
	'/rest/shop/a%20b/%C3%BC?x=1&y=Gr%C3%BC%C3%9Fe&n=1&n=2.50&n=true&$filter=a%20eq%20\'b\'%20%26%20c%2Bd', 'an address is encoded')
  or diag(explain(last_request()));
sql(q(SELECT concord.call('shop', 'GET', 'a%20b%2Fc')));
is(last_request()->{path}, '/rest/shop/a%20b%2Fc', 'what is encoded stays');
sql(q(SELECT concord.call('shop', 'PUT', 'files/1', data => '\x00ff10', content_type => 'image/png', headers => '{"X-One": "1", "Idempotency-Key": "k"}')));
is(header('Content-Type'), 'image/png', 'content_type');
is(header('X-One'), '1', 'a header');
during({ status => 200, body => 'plain text', headers => { 'Content-Type' => 'text/plain' } }, {}, sub {
	is(sql(q(SELECT status, body IS NULL, convert_from(raw, 'UTF8') FROM concord.call('shop', 'GET', 'x'))), '200|t|plain text', 'no JSON');
});
during({ status => 200, body => '[1, 2]', headers => { 'Content-Type' => 'application/problem+json; charset=utf-8' } }, {}, sub {
	is(sql(q(SELECT body FROM concord.call('shop', 'GET', 'x'))), '[1, 2]', 'JSON by its suffix');
});
is(sql(q(SELECT count(*) FROM generate_series(1, 50) i, LATERAL concord.call('shop', 'GET', 'things/' || i))), '50', 'many');
cmp_ok($erp->stats->{connections}, '<', 45, 'each session keeps its connection');

# --- lookup ---
sql(q(SELECT concord.call('erp', 'POST', 'Customers', body => '{"ID": "C''1", "Name": "Ada"}')));
is(sql(q(SELECT concord.lookup('erp', 'Customers', 'C''1') ->> 'Name')), 'Ada', 'a key of OData');
is(last_request()->{path}, "/odata/v4/sales/Customers('C''1')", 'quoted');
is(sql(q(SELECT concord.lookup('erp', 'Customers', '{"ID": "C''1"}'::jsonb) ->> 'Name')), 'Ada', 'with its name');
is(sql(q(SELECT concord.lookup('erp', 'Customers', 'none') IS NULL)), 't', 'none');
sql(q(SELECT concord.lookup('erp', 'Items', '{"Order": 7, "Line": "a/b", "Big": 12345678901234567890}'::jsonb)));
is(last_request()->{path}, "/odata/v4/sales/Items(Big=12345678901234567890,Line='a%2Fb',Order=7)", 'several parts');
sql(q(SELECT concord.lookup('erp', 'Items', '7'::jsonb, query => '{"$select": "ID,Name"}')));
is(last_request()->{path} . '?' . last_request()->{query}, '/odata/v4/sales/Items(7)?$select=ID,Name', 'a number, a query');
sql(q(SELECT concord.lookup('erp', 'Items', '3f2504e0-4f89-11d3-9a0c-0305e82c3301')));
is(last_request()->{path}, '/odata/v4/sales/Items(3f2504e0-4f89-11d3-9a0c-0305e82c3301)', 'a uuid by its looks');
sql(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 9, "n": 1}')));
is(sql(q(SELECT concord.lookup('shop', 'things', '9'))), '{"n": 1, "id": 9}', 'REST');
is(sql(q(SELECT concord.lookup('shop', 'things', '10') IS NULL)), 't', 'none');
during({ status => 410 }, {}, sub { is(sql(q(SELECT concord.lookup('shop', 'things', '9') IS NULL)), 't', 'gone'); });
during({ status => 500 }, {}, sub { fails(q(SELECT concord.lookup('shop', 'things', '9')), 'K5500', 'a lookup that fails'); });
sql(q(SELECT concord.lookup('shop', 'things', 'a/../b')));
is(last_request()->{path}, '/rest/shop/things/a%2F..%2Fb', 'a key is one segment');
fails(q(SELECT concord.lookup('shop', 'things', '..')), '22023', 'a key of dots');
fails(q(SELECT concord.lookup('shop', 'things', '')), '22023', 'an empty key');
fails(q(SELECT concord.lookup('shop', 'things', '{"id" : 1}')), '22023', 'a text that was meant as an object');
sql(q(SELECT concord.lookup('shop', 'things', to_jsonb('{"id": 1}'::text)), concord.lookup('shop', 'things', '{1}')));
fails(q(SELECT concord.lookup('shop', '../x', '1')), '22023', 'an object that leaves');
fails(q(SELECT concord.lookup('shop', 'things', '[1]'::jsonb)), '22023', 'a key that is an array');
fails(q(SELECT concord.lookup('shop', 'things', '{"a": {}}'::jsonb)), '22023', 'a part that is an object');
fails(q(SELECT concord.lookup('shop', 'things', '{}'::jsonb)), '22023', 'no part');
fails(q(SELECT concord.lookup('shop', 'things', NULL::text)), '22004', 'no key');
sql(q(CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:1/h?x=1')));
fails(q(SELECT concord.lookup('hook', 'x', '1')), '0A000', 'a webhook has no records');

# --- statuses, by option ---
for ([404, 'K4404'], [409, 'K4409'], [429, 'K4429'], [500, 'K5500'], [503, 'K5503'], [302, 'K3302'])
{
	my ($status, $code) = @$_;
	during({ status => $status, body => '{"error": {"message": "because"}}' }, {}, sub {
		is(sql(qq(SELECT status FROM concord.call('shop', 'GET', 's$status', timeout => '30s'))), $status, "$status is a result");
		fails(qq(SELECT concord.call('shop', 'GET', 's$status', timeout => '30s', raise => true)), $code, "$status is an error by option",
			$status == 302 ? qr/not followed/ : qr/because/);
	});
}
is(sql(q(DO $$ BEGIN PERFORM concord.call('shop', 'GET', 'nothing', raise => true);
	EXCEPTION WHEN SQLSTATE 'K4000' THEN RAISE NOTICE 'caught'; END $$; SELECT 'ok')), 'ok', 'PL/pgSQL catches a class');

# --- what has no whole answer ---
sql(q(CREATE SERVER nobody FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', breaker_failures '1000', breaker_cooldown '1ms')));
fails(q(SELECT concord.call('nobody', 'GET', 'x')), '08001', 'no connection', qr/could not connect to server "nobody"/);
during({ torn => $true }, {}, sub {
	fails(q(SELECT concord.call('shop', 'GET', 'things/9')), '08006', 'a cut answer');
	fails(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 70}')), '08007', 'a cut answer to a write', qr/may have been carried out/);
});
during({ reset => 'after' }, {}, sub {
	fails(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 71}')), '08007', 'a write that was reset');
});
during({ raw => "no HTTP at all\r\n\r\n" }, {}, sub { fails(q(SELECT concord.call('shop', 'GET', 'x')), '08006', 'no HTTP'); });
during({ hang => $true }, {}, sub {
	Concord::Cluster::within(2, 'at once', sub {
		fails(q(SELECT concord.call('shop', 'GET', 'x', timeout => '300ms')), 'K0002', 'no answer in time', qr/300 ms/);
		return;
	});
	fails(q(SELECT concord.call('shop', 'DELETE', 'x', timeout => '300ms')), '08007', 'a write without an answer');
});
during({ status => 200, slow => { bytes => 1, ms => 100 }, body => '{"a": "bcdefghijklmnopq"}' }, {}, sub {
	fails(q(SELECT concord.call('shop', 'GET', 'x', timeout => '400ms')), 'K0002', 'a slow answer');
});
during({ endless => $true }, {}, sub {
	fails(q(SET pg_concord.max_answer_size = '1MB'; SELECT concord.call('shop', 'GET', 'x')), '54000', 'an answer without an end', qr/max_answer_size/);
});
for (['{"a": ', 'cut'], ['<html>', 'no JSON'], ['{"a": "\\u0000"}', 'a NUL'], ["\"\xff\"", 'no text'], ['', undef], ['{} {}', 'two values'])
{
	my ($body, $what) = @$_;
	next unless defined $what;
	my %answer = (status => 200, headers => { 'Content-Type' => 'application/json' }, body_hex => unpack('H*', $body));
	during(\%answer, {}, sub {
		fails(q(SELECT concord.call('shop', 'GET', 'x')), 'K0004', "JSON that is none: $what", qr/not valid JSON/);
		fails(q(SELECT concord.lookup('shop', 'x', '1')), 'K0004', "in a lookup: $what");
	});
}
during({ status => 200, headers => { 'Content-Encoding' => 'gzip', 'Content-Type' => 'application/json' }, body => '{"a": 1}' }, {}, sub {
	fails(q(SELECT concord.call('shop', 'GET', 'x')), 'K0004', 'an answer that claims gzip', qr/gzip/);
});
during({ status => 200, body => '{"deep": ' . '[' x 20000 . ']' x 20000 . '}', headers => { 'Content-Type' => 'application/json' } }, {}, sub {
	my $state = &state(q(SELECT concord.call('shop', 'GET', 'x')));
	like($state, qr/^(?:K0004|00000)$/, 'a deep answer');
});
is(sql(q(SELECT status FROM concord.call('shop', 'GET', 'things/9'))), '200', 'usable afterwards');

# --- limits, breaker, environment, credentials ---
sql(qq(CREATE SERVER slow FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', rate '1/min', timeout '200ms')));
is(sql(q(SELECT status FROM concord.call('slow', 'GET', 'things/9'))), '200', 'within the rate');
fails(q(SELECT concord.call('slow', 'GET', 'things/9')), '53400', 'beyond the rate', qr/option rate/);
sql(q(CREATE SERVER down FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', breaker_cooldown '1min')));
fails(q(SELECT concord.call('down', 'GET', 'x')), '08001', 'down');
my $start = time;
fails(q(SELECT concord.call('down', 'GET', 'x')), 'K0001', 'with its breaker open', qr/tried again in .* s\. What opened it/);
is(sql(q(SELECT breaker FROM concord.system WHERE server = 'down')), 'open', 'as the view says');
sql(qq(CREATE SERVER prod FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', environment 'prod')));
fails(q(SELECT concord.call('prod', 'GET', 'x')), 'K0003', 'another environment', qr/environment/);
sql(q(CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA concord TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO app; CREATE ROLE owner; GRANT CREATE ON DATABASE postgres TO owner; GRANT USAGE ON FOREIGN DATA WRAPPER concord TO owner));
sql(qq(SET ROLE owner; CREATE SERVER private FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest')));
fails(q(SELECT concord.call('private', 'GET', 'x')), 'K0003', 'an address that is not allowed', qr/not allowed/);
fails(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'x')), '42501', 'without USAGE');
fails(q(SET ROLE app; SELECT concord.lookup('shop', 'things', '9')), '42501', 'a lookup without USAGE');
fails(q(SET ROLE app; SELECT concord.flush_cache('shop')), '42501', 'flush_cache without USAGE');
sql(q(GRANT USAGE ON FOREIGN SERVER shop TO app));
is(sql(q(SET ROLE app; SELECT status FROM concord.call('shop', 'GET', 'things/9'))), '200', 'with USAGE');
fails(q(SELECT concord.call('nosuch', 'GET', 'x')), '42704', 'no such server');
my $token_url = $erp->url('/auth/token');
sql(qq(CREATE USER MAPPING FOR app SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret 'wrong-5ecret')));
fails(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/9')), '28000', 'no token');
is(sql(q(SELECT status FROM concord.call('shop', 'GET', 'things/9'))), '200', 'which is nobody else\'s trouble');
sql(q(ALTER USER MAPPING FOR app SERVER shop OPTIONS (SET client_secret 'client-5ecret')));
during({ auth => { issued => '' } }, { path => '/rest/' }, sub {
	is(sql(q(SET ROLE app; SELECT status FROM concord.call('shop', 'GET', 'things/9'))), '200', 'a token');
	$erp->control('DELETE', 'tokens');
	is(sql(q(SET ROLE app; SELECT status FROM concord.call('shop', 'GET', 'things/9'))), '200', 'another one');
});
sql(q(DROP USER MAPPING FOR app SERVER shop; CREATE USER MAPPING FOR app SERVER shop OPTIONS (auth 'basic', username 'u', password 'p4ssw0rd')));
during({ status => 401, body => '{"message": "no p4ssw0rd for you, dTpwNHNzdzByZA=="}' }, {}, sub {
	my ($state, $text) = &state(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'x', raise => true)));
	is($state, 'K4401', 'credentials are refused');
	unlike($text, qr/p4ssw0rd|dTpwNHNzdzByZA/, 'and not repeated');
	&state(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'x'))) for 1 .. 3;
});
is(sql(q(SELECT breaker FROM concord.system WHERE server = 'shop')), 'closed', 'a wrong password opens no breaker');

# --- what a session's caller chooses does not stop deliveries ---
my $fragile = Concord::Sandbox->new;
my $fragile_url = $fragile->url('/rest/fragile/');
sql(qq(CREATE SERVER fragile FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$fragile_url', breaker_failures '2', breaker_cooldown '1min')));
my $breaker = q(SELECT breaker FROM concord.system WHERE server = 'fragile');
for my $status (500, 502, 504, 302)
{
	my $rule = $fragile->rule({}, { status => $status });
	is(sql(q(SELECT count(*) FROM generate_series(1, 5) i, LATERAL concord.call('fragile', 'GET', 'broken/' || i) c WHERE c.status = ) . $status), '5', "five paths answer $status");
	is(sql($breaker), 'closed', "$status: the breaker stays closed");
	$fragile->drop_rules;
}
$fragile->rule({}, { status => 503, headers => { 'Retry-After' => '1' } });
is(sql(q(SELECT status FROM concord.call('fragile', 'GET', 'x'))), '503', '503');
$fragile->drop_rules;
is(sql($breaker), 'closed', '503: the breaker stays closed');
fails(q(SELECT concord.call('fragile', 'GET', 'x', timeout => '100 ms')), '53400', '503: the system asks for time', qr/asks for time/);
sql(q(CREATE SERVER nowhere FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', breaker_failures '2', breaker_cooldown '1min')));
fails(q(SELECT concord.call('nowhere', 'GET', 'x')), '08001', 'no connection');
is(sql(q(SELECT breaker FROM concord.system WHERE server = 'nowhere')), 'open', 'no connection: the breaker opens');

# --- what is refused before anything is sent ---
$erp->clear_log;
for my $path ('../x', 'a/../../x', '%2e%2e/x', 'a/%2E./x', '..%2fx', 'x/..;/y', '..\\x', '//evil.example/x', 'https://evil.example/x',
	'ftp://x', 'x#y', 'x%', 'x%zz', 'x%0d%0aHost:%20evil', '.', $erp->url('/rest/shop/../other'), $erp->url('/other/'))
{
	fails("SELECT concord.call('shop', 'GET', '$path')", '22023', "path $path");
}
fails(q(SELECT concord.call('shop', 'GET', E'x\r\nHost: evil')), '22023', 'a line end in a path');
fails(qq(SELECT concord.call('shop', 'GET', repeat('x', 70000))), '54000', 'a long path');
for my $header ('{"X-A": "a\\r\\nHost: evil"}', '{"X-A\\r\\nB": "x"}', '{"Host": "evil"}', '{"Content-Length": "5"}', '{"Transfer-Encoding": "chunked"}',
	'{"Authorization": "Basic x"}', '{"Cookie": "a=b"}', '{"x-tenant": "eight"}', '{"X-A": 1}', '["X-A"]', '{"": "x"}', '{"X-A": "ü"}', '{"x-a": "1", "X-A": "2"}')
{
	fails(qq(SELECT concord.call('shop', 'GET', 'x', headers => '$header')), '22023', "headers $header");
}
fails(q(SELECT concord.call('shop', 'PUT', 'x', data => 'x', content_type => E'text/plain\r\nX: y')), '22023', 'a line end in content_type');
fails(qq(SELECT concord.call('shop', '$_', 'x')), '22023', "method $_") for '', 'GET X', 'CONNECT', 'TRACE', "G\x{0b}T";
fails(q(SELECT concord.call('shop', 'GET', 'x', query => '[1]')), '22023', 'a query that is no object');
fails(q(SELECT concord.call('shop', 'GET', 'x', query => '{"a": {"b": 1}}')), '22023', 'a query that nests');
fails(q(SELECT concord.call('shop', 'POST', 'x', body => '{}', data => 'x')), '22023', 'two bodies');
fails(q(SELECT concord.call('shop', 'HEAD', 'x', body => '{}')), '22023', 'HEAD with a body');
fails(q(SELECT concord.call('shop', 'POST', 'x', max_age => '1min')), '22023', 'max_age of a write');
fails(q(SELECT concord.call('shop', 'GET', 'x', timeout => '0')), '22023', 'no time');
fails(q(SELECT concord.call('shop', 'GET', 'x', timeout => '-1s')), '22023', 'less than no time');
fails(q(SELECT concord.call('shop', 'GET', 'x', timeout => '1 year')), '22023', 'too much time');
fails(q(SELECT concord.call('shop', 'GET', NULL)), '22004', 'no path');
fails(q(SELECT concord.call('hook', 'POST', 'x')), '22023', 'a path behind a query');
fails(q(BEGIN READ ONLY; SELECT concord.call('shop', 'DELETE', 'things/9')), '25006', 'a write in a read-only transaction');
fails(q(BEGIN; SELECT concord.call('shop', 'GET', 'things/9'); CREATE TABLE m (id int PRIMARY KEY); SELECT concord.create_mapping('m', 'm', 'shop', 'm',
	fields => '{"n": "(concord.call(''shop'', ''GET'', ''x'')).status"}'); INSERT INTO m VALUES (1); COMMIT; SELECT concord.wait_for_delivery('m', '2s'); SELECT 1/0;), '22012', 'an expression may name it');
like(sql(q(SELECT string_agg(error, ' ') FROM concord.dead_letter WHERE mapping = 'm')), qr/cannot be used in an expression/, 'but is refused when it is evaluated');
is((scalar grep { $_->{path} !~ m{/things/9$} } $erp->log_entries), 0, 'nothing was sent') or diag(explain([$erp->log_entries]));

# --- the allow-list ---
sql(q(ALTER SERVER shop OPTIONS (ADD call_allow 'GET,HEAD things/*; POST things; * drafts/**')));
is(&state("SELECT concord.call('shop', $_->[0], '$_->[1]')"), $_->[2], "allow-list: $_->[0] $_->[1]")
  for ["'GET'", 'things/9', '00000'], ["'GET'", 'things/9?x=../y', '00000'], ["'GET'", 'things/9/x', '42501'], ["'GET'", 'things', '42501'],
  ["'DELETE'", 'things/9', '42501'], ["'GET'", 'things%2F9', '00000'], ["'GET'", 'thing%73/9', '00000'], ["'GET'", 'Things/9', '42501'],
  ["'DELETE'", 'drafts/a/b', '00000'], ["'POST'", '/things', '00000'];
fails(q(SELECT concord.lookup('shop', 'other', '9')), '42501', 'a lookup beyond the allow-list');
is(sql(q(SELECT concord.lookup('shop', 'things', '9') IS NOT NULL)), 't', 'one within');
fails(qq(SELECT concord.call('shop', 'POST', 'things', headers => '{"$_": "DELETE"}')), '22023', "header $_") for 'X-HTTP-Method-Override', 'x-original-url';
sql(q(ALTER SERVER shop OPTIONS (SET call_allow '')));
fails(q(SELECT concord.call('shop', 'GET', 'things/9')), '42501', 'an empty allow-list');
sql(q(ALTER SERVER shop OPTIONS (DROP call_allow)));

# --- changes are seen at once, also by a session that is open ---
is(sql(qq(SELECT status FROM concord.call('shop', 'GET', 'things/9');
	BEGIN; ALTER SERVER shop OPTIONS (SET url '${rest}things/'); SELECT status FROM concord.call('shop', 'GET', '9'); ROLLBACK;
	SELECT status FROM concord.call('shop', 'GET', 'things/9'))), "200\n200\n200", 'options of this transaction, and not of one that was rolled back');

# --- the record of writes ---
sql('DELETE FROM concord.call_record');
sql(q(SET application_name = 'x'; BEGIN; SELECT concord.call('shop', 'POST', 'things', body => '{"id": 90}'); ROLLBACK));
is(sql(q(SELECT concord.call('shop', 'GET', 'things/90') IS NOT NULL)), 't', 'what was written stays');
fails(q(SELECT concord.call('shop', 'DELETE', 'things/none', raise => true)), 'K4404', 'a write that is refused');
during({ torn => $true }, {}, sub { &state(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 91}'))); });
fails(q(BEGIN; SELECT concord.call('shop', 'POST', 'things', body => '{"id": 92}'); PREPARE TRANSACTION 'p'), '0A000', 'a write in a prepared transaction');
is(&state(q(BEGIN; SELECT concord.call('shop', 'GET', 'things/92'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p')), '00000', 'a read in one');
ok($node->poll('SELECT count(*) = 4 FROM concord.call_log'), 'all were recorded, reads were not');
is(sql(q(SELECT method, regexp_replace(url, '^.*/shop', ''), outcome, status, role = session_role FROM concord.call_log ORDER BY at)),
	"POST|/things|done|201|t\nDELETE|/things/none|refused|404|t\nPOST|/things|unknown|201|t\nPOST|/things|done|201|t", 'what became of them');
sql(q(SELECT pg_logical_emit_message(false, 'concord.call', 'forged')));
sql(q(SELECT pg_logical_emit_message(true, 'concord.call', 'forged')));
sql(q(SELECT concord.wait_for_capture('30s')));
is(sql('SELECT count(*) FROM concord.call_log'), '4', 'nobody else can write into it');
$node->stop('immediate');
$node->start;
sql(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 93}')));
ok($node->poll('SELECT count(*) = 5 FROM concord.call_log'), 'each once, also after a crash');
sql(q(SET pg_concord.call_log = off; SELECT concord.call('shop', 'POST', 'things', body => '{"id": 94}')));
sql(q(SELECT concord.wait_for_capture('30s')));
is(sql('SELECT count(*) FROM concord.call_log'), '5', 'none where it is off');
fails(q(SET ROLE app; SET pg_concord.call_log = off), '42501', 'which is not for everybody');

# --- parse and secrets ---
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ s/^.*statement: .*$//mgr, qr/dTpwNHNzdzByZA/, 'no secret in the log');
is(sql(q(SELECT provolatile::text || proparallel::text FROM pg_proc WHERE proname = 'call' AND pronamespace = 'concord'::regnamespace)), 'vu', 'volatile, parallel unsafe');
done_testing();
