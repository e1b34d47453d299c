# auth 'oauth2_saml' (RFC 7522): the assertion is what SAML 2.0 (OASIS
# saml-core-2.0-os, 2.3 and 5) and XML Signature want, as xmlsec1, which shares
# no code with us, finds; one that is read from a file; what is refused.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use IO::Socket::INET;
use MIME::Base64 qw(decode_base64url);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no xmlsec1 or openssl program'
  if system('command -v xmlsec1 openssl >/dev/null') != 0;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('saml', conf => 'log_min_messages = debug1');
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
	chmod 0644, "$dir/$name";
	return "$dir/$name";
}
is(system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=idp -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null && "
	  . "openssl x509 -in $dir/cert.pem -pubkey -noout > $dir/pub.pem && openssl ecparam -name prime256v1 -genkey -noout -out $dir/ec.pem && "
	  . "chmod 0644 $dir/*.pem"), 0, 'keys');
write_file('client', 'client-5ecret');

my $token_url = $erp->url('/auth/token');
my $url = $erp->url('/rest/shop/');
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', breaker_cooldown '100ms')");

# mapping(OPTIONS): the user mapping, and the form that is sent for it
sub mapping
{
	my ($options) = @_;
	sql("DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER shop; CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2_saml', token_url '$token_url', client_id 'CLIENT', $options)");
	is(sql("SELECT ok, error FROM concord.ping('shop')"), 't|', 'accepted');
	my ($asked) = ($erp->log_entries('/auth/'))[-1];
	my %form = map { my ($n, $v) = split /=/, $_, 2; $v =~ s/%(..)/chr hex $1/ge; ($n => $v) } split /&/, $asked->{body};
	return ($asked, \%form);
}

# verified(FILE, KEY): what xmlsec1 says of the signature
sub verified
{
	my ($file, $key) = @_;
	# 1.3 uses a key that a signature does not name only where it is told to
	my $lax = qx(xmlsec1 --help-verify 2>&1) =~ /--lax-key-search/ ? '--lax-key-search' : '';
	return system("xmlsec1 --verify $lax --id-attr:ID urn:oasis:names:tc:SAML:2.0:assertion:Assertion $key $file >$dir/xmlsec.log 2>&1") == 0;
}

# made and signed here
my ($asked, $form) = mapping(qq(issuer 'https://idp.example/?a=1&b="<2>"', subject 'Änne & <co> "7"', audience 'https://sap.example/sp', scope 'API 1', )
	  . "client_secret_file '$dir/client', private_key_file '$dir/key.pem', certificate_file '$dir/cert.pem'");
