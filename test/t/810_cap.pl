# A real peer: SAP CAP's OData v4 server ends up equal to our tables, row by
# row, after a thousand changes by concurrent sessions, with the peer stopped
# for a while and once killed on the way.

use strict;
use warnings;

use Concord::Cluster;
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(usleep time);

my $dir = "$ENV{CONCORD_SRC}/test/peers/cap";
plan skip_all => 'left out by SKIP_PEERS' if Concord::Cluster::left_out('cap');

ok(-e "$dir/node_modules/.complete", 'the packages of the CAP peer are installed')
  or BAIL_OUT('run test/peers/cap/prepare and read npm.log, or set SKIP_PEERS=cap');

my $sessions = 4;
my $changes = $ENV{CONCORD_CAP_CHANGES} || 1000;
my $work = File::Temp->newdir;
my $port = Concord::Cluster::free_port();
my $url = "http://127.0.0.1:$port/odata/v4/trade/";
my $cap;

# Starts the peer and waits until it answers.
sub start_cap
{
	$cap = Concord::Cluster::start_child("$dir/serve", "$work/trade.sqlite", $port);
	my $end = time + 60;
	my $http = HTTP::Tiny->new(timeout => 5);
	while (time < $end)
	{
		return 1 if $http->get($url)->{success};
		usleep(100_000);
	}
	return 0;
}

# What the peer holds of a set, as one JSON array.
sub held
{
	my ($set) = @_;
	my $http = HTTP::Tiny->new(timeout => 30);
	my @all;
	my $next = $set;
	while (defined $next)
	{
		my $answer = $http->get($url . $next, { headers => { Accept => 'application/json' } });
		die "$next: $answer->{status} $answer->{content}" unless $answer->{success};
		push @all, $1 while $answer->{content} =~ /"value":\[(.*)\]/sg;
		($next) = $answer->{content} =~ /"\@odata.nextLink":"([^"]+)"/;
	}
	return '[' . join(',', grep { length } @all) . ']';
}

ok(start_cap(), 'CAP serves');

my $node = Concord::Cluster->create('main');
ok($node->ready, 'capture is ready');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE partner (
	id text PRIMARY KEY, name text, city text, credit_limit numeric(15,2), rating int,
	turnover bigint, score float8, blocked bool, since date, changed_at timestamptz(3));
CREATE TABLE sales_order (
	id uuid PRIMARY KEY, partner text, total numeric(15,2), ordered_at timestamptz(3), note text);
CREATE TABLE sales_order_item (
	order_id uuid, pos int, product text, quantity numeric(15,3), price numeric(15,2),
	PRIMARY KEY (order_id, pos));
CREATE TABLE guarded (
	id text PRIMARY KEY, name text, credit_limit numeric(15,2));
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url',
	retry_base '100ms', retry_cap '1s', breaker_cooldown '1s', concurrency '8');
SELECT concord.create_mapping('partners', 'partner', 'erp', 'BusinessPartners',
	fields => '{"Name": "name", "City": "city", "CreditLimit": "credit_limit", "Rating": "rating",
		"Turnover": "turnover", "Score": "score", "Blocked": "blocked", "Since": "since",
		"ChangedAt": "changed_at"}', key => '{"ID": "id"}');
SELECT concord.create_mapping('orders', 'sales_order', 'erp', 'SalesOrders',
	fields => '{"Partner": "partner", "Total": "total", "OrderedAt": "ordered_at", "Note": "note"}',
	key => '{"ID": "id"}');
SELECT concord.create_mapping('items', 'sales_order_item', 'erp', 'SalesOrderItems',
	fields => '{"Product": "product", "Quantity": "quantity", "Price": "price"}',
	key => '{"Order_ID": "order_id", "Pos": "pos"}');
SELECT concord.create_mapping('guarded', 'guarded', 'erp', 'GuardedPartners',
	fields => '{"Name": "name", "CreditLimit": "credit_limit"}', key => '{"ID": "id"}');
SQL

# ---- the changes: scripts with a fixed seed, run by concurrent sessions
my @names = ("O''Neil & Söhne", 'Zoë ☃ 𝄞', 'plain', '', 'tab\tand "quotes"', '日本語', 'a/b?c#d%e');
srand(20261121);

