# What requests may contact: addresses in every form, by name, by a connection
# that another server has opened, through a proxy; who owns a server; redirects;
# the size, the encoding and the pace of answers; the least version of TLS.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Sandbox;
use File::Temp;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# an OpenSSL that would speak what is too old
my $conf = File::Temp->new;
print $conf "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1\nCipherString = DEFAULT\@SECLEVEL=0\n";
close $conf;
chmod 0644, "$conf";
$ENV{OPENSSL_CONF} = "$conf";

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('egress');
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub refused { my ($s) = @_; return sql("SELECT ok, error FROM concord.ping('$s')"); }

my ($port) = $erp->url('/') =~ /:(\d+)/;
sql(q{CREATE ROLE tenant; GRANT USAGE ON FOREIGN DATA WRAPPER concord TO tenant; GRANT USAGE ON SCHEMA concord TO tenant;
	GRANT EXECUTE ON FUNCTION concord.ping(name, name) TO tenant; GRANT SELECT ON concord.connector TO tenant});
sql("CREATE SERVER trusted FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://localhost:$port/rest/', timeout '3s', connect_timeout '1s')");
sql("SET ROLE tenant; CREATE SERVER theirs FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://localhost:$port/rest/', timeout '3s', connect_timeout '1s')");

sub at { my ($server, $url) = @_; sql("ALTER SERVER $server OPTIONS (SET url '$url')"); return refused($server); }

# never, by nobody
for my $host ('169.254.169.254', '2852039166', '0xA9FEA9FE', '0251.0376.0251.0376', '[::ffff:169.254.169.254]', '[::169.254.169.254]',
	'[64:ff9b::a9fe:a9fe]', '[64:ff9b:1::a9fe:a9fe]', '[2002:a9fe:a9fe::1]', '[::ffff:0:a9fe:a9fe]', '[2001:0:1:2:3:4:5601:5601]', '[fd00:ec2::254]', '[fd20:ce::254]', '[fe80::1]',
	'100.100.100.200', '168.63.129.16', '192.0.0.192', '224.0.0.1', '255.255.255.255', '240.0.0.1')
{
	my $answer = at('trusted', "http://$host/latest/meta-data/");
	like($answer, qr/^f\|address \S+ is not allowed$|^f\|.*(?:not supported|unreachable|resolve)/, "$host, of a superuser's server") or diag($answer);
	unlike($answer, qr/timed out|refused/i, 'no connection was tried');
}

# private ones, of an ordinary owner: refused in every form, with the setting named
for my $host ('localhost', '127.0.0.1', '127.1', '2130706433', '0x7f000001', '017700000001', '0.0.0.0', '0', '[::1]', '[::]', '[::ffff:127.0.0.1]',
	'[::127.0.0.1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::1]', '%31%32%37.0.0.1', '10.0.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1',
	'198.18.0.1', '[fc00::1]', '[fdff::1]')
{
	my $answer = at('theirs', "http://$host:$port/rest/");
	like($answer, qr/^f\|address \S+ is not allowed \(see pg_concord\.allowed_networks\)/, "$host, of another owner");
}
is(scalar($erp->log_entries), 0, 'nothing has arrived');

# by leave
$node->append_conf('postgresql.conf', "pg_concord.allowed_networks = '127.0.0.0/8, ::1'");
$node->reload;
ok($node->poll("SHOW pg_concord.allowed_networks", '127.0.0.0/8, ::1'), 'setting');
at('theirs', "http://127.0.0.1:$port/rest/");
is(refused('theirs'), 't|', 'allowed_networks lets a network through');
like(at('theirs', 'http://10.0.0.1/'), qr/^f\|address 10\.0\.0\.1 is not allowed/, 'and no other');
$node->append_conf('postgresql.conf', "pg_concord.allowed_networks = ''");
$node->reload;
ok($node->poll("SHOW pg_concord.allowed_networks", ''), 'setting');

# who owns a server counts now, not when it was made
at('theirs', "http://localhost:$port/rest/");
is(at('trusted', "http://localhost:$port/rest/"), 't|', 'a server of a superuser');
sql('ALTER SERVER trusted OWNER TO tenant');
like(refused('trusted'), qr/^f\|address \S+ is not allowed/, 'given away: not any more');
sql('ALTER SERVER trusted OWNER TO CURRENT_USER');
is(refused('trusted'), 't|', 'taken back');

