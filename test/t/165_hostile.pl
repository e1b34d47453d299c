# What answers, rows and values must not do: reach past their own bytes, lines,
# addresses and records.  Then the same in databases that are not in UTF-8.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('hostile');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql($_[1] // 'postgres', $_[0]); }
sub requests { my ($path) = @_; return grep { $_->{path} =~ /^\Q$path\E/ } $erp->log_entries; }

sub settle
{
	my ($label, $database) = @_;
	is(sql("SELECT concord.wait_for_delivery(timeout => '60s')", $database), 't', "$label: has ended");
	return;
}

my $rest = $erp->url('/rest/api');
sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	  ('multipart', 'odata', '{"batch": {"format": "odata_batch_multipart"}}'),
	  ('lines', 'rest', '{"batch": {"format": "json_lines", "operations": ["create"]}}'),
	  ('channels', 'webhook', '{"create": {"path": "channels/{ordering_key}/messages?v=1"}}'),
	  ('finds', 'rest', '{"remote_id": "assigned", "remote_id_path": "id",
	      "find": {"path": "{object}", "query": {"{key.name}": "{key}"}}, "find_path": "data.0.id"}'),
	  ('located', 'rest', '{"remote_id": "assigned"}'),
	  ('many', 'rest', '{"outcomes": [{"status": 400, "path": "errors[*]", "equals": "none of them", "outcome": "retry"}]}');
	CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_limit '0');
	CREATE SERVER mp FOREIGN DATA WRAPPER concord OPTIONS (connector 'multipart', url '@{[ $erp->url('/odata/v4/sales') ]}', retry_limit '0');
	CREATE SERVER li FOREIGN DATA WRAPPER concord OPTIONS (connector 'lines', url '$rest', retry_limit '0');
	CREATE SERVER ch FOREIGN DATA WRAPPER concord OPTIONS (connector 'channels', url '@{[ $erp->url('/hook') ]}', retry_limit '0');
	CREATE SERVER fi FOREIGN DATA WRAPPER concord OPTIONS (connector 'finds', url '$rest', retry_base '20ms', retry_cap '50ms');
	CREATE SERVER lo FOREIGN DATA WRAPPER concord OPTIONS (connector 'located', url '$rest', retry_limit '0');
	CREATE TABLE thing (id int PRIMARY KEY, name text);
	CREATE TABLE part (id int PRIMARY KEY, name text);
	CREATE TABLE doc (id int PRIMARY KEY, doc json);
	CREATE TABLE talk (id int PRIMARY KEY, channel text);
	ALTER TABLE talk REPLICA IDENTITY FULL;
	CREATE TABLE found (id int PRIMARY KEY, name text);
	CREATE TABLE placed (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('thing', 'thing', 're', 'things', '{"name": "name"}', options => '{"batch_size": 10, "linger": "300ms"}');
	SELECT concord.create_mapping('part', 'part', 'mp', 'Parts', '{"name": "name"}', options => '{"batch_size": 10, "linger": "300ms"}');
	SELECT concord.create_mapping('doc', 'doc', 'li', 'docs', '{"doc": "doc"}', options => '{"batch_size": 10, "linger": "300ms"}');
	SELECT concord.create_mapping('talk', 'talk', 'ch', '', '{"id": "id"}', options => '{"ordering": "channel"}');
	SELECT concord.create_mapping('found', 'found', 'fi', 'found', '{"name": "name"}', '{"ours": "id"}');
	SELECT concord.create_mapping('placed', 'placed', 'lo', 'placed', '{"name": "name"}')});

# --- a NUL within an item's part of an answer: what stands behind it is the
# answer's, and what stands behind that is not
my $long = 'A' x 2000;
my $json = qq({"results": [{"status": 422, "note": "one\0$long."}, {"status": 422, "note": "two\0$long."}]});
$erp->rule({ path => '/rest/api/things', method => 'POST' },
	{ status => 200, headers => { 'Content-Type' => 'application/json' }, body_hex => unpack('H*', $json) });
