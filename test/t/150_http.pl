# The HTTP engine as ping() shows it: answers of every kind, TLS, credentials
# by file, cancellation, and what signals libcurl's threads can receive.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use File::Temp;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Concord::Cluster->create('http');
my $erp = Concord::Sandbox->new;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_concord');

sub ping
{
	my ($server) = @_;
	return $node->safe_psql('postgres',
		"SELECT ok, status, error FROM concord.ping('$server')");
}

# during(ACTION, SERVER): ping while the sandbox misbehaves
sub during
{
	my ($action, $server) = @_;
	my $rule = $erp->rule({}, $action);
	my $result = ping($server || 'erp');
	$erp->drop_rules;
	return $result;
}

my $url = $erp->url('/odata/v4/sales');
$node->safe_psql('postgres', qq{
	CREATE SERVER erp FOREIGN DATA WRAPPER concord
	  OPTIONS (connector 'odata', url '$url', timeout '1s', headers '{"X-Tenant": "seven"}')});

# answers
is(ping('erp'), 't|200|', 'an answer');
like(during({ status => 404 }), qr/^t\|404\|$/, '404 is an answer');
like(during({ status => 500 }), qr/^f\|500\|the server has an error/, 'status 500');
like(during({ status => 401 }), qr/^f\|401\|no credentials: role ".*" has no user mapping/, 'status 401');
like(during({ status => 302, headers => { Location => $erp->url('/elsewhere') } }),
	qr/^f\|302\|the server redirects/, 'redirect');
is(scalar(grep { $_->{path} =~ /elsewhere/ } $erp->log_entries), 0,
	'a redirect is not followed');
like(during({ reset => 'before' }), qr/^f\|\|/, 'connection reset');
like(during({ torn => JSON::PP::true }), qr/^f\|200\|/, 'torn answer');
like(during({ raw => "no HTTP at all\r\n\r\n" }), qr/^f\|\|/, 'garbage');
is(during({ nul => JSON::PP::true }), 't|200|', 'a NUL in the body');
is(during({ invalid_utf8 => JSON::PP::true }), 't|200|', 'a body that is no text');
my $start = time;
like(during({ hang => JSON::PP::true }), qr/^f\|\|.*timed out/i, 'no answer at all');
cmp_ok(time - $start, '<', 5, 'ended by the timeout');
$start = time;
like(during({ slow => { bytes => 1, ms => 300 } }), qr/^f\|200\|.*timed out/i, 'slow body');
cmp_ok(time - $start, '<', 5, 'ended by the timeout');
is(during({ endless => JSON::PP::true }), 't|200|', 'an endless body is cut');
is((grep { ($_->{headers}{'X-Tenant'} // $_->{headers}{'x-tenant'} // '') eq 'seven' }
		$erp->log_entries)[0] ? 1 : 0, 1, 'headers of the server are sent');

# cancellation
my $rule = $erp->rule({}, { hang => JSON::PP::true });
$node->safe_psql('postgres', "ALTER SERVER erp OPTIONS (SET timeout '60s')");
$start = time;
my ($rc, $out, $err) = $node->psql('postgres',
	"SET statement_timeout = '300ms'; SELECT * FROM concord.ping('erp')");
like($err, qr/canceling statement due to statement timeout/, 'a ping can be cancelled');
cmp_ok(time - $start, '<', 10, 'at once');
$erp->drop_rules;
$node->safe_psql('postgres', "ALTER SERVER erp OPTIONS (SET timeout '1s')");
is(ping('erp'), 't|200|', 'and the next one works');

# nobody listens any more, then again
$erp->stop;
like(ping('erp'), qr/^f\|\|Failed to connect/, 'stopped');
$erp->start;
is(ping('erp'), 't|200|', 'started again');

# credentials
$erp->rule({}, { auth => { basic => 'bWU6cGFzcyB3b3Jk' } });
$node->safe_psql('postgres',
	"CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'basic', username 'me', password 'pass word')");
is(ping('erp'), 't|200|', 'basic');
$node->safe_psql('postgres',
	"ALTER USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (SET password 'wrong one')");
like(ping('erp'), qr/^f\|401\|/, 'basic with a wrong password');
$erp->drop_rules;

my $dir = File::Temp->newdir;
chmod 0755, "$dir";
sub write_file
{
	my ($name, $text) = @_;
	open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
	print $fh $text;
	close $fh;
	return;
}
write_file('token', "first-token\n");
$node->safe_psql('postgres', qq{
	DROP USER MAPPING FOR CURRENT_USER SERVER erp;
	CREATE USER MAPPING FOR CURRENT_USER SERVER erp
	  OPTIONS (auth 'bearer', token_file '$dir/token')});
$erp->rule({}, { auth => { bearer => 'first-token' } });
is(ping('erp'), 't|200|', 'bearer from a file');
$erp->drop_rules;
$erp->rule({}, { auth => { bearer => 'second-token' } });
like(ping('erp'), qr/^f\|401\|/, 'the token is not valid any more');
write_file('token', 'second-token');
is(ping('erp'), 't|200|', 'the file is read again');
$erp->drop_rules;
$node->safe_psql('postgres', qq{
	DROP USER MAPPING FOR CURRENT_USER SERVER erp;
	CREATE USER MAPPING FOR CURRENT_USER SERVER erp
	  OPTIONS (auth 'header', header_name 'X-Api-Key', token 'header-secret')});
$erp->rule({}, { auth => { 'x-api-key' => 'header-secret' } });
is(ping('erp'), 't|200|', 'a header of any name');
$erp->drop_rules;

# A system that wants a client certificate: openssl's own server.
sub client_certificate
{
	for my $who ('mine', 'other')
	{
		system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$who "
			  . "-keyout $dir/$who.key -out $dir/$who.pem 2>/dev/null");
		chmod 0644, "$dir/$who.key", "$dir/$who.pem";
	}
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/zero';
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec 'openssl', 's_server', '-accept', $port, '-cert', "$dir/cert.pem", '-key', "$dir/key.pem",
		  '-CAfile', "$dir/mine.pem", '-Verify', '1', '-verify_return_error', '-www';
		exit 1;
	}
	$node->safe_psql('postgres', qq{
		CREATE SERVER mutual FOREIGN DATA WRAPPER concord
		  OPTIONS (connector 'rest', url 'https://localhost:$port/', ca_file '$dir/cert.pem', timeout '5s')});
	$node->poll("SELECT error !~* 'connect to' FROM concord.ping('mutual')");
	like(ping('mutual'), qr/^f\|\|/, 'no client certificate');
	$node->safe_psql('postgres',
		"CREATE USER MAPPING FOR CURRENT_USER SERVER mutual OPTIONS (auth 'none', cert_file '$dir/other.pem', key_file '$dir/other.key')");
	like(ping('mutual'), qr/^f\|\|/, 'a client certificate of another');
	$node->safe_psql('postgres',
		"ALTER USER MAPPING FOR CURRENT_USER SERVER mutual OPTIONS (SET cert_file '$dir/mine.pem', SET key_file '$dir/mine.key')");
	is(ping('mutual'), 't|200|', 'the client certificate of a user mapping');
	kill 'TERM', $pid;
	waitpid $pid, 0;
	return;
}

