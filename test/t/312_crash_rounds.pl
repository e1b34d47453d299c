# Kill -9 of a courier, of the system, of the postmaster, in any order and at any
# moment, under mappings of all kinds: records with keys of ours, singly and by
# $batch, one of them divided over two couriers; records whose ids the system
# gives; events, singly and in batches.  In the end nothing is lost, each record
# was written in order, what came twice came with the same idempotency key, and
# the system holds what the tables hold.
#
# CONCORD_ROUNDS is how many are killed (default 6), CONCORD_SEED which.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep time);

my $rounds = $ENV{CONCORD_ROUNDS} || 6;
my $seed = $ENV{CONCORD_SEED} || int(rand(1_000_000));
my $sales = '/odata/v4/sales';
my $began = time;
my $erp = Concord::Sandbox->new(recover => 1);
my $node = Concord::Cluster->create('rounds',
	conf => "fsync = on\nrestart_after_crash = on\nmax_worker_processes = 30\npg_concord.couriers = 2");

srand($seed);
note("CONCORD_SEED=$seed CONCORD_ROUNDS=$rounds");
ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# table => set; all count the changes of a row in v
my %records = (plain => 'Plain', packed => 'Packed', shared => 'Shared', given => 'Given');
my $fast = "concurrency '16', retry_base '20ms', retry_cap '100ms', breaker_cooldown '100ms'";
my $fields = '{"Qty": "qty", "V": "v"}';
$erp->set("$sales/$_", key => ['ID'], sequence => 'V', etag => JSON::PP::true) for qw(Plain Packed Shared);
$erp->set("$sales/Given", key => ['ID'], sequence => 'V', assign => JSON::PP::true);
sql(qq{
	CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '@{[ $erp->url("$sales/") ]}', $fast);
	CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '@{[ $erp->url('/hook/') ]}', $fast);
	CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, qty int NOT NULL, v int NOT NULL DEFAULT 1);
	CREATE TABLE packed (LIKE plain INCLUDING ALL);
	CREATE TABLE shared (LIKE plain INCLUDING ALL);
	CREATE TABLE given (LIKE plain INCLUDING ALL);
	CREATE TABLE tick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);
	CREATE TABLE tock (LIKE tick INCLUDING ALL);
	SELECT concord.create_mapping('plain', 'plain', 'erp', 'Plain', '$fields', key => '{"ID": "id::text"}');
	SELECT concord.create_mapping('packed', 'packed', 'erp', 'Packed', '$fields', key => '{"ID": "id::text"}', options => '{"batch_size": 25}');
	SELECT concord.create_mapping('shared', 'shared', 'erp', 'Shared', '$fields', key => '{"ID": "id::text"}', options => '{"couriers": 2}');
	SELECT concord.create_mapping('given', 'given', 'erp', 'Given', '$fields', key => '{"Ours": "id::text"}',
		options => '{"remote_id": "assigned", "remote_id_path": "ID", "remote_id_type": "number"}');
	SELECT concord.create_mapping('tick', 'tick', 'hook', 'tick', '{"n": "n"}');
	SELECT concord.create_mapping('tock', 'tock', 'hook', 'tock', '{"n": "n"}', options => '{"batch_size": 25}');});
sql("INSERT INTO $_ (qty) SELECT 0 FROM generate_series(1, 30)") for keys %records;

# Everything takes a moment, so that whatever is killed, something is under way.
sub slow { $erp->rule({ path => '/' }, { latency_ms => [ 1, 25 ] }); return; }
slow();

# A file of transactions: updates, creates and deletes of each table, and events.
my $changes = PostgreSQL::Test::Utils::tempdir . '/changes.sql';
open(my $file, '>', $changes) or die "$changes: $!";
for my $i (1 .. 12)
{
	print $file "BEGIN;\n";
	print $file "UPDATE $_ SET qty = qty + 1, v = v + 1 WHERE id <= 30 AND id % 3 = $i % 3;\n",
	  "INSERT INTO $_ (qty) SELECT $i FROM generate_series(1, 4);\n",
	  "UPDATE $_ SET qty = -qty, v = v + 1 WHERE id > 30 AND random() < 0.05;\n",
	  "DELETE FROM $_ WHERE id > 30 AND random() < 0.02;\n"
	  foreach sort keys %records;
	print $file "INSERT INTO $_ (n) SELECT $i FROM generate_series(1, 5);\n" foreach qw(tick tock);
	print $file "COMMIT;\n";
}
close($file);

# Runs them beside what happens here; a server that goes away ends them.
sub change
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>', '/dev/null');
		open(STDERR, '>', '/dev/null');
		exec('psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', $changes) or POSIX::_exit(127);
	}
	return $pid;
}