sub pick { return $_[ int(rand(@_)) ]; }

sub value_or_null
{
	my ($value) = @_;
	return rand() < 0.15 ? 'NULL' : $value;
}

sub partner_values
{
	return (
		"'" . pick(@names) . "'",
		value_or_null("'City " . int(rand(50)) . "'"),
		value_or_null(sprintf('%s%d.%02d', pick('', '-'), int(rand(9_999_999_999)), int(rand(100)))),
		value_or_null(int(rand(2**31)) - 2**30),
		value_or_null(int(rand(2**52))),
		value_or_null(int(rand(1000)) / 8),
		value_or_null(pick('true', 'false')),
		value_or_null("date '2000-01-01' + " . int(rand(9000))),
		value_or_null(sprintf("timestamptz '2026-11-20 08:15:%02d.%03d+02'", int(rand(60)), int(rand(1000)))));
}

# Ids with everything that an address must quote.
sub partner_id { return pick('P', "O''B/", 'ü %&+', '#?=') . int(rand(60)); }

my @columns = qw(name city credit_limit rating turnover score blocked since changed_at);

sub partner_change
{
	my $id = partner_id();
	my @v = partner_values();
	my $what = rand();
	return "INSERT INTO partner VALUES ('$id', " . join(', ', @v) . ") ON CONFLICT (id) DO UPDATE SET "
	  . join(', ', map { "$columns[$_] = excluded.$columns[$_]" } 0 .. $#columns)
	  if $what < 0.5;
	return "UPDATE partner SET $columns[2] = $v[2], $columns[0] = $v[0] WHERE id = '$id'" if $what < 0.75;
	return "DELETE FROM partner WHERE id = '$id'" if $what < 0.88;
	# a key change, unless somebody has the new key
	my $new = partner_id();
	return "UPDATE partner SET id = '$new' WHERE id = '$id' AND NOT EXISTS (SELECT FROM partner WHERE id = '$new')";
}

sub guarded_change
{
	my $id = 'G' . int(rand(20));
	return pick(
		"INSERT INTO guarded VALUES ('$id', '" . pick(@names) . "', " . int(rand(1000)) . ") ON CONFLICT (id) DO UPDATE SET name = excluded.name",
		"UPDATE guarded SET credit_limit = " . int(rand(100000)) / 4 . " WHERE id = '$id'",
		"DELETE FROM guarded WHERE id = '$id'");
}

# An order with items in one transaction; later changed, sometimes deleted.
sub order_changes
{
	my ($session, $n) = @_;
	my $id = sprintf('%08x-0000-4000-8000-%012d', $session, $n);
	my @sql = ('BEGIN',
		"INSERT INTO sales_order VALUES ('$id', '" . partner_id() . "', " . int(rand(1e6)) / 100 . ", '2026-11-20 10:00:00.5Z', E'line\\nbreak ☃')");
	foreach my $pos (1 .. 1 + int(rand(3)))
	{
		push @sql, "INSERT INTO sales_order_item VALUES ('$id', $pos, 'P$pos', " . int(rand(10000)) / 1000 . ", "
		  . int(rand(10000)) / 100 . ")";
	}
	push @sql, 'COMMIT', "UPDATE sales_order SET total = total + 0.10 WHERE id = '$id'";
	push @sql, "UPDATE sales_order_item SET quantity = NULL WHERE order_id = '$id' AND pos = 1" if rand() < 0.5;
	push @sql, "UPDATE sales_order_item SET pos = pos + 10 WHERE order_id = '$id' AND pos = 1" if rand() < 0.2;
	push @sql, "DELETE FROM sales_order_item WHERE order_id = '$id'; DELETE FROM sales_order WHERE id = '$id'" if rand() < 0.2;
	return @sql;
}

# One script; collisions on a key make a statement fail, which is as good.
sub script
{
	my ($session, $count) = @_;
	my @sql;
	my $n = 0;
	while (@sql < $count)
	{
		my $what = rand();
		push @sql, $what < 0.6 ? partner_change() : $what < 0.8 ? guarded_change() : order_changes($session, $n++);
		push @sql, 'SELECT pg_sleep(0.004)' if rand() < 0.5;
	}
	return join(";\n", @sql) . ";\n";
}

sub run_sessions
{
	my ($round, $count) = @_;
	my @pids;
	foreach my $session (1 .. $sessions)
	{
		my $file = "$work/changes_${round}_$session.sql";
		open my $fh, '>', $file or die $!;
		binmode $fh;
		print $fh script($round * 16 + $session, $count / $sessions);
		close $fh;
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			open STDOUT, '>', "$file.out";
			open STDERR, '>&', \*STDOUT;
			$ENV{PGCLIENTENCODING} = 'UTF8';
			exec('psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-f', $file)
			  or POSIX::_exit(1);
		}
		push @pids, $pid;
	}
	return @pids;
}