# TLS
SKIP:
{
	my $made = system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
		  . "-addext subjectAltName=DNS:localhost -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null");
	skip 'no openssl program', 4 if $made != 0;
	chmod 0644, "$dir/cert.pem";
	my $tls = Concord::Sandbox->new(tls => [ "$dir/cert.pem", "$dir/key.pem" ]);
	my $tls_url = $tls->url('/odata/v4/sales/');
	$node->safe_psql('postgres', qq{
		CREATE SERVER tls FOREIGN DATA WRAPPER concord
		  OPTIONS (connector 'odata', url '$tls_url', timeout '5s')});
	like(ping('tls'), qr/^f\|\|.*certificate/i, 'an unknown certificate is refused');
	$node->safe_psql('postgres', "ALTER SERVER tls OPTIONS (ca_file '$dir/cert.pem')");
	is(ping('tls'), 't|200|', 'ca_file');
	$node->safe_psql('postgres', "ALTER SERVER tls OPTIONS (SET url '" .
		$tls_url =~ s/localhost/127.0.0.1/r . "')");
	like(ping('tls'), qr/^f\|\|/, 'a certificate of another name');
	$node->safe_psql('postgres', "ALTER SERVER tls OPTIONS (verify 'false')");
	is(ping('tls'), 't|200|', 'verify off');
	client_certificate();
}

# Threads that resolve names must not run PostgreSQL's signal handlers.  They
# live for milliseconds, so that many are made while /proc is watched.
$node->safe_psql('postgres',
	"CREATE SERVER unnamed FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://concord.invalid/')");
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my ($threads, $open) = (0, 0);
my $until = time + 30;
$session->{stdin} .= "SELECT count((concord.ping('unnamed')).ok) FROM generate_series(1, 100000);\n";
$session->{run}->pump_nb;
while ($threads < 5 && time < $until)
{
	foreach my $status (glob "/proc/$pid/task/*/status")
	{
		next if $status =~ m{/task/$pid/};
		open my $fh, '<', $status or next;
		my ($mask) = join('', <$fh>) =~ /^SigBlk:\s*([0-9a-f]+)/m;
		next unless defined $mask;
		$threads++;
		# INT 2, USR1 10, ALRM 14, TERM 15
		foreach my $signal (2, 10, 14, 15)
		{
			$open++ unless hex(substr($mask, -8)) & (1 << ($signal - 1));
		}
	}
}
cmp_ok($threads, '>', 0, 'resolver threads were seen');
is($open, 0, 'with all signals blocked');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$session->quit;

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server is well');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/first-token|second-token|wrong one.*failed/, 'no token in the log');
done_testing();
