# Answers that are used again: how old, whose, by whose word; one request for
# all who want the same at once; memory that stays bounded.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use IPC::Run ();
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

my $true = JSON::PP::true;
my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('live_cache', conf => 'pg_concord.cache_size = 1MB');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# asked(CODE): how many requests arrive while it runs
sub asked
{
	my ($code) = @_;
	my $before = $erp->stats->{requests};
	$code->();
	return $erp->stats->{requests} - $before;
}

sub get { return sql("SELECT status, cached FROM concord.call('shop', 'GET', '$_[0]'" . (defined $_[1] ? ", max_age => '$_[1]'" : '') . ')'); }

# answering(ACTION, CODE)
sub answering
{
	my ($action, $code) = @_;
	$erp->rule({ path => '/rest/' }, { status => 200, body => '{"n": 1}', %$action,
			headers => { 'Content-Type' => 'application/json', %{ $action->{headers} // {} } } });
	$code->();
	$erp->drop_rules;
	return;
}

my $url = $erp->url('/rest/shop/');
sql(qq(CREATE SERVER shop FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', concurrency '64')));
sql(q(SELECT concord.call('shop', 'POST', 'things', body => '{"id": 1, "n": 1}')));

# --- age ---
is(asked(sub { get('things/1') for 1 .. 3 }), 3, 'nothing is kept unasked');
is(asked(sub { get('things/1', '1min') for 1 .. 3 }), 1, 'one request within max_age');
is(get('things/1', '1min'), '200|t', 'which the answer says');
is(get('things/1', '0'), '200|f', 'max_age 0 asks');
is(sql(q(SELECT body FROM concord.call('shop', 'GET', 'things/1', max_age => '1min'))), '{"n": 1, "id": 1}', 'the whole answer');
sleep 0.3;
is(asked(sub { get('things/1', '100ms') }), 1, 'too old');
is(asked(sub { get('things/none', '1min') for 1 .. 3 }), 1, 'that there is nothing, too');
is(get('things/none', '1min'), '404|t', 'with its status');
is(asked(sub { sql(q(SELECT concord.lookup('shop', 'things', '1', '1min'))) for 1 .. 3 }), 1, 'look-ups');
is(asked(sub { sql(q(SELECT concord.lookup('shop', 'things', 'no', '1min'))) for 1 .. 3 }), 1, 'and those that find nothing');
is(asked(sub { sql(q(SELECT concord.call('shop', 'GET', 'things/1', query => '{"b": 1, "a": 2}', max_age => '1min')));
		sql(q(SELECT concord.call('shop', 'GET', 'things/1', query => '{"a": 2, "b": 1}', max_age => '1min'))) }), 1, 'the order of a query does not matter');
is(asked(sub { sql(q(SELECT concord.call('shop', 'GET', 'things/1', headers => '{"Accept-Language": "de"}', max_age => '1min'))) }), 1, 'a header does');
sql(q(ALTER SERVER shop OPTIONS (ADD cache_max_age '1min')));
is(asked(sub { get('things/1') for 1 .. 3 }), 1, 'by the server\'s option');
is(asked(sub { get('things/1', '0') for 1 .. 3 }), 3, 'unless the caller wants it');
sql(q(ALTER SERVER shop OPTIONS (DROP cache_max_age)));
answering({ status => 500 }, sub { is(asked(sub { get('broken', '1min') for 1 .. 2 }), 2, 'failures are not kept'); });

# --- the system's word ---
my $n = 0;
for (['no-store', 2], ['private', 1], ['max-age=60', 1], ['max-age=0', 2], ['no-cache', 2], ['public, max-age="60"', 1], ['max-age=nonsense', 2], ['s-maxage=0', 1])
{
	my ($control, $requests) = @$_;
	$n++;
	answering({ headers => { 'Cache-Control' => $control } }, sub {
		is(asked(sub { get("cc$n", '1min') for 1 .. 2 }), $requests, "Cache-Control: $control");
	});
}
answering({ headers => { 'Cache-Control' => 'max-age=10', Age => '10' } }, sub { is(asked(sub { get('aged', '1min') for 1 .. 2 }), 2, 'Age counts'); });
answering({ headers => { Vary => '*' } }, sub { is(asked(sub { get('vary', '1min') for 1 .. 2 }), 2, 'Vary: *'); });
answering({ headers => { 'Cache-Control' => 'max-age=1' } }, sub {
	get('short', '1h');
	sleep 1.2;
	is(asked(sub { get('short', '1h') }), 1, 'the system\'s max-age is the shorter one');
});
answering({ headers => { 'Set-Cookie' => 'session=s3cret' } }, sub {
	get('cookie', '1min');
	is(sql(q(SELECT cached, headers ? 'set-cookie' FROM concord.call('shop', 'GET', 'cookie', max_age => '1min'))), 't|f', 'cookies are not kept');
});

# --- tags ---
$erp->set('/rest/shop/tagged', etag => $true);
sql(q(SELECT concord.call('shop', 'POST', 'tagged', body => '{"id": 1, "n": 1}')));
answering({ headers => { ETag => '"one"' } }, sub { get('tag', '1min'); });
$erp->rule({ path => '/rest/' }, { status => 304, headers => { ETag => '"one"' } });
is(sql(q(SELECT status, cached, body FROM concord.call('shop', 'GET', 'tag', max_age => '1ms'))), '200|t|{"n": 1}', 'what the system confirms is used')
  or diag(explain([ $erp->log_entries ]));
my @last = $erp->log_entries;
is($last[-1]{headers}{'If-None-Match'} // $last[-1]{headers}{'if-none-match'}, '"one"', 'it was asked with the tag');
$erp->drop_rules;
answering({ body => '{"n": 2}', headers => { ETag => '"two"' } }, sub {
	is(sql(q(SELECT status, cached, body FROM concord.call('shop', 'GET', 'tag', max_age => '1ms'))), '200|f|{"n": 2}', 'what has changed is replaced');
});

# --- whose ---
sql(q(CREATE ROLE app; GRANT USAGE ON SCHEMA concord TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO app; GRANT SELECT ON concord.cache TO app; GRANT USAGE ON FOREIGN SERVER shop TO app));
is(asked(sub { sql(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/1', max_age => '1h'))) for 1 .. 2 }), 1, 'another role has answers of its own');
is(sql(q(SET ROLE app; SELECT count(*), min(role::text), min(request) FROM concord.cache)), "1|app|GET ${url}things/1", 'and sees those only');
is(sql(q(SELECT count(DISTINCT role) FROM concord.cache)), '2', 'a superuser sees all');
is(sql(q(SELECT hits > 0, status, bytes > 10, age > '0', expires_in IS NULL FROM concord.cache WHERE role = 'app')), 't|200|t|t|t', 'what the view says');
sql(q(CREATE USER MAPPING FOR app SERVER shop OPTIONS (auth 'bearer', token 't0ken-of-app')));
is(asked(sub { sql(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/1', max_age => '1h'))) }), 1, 'nothing outlives other credentials');
sql(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/1?key=t0ken-of-app', max_age => '1h')));
is(sql(q(SELECT count(*) FROM concord.cache WHERE request LIKE '%t0ken%')), '0', 'no secret in the view');
sql(qq(ALTER SERVER shop OPTIONS (SET url '$url')));
is(asked(sub { sql(q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/1', max_age => '1h'))) }), 0, 'the same options, the same answers');
sql(q(REVOKE USAGE ON FOREIGN SERVER shop FROM app));
my ($rc, $out, $err) = $node->psql('postgres', q(SET ROLE app; SELECT concord.call('shop', 'GET', 'things/1', max_age => '1h')));
like($err, qr/no permission for foreign server/, 'nor the right to use the server');
cmp_ok(sql(q(SELECT concord.flush_cache('shop'))), '>', 5, 'flush_cache of a server');
is(sql(q(SELECT count(*) FROM concord.cache)), '0', 'empties it');
get('things/1', '1min');
is(sql(q(SELECT concord.flush_cache())), '1', 'flush_cache of all');
($rc, $out, $err) = $node->psql('postgres', q(SELECT concord.flush_cache('nosuch')));
like($err, qr/server "nosuch" does not exist/, 'of none');

# --- bounded ---
sql(q(SELECT count(*) FROM generate_series(1, 3000) i, LATERAL concord.call('shop', 'GET', 'many/' || i, max_age => '1h')));
my $kept = sql(q(SELECT count(*) FROM concord.cache));
cmp_ok($kept, '<', 1100, "memory is bounded: $kept answers");
cmp_ok($kept, '>', 200, 'and used');
is(asked(sub { get('many/3000', '1h') }), 0, 'the newest is there');
is(asked(sub { get('many/1', '1h') }), 1, 'the oldest has given way');
answering({ body => '{"x": "' . 'x' x 300000 . '"}' }, sub {
	is(asked(sub { get('large', '1h') for 1 .. 2 }), 2, 'what takes too much of it is not kept');
});
answering({ body => '{"x": "' . 'x' x 50000 . '"}' }, sub {
	is(asked(sub { get('middle', '1h') for 1 .. 2 }), 1, 'what takes a part is');
	is(sql(q(SELECT length(body ->> 'x'), cached FROM concord.call('shop', 'GET', 'middle', max_age => '1h'))), '50000|t', 'as it came');
});

# --- one request for all ---
sub together
{
	my ($count, $sql) = @_;
	my @runs;
	for (1 .. $count)
	{
		my ($in, $o, $e) = ($sql, '', '');
		my $run = { out => \$o, err => \$e };
		$run->{handle} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '<', \undef, '>', $run->{out}, '2>', $run->{err});
		push @runs, $run;
	}
	return @runs;
}

# asleep(N): that many of them wait
sub asleep
{
	my ($count) = @_;
	return $node->poll("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%concord.call(%' AND pid <> pg_backend_pid() AND state = 'active' AND wait_event_type = 'Extension'", $count);
}

sub results
{
	my (@runs) = @_;
	$_->{handle}->finish for @runs;
	return join ' ', map { my ($o, $e) = (${ $_->{out} }, ${ $_->{err} }); chomp $o; $o . ($e ? "E:$e" : '') } @runs;
}

my $rule = $erp->rule({ path => '/rest/shop/slow' }, { latency_ms => 1500, status => 200, body => '{"n": 1}' });
my @runs;
is(asked(sub { @runs = together(20, q(SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min'))); results(@runs) }), 1, 'twenty who want the same: one request');
is(join(' ', map { my $o = ${ $_->{out} }; chomp $o; $o } @runs), join(' ', ('200') x 20), 'all have the answer');

# the one who asks is cancelled: another takes over
sql(q(SELECT concord.flush_cache()));
$erp->drop_rule($rule);
$rule = $erp->rule({ path => '/rest/shop/slow' }, { hang => $true });
my ($first) = together(1, q(SET application_name = 'first'; SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min')));
ok(asleep(1), 'it is under way');
my @others = together(5, q(SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min')));
ok(asleep(6), 'others wait for it');
$erp->drop_rule($rule);
$rule = $erp->rule({ path => '/rest/shop/slow' }, { latency_ms => 5000, status => 200, body => '{"n": 1}' });
is(sql(q(SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'first')), '1', 'ended');
like(results(@others), qr/^200( 200){4}$/, 'the others have their answer');
$first->{handle}->finish;

# a waiter can be cancelled at once
sql(q(SELECT concord.flush_cache()));
($first) = together(1, q(SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min')));
ok(asleep(1), 'one asks');
Concord::Cluster::within(1, 'at once', sub {
	($rc, $out, $err) = $node->psql('postgres', q(SET statement_timeout = '200ms'; SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min')));
	like($err, qr/statement timeout/, 'a wait for another\'s request is cancelled');
	return;
});
is(results($first), '200', 'which goes on');

# answers that may not be kept queue nobody up
$erp->drop_rules;
$erp->rule({ path => '/rest/shop/slow' }, { latency_ms => 1500, status => 200, body => '{"n": 1}', headers => { 'Cache-Control' => 'no-store' } });
sql(q(SELECT concord.flush_cache()));
my $start = time;
@runs = together(8, q(SELECT status FROM concord.call('shop', 'GET', 'slow', max_age => '1min')));
like(results(@runs), qr/^200( 200){7}$/, 'answers that may not be kept');
cmp_ok(time - $start, '<', 9, 'nobody waits for more than one: twelve seconds, one after the other');

# --- off ---
$node->append_conf('postgresql.conf', 'pg_concord.cache_size = 0');
$node->restart;
$erp->drop_rules;
is(asked(sub { get('things/1', '1min') for 1 .. 3 }), 3, 'no memory, no cache');
is(sql(q(SELECT count(*), concord.flush_cache(), concord.flush_cache('shop') FROM concord.cache)), '0|0|0', 'and an empty view');
done_testing();
