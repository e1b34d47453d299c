# A system that moves: its name has another address. What was sent to the old one
# goes to the new one, no record is dead; and an address that nobody may contact
# is not contacted, whatever name has it.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Preload;
use Concord::Sandbox;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $world = Concord::Preload->new or plan skip_all => 'no compiler, or another preloaded library';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('moved', start => 0);
my ($port) = $erp->url('/') =~ /:(\d+)/;
$world->set(name => 'erp.test', address => '127.0.0.1');
$world->start($node);
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://erp.test:$port/rest/', breaker_cooldown '500ms', connect_timeout '2s')");
sql('CREATE TABLE goods (id int PRIMARY KEY, n int)');
sql(q{SELECT concord.create_mapping('goods', 'goods', 'shop', 'goods', fields => '{"n": "n"}')});
sql('INSERT INTO goods VALUES (1, 1)');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered by name');
cmp_ok(scalar($erp->log_entries), '>', 0, 'to the first address');

# it moves: the same port of another address of this machine
my $file = PostgreSQL::Test::Utils::tempdir . '/requests';
my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.2', LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
my $pid = fork() // die "fork: $!";
if ($pid == 0)
{
	while (my $client = $socket->accept)
	{
		my $head = '';
		while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last; }
		open my $fh, '>>', $file;
		print $fh +($head =~ /^(.*)\r/)[0], "\n";
		close $fh;
		print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
		close $client;
	}
	POSIX::_exit(0);
}
close $socket;
$world->set(address => '127.0.0.2');
$erp->stop;
sql('UPDATE goods SET n = 2');
is(sql("SELECT concord.wait_for_delivery(NULL, '55s')"), 't', 'delivered');
like(slurp_file($file), qr{(?:PUT|PATCH|POST) /rest/goods}, 'to the second address');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
kill 'KILL', $pid;
waitpid $pid, 0;

# a name that anybody may give any address
for my $address ('169.254.169.254', '::ffff:169.254.169.254', 'fd00:ec2::254', '64:ff9b::a9fe:a9fe')
{
	$world->set(address => $address);
	my $answer = sql("SELECT ok, error FROM concord.ping('shop')");
	SKIP:
	{
		skip "no IPv6 here: $answer", 1 if $address =~ /:/ && $answer =~ /resolve/;
		like($answer, qr/^f\|address \S+ is not allowed$/, "$address by name");
	}
}

$node->stop;
done_testing();
