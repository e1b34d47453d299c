# Random changes of tables with mappings of all kinds, and random faults of the
# system for the first two thirds of them; then calm.  In the end the system
# holds what the tables hold, and nothing was written after something newer.
#
# CONCORD_SEED repeats a run, CONCORD_STEPS is its length in transactions.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{CONCORD_SEED} || int(rand(1_000_000));
my $steps = $ENV{CONCORD_STEPS} || 300;
my $began = time;
my $erp = Concord::Sandbox->new(recover => 1);
my $node = Concord::Cluster->create('random', conf => "max_worker_processes = 30\npg_concord.couriers = 2");

srand($seed);
note("CONCORD_SEED=$seed CONCORD_STEPS=$steps");
ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# name => [ connector, options, key of the system ]
my %kinds = (
	plain => [ 'rest', '{}', 'id' ],
	coalesced => [ 'rest', '{"coalesce": true}', 'id' ],
	patched => [ 'odata', '{"patch": "changed"}', 'id' ],
	packed => [ 'odata', '{"batch_size": 10}', 'id' ],
	arrayed => [ 'rest', '{"batch_size": 10, "linger": "20ms"}', 'id' ],
	grouped => [ 'rest', '{"ordering": "id % 5"}', 'id' ],
	given => [ 'odata', '{"remote_id": "assigned", "remote_id_path": "id", "remote_id_type": "number", "on_key_change": "update"}', 'ours' ],
	shared => [ 'odata', '{"couriers": 2, "on_key_change": "recreate"}', 'id' ],
	together => [ 'odata', '{"patch": "changed", "coalesce": true, "batch_size": 10}', 'id' ],
);
delete $kinds{$_} foreach split(/,/, $ENV{CONCORD_WITHOUT} // '');
my %path = (rest => '/rest/api', odata => '/odata/v4/sales');
foreach my $connector (sort keys %path)
{
	my $url = $erp->url($path{$connector});
	sql(qq{CREATE SERVER $connector FOREIGN DATA WRAPPER concord OPTIONS (connector '$connector', url '$url', concurrency '8', retry_limit '1000',
		retry_base '10ms', retry_cap '50ms', breaker_cooldown '50ms', timeout '500ms')});
}
sql('CREATE SEQUENCE version');
foreach my $name (sort keys %kinds)
{
	my ($connector, $options, $key) = @{ $kinds{$name} };

	$erp->set("$path{$connector}/$name", key => ['id'], sequence => 'v', $name eq 'given' ? (assign => JSON::PP::true) : (),
		$connector eq 'odata' ? (etag => JSON::PP::true) : ());
	sql(qq{CREATE TABLE $name (id int PRIMARY KEY, a int, b text, v bigint NOT NULL);
		SELECT concord.create_mapping('$name', '$name', '$connector', '$name', '{"a": "a", "b": "b", "v": "v"}',
			key => '{"$key": "id::text"}', options => '$options')});
}

# One statement on a table: v goes up with each change, of any row.
sub statement
{
	my ($table) = @_;
	my $id = 1 + int(rand(40));
	my $other = 1 + int(rand(40));
	my $value = int(rand(1000));
	my @forms = (
		"INSERT INTO $table VALUES ($id, $value, 'new', nextval('version')) ON CONFLICT (id) DO UPDATE SET a = excluded.a, v = excluded.v",
		"INSERT INTO $table VALUES ($id, $value, NULL, nextval('version')) ON CONFLICT (id) DO NOTHING",
		"UPDATE $table SET a = $value, v = nextval('version') WHERE id = $id",
		"UPDATE $table SET b = 'text $value', v = nextval('version') WHERE id BETWEEN $id AND $id + 5",
		"UPDATE $table SET b = NULL, v = nextval('version') WHERE id = $id",
		"UPDATE $table SET a = a WHERE id = $id",
		"DELETE FROM $table WHERE id = $id",
		"UPDATE $table SET id = $other, v = nextval('version') WHERE id = $id AND NOT EXISTS (SELECT FROM $table WHERE id = $other)",
	);
	return $forms[ rand @forms ];
}

sub transaction
{
	my @statements = map { statement((sort keys %kinds)[ rand keys %kinds ]) } 1 .. 1 + rand(6);

	if (rand() < 0.2)
	{
		splice(@statements, 1, 0, 'SAVEPOINT s');
		push @statements, 'ROLLBACK TO s' if rand() < 0.5;
	}
	return join(";\n", 'BEGIN', @statements, rand() < 0.1 ? 'ROLLBACK' : 'COMMIT') . ";\n";
}

# A fault for some of the requests, sometimes a few, sometimes all of a set.
my @faults = (
	sub { return { status => 500 } },
	sub { return { status => 503 } },
	sub { return { status => 429 } },
	sub { return { status => 500, act => JSON::PP::true } },
	sub { return { reset => 'before' } },
	sub { return { reset => 'after' } },
	sub { return { torn => JSON::PP::true } },
	sub { return { latency_ms => [ 100, 700 ] } },
	sub { return { hang => JSON::PP::true } });

sub fault
{
	my $action = $faults[ rand @faults ]->();
	my %match = (probability => 0.02 + rand(0.3));
	my $name = (sort keys %kinds)[ rand keys %kinds ];

	$match{path} = "$path{ $kinds{$name}[0] }/$name" if rand() < 0.6;
	$erp->rule(\%match, $action, 1 + int(rand(40)));
	return;
}

my $calm = int($steps * 2 / 3);
my %happened = (courier => 0, system => 0, fault => 0);
for (my $step = 0; $step < $steps; $step += 10)
{
	if ($step < $calm)
	{
		$happened{fault} += 2;
		fault() for 1, 2;
		if (rand() < 0.05)
		{
			$erp->stop('KILL');
			$erp->start;
			$happened{system}++;
		}
		elsif (rand() < 0.05)
		{
			sql("SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
				WHERE backend_type = 'concord courier' ORDER BY random() LIMIT 1) c");
			$happened{courier}++;
		}
	}
	elsif ($happened{calm}++ == 0)
	{
		$erp->drop_rules;
	}
	sql(join('', map { transaction() } 1 .. 10));
	usleep(rand(150_000));
}
note("$happened{fault} faults, $happened{courier} couriers ended, $happened{system} kills of the system");

is(sql("SELECT concord.wait_for_delivery(NULL, '120s')"), 't', 'all is delivered')
  or diag(sql('SELECT mapping, pending, retrying, blocked, last_error FROM concord.status'));
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters')
  or diag(sql('SELECT mapping, local_key, rule, status, error, answer FROM concord.dead_letter LIMIT 10'));
foreach my $name (sort keys %kinds)
{
	my ($connector, $options, $key) = @{ $kinds{$name} };
	my $data = $erp->data("$path{$connector}/$name");
	my $have = join(' ', map { join(':', $_->{$key}, $_->{a}, $_->{b} // 'null', $_->{v}) } sort { $a->{$key} <=> $b->{$key} } values %$data);
	my $want = sql("SELECT coalesce(string_agg(concat_ws(':', id, a, coalesce(b, 'null'), v), ' ' ORDER BY id), '') FROM $name");

	is($have, $want, "$name: the system holds what the table holds") or show($name, $have, $want);
	is(sql("SELECT count(*) FROM concord.link WHERE mapping = '$name'"), scalar(keys %$data), "$name: with a link each");
}
# What came about the records that differ, and what was made of their events.
sub show
{
	my ($name, $have, $want) = @_;
	my %count;

	$count{$_}++ foreach split(/ (?=\d+:)/, $have), split(/ (?=\d+:)/, $want);
	my %ids = map { /^(\d+):/ ? ($1 => 1) : () } grep { $count{$_} == 1 } keys %count;
	foreach my $id (sort { $a <=> $b } keys %ids)
	{
		diag("$name $id:");
		diag("  $_->{at} $_->{method} $_->{path} $_->{key} " . substr($_->{body}, 0, 200) . " $_->{status} acted $_->{acted} $_->{repeat} " .
			  ($_->{headers}{'idempotency-key'} // '')) foreach grep { ($_->{key} // '') eq $id } $erp->log_entries("$path{ $kinds{$name}[0] }/$name");
		diag(sql("SELECT seq, op, local_key->>'id', state, attempts, status, (extract(epoch FROM changed_at) * 1000000)::bigint FROM concord.delivery
			WHERE mapping = '$name' AND local_key->>'id' = '$id' ORDER BY seq"));
	}
	return;
}

my $stats = $erp->stats;
is($stats->{order_violations}, 0, 'nothing was written after something newer') or diag(explain($erp->violations));
is($stats->{key_reused}, 0, 'no idempotency key came with another body') or diag(explain($erp->violations));
note(sprintf('%d transactions in %.0f s: %d requests, %d of them with a fault, %s',
		$steps, time - $began, $stats->{requests}, $stats->{faults},
		sql("SELECT sum(delivered) || ' delivered, ' || sum(unchanged) || ' unchanged, ' || sum(retried) || ' retried' FROM concord.status")));

$node->stop;
done_testing();