# couriers: a connection that a superuser's server has opened is not for others
sub mapping { my ($name, $role, $server) = @_; return qq(SET ROLE $role; SELECT concord.create_mapping('$name', '$name', '$server', '$name', fields => '{"n": "n"}')); }
sql("GRANT USAGE ON FOREIGN SERVER theirs TO tenant; GRANT ALL ON ALL ROUTINES IN SCHEMA concord TO tenant; GRANT CREATE ON SCHEMA public TO tenant; ALTER SERVER theirs OPTIONS (ADD breaker_cooldown '50ms')");
sql('CREATE TABLE ours (id int PRIMARY KEY, n int)');
sql('SET ROLE tenant; CREATE TABLE others (id int PRIMARY KEY, n int)');
sql(q{SELECT concord.create_mapping('ours', 'ours', 'trusted', 'ours', fields => '{"n": "n"}')});
sql(q{SET ROLE tenant; SELECT concord.create_mapping('others', 'others', 'theirs', 'others', fields => '{"n": "n"}')});
sql('INSERT INTO ours VALUES (1, 1)');
is(sql("SELECT concord.wait_for_delivery('ours', '60s')"), 't', 'ours is delivered, its connection stays open');
$erp->clear_log;
sql('INSERT INTO others VALUES (1, 1)');
for my $i (1 .. 15)
{
	sql("UPDATE ours SET n = $i + 1");
	sql("SELECT concord.wait_for_delivery('ours', '20s')");
}
ok($node->poll("SELECT state = 'down' AND last_error ~ 'is not allowed' FROM concord.system WHERE server = 'theirs'"), 'theirs is refused');
cmp_ok(scalar(grep { $_->{path} =~ m{/rest/ours} } $erp->log_entries), '>=', 15, 'while ours goes on');
is(scalar(grep { $_->{path} =~ m{/rest/others} } $erp->log_entries), 0, 'and no request of theirs has used its connection');

# an owner who is no superuser any more, or is one now: a courier sees it at once
sql('ALTER SERVER theirs OPTIONS (ADD retry_base \'50ms\', ADD retry_cap \'50ms\'); ALTER ROLE tenant SUPERUSER');
is(sql("SELECT concord.wait_for_delivery('others', '60s')"), 't', 'the owner is a superuser: delivered');
cmp_ok(scalar(grep { $_->{path} =~ m{/rest/others} } $erp->log_entries), '>=', 1, 'by a request');
my $courier = sql("SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier'");
sql('ALTER ROLE tenant NOSUPERUSER');
sleep 2;    # rights that are older than a second are looked at anew
$erp->clear_log;
sql('UPDATE others SET n = n + 1');
ok($node->poll("SELECT state = 'down' AND last_error ~ 'is not allowed' FROM concord.system WHERE server = 'theirs'"), 'not any more: refused');
is(scalar(grep { $_->{path} =~ m{/rest/others} } $erp->log_entries), 0, 'and no request has been sent');
is(sql("SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier'"), $courier, 'by the same courier');

# a redirect to where nobody may go is an answer
my $rule = $erp->rule({}, { status => 307, headers => { Location => 'http://169.254.169.254/' } });
like(refused('trusted'), qr/^f\|the server redirects, which is not followed \(HTTP status 307\)/, 'redirect');
$erp->drop_rule($rule);

# listen(ANSWER): a server that says one thing to each connection
sub listen_with
{
	my ($serve) = @_;
	my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		local $SIG{PIPE} = 'IGNORE';
		while (my $client = $socket->accept)
		{
			my $head = '';
			while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last; }
			$serve->($client, $head);
			close $client;
		}
		POSIX::_exit(0);
	}
	my $own = $socket->sockport;
	close $socket;
	return ($own, $pid);
}
sub done { my ($pid) = @_; kill 'KILL', $pid; waitpid $pid, 0; return; }

# a bomb: a megabyte of nothing in a kilobyte, as content and as transfer coding
my $bomb = eval { require IO::Compress::Gzip; my ($in, $out) = ("\0" x (64 * 1024 * 1024), ''); IO::Compress::Gzip::gzip(\$in, \$out); $out };
SKIP:
{
	skip 'no IO::Compress', 4 unless $bomb;
	for my $coding ("Content-Encoding: gzip\r\nContent-Length: " . length($bomb) . "\r\n", "Transfer-Encoding: gzip, chunked\r\n")
	{
		my ($bomb_port, $pid) = listen_with(sub {
			my ($client, $head) = @_;
			print $client "HTTP/1.1 200 OK\r\n$coding\r\n";
			print $client $coding =~ /chunked/ ? sprintf("%x\r\n%s\r\n0\r\n\r\n", length $bomb, $bomb) : $bomb;
		});
		my $answer = at('trusted', "http://127.0.0.1:$bomb_port/");
		like($answer, qr/^[tf]\|/, 'compressed: an end');
		unlike($answer, qr/timed out/, 'at once');
		done($pid);
	}
}