sub finish
{
	waitpid($_, 0) foreach @_;
	return;
}

# 1. all is well
finish(run_sessions(1, $changes * 0.6));

# 2. the peer goes away while changes go on, and comes back
my @pids = run_sessions(2, $changes * 0.9);
Concord::Cluster::stop_child($cap);
ok($node->poll("SELECT breaker <> 'closed' FROM concord.system WHERE server = 'erp'"),
	'the breaker opens while CAP is down');
finish(@pids);
is($node->safe_psql('postgres', 'SELECT count(*) FROM concord.dead_letter'), 0,
	'an outage makes no dead letters');
ok(start_cap(), 'CAP is back');

# 3. the peer is killed in the middle of it
@pids = run_sessions(3, $changes * 0.9);
ok($node->poll('SELECT sum(pending) > 0 FROM concord.status'), 'there is work');
Concord::Cluster::stop_child($cap, 'KILL');
ok(start_cap(), 'CAP is restarted');
finish(@pids);

is($node->safe_psql('postgres', "SELECT concord.wait_for_delivery(timeout => '180s')"), 't',
	'everything is delivered');
is($node->safe_psql('postgres', 'SELECT count(*) FROM concord.dead_letter'), 0, 'no dead letters')
  or diag($node->safe_psql('postgres', 'SELECT * FROM concord.dead_letter LIMIT 5'));
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM concord.outbox WHERE op IN ('insert', 'update', 'delete')"),
	'>=', $changes, "at least $changes row changes");

# ---- both sides equal, compared by PostgreSQL
my %sets = (
	BusinessPartners => [ 'partner', '"ID" text, "Name" text, "City" text, "CreditLimit" numeric(15,2), "Rating" int,
		"Turnover" bigint, "Score" float8, "Blocked" bool, "Since" date, "ChangedAt" timestamptz' ],
	SalesOrders => [ 'sales_order', '"ID" uuid, "Partner" text, "Total" numeric(15,2), "OrderedAt" timestamptz, "Note" text' ],
	SalesOrderItems => [ 'sales_order_item', '"Order_ID" uuid, "Pos" int, "Product" text, "Quantity" numeric(15,3), "Price" numeric(15,2)' ],
	GuardedPartners => [ 'guarded', '"ID" text, "Name" text, "CreditLimit" numeric(15,2)' ]);
foreach my $set (sort keys %sets)
{
	my ($table, $row) = @{ $sets{$set} };
	open my $fh, '>', "$work/$set.sql" or die $!;
	binmode $fh;
	my $json = held($set);
	print $fh "CREATE TABLE held_$table AS SELECT * FROM jsonb_to_recordset(\$cap\$$json\$cap\$) AS r($row);\n";
	close $fh;
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port,
			'-d', 'postgres', '-f', "$work/$set.sql" ], "$set: read");
	is($node->safe_psql('postgres', "SELECT count(*) > 5 FROM $table"), 't', "$set: there are rows");
	is($node->safe_psql('postgres',
			"SELECT 'only here', t::text FROM (TABLE $table EXCEPT TABLE held_$table) t
			 UNION ALL SELECT 'only there', t::text FROM (TABLE held_$table EXCEPT TABLE $table) t ORDER BY 2 LIMIT 10"),
		'', "$set: both sides are equal, row by row");
	is($node->safe_psql('postgres', "SELECT count(*) FROM $table"),
		$node->safe_psql('postgres', "SELECT count(*) FROM held_$table"), "$set: as many rows");
}

Concord::Cluster::stop_child($cap);
$node->stop;
done_testing();
