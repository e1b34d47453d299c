# The front of doc/receive.md, as it stands there: a message goes through nginx
# and the script into the inbox.

use strict;
use warnings;

use Concord::Cluster;
use Digest::SHA qw(hmac_sha256);
use HTTP::Tiny;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

plan skip_all => 'no nginx, fcgiwrap or psycopg2'
  if system('command -v nginx fcgiwrap >/dev/null && python3 -c "import psycopg2" 2>/dev/null') != 0;

my $node = Concord::Cluster->create('front');
my $dir = $node->basedir;
my $port = Concord::Cluster::free_port();
my $secret = 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

# blocks of the document, by their language
my %block;
my $document = PostgreSQL::Test::Utils::slurp_file("$ENV{CONCORD_SRC}/doc/receive.md");
$block{$1} = $2 while $document =~ /^```(python|nginx) front\n(.*?)^```$/msg;

sub put
{
	my ($file, $text) = @_;
	open my $fh, '>', "$dir/$file" or die "$dir/$file: $!";
	print $fh $text;
	close $fh or die;
	return "$dir/$file";
}

$node->safe_psql('postgres', qq{
	CREATE EXTENSION pg_concord;
	CREATE TABLE contact (id int PRIMARY KEY, name text);
	CREATE ROLE front LOGIN;
	GRANT USAGE ON SCHEMA concord TO front;
	GRANT EXECUTE ON FUNCTION concord.receive TO front;
	CREATE SERVER crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
	CREATE SERVER bc FOREIGN DATA WRAPPER concord OPTIONS (connector 'business_central', url 'http://127.0.0.1:9/');
	CREATE USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (auth 'none', receive_secret '$secret');
	SELECT concord.create_mapping('contacts', 'contact', 'crm', 'contacts', '{"name": {"column": "name", "owner": "crm"}}', key => '{"id": "id"}', options => '{"receive": {}}', paused => true);
	CREATE TABLE customer (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('customers', 'customer', 'bc', 'customers', '{"displayName": {"column": "name", "owner": "bc"}}', key => '{"number": "id::text"}', options => '{"receive": {}}', paused => true)});

my $script = put('receive', $block{python});
chmod 0755, $script or die;
put('pg_service.conf', "[concord]\nhost=" . $node->host . "\nport=" . $node->port . "\ndbname=postgres\nuser=front\n");
(my $location = $block{nginx}) =~ s{/usr/local/lib/concord/receive}{$script};
$location =~ s{unix:/run/fcgiwrap.socket}{unix:$dir/fcgiwrap.socket};
# the paths of a private nginx
put('nginx.conf', join("\n", 'daemon off;', "pid $dir/nginx.pid;", "error_log $dir/nginx.log;", 'events {}', 'http {', 'access_log off;',
	(map { "${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi)), "server { listen 127.0.0.1:$port;",
	$location =~ s{include fastcgi_params}{include /etc/nginx/fastcgi_params}r, '}', '}'));
$ENV{PGSYSCONFDIR} = $dir;
Concord::Cluster::start_child('fcgiwrap', '-s', "unix:$dir/fcgiwrap.socket");
Concord::Cluster::start_child('nginx', '-p', $dir, '-e', "$dir/nginx.log", '-c', "$dir/nginx.conf");
Concord::Cluster::wait_port($port) or die 'nginx does not listen: ' . PostgreSQL::Test::Utils::slurp_file("$dir/nginx.log");

my $http = HTTP::Tiny->new(timeout => 60);

# hook(PATH, BODY, HEADERS): status and text
sub hook
{
	my ($path, $body, $headers) = @_;
	my $answer = $http->request('POST', "http://127.0.0.1:$port/hook/$path", { content => $body, headers => $headers // {} });
	return "$answer->{status} $answer->{content}";
}

sub signed
{
	my ($id, $body) = @_;
	my $at = time;
	return { 'webhook-id' => $id, 'webhook-timestamp' => $at,
		'webhook-signature' => 'v1,' . encode_base64(hmac_sha256("$id.$at.$body", decode_base64($secret)), '') };
}

my $body = "{\"id\": 7,\r\n \"name\": \"M\xc3\xbcller \\u00fc\"}\n\n";
is(hook('contacts', $body, signed('m1', $body)), '200 ', 'a message');
is($node->safe_psql('postgres', "SELECT message_id, convert_from(convert_to(record, 'UTF8'), 'UTF8')::jsonb ->> 'name' FROM concord.inbox_item"), "m1|M\xc3\xbcller \xc3\xbc", 'is in the inbox, byte for byte as it was signed');
is(hook('contacts', $body, signed('m1', $body)), '200 ', 'a copy');
is($node->safe_psql('postgres', 'SELECT count(*) FROM concord.inbox_item'), '1', 'is dropped');
is(hook('contacts', $body, { %{ signed('m2', $body) }, 'webhook-id' => 'm3' }), '401 ', 'a wrong signature');
is(hook('contacts', 'x', signed('m4', 'x')), '400 ', 'no JSON');
is(hook('contacts', "\xff", signed('m5', "\xff")), '400 ', 'no UTF-8');
is(hook('nobody', $body, signed('m6', $body)), '404 ', 'no such mapping');
is(hook("contacts'--", $body, signed('m7', $body)), '404 ', 'a name that is no name');
is(hook('bc?validationToken=a%20b%2Bc', '', {}), '200 a b+c', 'a challenge in the address');
my $large = '{"id": 8, "name": "' . 'x' x 3_000_000 . '"}';
is(hook('contacts', $large, signed('m8', $large)), '200 ', 'three megabytes');
is($node->safe_psql('postgres', "SELECT octet_length(record) FROM concord.inbox_item WHERE message_id = 'm8'"), length $large, 'all of them');
$node->stop('fast');
like(hook('contacts', $body, signed('m9', $body)), qr/^503 /, 'no database: to be sent again');
$node->start;
is(hook('contacts', $body, signed('m9', $body)), '200 ', 'and then taken');

done_testing();