sql("INSERT INTO thing VALUES (1, 'a'), (2, 'b')");
settle('NUL in JSON');
is(sql(q(SELECT count(*) FROM concord.dead_letter WHERE mapping = 'thing' AND status = 422
	AND answer LIKE '{"status": 422, "note": "___' || U&'\FFFD' || repeat('A', 2000) || '."}')), '2', 'each has its part of the answer, whole');
my $multipart = join("\r\n",
	(map { ('--b', 'Content-Type: application/http', '', 'HTTP/1.1 422 No', 'Content-Type: text/plain', '', "$_\0$long.") } qw(one two)), '--b--', '');
$erp->rule({ path => '/odata/v4/sales/$batch' },
	{ status => 200, headers => { 'Content-Type' => 'multipart/mixed; boundary=b' }, body_hex => unpack('H*', $multipart) });
sql("INSERT INTO part VALUES (1, 'a'), (2, 'b')");
settle('NUL in multipart');
is(sql(q(SELECT count(*) FROM concord.dead_letter WHERE mapping = 'part' AND status = 422
	AND answer LIKE '___' || U&'\FFFD' || repeat('A', 2000) || '.')), '2', 'each has its part of the answer, whole');

# --- line ends in a value of type json do not end an item's line
sql(q{INSERT INTO doc VALUES (1, E'[1,\n{"delete": {"_id": "1"}}\r\n, 2]'), (2, '3')});
settle('lines');
my ($lines) = grep { ($_->{headers}{'content-type'} // '') =~ /ndjson/ } requests('/rest/api/docs');
is(($lines->{body} =~ tr/\n\r//), 2, 'two items are two lines');
is_deeply([ map { decode_json($_) } split /\n/, $lines->{body} ],
	[ { doc => [ 1, { delete => { _id => '1' } }, 2 ], id => 1 }, { doc => 3, id => 2 } ], 'each is what was written');

# --- no value climbs out of a path
sql("INSERT INTO talk VALUES (1, 'a.b'), (2, '..'), (3, 'a/../b'), (4, '.'), (5, '...')");
settle('dots');
is(join(' ', sort map { $_->{path} } requests('/hook')), '/hook/channels/.../messages /hook/channels/a%2F..%2Fb/messages /hook/channels/a.b/messages',
	'nothing went to another address');
is(sql("SELECT string_agg(local_key->>'id' || ' ' || error, ', ' ORDER BY local_key->>'id') FROM concord.dead_letter WHERE mapping = 'talk'"),
	"2 the request's path would name another address, 4 the request's path would name another address", 'and that is said');

# --- an answer to a search that cannot be read does not say that nothing is there
$erp->set('/rest/api/found', key => ['id']);
$erp->rule({ method => 'POST', path => '/rest/api/found' }, { reset => 'after' }, 1);
$erp->rule({ method => 'GET', path => '/rest/api/found' },
	{ status => 200, headers => { 'Content-Type' => 'application/json' }, body => '{"data": [{"id' }, 2);
$erp->rule({ method => 'GET', path => '/rest/api/found' },
	{ status => 200, headers => { 'Content-Type' => 'application/json' }, body => '{"data": [{"id": "77"}]}' });
$erp->rule({ method => 'PATCH', path => '/rest/api/found' }, { status => 204, body => '' });
sql("INSERT INTO found VALUES (1, 'a')");
settle('search');
is(join(' ', map { $_->{method} } requests('/rest/api/found')), 'POST GET GET GET PATCH', 'asked again, and nothing was created twice');
is(sql("SELECT remote_id FROM concord.link WHERE mapping = 'found'"), '77', 'linked');

# --- a key of several parts in an address is no id
foreach my $case ([ 1, "Sets(a='1',b='2')" ], [ 2, 'Sets(a=1,b=2)' ], [ 3, "Sets(a=1,b='2')" ], [ 4, "Sets(Name='x=y=')" ], [ 5, "Sets('it''s,one')" ])
{
	my ($id, $address) = @$case;
	$erp->rule({ method => 'POST', path => '/rest/api/placed' }, { status => 201, body => '', headers => { Location => "$rest/$address" } }, 1);
	sql("INSERT INTO placed VALUES ($id, 'a')");
	settle($address);
}
is(sql("SELECT string_agg(local_key->>'id' || ' ' || rule, ', ' ORDER BY local_key->>'id') FROM concord.dead_letter WHERE mapping = 'placed'"),
	'1 no id, 2 no id, 3 no id', 'no id is made of it');
is(sql("SELECT string_agg(remote_id, ' ' ORDER BY remote_id) FROM concord.link WHERE mapping = 'placed'"), "it's,one x=y=", 'others are read');

# --- an answer with hundreds of thousands of values costs no more than its size
my $used = sql(q{SELECT outcome FROM concord.explain_outcome('many', 400, body => '{"errors": [' || repeat('"",', 400000) || '""]}');
	SELECT (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s*(\d+)'))[1]});
my ($outcome, $peak) = split /\n/, $used;
is($outcome, 'dead', 'none of them matched');
cmp_ok($peak, '<', 400_000, 'kB of memory at most');

# --- addresses and headers are in UTF-8 whatever the database is in
foreach my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $database = lc $encoding;
	my $hook = $erp->url("/hook/$database");

	sql("CREATE DATABASE $database TEMPLATE template0 ENCODING $encoding LC_COLLATE 'C' LC_CTYPE 'C'");
	sql('CREATE EXTENSION pg_concord', $database);
	is(sql(q(SELECT concord.wait_for_capture('60s')), $database), 't', "$encoding: capture is ready");
	sql(qq{
		SET client_encoding = UTF8;
		INSERT INTO concord.connector (name, protocol, definition) VALUES
		  ('v2', 'odata', '{"version": "v2"}'),
		  ('shaped', 'webhook', '{"create": {"path": "shaped/{key}", "query": {"q": "{key}"}, "headers": {"X-Key": "{key}"}, "body": {"k": "{key}", "b": "{record:text}"}}}');
		CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest/$database', retry_limit '0');
		CREATE SERVER v4 FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[ $erp->url("/odata/v4/$database") ]}', retry_limit '0');
		CREATE SERVER v2 FOREIGN DATA WRAPPER concord OPTIONS (connector 'v2', url '@{[ $erp->url("/odata/v4/v2$database") ]}', retry_limit '0');
		CREATE SERVER wh FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$hook', retry_limit '0');
		CREATE SERVER sh FOREIGN DATA WRAPPER concord OPTIONS (connector 'shaped', url '$hook', retry_limit '0');
		CREATE TABLE item (id text PRIMARY KEY, name text);
		SELECT concord.create_mapping('re', 'item', 're', 'items', '{"name": "name"}');
		SELECT concord.create_mapping('v4', 'item', 'v4', 'Items', '{"name": "name"}');
		SELECT concord.create_mapping('v2', 'item', 'v2', 'Items', '{"name": "name"}');
		SELECT concord.create_mapping('wh', 'item', 'wh', '', '{"name": "name"}');
		SELECT concord.create_mapping('sh', 'item', 'sh', '', '{"name": "name"}')}, $database);
	$erp->rule({ path => $_ }, { status => 204, body => '' }) foreach "/rest/api/$database", "/odata/v4/$database", "/odata/v4/v2$database";
	sql("SET client_encoding = UTF8; INSERT INTO item VALUES ('h\xC3\xA9', 'z\xC3\xBC')", $database);
	settle($encoding, $database);
	sql("SET client_encoding = UTF8; UPDATE item SET name = name || '!'", $database);
	settle($encoding, $database);
	is(sql("SELECT string_agg(mapping || ': ' || rule || ' ' || error, ', ') FROM concord.dead_letter", $database), '', "$encoding: nothing is dead");

	my $name = "z\x{fc}";
	is_deeply([ map { JSON::PP->new->decode($_->{body})->{name} } requests("/rest/api/$database") ], [ $name, "$name!" ], "$encoding: bodies");
	is((requests("/rest/api/$database"))[1]{path}, "/rest/api/$database/items/h%C3%A9", "$encoding: the address of a record");
	is((requests("/odata/v4/$database"))[1]{path}, "/odata/v4/$database/Items('h%C3%A9')", "$encoding: OData 4");
	is((requests("/odata/v4/v2$database"))[1]{path}, "/odata/v4/v2$database/Items('h%C3%A9')", "$encoding: OData 2");
	my ($plain) = grep { $_->{path} eq "/hook/$database" } requests("/hook/$database");
	is($plain->{headers}{'ce-subject'}, 'h%C3%A9', "$encoding: CloudEvents");
	my ($shaped) = requests("/hook/$database/shaped");
	is($shaped->{path} . '?' . ($shaped->{query} // ''), "/hook/$database/shaped/h%C3%A9?q=h%C3%A9", "$encoding: path and query of a template");
	is($shaped->{headers}{'x-key'}, 'h%C3%A9', "$encoding: a header");
	my $body = JSON::PP->new->decode($shaped->{body});
	is($body->{k} . ' ' . $body->{b}, qq(h\x{e9} {"id":"h\x{e9}","name":"$name"}), "$encoding: a body");
	is(sql("SET client_encoding = UTF8; SELECT string_agg(DISTINCT local_key->>'id' || ' ' || coalesce(remote_id, ''), ', ') FROM concord.link WHERE mapping IN ('re', 'v4')", $database),
		"h\xC3\xA9 h\xC3\xA9", "$encoding: keys of links");
	$erp->clear_log;
	is(sql("SELECT concord.resync('re')", $database), '1', "$encoding: rows again");
	settle($encoding, $database);
	is(join(' ', map { $_->{method} } requests("/rest/api/$database")), 'PATCH', "$encoding: the row was found by its key");
}

# --- credentials that are no text in UTF-8 are a reason not to send, and no more
my $courier = "SELECT pid FROM pg_stat_activity WHERE datname = 'sql_ascii' AND backend_type = 'concord courier'";
my $pid = sql($courier);
sql(qq{
	CREATE SERVER se FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest/login');
	CREATE SERVER ba FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest/basic', retry_limit '0');
	SET client_min_messages = error;
	CREATE USER MAPPING FOR CURRENT_USER SERVER se OPTIONS (auth 'session', username 'u', password E'pass\\351word', company 'c');
	CREATE USER MAPPING FOR CURRENT_USER SERVER ba OPTIONS (auth 'basic', username 'u', password E'pass\\351word');
	CREATE TABLE odd (id int PRIMARY KEY);
	SELECT concord.create_mapping('se', 'odd', 'se', 'odd', '{"id": "id"}');
	SELECT concord.create_mapping('ba', 'odd', 'ba', 'odd', '{"id": "id"}')}, 'sql_ascii');
$erp->rule({ path => '/rest/api/basic' }, { status => 422, headers => { 'Content-Type' => 'application/json' }, body_hex => unpack('H*', qq({"message": "not pass\351word"})) });
sql('INSERT INTO odd VALUES (1)', 'sql_ascii');
ok($node->poll("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'ba' AND status = 422", 1, 'sql_ascii'), 'one that is refused is a dead letter');
like(sql("SELECT ok, error FROM concord.ping('se')", 'sql_ascii'), qr/^f\|no credentials from auth "session": an option or secret has no form in UTF-8$/, 'one that cannot log in says why');
ok($node->poll("SELECT reason LIKE '%has no form in UTF-8' FROM concord.system WHERE server = 'se'", 't', 'sql_ascii'), 'and so does the system');
is(sql($courier), $pid, 'the courier is the same');

done_testing();
