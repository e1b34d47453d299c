# auth 'oauth1', 'sigv4', 'oauth2_refresh' and 'oauth2_jwt': what is sent is
# checked by a second implementation, which is checked by published vectors.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use Encode qw(encode_utf8);
use Digest::SHA qw(hmac_sha1 hmac_sha256 hmac_sha256_hex sha256_hex);
use JSON::PP;
use List::Util qw(max min);
use MIME::Base64 qw(encode_base64 encode_base64url decode_base64url);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('signatures', conf => 'log_min_messages = debug1');
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0777, $dir;
sub write_file
{
	my ($name, $text) = @_;
	open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
	print $fh $text;
	close $fh;
	chmod 0666, "$dir/$name";
	return "$dir/$name";
}

sub escape { my ($s) = @_; $s =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge; return $s; }
sub unescape { my ($s) = @_; $s =~ s/%(..)/chr hex $1/ge; return $s; }

# pairs(QUERY): [name, value], decoded
sub pairs { return map { my ($n, $v) = split /=/, $_, 2; [ unescape($n), unescape($v // '') ] } split /&/, $_[0]; }

sub sorted
{
	return join '&', map { "$_->[0]=$_->[1]" } sort { $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] }
	  map { [ escape($_->[0]), escape($_->[1]) ] } @_;
}

# --- OAuth 1: RFC 5849
sub base_string { my ($method, $url, @pairs) = @_; return join '&', $method, escape($url), escape(sorted(@pairs)); }

# RFC 5849 3.4.1.1
is(base_string('POST', 'http://example.com/request', pairs('b5=%3D%253D&a3=a&c%40=&a2=r%20b'), pairs('c2=&a3=2%20q'),
		[ oauth_consumer_key => '9djdj82h48djs9d2' ], [ oauth_token => 'kkk9d7dh3k39sjv7' ],
		[ oauth_signature_method => 'HMAC-SHA1' ], [ oauth_timestamp => '137131201' ], [ oauth_nonce => '7d8f3e4a' ]),
	'POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26'
	  . 'oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26'
	  . 'oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7', 'vector: base string');
# RFC 5849 1.2
is(encode_base64(hmac_sha1(base_string('GET', 'http://photos.example.net/photos', pairs('file=vacation.jpg&size=original'),
			[ oauth_consumer_key => 'dpf43f3p2l4k3l03' ], [ oauth_token => 'nnch734d00sl2jdk' ],
			[ oauth_signature_method => 'HMAC-SHA1' ], [ oauth_timestamp => '137131202' ], [ oauth_nonce => 'chapoH' ]),
		'kd94hf93k423kf44&pfkkdhi9sl3r4s00'), ''),
	'MdpQcU8iPSUjWoN/UDMsK2sui9I=', 'vector: signature');

sub oauth1_good
{
	my ($entry) = @_;
	my $header = $entry->{headers}{authorization} // $entry->{headers}{Authorization};
	my %given = map { /^(\w+)="(.*)"$/ ? ($1 => unescape($2)) : () } split /, /, $header =~ s/^OAuth //r;
	my $signature = delete $given{oauth_signature};
	my $realm = delete $given{realm};
	my $base = base_string($entry->{method}, $erp->url($entry->{path}), pairs($entry->{query} // ''),
		map { [ $_ => $given{$_} ] } keys %given);

	return $realm eq '1234567_SB1' && $given{oauth_signature_method} eq 'HMAC-SHA256' && $given{oauth_nonce} =~ /^\w{16,}$/
	  && $signature eq encode_base64(hmac_sha256($base, escape('consumer-5ecret &') . '&' . escape('token-5ecret')), '');
}

# --- AWS Signature Version 4
sub sigv4
{
	my ($method, $path, $query, $headers, $names, $body, $stamp, $scope, $secret) = @_;
	my ($day, $region, $service) = split m{/}, $scope;
	my $canonical = join "\n", $method, join('/', map { escape($_) } split m{/}, $path, -1), sorted(pairs($query)),
	  (map { "$_:$headers->{$_}" } split /;/, $names), '', $names, sha256_hex($body);
	my $key = "AWS4$secret";
	$key = hmac_sha256($_, $key) for $day, $region, $service, 'aws4_request';
	return hmac_sha256_hex("AWS4-HMAC-SHA256\n$stamp\n$scope\n" . sha256_hex($canonical), $key);
}

# aws-sig-v4-test-suite, get-vanilla
is(sigv4('GET', '/', '', { host => 'example.amazonaws.com', 'x-amz-date' => '20150830T123600Z' }, 'host;x-amz-date', '',
		'20150830T123600Z', '20150830/us-east-1/service/aws4_request', 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'),
	'5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31', 'vector: AWS');

sub sigv4_good
{
	my ($entry) = @_;
	my %headers = map { lc $_ => $entry->{headers}{$_} } keys %{ $entry->{headers} };
	my ($id, $scope, $names, $signature) = $headers{authorization} =~
	  m{^AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+), SignedHeaders=(\S+), Signature=(\w+)$} or return 0;

	return $id eq 'AKIDEXAMPLE' && $scope =~ m{/eu-central-1/events/aws4_request$} && $names =~ /\bhost;.*x-amz-security-token/
	  && $headers{'x-amz-security-token'} eq 'session-5ecret'
	  && $signature eq sigv4($entry->{method}, $entry->{path}, $entry->{query} // '', \%headers, $names, encode_utf8($entry->{body} // ''),
		$headers{'x-amz-date'}, $scope, 'wJalr5ecret/key');
}

my $log_start = -s $node->logfile;
my %auth = (
	oauth1 => "auth 'oauth1', consumer_key 'con&sumer', consumer_secret_file '" . write_file('cs', "consumer-5ecret &\n")
	  . "', token 'token-id', token_secret_file '" . write_file('ts', 'token-5ecret') . "', realm '1234567_SB1'",
	sigv4 => "auth 'sigv4', access_key 'AKIDEXAMPLE', secret_key_file '" . write_file('sk', 'wJalr5ecret/key')
	  . "', session_token_file '" . write_file('st', 'session-5ecret') . "', region 'eu-central-1', aws_service 'events'");
sql('CREATE TABLE goods (code text PRIMARY KEY, n int)');
for my $kind (sort keys %auth)
{
	my $url = $erp->url("/rest/$kind/");
	sql("CREATE SERVER $kind FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url')");
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER $kind OPTIONS ($auth{$kind})");
	sql(qq(SELECT concord.create_mapping('$kind', 'goods', '$kind', 'goods', fields => '{"n": "n"}')));
}
my $hook = $erp->url('/hook/signed?b=2&a=%C3%A4+x&a=1&c');
for my $kind (sort keys %auth)
{
	sql("CREATE SERVER hook_$kind FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$hook')");
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER hook_$kind OPTIONS ($auth{$kind})");
	sql(qq(SELECT concord.create_mapping('hook_$kind', 'goods', 'hook_$kind', '', fields => '{"n": "n"}')));
}
sql(q(INSERT INTO goods VALUES ('a b/ä&=', 1), ('plain', 2); UPDATE goods SET n = n + 1; DELETE FROM goods));
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered');
for my $kind (sort keys %auth)
{
	my @sent = $erp->log_entries("/rest/$kind/");
	cmp_ok(scalar @sent, '>=', 6, "$kind: requests");
	my $good = $kind eq 'oauth1' ? \&oauth1_good : \&sigv4_good;
	is(scalar(grep { !$good->($_) } @sent), 0, "$kind: each signature is right");
}
my @hooks = $erp->log_entries('/hook/signed');
is(scalar(grep { ($_->{headers}{authorization} // $_->{headers}{Authorization}) =~ /^OAuth/ && oauth1_good($_) } @hooks), 6, 'oauth1: the query is signed');
is(scalar(grep { ($_->{headers}{authorization} // $_->{headers}{Authorization}) =~ /^AWS4/ && sigv4_good($_) } @hooks), 6, 'sigv4: the query is signed');

# --- what a limit holds back is signed when it goes: systems refuse old signatures
my %stamp = (
	oauth1 => sub { return ($_[0]{authorization} =~ /oauth_timestamp="(\d+)"/)[0]; },
	sigv4 => sub { return timegm(reverse(map { $_ + 0 } $_[0]{'x-amz-date'} =~ /T(..)(..)(..)Z/), ($_[0]{'x-amz-date'} =~ /^....(..)(..)/)[1], ($_[0]{'x-amz-date'} =~ /^....(..)/)[0] - 1, substr($_[0]{'x-amz-date'}, 0, 4)); },
	hmac => sub { return $_[0]{'webhook-timestamp'}; });
$auth{hmac} = "auth 'hmac', secret_file '" . write_file('hs', encode_base64('a webhook-5ecret of 24 bytes', '')) . "'";
sql('CREATE TABLE slow (id int PRIMARY KEY)');
for my $kind (sort keys %stamp)
{
	my $slow = $erp->url("/hook/slow_$kind");
	sql("CREATE SERVER slow_$kind FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$slow', rate '1/s')");
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER slow_$kind OPTIONS ($auth{$kind})");
	sql(qq(SELECT concord.create_mapping('slow_$kind', 'slow', 'slow_$kind', '', fields => '{"id": "id"}')));
}
sql('INSERT INTO slow SELECT generate_series(1, 5)');
is(sql("SELECT concord.wait_for_delivery(NULL, '40s')"), 't', 'delivered, slowly');
for my $kind (sort keys %stamp)
{
	my @sent = $erp->log_entries("/hook/slow_$kind");
	my @late = map { my $e = $_; my %h = map { lc $_ => $e->{headers}{$_} } keys %{ $e->{headers} }; $e->{at} / 1e6 - $stamp{$kind}->(\%h) } @sent;
	is(scalar @sent, 5, "$kind: requests");
	cmp_ok(max(map { $_->{at} / 1e6 } @sent) - min(map { $_->{at} / 1e6 } @sent), '>=', 3, "$kind: the limit held them back");
	ok(max(@late) < 2.5 && min(@late) > -1, "$kind: each is signed when it goes") or diag("seconds: @late");
}

# --- refresh tokens that change with each use
my $token_url = $erp->url('/auth/token');
my $shop = $erp->url('/rest/shop/');
write_file('refresh', "refresh-5ecret-0\n");
chmod 0600, "$dir/refresh";
system("chown postgres $dir/refresh") if $> == 0;
$erp->rule({ path => '/rest/shop' }, { auth => { issued => '' } });
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$shop', breaker_cooldown '100ms')");
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2_refresh', token_url '$token_url', client_id 'app', refresh_token_file '$dir/refresh')");
is(sql("SELECT ok, error FROM concord.ping('shop')"), 't|', 'a refresh token');
is(slurp_file("$dir/refresh"), 'refresh-5ecret-1', 'the next one is in the file');
$erp->control('DELETE', 'tokens');
is(sql("SELECT ok FROM concord.ping('shop')"), 't', 'which is used');
is(slurp_file("$dir/refresh"), 'refresh-5ecret-2', 'and replaced');
is((stat "$dir/refresh")[2] & 0777, 0600, 'with the rights it had');
$node->restart;
$node->poll('SELECT true');
is(sql("SELECT ok FROM concord.ping('shop')"), 't', 'after a restart');
sql("CREATE ROLE reader; GRANT USAGE ON FOREIGN SERVER shop TO reader; GRANT pg_read_server_files TO reader");
my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE reader; CREATE USER MAPPING FOR reader SERVER shop OPTIONS (auth 'oauth2_refresh', token_url '$token_url', client_id 'app', refresh_token_file '/etc/passwd')");
like($err, qr/permission denied to set option "refresh_token_file"/, 'who may only read files cannot have one written');

# --- signed assertions
SKIP:
{
	skip 'no openssl program', 8
	  if system("openssl genrsa -out $dir/rsa.pem 2048 2>/dev/null && openssl rsa -in $dir/rsa.pem -pubout -out $dir/rsa.pub 2>/dev/null && "
		  . "openssl ecparam -name prime256v1 -genkey -noout -out $dir/ec.pem && openssl ec -in $dir/ec.pem -pubout -out $dir/ec.pub 2>/dev/null && "
		  . "chmod 0644 $dir/*.pem") != 0;
	for my $kind ('rsa', 'ec')
	{
		my $use = $kind eq 'rsa' ? 'grant' : 'client';
		sql("DROP USER MAPPING FOR CURRENT_USER SERVER shop; CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2_jwt', token_url '$token_url', "
			  . "issuer 'app \"7\"', subject 'clerk', key_id 'k1', scope 'a b', private_key_file '$dir/$kind.pem', assertion '$use')");
		is(sql("SELECT ok, error FROM concord.ping('shop')"), 't|', "$kind: accepted");
		my %form = map { @$_ } pairs(($erp->log_entries('/auth/'))[-1]{body});
		my ($head, $claims, $signature) = split /\./, $form{assertion} // $form{client_assertion};
		my $h = decode_json(decode_base64url($head));
		my $c = decode_json(decode_base64url($claims));
		is("$h->{alg} $h->{kid}", $kind eq 'rsa' ? 'RS256 k1' : 'ES256 k1', "$kind: header");
		is("$c->{iss} $c->{sub} $c->{aud} $c->{scope}", "app \"7\" clerk $token_url a b", "$kind: claims");
		ok($c->{exp} - time() > 60 && $c->{exp} - time() < 200, "$kind: short life");
		my $raw = decode_base64url($signature);
		if ($kind eq 'ec')
		{
			# r and s as a DER sequence of integers
			my @n = map { s/^\0+(?=.)//sr } unpack 'a32 a32', $raw;
			my $der = join '', map { my $v = ord($_) > 127 ? "\0$_" : $_; pack('CC', 2, length $v) . $v } @n;
			$raw = pack('CC', 0x30, length $der) . $der;
		}
		write_file('signature', $raw);
		write_file('signed', "$head.$claims");
		is(system("openssl dgst -sha256 -verify $dir/$kind.pub -signature $dir/signature $dir/signed >/dev/null"), 0, "$kind: signature");
	}
	write_file('rsa.pem', "no key\n");
	like(sql("ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (SET private_key_file '$dir/rsa.pem'); SELECT ok, error FROM concord.ping('shop')"),
		qr/^f\|.*private key must be RSA or EC/, 'a file that is no key');
}

my $log = substr(slurp_file($node->logfile), $log_start);
unlike($log, qr/(?:consumer|token|session|refresh|issued)-5ecret|wJalr5ecret/, 'no secret in the log');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
$node->stop;
done_testing();
