# Requests of sessions end: cancelled in every phase within a tenth of a second,
# by Ctrl-C, statement_timeout and pg_terminate_backend; with their savepoint,
# their portal, their session; no descriptor, memory or place is left behind.
# Two hundred sessions at once keep to the limits; HTTP/2.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use IPC::Run ();
use JSON::PP;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $true = JSON::PP::true;
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('live_sessions', conf => "max_connections = 300\nlog_min_duration_statement = -1\npg_concord.call_log = off");
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $url = $erp->url('/rest/shop/');
sql(qq(CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', timeout '60s', breaker_failures '1000', breaker_cooldown '1ms')));
sql(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 1}')));

# A session of ours, driven through pipes; say(SQL) and hear(PATTERN).
package Session;
use Time::HiRes qw(sleep time);

sub new
{
	my ($class) = @_;
	my $self = bless { in => '', out => '' }, $class;
	$self->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$self->{in}, '>&', \$self->{out});
	$self->say('SELECT pg_backend_pid() || \'|pid\'');
	($self->{pid}) = $self->hear(qr/(\d+)\|pid/) or die 'no session';
	return $self;
}

sub say
{
	my ($self, $sql) = @_;
	$self->{out} = '';
	$self->{in} .= "$sql;\n";
	$self->{run}->pump_nb;
	return;
}

sub hear
{
	my ($self, $pattern) = @_;
	my $until = time + 30;
	while (time < $until)
	{
		eval { $self->{run}->pump_nb; 1 } or last;
		return wantarray ? ($1 // 1) : 1 if $self->{out} =~ $pattern;
		sleep 0.002;
	}
	Test::More::diag("wanted $pattern, heard: $self->{out}");
	return;
}

sub ask
{
	my ($self, $sql) = @_;
	$self->say("$sql; \\echo =end=");
	$self->hear(qr/=end=/);
	(my $out = $self->{out}) =~ s{\s*=end=.*}{}s;
	return $out;
}

# asleep: waits for something that is outside
sub asleep
{
	my ($self) = @_;
	return $node->poll("SELECT state = 'active' AND wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $self->{pid}");
}

sub end { my ($self) = @_; $self->{in} .= "\\q\n"; eval { $self->{run}->finish }; return; }

package main;

# descriptors and resident memory, in kB, of a process
sub usage
{
	my ($pid) = @_;
	opendir my $dir, "/proc/$pid/fd" or return (0, 0);
	my $fds = grep { !/^\./ } readdir $dir;
	my ($rss) = slurp_file("/proc/$pid/status") =~ /VmRSS:\s+(\d+)/;
	return ($fds, $rss);
}

# --- cancelled in each phase ---
my $silent = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
my $dead = $silent->sockport;

# a port whose queue is full: connecting does not end
my @full = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $dead, Proto => 'tcp', Blocking => 0) } 1 .. 4;
sql(qq(CREATE SERVER silent FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:$dead/', connect_timeout '60s', timeout '60s')));
sql(qq(CREATE SERVER narrow FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', concurrency '1', timeout '60s')));
sql(qq(CREATE SERVER slow FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', rate '1/min', timeout '10min')));
sql(q(SELECT concord.call('slow', 'GET', 'things/1')));
$erp->rule({ path => '/rest/shop/hang' }, { hang => $true });
$erp->rule({ path => '/rest/shop/body' }, { status => 200, slow => { bytes => 1, ms => 200 }, body => 'x' x 1000 });
$erp->rule({ path => '/rest/shop/held' }, { hang => $true });

my $s = Session->new;
my $holder = Session->new;
my @times;
for my $phase (['connecting', 'silent', 'x'], ['waiting for an answer', 'shop', 'hang'], ['in the body', 'shop', 'body'],
	['waiting for a place', 'narrow', 'x'], ['waiting for the rate', 'slow', 'things/1'], ['waiting for another\'s request', 'shop', 'hang'])
{
	my ($name, $server, $path) = @$phase;
	my $age = '';
	if ($server eq 'narrow' || $name =~ /another/)
	{
		$age = ', max_age => \'1h\'' if $name =~ /another/;
		$holder->say($age ? q(SELECT concord.call('shop', 'GET', 'hang', max_age => '1h')) : q(SELECT concord.call('narrow', 'GET', 'held')));
		$holder->asleep;
		$node->poll("SELECT in_flight = 1 FROM concord.system WHERE server = '$server'");
	}
	my $call = "SELECT concord.call('$server', 'GET', '$path'$age)";

	Concord::Cluster::within(0.1, "$name: cancelled within 100 ms", sub {
		$s->say($call);
		$s->asleep;
		my $start = time;
		kill 'INT', $s->{pid};
		ok($s->hear(qr/canceling statement due to user request/), "$name: cancelled");
		push @times, time - $start;
		return $times[-1];
	});
	Concord::Cluster::within(0.35, "$name: statement_timeout in time", sub {
		$s->say("SET statement_timeout = '200ms'; $call");
		my $start = time;
		ok($s->hear(qr/canceling statement due to statement timeout/), "$name: statement_timeout");
		my $took = time - $start;
		$s->ask('RESET statement_timeout');
		return $took;
	});
	is($s->ask("RESET statement_timeout; SELECT status FROM concord.call('shop', 'GET', 'things/1')"), '200', "$name: usable afterwards");
	Concord::Cluster::within(0.1, "$name: terminated within 100 ms", sub {
		my $t = Session->new;
		$t->say($call);
		$t->asleep;
		my $start = time;
		kill 'TERM', $t->{pid};
		ok($t->hear(qr/terminating connection/), "$name: terminated");
		my $took = time - $start;
		$t->end;
		return $took;
	});
	if ($server eq 'narrow' || $age)
	{
		kill 'INT', $holder->{pid};
		$holder->hear(qr/canceling|\d/);
	}
}
note(sprintf 'cancelled after %.1f ms at most', 1000 * max(@times));
$erp->drop_rules;
ok($node->poll(q(SELECT sum(in_flight) = 0 FROM concord.system)), 'no place is taken');

# --- ends of a savepoint, of a handler ---
$erp->rule({ path => '/rest/shop/hang' }, { hang => $true });
is(sql(q(
	BEGIN; SAVEPOINT a; SET LOCAL statement_timeout = '100ms';
	\set ON_ERROR_STOP 0
	SELECT concord.call('narrow', 'GET', 'hang');
	ROLLBACK TO a; SET LOCAL statement_timeout = 0;
	SELECT in_flight FROM concord.system WHERE server = 'narrow';
	SELECT status FROM concord.call('narrow', 'GET', 'things/1'); COMMIT)), "0\n200", 'a savepoint that is rolled back');
is($s->ask(q(BEGIN; SELECT concord.call('narrow', 'GET', 'hang', timeout => '200ms'))) =~ /did not answer in time/ ? 1 : 0, 1, 'an error');
is(sql(q(SELECT in_flight FROM concord.system WHERE server = 'narrow')), '0', 'gives its place back before the transaction is rolled back');
$s->ask('ROLLBACK');
$erp->drop_rules;

# --- nothing is left of thousands of failures ---
sql(q(CREATE FUNCTION storm(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	codes text[] := '{}';
	state text;
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			PERFORM concord.call(CASE i % 5 WHEN 0 THEN 'nobody' ELSE 'shop' END::name, CASE i % 2 WHEN 0 THEN 'POST' ELSE 'GET' END,
				CASE i % 5 WHEN 1 THEN 'torn' WHEN 2 THEN 'json' WHEN 3 THEN 'reset' WHEN 4 THEN '../x' ELSE 'x' END,
				body => CASE i % 2 WHEN 0 THEN '{}'::jsonb END, max_age => CASE i % 2 WHEN 1 THEN interval '1h' END);
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
			IF NOT state = ANY (codes) THEN codes := codes || state; END IF;
		END;
	END LOOP;
	RETURN (SELECT string_agg(c, ' ' ORDER BY c) FROM unnest(codes) c);
END $$));
sql(q(CREATE SERVER nobody FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', breaker_cooldown '1ms', breaker_failures '1000')));
$erp->rule({ path => '/rest/shop/torn' }, { torn => $true });
$erp->rule({ path => '/rest/shop/reset' }, { reset => 'after' });
$erp->rule({ path => '/rest/shop/json' }, { status => 200, headers => { 'Content-Type' => 'application/json' }, body => '{"a": ' });
my $codes = $s->ask('SELECT storm(1000)');
like($codes, qr/08001.*08006.*08007.*22023.*K0004/, "what fails: $codes");
my ($fds, $rss) = usage($s->{pid});
$s->ask('SELECT storm(4000)');
my ($fds_after, $rss_after) = usage($s->{pid});
cmp_ok($fds_after, '<=', $fds + 2, "descriptors after 4000 failures more: $fds, $fds_after");
cmp_ok($rss_after - $rss, '<', 2000, 'memory, in kB: ' . ($rss_after - $rss));
is(sql(q(SELECT sum(in_flight) FROM concord.system)), '0', 'no place is taken');
$erp->drop_rules;
is($s->ask(q(SELECT status FROM concord.call('shop', 'GET', 'things/1'))), '200', 'usable afterwards');

# --- two hundred sessions ---
# a system of their own: what was cancelled above may still hang in the other
my $crowded = Concord::Sandbox->new;
my $crowded_url = $crowded->url('/rest/shop/');
$crowded->rule({ path => '/rest/shop/many' }, { latency_ms => 20, status => 200, body => '[]' });
sql(qq(CREATE SERVER many FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$crowded_url', concurrency '16', timeout '60s')));
my $start = time;
my @runs = map {
	my ($o, $e) = ('', '');
	{ out => \$o, err => \$e, run => IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		q(SELECT count(*) FROM generate_series(1, 10) i, LATERAL concord.call('many', 'GET', 'many/' || i))], '<', \undef, '>', \$o, '2>', \$e) }
} 1 .. 200;
$_->{run}->finish for @runs;
is((scalar grep { ${ $_->{out} } eq "10\n" } @runs), 200, sprintf('two hundred sessions, each ten calls, in %.1f s', time - $start))
  or diag((grep { $_ } map { ${ $_->{err} } } @runs)[0]);
cmp_ok($crowded->stats->{in_flight_max}, '<=', 16, 'within option concurrency');
is($crowded->stats->{requests}, 2000, 'each asked once');
is(sql(q(SELECT sum(in_flight) FROM concord.system)), '0', 'no place is taken');

# --- HTTP/2, where the server offers it ---
SKIP:
{
	my $found = `node --version 2>/dev/null`;
	skip 'no node here', 4 unless $found;
	my $dir = PostgreSQL::Test::Utils::tempdir;
	system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
		  . " -keyout $dir/key.pem -out $dir/cert.pem >/dev/null 2>&1") == 0 or die 'openssl';
	open my $fh, '>', "$dir/h2.js" or die $!;
	print $fh <<'JS';
const http2 = require('http2'), fs = require('fs'), dir = process.argv[2];
const server = http2.createSecureServer({ key: fs.readFileSync(dir + '/key.pem'), cert: fs.readFileSync(dir + '/cert.pem'), allowHTTP1: true });
let connections = 0;
server.on('secureConnection', () => connections++);
server.on('request', (req, res) => {
	let body = '';
	req.on('data', d => body += d);
	req.on('end', () => { res.setHeader('content-type', 'application/json');
		res.end(JSON.stringify({ version: req.httpVersion, method: req.method, length: body.length, connections })); });
});
server.listen(0, '127.0.0.1', () => fs.writeFileSync(dir + '/port', String(server.address().port)));
JS
	close $fh;
	my $run = IPC::Run::start([ 'node', "$dir/h2.js", $dir ], '<', \undef, '>', \my $o, '2>', \my $e);
	sleep 0.05 for grep { !-s "$dir/port" } 1 .. 200;
	my $port = slurp_file("$dir/port");
	chmod 0644, "$dir/cert.pem";
	sql(qq(CREATE SERVER h2 FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'https://localhost:$port/', ca_file '$dir/cert.pem')));
	is(sql(q(SELECT body ->> 'version' FROM concord.call('h2', 'GET', 'x'))), '2.0', 'HTTP/2 by ALPN');
	is(sql(q(SELECT body - 'connections' FROM concord.call('h2', 'POST', 'x', body => '{"a": 1}'))), '{"length": 8, "method": "POST", "version": "2.0"}', 'with a body');
	my $first = sql(q(SELECT max((body ->> 'connections')::int) FROM concord.call('h2', 'GET', 'x')));
	is(sql(q(SELECT count(*), max((r.body ->> 'connections')::int) - ) . $first . q( FROM generate_series(1, 500) i, LATERAL concord.call('h2', 'GET', 'x/' || i) r)), '500|1', 'five hundred on one connection');
	is(sql(q(SELECT ok FROM concord.ping('h2'))), 't', 'ping');
	$run->kill_kill;
}

$s->end;
$holder->end;
done_testing();
