# Crashes under load: kill -9 of a courier, an immediate shutdown, one after the
# other.  Every change arrives, in order per record, and what comes twice comes
# with the same idempotency key.
package Concord::Crash;

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Utils ();
use Test::More;

our @EXPORT_OK = qw(crash_test);

my $set = '/odata/v4/sales/Stock';

# The server comes back by itself after a worker was killed: it says so, and
# accepts connections.
sub wait_up
{
	my ($node, $log) = @_;

	ok($node->poll_log(qr/all server processes terminated; reinitializing/, $log), 'the server notices');
	ok($node->poll('SELECT true'), 'and is back');
	return;
}

sub couriers
{
	my ($node) = @_;
	return split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
}

# crash_test runs it.  Options: name and conf of the server; couriers, how many
# there are; rounds, how often one is killed; stock and tick, the options of the
# two mappings; sql, what else a transaction does, given the number of its round.
# Returns the sandbox, which has seen everything and still runs.
sub crash_test
{
	my (%how) = @_;
	my $couriers = $how{couriers} // 1;
	my $erp = Concord::Sandbox->new;
	my $node = Concord::Cluster->create($how{name}, conf => "fsync = on\nrestart_after_crash = on\n" . ($how{conf} // ''));
	my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
	my $running = sub {
		return $node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", $couriers);
	};
	my $rounds = 0;

	# Rounds of changes, each a transaction: half of the keys, new ones, and as many
	# ticks.  A create that may have arrived is looked for and not written again.
	my $change = sub {
		my $script = '';

		for (1 .. $_[0])
		{
			$rounds++;
			$script .= "BEGIN; UPDATE stock SET qty = qty + 1, v = v + 1 WHERE id <= 40 AND id % 2 = $rounds % 2;
			 INSERT INTO stock SELECT 1000 + $rounds * 20 + i, i FROM generate_series(1, 20) i;"
			  . ($how{sql} ? $how{sql}->($rounds) : '') . "
			 INSERT INTO tick (what, n) SELECT 'round', $rounds FROM generate_series(1, 20); COMMIT;\n";
		}
		$sql->($script);
		return;
	};

	ok($node->ready, 'capture runs');
	$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);
	$sql->(<<"SQL");
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL, v int NOT NULL DEFAULT 1);
CREATE TABLE tick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, n int);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata',
  url '@{[ $erp->url('/odata/v4/sales/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook',
  url '@{[ $erp->url('/hook/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'none');
SELECT concord.create_mapping('stock', 'stock', 'erp', 'Stock', '{"Qty": "qty", "V": "v"}', key => '{"ID": "id::text"}',
  options => '@{[ $how{stock} // '{}' ]}');
SELECT concord.create_mapping('tick', 'tick', 'hook', 'tick', '{"what": "what", "n": "n"}', options => '@{[ $how{tick} // '{}' ]}');
INSERT INTO stock SELECT i, 0 FROM generate_series(1, 40) i;
SQL
	is($sql->("SELECT concord.wait_for_delivery('stock', '60s')"), 't', 'the records are there');
	$erp->rule({ path => '/' }, { latency_ms => [ 1, 25 ] });

	for my $round (1 .. ($how{rounds} // 3))
	{
		ok($running->(), "round $round: as many couriers as there should be");
		my @pids = couriers($node);
		my $seen = $erp->stats->{requests};
		$change->(20);
		ok($erp->wait_until(sub { $_[0]->stats->{requests} > $seen + 50 }), 'they are at work');
		my $log = -s $node->logfile;
		is(kill('KILL', $pids[ rand @pids ]), 1, 'one is killed');
		wait_up($node, $log);
	}
	$change->(20);
	$node->stop('immediate');
	$node->start;
	$change->(20);
	my ($pid) = couriers($node);
	kill 'TERM', $pid if $pid;
	$change->(5);

	ok($running->(), 'all couriers run again');
	is($sql->("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'all is delivered');
	my $want = $sql->("SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM stock");
	my $data = $erp->data($set);
	my $have = join ',', map { "$_->{ID}:$_->{V}" } sort { $a->{ID} <=> $b->{ID} } values %$data;
	ok($have eq $want, 'the ERP holds what the table holds') or diag("want $want\nhave $have");

	my %ticks = map { $_->{headers}{'ce-id'} => 1 } grep { $_->{headers}{'ce-id'} } $erp->log_entries('/hook/tick');
	is(scalar(keys %ticks), $sql->('SELECT count(*) FROM tick'), 'every event has come');
	my $stats = $erp->stats;
	is($stats->{order_violations}, 0, 'in order per record') or diag(explain($erp->violations));
	is($stats->{key_reused}, 0, 'no idempotency key came with another body');
	is($stats->{duplicates_other_key}, 0, 'nothing came twice under two keys');
	note("repeats with the same key: $stats->{duplicates_same_key}");
	is($sql->('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');
	return $erp;
}

1;