# headers without end, and one byte at a time
my ($drip_port, $drip) = listen_with(sub { my ($c) = @_; print $c "HTTP/1.1 200 OK\r\n"; for (1 .. 100) { print {$c} 'X'; $c->flush; select undef, undef, undef, 0.2; } });
my $start = time;
like(at('trusted', "http://127.0.0.1:$drip_port/"), qr/^f\|.*timed out/i, 'a header that drips');
cmp_ok(time - $start, '<', 10, 'ended by the timeout');
done($drip);
my ($flood_port, $flood) = listen_with(sub { my ($c) = @_; print $c "HTTP/1.1 200 OK\r\n"; for (1 .. 100_000) { print {$c} "X-$_: " . 'x' x 100 . "\r\n" or last; } });
like(at('trusted', "http://127.0.0.1:$flood_port/"), qr/^[tf]\|/, 'headers without end');
$start = time;
my ($again_port, $again) = listen_with(sub { my ($c) = @_; while (print {$c} "HTTP/1.1 100 Continue\r\n\r\n") { select undef, undef, undef, 0.01; } });
like(at('trusted', "http://127.0.0.1:$again_port/"), qr/^f\|.*timed out/i, 'interim answers without end');
cmp_ok(time - $start, '<', 10, 'ended by the timeout');
done($flood);
done($again);

# behind a proxy: its own address, and addresses that it is asked for
my ($proxy_port, $proxy) = listen_with(sub { my ($c) = @_; print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"; });
sql("ALTER SERVER trusted OPTIONS (ADD proxy 'http://127.0.0.1:$proxy_port')");
is(at('trusted', 'http://erp.invalid/'), 't|', 'a name behind a proxy is the proxy\'s to find');
is(at('trusted', 'http://10.1.2.3/'), 't|', 'an address of a private network');
for my $host ('169.254.169.254', '0xA9FEA9FE', '[::ffff:169.254.169.254]', '[fd00:ec2::254]')
{
	like(at('trusted', "http://$host/"), qr/^f\|address \S+ is not allowed/, "$host is not asked for");
}
sql("ALTER SERVER theirs OPTIONS (ADD proxy 'http://127.0.0.1:$proxy_port')");
like(at('theirs', 'http://erp.invalid/'), qr/^f\|address 127\.0\.0\.1 is not allowed/, 'a proxy in a private network, of another owner');
done($proxy);
sql('ALTER SERVER trusted OPTIONS (DROP proxy)');

# TLS before 1.2 is not spoken, whatever the machine's OpenSSL would do
SKIP:
{
	my $dir = File::Temp->newdir;
	skip 'no openssl program', 2
	  if system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null") != 0;
	for my $version ('-tls1_1', '-tls1_2')
	{
		my $tls_port = PostgreSQL::Test::Cluster::get_free_port();
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			open STDIN, '<', '/dev/zero';
			open STDOUT, '>', '/dev/null';
			open STDERR, '>', '/dev/null';
			exec 'openssl', 's_server', '-accept', $tls_port, '-cert', "$dir/cert.pem", '-key', "$dir/key.pem", $version, '-cipher', 'DEFAULT@SECLEVEL=0', '-www';
			POSIX::_exit(1);
		}
		sql("ALTER SERVER trusted OPTIONS (SET url 'https://127.0.0.1:$tls_port/')");
		sql("ALTER SERVER trusted OPTIONS (" . (sql("SELECT 'verify=false' = ANY (srvoptions) FROM pg_foreign_server WHERE srvname = 'trusted'") eq 't' ? 'SET' : 'ADD') . " verify 'false')");
		$node->poll("SELECT coalesce(error, '') !~* 'connect to' FROM concord.ping('trusted')");
		like(refused('trusted'), $version eq '-tls1_2' ? qr/^t\|/ : qr/^f\|.*(?:version|alert|TLS|SSL)/i, "openssl s_server $version");
		done($pid);
	}
}

$node->stop;
done_testing();