sub couriers
{
	my $connstr = $node->connstr('postgres');
	return split /\n/, qx{psql -XAtq -d "$connstr" -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'" 2>/dev/null};
}

# The server accepts connections, and its couriers run.
sub wait_up
{
	my $until = time + $Concord::Cluster::TIMEOUT;

	while (time < $until)
	{
		return 1 if couriers() == 2;
		usleep(50_000);
	}
	return 0;
}

my %kill = (
	courier => sub {
		my @pids = couriers();
		$node->crash($pids[ rand @pids ]) if @pids;
		return;
	},
	system => sub {
		$erp->stop('KILL');
		usleep(rand(400_000));
		$erp->start;
		slow();
		return;
	},
	postmaster => sub {
		$node->kill9;
		# its children end on their own; until then the data are in use
		my $until = time + $Concord::Cluster::TIMEOUT;
		while (!$node->start(fail_ok => 1) && time < $until)
		{
			$node->{_pid} = undef;    # of the file that was left behind
			usleep(50_000);
		}
		return;
	});
my %killed;
my $not_up = 0;

for my $round (1 .. $rounds)
{
	my $victim = (sort keys %kill)[ rand 3 ];
	my $worker = change();

	usleep(rand(700_000));
	$kill{$victim}->();
	$killed{$victim}++;
	waitpid($worker, 0);
	$not_up++ unless wait_up();
	last if $not_up;
	# now and then it comes to rest, so that what is killed is not always in a backlog
	sql("SELECT concord.wait_for_delivery(NULL, '60s')") if $round % 7 == 0;
}
is($not_up, 0, 'the server came back each time');
note(join(', ', map { "$_ killed $killed{$_} times" } sort keys %killed));

$erp->drop_rules;
is(sql("SELECT concord.wait_for_delivery(NULL, '120s')"), 't', 'all is delivered');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters')
  or diag(sql('SELECT mapping, local_key, rule, status, error FROM concord.dead_letter LIMIT 10'));
my $rows = 0;
for my $table (sort keys %records)
{
	my $key = $table eq 'given' ? 'Ours' : 'ID';
	my $data = $erp->data("$sales/$records{$table}");
	my $have = join(' ', map { "$_->{$key}:$_->{Qty}:$_->{V}" } sort { $a->{$key} <=> $b->{$key} } values %$data);
	my $want = sql("SELECT string_agg(id || ':' || qty || ':' || v, ' ' ORDER BY id) FROM $table");

	ok($have eq $want, "$table: the system holds what the table holds") or diag("have $have\nwant $want");
	is(sql("SELECT count(*) FROM concord.link WHERE mapping = '$table'"), scalar(keys %$data), "$table: with a link each");
	$rows += keys %$data;
}
my %ours = map { $_->{Ours} => $_->{ID} } values %{ $erp->data("$sales/Given") };
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'given' AND (local_key->>'id', remote_id) IN (" .
		join(', ', map { "('$_', '$ours{$_}')" } keys %ours) . ')'), scalar(keys %ours), 'given: to the right record');

my @log = $erp->log_entries('/hook/');
my %seen;
for my $request (grep { $_->{acted} } @log)
{
	my $body = decode_json($request->{body} || '{}');
	$seen{$_}++ foreach ref $body eq 'ARRAY' ? map { $_->{id} } @$body : $request->{headers}{'ce-id'};
}
my $events = sql('SELECT (SELECT count(*) FROM tick) + (SELECT count(*) FROM tock)');
is(scalar(keys %seen), $events, 'every event has come');
my $repeats = 0;
$repeats += $_ - 1 foreach values %seen;

# Records of which one change was carried out under two idempotency keys, with all
# that came about them.  Where the system gives ids, a create that may have arrived
# is looked for by our key, which answers with the id alone: the record found is
# updated to the same image.  That is no second record, and is left out here.
sub twice
{
	my (%came, %keys, @twice);
	for my $request (grep { $_->{acted} && $_->{key} } $erp->log_entries("$sales/"))
	{
		my $key = $request->{headers}{'idempotency-key'} // '';
		my ($set) = $request->{path} =~ m{/(\w+)(?:\(.*)?$};
		my ($v) = $request->{body} =~ /"V":(\d+)/;
		my $record = "$set $request->{key}";

		push @{ $came{$record} }, "$request->{at} $request->{method} V=" . ($v // '') . " $request->{status} $request->{repeat} $key";
		next if !defined $v || $request->{repeat} eq 'repeat';
		push @twice, $record
		  if $keys{$record}{$v} && !($set eq 'Given' && $v == 1 && $request->{method} eq 'PATCH' && $keys{$record}{$v}++ == 1);
		$keys{$record}{$v} ||= 1;
	}
	return map { join("\n", $_, @{ $came{$_} }) } @twice;
}

my $stats = $erp->stats;
is($stats->{order_violations}, 0, 'in order per record') or diag(explain($erp->violations));
is($stats->{key_reused}, 0, 'no idempotency key came with another body') or diag(explain($erp->violations));
my @twice = twice();
is(scalar(@twice), 0, 'nothing came twice under two keys') or diag(join("\n", @twice));
my $sent = sql('SELECT sum(delivered) FROM concord.status');
note(sprintf('%d rounds in %.0f s: %d records, %d events, %d delivered, %d requests, %d repeats with the same key, %d events again',
		$rounds, time - $began, $rows, $events, $sent, $stats->{requests}, $stats->{duplicates_same_key}, $repeats));

$node->stop;
done_testing();
