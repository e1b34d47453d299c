# Token endpoints and sessions that misbehave, and who may see or change what:
# answers that are no token, redirects, a fresh CSRF token that is refused (the
# system is down, no record is dead), token_expiry in concord.system by role,
# files that are no secrets, options set by a superuser, PUBLIC's user mapping.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('token_faults', conf => 'log_min_messages = debug1');
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub error_of { my ($rc, $out, $err) = $node->psql('postgres', $_[0]); return $err; }
sub ping { return sql("SELECT ok, error FROM concord.ping('$_[0]')"); }

my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;
sub write_file
{
	my ($name, $text) = @_;
	open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
	print $fh $text;
	close $fh;
	chmod 0644, "$dir/$name";
	return "$dir/$name";
}
my $secret = write_file('secret', "client-5ecret\n");
my $token_url = $erp->url('/auth/token');
my $url = $erp->url('/rest/shop/');
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', breaker_cooldown '100ms', timeout '3s')");
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret_file '$secret')");
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
is(sql("SELECT token_expiry IS NULL FROM concord.system"), 't', 'no token, no expiry');
is(ping('shop'), 't|', 'a token');

# --- when it is over, and who may know
is(sql("SELECT token_expiry BETWEEN now() + '59min' AND now() + '61min' FROM concord.system"), 't', 'token_expiry');
sql(q{CREATE ROLE viewer; CREATE ROLE watcher; GRANT pg_read_all_stats TO watcher; GRANT USAGE ON SCHEMA concord TO viewer, watcher;
	GRANT SELECT ON concord.system TO viewer, watcher; GRANT EXECUTE ON FUNCTION concord.token_expiry(oid), concord.account_state(oid) TO viewer, watcher});