like($asked->{headers}{authorization} // $asked->{headers}{Authorization}, qr/^Basic /, 'the client authenticates');
is("$form->{grant_type} $form->{scope}", 'urn:ietf:params:oauth:grant-type:saml2-bearer API 1', 'grant and scope');
unlike($form->{assertion}, qr/[+\/=\s]/, 'base64url without padding');
my $assertion = decode_base64url($form->{assertion});
write_file('made.xml', $assertion);
ok(verified("$dir/made.xml", "--pubkey-pem $dir/pub.pem"), 'xmlsec1: the signature, by the key') or diag(slurp_file("$dir/xmlsec.log"));
ok(verified("$dir/made.xml", "--trusted-pem $dir/cert.pem"), 'xmlsec1: the signature, by the certificate in it') or diag(slurp_file("$dir/xmlsec.log"));
write_file('changed.xml', $assertion =~ s/&lt;co&gt;/boss/r);
ok(!verified("$dir/changed.xml", "--pubkey-pem $dir/pub.pem"), 'xmlsec1: not of another subject');
write_file('resigned.xml', $assertion =~ s/<ds:DigestValue>./<ds:DigestValue>_/r);
ok(!verified("$dir/resigned.xml", "--pubkey-pem $dir/pub.pem"), 'xmlsec1: nor of another digest');
like($assertion, qr{^<saml2:Assertion [^>]*ID="_[0-9a-f]{32}"[^>]*><saml2:Issuer>https://idp\.example/\?a=1&amp;b="&lt;2&gt;"</saml2:Issuer><ds:Signature }, 'issuer, then signature');
like($assertion, qr{<saml2:NameID Format="urn:oasis:names:tc:SAML:1\.1:nameid-format:unspecified">\xC3\x84nne &amp; &lt;co&gt; "7"</saml2:NameID>}, 'subject');
like($assertion, qr{Recipient="\Q$token_url\E"}, 'recipient');
like($assertion, qr{<saml2:Audience>https://sap\.example/sp</saml2:Audience>}, 'audience');
my ($until) = $assertion =~ /<saml2:Conditions NotBefore="[^"]+" NotOnOrAfter="([^"]+)"/;
is(sql("SELECT '$until'::timestamptz BETWEEN now() + '3min' AND now() + '5min'"), 't', 'short life');

# the least: audience is the endpoint, the client is named by the form
($asked, $form) = mapping("issuer 'idp', subject 'u', subject_format 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress', company 'ACME', private_key_file '$dir/key.pem'");
is("$form->{client_id} $form->{company_id}", 'CLIENT ACME', 'client and company');
my $second = decode_base64url($form->{assertion});
write_file('least.xml', $second);
ok(verified("$dir/least.xml", "--pubkey-pem $dir/pub.pem"), 'xmlsec1: the signature') or diag(slurp_file("$dir/xmlsec.log"));
like($second, qr{<saml2:Audience>\Q$token_url\E<.*}, 'the endpoint is the audience');
isnt(($assertion =~ / ID="(\w+)"/)[0], ($second =~ / ID="(\w+)"/)[0], 'another ID');

# an assertion from a file, which somebody renews: XML, or coded already
write_file('file.xml', "$assertion\n");
($asked, $form) = mapping("saml_assertion_file '$dir/file.xml'");
is(decode_base64url($form->{assertion}), $assertion, 'a file');
write_file('file.xml', 'QUJD');
($asked, $form) = mapping("saml_assertion_file '$dir/file.xml', scope 'x'");
is($form->{assertion}, 'QUJD', 'a file that is base64');

# what cannot be
my ($rc, $out, $err) = $node->psql('postgres', qq(ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (DROP saml_assertion_file, ADD private_key_file '$dir/ec.pem', ADD issuer 'i', ADD subject E'a\\nb')));
like($err, qr/invalid value for option "subject"/, 'a line end is refused');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (DROP saml_assertion_file, ADD private_key_file '$dir/ec.pem', ADD issuer 'i', ADD subject 's')");
like(sql("SELECT ok, error FROM concord.ping('shop')"), qr/^f\|.*the private key must be RSA/, 'a key of another kind');

# an endpoint that repeats the assertion in its answer
my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
my $echo = fork() // die "fork: $!";
if ($echo == 0)
{
	while (my $client = $socket->accept)
	{
		my $text = '';
		while ($text !~ /\r\n\r\n/ || length($text) < index($text, "\r\n\r\n") + 4 + ($text =~ /^content-length: *(\d+)/im)[0])
		{
			sysread($client, $text, 65536, length $text) or last;
		}
		my ($sent) = $text =~ /[&_\n]assertion=([^&]+)/;
		my $body = qq({"error": "invalid_grant", "error_description": "not good: $sent, really"});
		print $client "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
		close $client;
	}
	POSIX::_exit(0);
}
my $echo_url = 'http://127.0.0.1:' . $socket->sockport . '/token';
close $socket;
my $made = "issuer 'i', subject 's', private_key_file '$dir/key.pem'";
for my $options ("auth 'oauth2_saml', client_id 'CLIENT', certificate_file '$dir/cert.pem', $made",
	"auth 'oauth2_saml', client_id 'CLIENT', saml_assertion_file '$dir/made.xml'",
	"auth 'oauth2_jwt', $made", "auth 'oauth2_jwt', client_id 'CLIENT', assertion 'client', $made")
{
	sql("DROP USER MAPPING FOR CURRENT_USER SERVER shop; CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (token_url '$echo_url', $options)");
	like(sql("SELECT ok, error FROM concord.ping('shop')"), qr/^f\|.*invalid_grant \(not good: \*\*\*, really\)/, 'an answer that repeats the assertion is redacted');
}
kill 'KILL', $echo;
waitpid $echo, 0;

my $log = slurp_file($node->logfile);
unlike($log, qr/client-5ecret|issued-5ecret/, 'no secret in the log');
$node->stop;
done_testing();
