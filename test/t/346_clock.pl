# The machine's clock is set back and forward by hours, under a server that is at
# work: retries, breakers and outages go on as if it had not been, also in the
# eyes of a process that starts afterwards; tokens live as long as they should.
use strict;
use warnings;
use Concord::Cluster;
use Concord::Preload;
use Concord::Sandbox;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $world = Concord::Preload->new or plan skip_all => 'no compiler, or another preloaded library';
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('clock', start => 0, conf => "log_min_messages = log");
sub set_clock { $world->set(clock => $_[0] * 3600); return; }
$world->start($node);
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub hours_off { return sql('SELECT round(extract(epoch FROM clock_timestamp()) / 3600 - ' . time() / 3600 . ')'); }

my $token_url = $erp->url('/auth/token');
my $url = $erp->url('/rest/shop/');
sql("CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', retry_base '3s', retry_cap '3s', breaker_cooldown '1s', breaker_failures '100', outage_limit '1h')");
sql("CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (auth 'oauth2', token_url '$token_url', client_id 'concord', client_secret 'client-5ecret')");
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
sql('CREATE TABLE goods (id int PRIMARY KEY, n int)');
sql(q{SELECT concord.create_mapping('goods', 'goods', 'shop', 'goods', fields => '{"n": "n"}')});
sql('INSERT INTO goods SELECT i, 0 FROM generate_series(1, 10) i');
is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', 'delivered');
my $issued = $erp->control('GET', 'tokens')->{issued};

# retrying(): each record has failed once and waits
sub retrying
{
	$erp->drop_rules;
	$erp->rule({ path => '/rest/' }, { status => 500 });
	sql('UPDATE goods SET n = n + 1');
	ok($node->poll("SELECT count(*) = 10 FROM concord.exception WHERE state = 'retry'"), 'ten retries');
	$erp->drop_rules;
	$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
	return;
}
sub delivered_soon
{
	my ($what) = @_;
	my $start = time;
	is(sql("SELECT concord.wait_for_delivery(NULL, '60s')"), 't', $what);
	cmp_ok(time - $start, '<', 20, 'soon');
	return;
}

# back
retrying();
set_clock(-3);
is(hours_off(), '-3', 'the clock is three hours back');
ok($node->poll_log(qr/the clock was set back by 1080\d s|the clock was set back by 107\d\d s/), 'which is noticed');
delivered_soon('retries');

# back, and another process takes over
retrying();
set_clock(-9);
ok($node->poll("SELECT coalesce(max(next_try) < now() + '1min', true) FROM concord.exception WHERE state = 'retry'"), 'the table knows');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier'");
delivered_soon('retries by another courier');

# forward by two days: a transaction that waits for a record has not waited for longer (wait_limit is a day)
my $sales = $erp->url('/odata/v4/sales/');
sql(qq{CREATE SERVER sales FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$sales', retry_base '100ms');
	CREATE TABLE client (id text PRIMARY KEY); CREATE TABLE invoice (id text PRIMARY KEY, client text);
	SELECT concord.create_mapping('client', 'client', 'sales', 'Clients', '{"Name": "id"}', key => '{"ID": "id"}', options => '{"unit": "transaction"}');
	SELECT concord.create_mapping('invoice', 'invoice', 'sales', 'Invoices', '{"Client": "remote_id(''client'', client)"}', key => '{"ID": "id"}', options => '{"unit": "transaction"}')});
$erp->drop_rules;
sql(q{INSERT INTO invoice VALUES ('i-1', 'c-1')});
is(sql("SELECT concord.wait_for_delivery('invoice', '3s')"), 'f', 'a transaction waits for a record');
set_clock(39);
ok($node->poll_log(qr/the clock was set forward by \d+ s/), 'the clock goes forward');
is(sql("SELECT concord.wait_for_delivery('invoice', '3s')"), 'f', 'it still waits');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'and is not given up');
sql(q{INSERT INTO client VALUES ('c-1')});
is(sql("SELECT concord.wait_for_delivery('invoice', '60s')"), 't', 'until the record is there');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'delivered');
sql(q{SELECT concord.drop_mapping('invoice'), concord.drop_mapping('client'); DROP SERVER sales CASCADE});
$erp->rule({ path => '/rest/' }, { auth => { issued => '' } });
set_clock(-9);

# back while the system is down
$erp->stop;
sql('UPDATE goods SET n = n + 1');
ok($node->poll("SELECT state = 'down' FROM concord.system"), 'down');
set_clock(-20);
$erp->start;
$erp->drop_rules;
delivered_soon('the breaker probes');

# forward while the system is down: no outage of a day
$erp->stop;
sql('UPDATE goods SET n = n + 1');
ok($node->poll("SELECT state = 'down' FROM concord.system"), 'down');
set_clock(4);
is(hours_off(), '4', 'the clock is a day forward');
ok($node->poll_log(qr/the clock was set forward/), 'which is noticed');
sleep 3;
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters by outage_limit');
$erp->start;
delivered_soon('delivered');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'no dead letters');

# the token that was fetched is as old as it is
$erp->rule({ path => '/rest/' }, { status => 200, body => '{}' });
my $second = $erp->control('GET', 'tokens')->{issued};
is(sql("SELECT token_expiry > now() + '50min' AND token_expiry < now() + '61min' FROM concord.system"), 't', 'token_expiry goes by the clock');
set_clock(8);
sql('UPDATE goods SET n = n + 1');
delivered_soon('delivered');
is($erp->control('GET', 'tokens')->{issued}, $second, 'with the same token');

# What waits when the clock is set, waits for as long as it would have: the
# pause before a worker that keeps failing is started again, a session, capture.
sub courier { return sql("SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'concord courier'"); }
for my $death (1 .. 6)
{
	my $pid = courier();
	sql("SELECT pg_terminate_backend($pid)");
	last if $death == 6;
	ok($node->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'concord courier' AND pid <> $pid"), "the courier is back, $death");
}
ok($node->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'concord courier'"), 'it is away for a moment');
set_clock(-30);
my $start = time;
ok($node->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'concord courier'"), 'and back');
cmp_ok(time - $start, '<', 20, 'not a day later');

$node->safe_psql('postgres', 'CREATE DATABASE other');
ok($node->ready('other'), 'another database gets its workers');
$node->safe_psql('other', 'DROP EXTENSION pg_concord');
ok($node->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'other'"), 'and loses them');
ok($node->poll('SELECT count(*) = 1 FROM pg_replication_slots'), 'with its slot');

sql('UPDATE goods SET n = n + 1');
delivered_soon('changes are captured');

$erp->stop;
sql('UPDATE goods SET n = n + 1');
$start = time;
open my $waiting, '-|', $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
  '-c', "SET statement_timeout = '40s'; SELECT concord.wait_for_delivery(NULL, '4s')"
  or die "psql: $!";
ok($node->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%wait_for_delivery%' AND pid <> pg_backend_pid() AND state = 'active'"), 'a session waits');
set_clock(-60);
is(scalar <$waiting>, "f\n", 'until its time is over');
close $waiting;
cmp_ok(time - $start, '<', 20, 'which comes soon');

$node->stop;
done_testing();