is(sql('SET ROLE viewer; SELECT token_expiry IS NULL FROM concord.system'), 't', 'not of a role whose rights one has not');
is(sql('SET ROLE watcher; SELECT token_expiry IS NULL FROM concord.system'), 'f', 'but to pg_read_all_stats');
$erp->control('POST', 'tokens', { life => 120 });
sql("GRANT USAGE ON FOREIGN SERVER shop TO viewer; CREATE USER MAPPING FOR viewer SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret_file '$secret', scope 'v')");
is(sql("SELECT ok FROM concord.ping('shop', 'viewer')"), 't', 'a token of another role');
is(sql("SET ROLE viewer; SELECT token_expiry < now() + '2min' FROM concord.system"), 't', 'which that role sees');
is(sql("SELECT token_expiry < now() + '2min' FROM concord.system"), 't', 'the first one is told');
is(sql('CREATE DATABASE other') // '', '', 'another database');
$node->safe_psql('other', 'CREATE EXTENSION pg_concord');
is($node->safe_psql('other', 'SELECT concord.token_expiry(oid) FROM pg_foreign_server') // '', '', 'knows nothing of it');
$erp->control('POST', 'tokens', { life => 3600 });

# --- answers that are no token; a new scope each time makes a new key
my $n = 0;
sub answered
{
	my ($action) = @_;
	my $rule = $erp->rule({ path => '/auth/' }, $action);
	sql('ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (' . ($n++ ? 'SET' : 'ADD') . " scope 's$n')");
	my $result = ping('shop');
	$erp->drop_rule($rule);
	return $result;
}
sub raw { my ($body, $head) = @_; return { raw => "HTTP/1.1 200 OK\r\n" . ($head // '') . 'Content-Length: ' . length($body) . "\r\n\r\n$body" }; }
my $no_token = qr/^f\|no credentials from auth "oauth2": the answer of the token endpoint has no access_token/;
for my $body ('', 'null', '[]', '{', '{}', '"x"', '{"access_token":', '{"access_token":}', '{"access_token":null', '{"access_token":""}', '{"access_token":{"a":1}',
	'{"access_token":"a\r\nX-Evil: 1"}', '{"access_token":"a\u000d\u000aX: 1"}', '{"access_token":"\uZZZZ"}', '{"access_token":"caf\u00c3\u00a9' . "\xC3\xA9" . '"}',
	'<html>login</html>', '{"a":' . '[' x 100_000)
{
	like(answered(raw($body)), $no_token, 'no token: ' . (length $body > 40 ? substr($body, 0, 40) : $body) =~ s/[^ -~]/?/gr);
}
my $start = time;
like(answered(raw('{"a":"' . '\u0041' x 150_000 . '"}')), $no_token, 'a megabyte of escapes');
cmp_ok(time - $start, '<', 5, 'is read in no time');
like(answered(raw('{"access_token":"' . 'x' x 9000 . '"}')), qr/^f\|.*the token is too long/, 'a token of 9 kB');
like(answered(raw('{"access_token":"abc","token_type":"mac"}')), qr/^f\|.*not of type "bearer"/, 'a token of another type');
like(answered({ endless => JSON::PP::true }), qr/^f\|.*larger than/, 'an answer without end');
like(answered({ torn => JSON::PP::true }), qr/^f\|no credentials/, 'a torn answer');
like(answered({ hang => JSON::PP::true }), qr/^f\|no credentials.*timed out/i, 'no answer');
$erp->clear_log;
like(answered({ status => 307, headers => { Location => $erp->url('/auth/token') } }), qr/^f\|.*HTTP status 307 from the token endpoint/, 'a redirect');
is(scalar($erp->log_entries('/auth/')), 1, 'is not followed');
my $basic = 'Y29uY29yZDpjbGllbnQtNWVjcmV0';
like(answered({ status => 400, body => encode_json({ error => "you sent Basic $basic and client-5ecret" }) }), qr/^f\|.*you sent Basic \*\*\* and \*\*\*/, 'an answer that repeats the client is redacted');
for my $life ('"soon"', '-5', '1e999', '"1e-300"', '0')
{
	$erp->drop_rules;
	like(answered(raw(qq({"access_token":"x","expires_in":$life}))), qr/^t\|$/, "a life of $life");
}

$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });

# --- a fresh CSRF token that is refused: nobody's record is to blame
my $s4 = $erp->url('/odata/sap/');
sql("CREATE SERVER s4 FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$s4', service 'API', breaker_cooldown '100ms')");
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER s4 OPTIONS (auth 'session', username 'concord', password_file '$secret')");
sql('CREATE TABLE goods (id int PRIMARY KEY, n int)');
sql(q{SELECT concord.create_mapping('goods', 'goods', 's4', 'Things', fields => '{"n": "n"}', key => '{"ID": "id"}')});
$erp->rule({ path => '/odata/sap/' }, { auth => { csrf => '' } });
my $rule = $erp->rule({ path => '/odata/sap/API/Things' }, { status => 403, headers => { 'x-csrf-token' => 'Required' } });
$erp->clear_log;
sql('INSERT INTO goods SELECT i, 0 FROM generate_series(1, 20) i');
ok($node->poll("SELECT state = 'down' AND last_error ~ 'a new token of auth \"session\" was refused \\(HTTP status 403\\)' FROM concord.system WHERE server = 's4'"), 'the system is down');
sleep 1;
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
$erp->drop_rule($rule);
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered once it is mended');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

# --- another client of an SAP system is another session
my $before = $erp->control('GET', 'tokens')->{issued};
sql(q(ALTER SERVER s4 OPTIONS (ADD headers '{"sap-client": "200"}')));
sql('UPDATE goods SET n = 1 WHERE id = 1');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered');
is($erp->control('GET', 'tokens')->{issued}, $before + 1, 'with a session of its own');

# --- files
sub file_option { my ($file) = @_; sql("ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (SET client_secret_file '$file')"); return error_of("SELECT concord.ping('shop')"); }
like(file_option(write_file('empty', "\n")), qr/the file of option "client_secret_file" is empty/, 'an empty file');
like(file_option(write_file('book', 'x' x 70_000)), qr/could not read the file.*too large/i, 'a file that is no secret');
like(file_option($dir), qr/could not read the file/, 'a directory');
POSIX::mkfifo("$dir/pipe", 0666);
chmod 0666, "$dir/pipe";
like(error_of("SET statement_timeout = '20s'; ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (SET client_secret_file '$dir/pipe'); SELECT concord.ping('shop')"), qr/could not read the file/, 'a pipe is not waited for');
like(file_option("$dir/none"), qr/could not read the file.*No such file/, 'no file');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (SET client_secret_file '$secret')");

# --- what a superuser has set
like(error_of("SET ROLE viewer; ALTER USER MAPPING FOR viewer SERVER shop OPTIONS (SET token_url 'http://192.0.2.1/')"), qr/permission denied to set option "client_secret_file"/,
	'a role cannot send the secret of a file elsewhere');
sql('CREATE ROLE owner LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER concord TO owner; ALTER SERVER shop OPTIONS (ADD ca_file \'/etc/ssl/certs/ca-certificates.crt\'); ALTER SERVER shop OWNER TO owner');
like(error_of("SET ROLE owner; ALTER SERVER shop OPTIONS (SET url 'https://192.0.2.1/')"), qr/permission denied to set option "ca_file"/, 'nor an owner keep a file option');
sql('ALTER SERVER shop OWNER TO CURRENT_USER');

# --- PUBLIC's user mapping is nobody's; rights at the time of use
sql("CREATE ROLE guest; GRANT USAGE ON FOREIGN SERVER shop TO guest; CREATE USER MAPPING FOR PUBLIC SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret_file '$secret')");
like(sql("SELECT ok, error FROM concord.ping('shop', 'guest')"), qr/^f\|no credentials: role "guest" has no user mapping/, 'PUBLIC\'s is not used');
sql('REVOKE USAGE ON FOREIGN SERVER shop FROM viewer');
like(error_of("SELECT concord.ping('shop', 'viewer')"), qr/role "viewer" has no permission for foreign server shop/, 'USAGE is needed each time');
sql('GRANT EXECUTE ON FUNCTION concord.ping(name, name) TO viewer; GRANT USAGE ON FOREIGN SERVER shop TO viewer');
like(error_of(q{SET ROLE viewer; SELECT concord.ping('shop', (SELECT rolname FROM pg_roles WHERE oid = 10))}), qr/must be (?:member of|able to SET ROLE)/, 'another role\'s credentials');
sql(q{CREATE FUNCTION lent() RETURNS bool LANGUAGE sql SECURITY DEFINER AS $$ SELECT ok FROM concord.ping('shop', current_user) $$; GRANT EXECUTE ON FUNCTION lent() TO guest});
is(sql('SET ROLE guest; SELECT lent()'), 't', 'a security-definer function lends its owner\'s');

my $kept = join("\n", map { sql("SELECT x::text FROM concord.$_ x") } qw(dead_letter delivery exception status system outbox link));
unlike($kept, qr/5ecret|$basic/, 'no secret in tables and views');
unlike(slurp_file($node->logfile), qr/5ecret|\Q$basic\E/, 'nor in the log');
$node->stop;
done_testing();
