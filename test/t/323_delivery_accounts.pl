# Limits of accounts: rate, quota, concurrency and breaker, shared by couriers,
# servers and sessions; what systems say of their own limits.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use List::Util qw(max min);
use Test::More;
use Time::HiRes qw(time usleep);

my $erp = Concord::Sandbox->new;
my $other = Concord::Sandbox->new;
my $node = Concord::Cluster->create('accounts', conf => "pg_concord.couriers = 2\nrestart_after_crash = on");
my $number = 0;

ok($node->ready, 'capture runs');
ok($node->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord courier'", '2'), 'two couriers');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub system_is { return sql("SELECT $_[1] FROM concord.system WHERE server = '$_[0]'"); }
sub delivered { return sql("SELECT concord.wait_for_delivery(timeout => '60s')"); }
sub insert { my ($table, $from, $to) = @_; sql("INSERT INTO $table SELECT i FROM generate_series($from, $to) i"); return; }

# server(NAME, OPTIONS, URL, CONNECTOR): a system that takes webhooks.
sub server
{
	my ($name, $options, $url, $connector) = @_;
	$url //= $erp->url("/hook/$name/");
	$connector //= 'webhook';
	sql("CREATE SERVER $name FOREIGN DATA WRAPPER concord OPTIONS (connector '$connector', url '$url'"
		  . ($options ? ", $options" : '') . ");
		 CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (auth 'none')");
	return;
}

# mapping(NAME, SERVER): of a table of that name, and which courier serves it.
sub mapping
{
	my ($name, $server) = @_;
	sql("CREATE TABLE $name (id int PRIMARY KEY)");
	sql("SELECT concord.create_mapping('$name', '$name', '$server', '$name', '{\"id\": \"id\"}')");
	return sql("SELECT id % 2 FROM concord.mapping WHERE name = '$name'");
}

# A pair of mappings that two couriers serve.
sub mappings
{
	my (%servers) = @_;
	my %couriers;
	$couriers{ mapping($_, $servers{$_}) } = 1 for sort keys %servers;
	is(join(',', sort keys %couriers), '0,1', 'two couriers serve ' . join(' and ', sort keys %servers));
	return;
}

# The log below a path: when each request came, and when it was answered, in
# seconds; in the order of their coming.
sub arrivals
{
	my ($path, $status) = @_;
	my @list = sort { $a->[0] <=> $b->[0] }
	  map { [ $_->{at} / 1e6, $_->{done} / 1e6, $_->{path} ] }
	  grep { !defined $status || $_->{status} == $status } $erp->log_entries($path);
	return @list;
}

# How many were under way at the most.
sub overlap
{
	my @events = sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } map { ([ $_->[0], 1 ], [ $_->[1], -1 ]) } @_;
	my ($now, $most) = (0, 0);
	$most = max($most, $now += $_->[1]) for @events;
	return $most;
}

# --- a rate, held by two couriers and two servers together
server('rate_a', "account 'paced', rate '40/s', concurrency '16'");
server('rate_b', "account 'paced', rate '40/s', concurrency '16'");
mappings(rate_a => 'rate_a', rate_b => 'rate_b');
# On a machine that stands still for a moment requests come late, and then
# together: what holds by itself holds in one of three rounds.
my (@times, $first, $n);
foreach my $round (0 .. 2)
{
	$erp->clear_log;
	sql(join ';', map { "INSERT INTO $_ SELECT i FROM generate_series($round * 200 + 1, $round * 200 + 120) i" } 'rate_a', 'rate_b');
	is(delivered(), 't', 'rate: all is delivered');
	@times = arrivals('/hook/rate_');
	$first = $times[0][0];
	$n = grep { $_->[0] >= $first + 0.5 && $_->[0] < $first + 4.5 } @times;
	last if $n >= 152 && $n <= 168;
	note("round $round: $n requests in four seconds");
}
cmp_ok($n, '>=', 152, "rate: not below 95% of 160 in four seconds ($n)");
cmp_ok($n, '<=', 168, 'rate: nor above 105%');
foreach my $server ('rate_a', 'rate_b')
{
	my $half = grep { $_->[2] =~ /$server/ && $_->[0] < $first + 4 } @times;
	cmp_ok($half, '>=', 40, "rate: $server gets its part ($half)");
}
is(system_is('rate_a', "rate || ' ' || account"), '40/s paced', 'rate: shown');

# another rate holds at once
sql("ALTER SERVER rate_a OPTIONS (SET rate '1/min')");
insert('rate_a', 1001, 1010);
ok($erp->wait_until(sub { scalar(arrivals('/hook/rate_')) >= 241 }), 'rate: a slower one');
usleep(700_000);
cmp_ok(scalar(arrivals('/hook/rate_')), '<=', 242, 'rate: the smallest of an account holds, for all of it');
is(system_is('rate_b', 'rate'), '1/min', 'rate: and is shown');
sql("ALTER SERVER rate_a OPTIONS (DROP rate)");
sql("ALTER SERVER rate_b OPTIONS (DROP rate)");
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'rate: without one it goes on, no restart');

# --- concurrency, held by two couriers together, each in turn
server('places', "concurrency '3'");
mappings(places_a => 'places', places_b => 'places');
$erp->rule({ path => '/hook/places/' }, { latency_ms => 30 });
sql(join ';', map { "INSERT INTO $_ SELECT generate_series(1, 120)" } 'places_a', 'places_b');
ok($node->poll("SELECT in_flight = 3 AND concurrency = 3 FROM concord.system WHERE server = 'places'"), 'concurrency: shown over both couriers');
is(delivered(), 't', 'concurrency: all is delivered');
@times = arrivals('/hook/places/');
is(overlap(@times), 3, 'concurrency: never more at a time, and as many');
# from when both of them are there
my $both = max(map { my $which = $_; min(map { $_->[0] } grep { $_->[2] =~ /$which/ } @times) } 'places_a', 'places_b');
my @early = (grep { $_->[0] >= $both } @times)[0 .. 59];
cmp_ok(scalar(grep { $_ && $_->[2] =~ /places_a/ } @early), '>=', 15, 'concurrency: one courier does not keep the other out');
cmp_ok(scalar(grep { $_ && $_->[2] =~ /places_b/ } @early), '>=', 15, 'concurrency: nor the other way round');
my $more = 1000;
Concord::Cluster::within(1.2 * 120 * 0.03 / 3 + 1, 'concurrency: no place stands idle for long', sub {
	$erp->clear_log;
	$more += 1000;
	sql(join ';', map { "INSERT INTO $_ SELECT i FROM generate_series($more, $more + 59) i" } 'places_a', 'places_b');
	delivered();
	my @list = arrivals('/hook/places/');
	return $list[-1][1] - $list[0][0];
});
is(system_is('places', 'in_flight'), '0', 'concurrency: all places are given back');

# a courier that is ended gives its places back
$erp->drop_rules;
my $hang = $erp->rule({ path => '/hook/places/' }, { hang => JSON::PP::true });
insert('places_a', 501, 510);
ok($node->poll("SELECT in_flight = 3 FROM concord.system WHERE server = 'places'"), 'places: all taken');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'concord courier'");
$erp->drop_rule($hang);
is(delivered(), 't', 'places: of couriers that were ended are free again');
is(system_is('places', 'in_flight'), '0', 'places: none is lost');

# --- a quota: stops, outlives a restart, goes on when its window has passed
server('quota', "quota '20/12s', concurrency '4'");
mappings(quota_a => 'quota', quota_b => 'quota');
insert('quota_a', 1, 15);
insert('quota_b', 1, 15);
ok($node->poll("SELECT state = 'throttled' AND budget_left = 0 AND until > now() FROM concord.system WHERE server = 'quota'"),
	'quota: used up, and says until when');
ok($erp->wait_until(sub { scalar(arrivals('/hook/quota/')) >= 20 }), 'quota: they arrive');
is(scalar(arrivals('/hook/quota/')), 20, 'quota: as many as it says');
$node->restart;
is(sql("SELECT concord.wait_for_capture('60s')"), 't', 'quota: a restart');
ok($node->poll("SELECT state = 'throttled' AND budget_left = 0 FROM concord.system WHERE server = 'quota'"), 'quota: still used up');
is(scalar(arrivals('/hook/quota/')), 20, 'quota: nothing was sent');
is(delivered(), 't', 'quota: goes on');
@times = arrivals('/hook/quota/');
is(scalar(@times), 30, 'quota: with all');
cmp_ok($times[20][0] - $times[0][0], '>=', 11.9, 'quota: not before its window has passed');
cmp_ok($times[20][0] - $times[0][0], '<', 15, 'quota: nor long after');

# --- a part of it is kept for people
server('shared', "quota '10/1h', interactive_share '20%'");
mapping('shared', 'shared');
insert('shared', 1, 12);
ok($node->poll("SELECT state = 'throttled' AND budget_left = 2 AND reason ~ 'interactive' FROM concord.system WHERE server = 'shared'"),
	'interactive_share: couriers leave it alone');
ok($erp->wait_until(sub { scalar(arrivals('/hook/shared/')) >= 8 }), 'interactive_share: requests arrive');
is(scalar(arrivals('/hook/shared/')), 8, 'interactive_share: they have sent the rest');
is(sql("SELECT ok FROM concord.ping('shared')"), 't', 'interactive_share: a session may use it') for 1, 2;
like(sql("SELECT error FROM concord.ping('shared')"), qr/nothing was sent: its quota is used up/, 'interactive_share: until it is used up, which is said');
sql("ALTER SERVER shared OPTIONS (DROP quota)");
is(delivered(), 't', 'interactive_share: without a quota all goes');

# --- a storm of refusals
server('storm', "concurrency '8', retry_base '20ms'");
mappings(storm_a => 'storm', storm_b => 'storm');
my $storm = $erp->rule({ path => '/hook/storm/' }, { status => 429, latency_ms => 20, headers => { 'Retry-After' => '1' } });
insert('storm_a', 1, 100);
insert('storm_b', 1, 100);
ok($node->poll("SELECT state = 'throttled' AND throttled_until > now() AND concurrency < 8 FROM concord.system WHERE server = 'storm'"),
	'storm: throttled, and fewer at a time');
ok($node->poll("SELECT concurrency = 1 FROM concord.system WHERE server = 'storm'"), 'storm: down to one at a time');
$erp->clear_log;
my $begun = time;
ok($erp->wait_until(sub { scalar(arrivals('/hook/storm/')) >= 3 }), 'storm: requests now and then');
@times = arrivals('/hook/storm/');
my $storm_took = time - $begun;
cmp_ok(scalar(@times), '<=', 2 + $storm_took, 'storm: one request each time the system allows one');
is(overlap(@times), 1, 'storm: one at a time');
$erp->drop_rule($storm);
is(delivered(), 't', 'storm: over, all is delivered');
is(sql("SELECT sum(dead) || ' ' || sum(retried) || ' ' || sum(delivered) FROM concord.status WHERE mapping LIKE 'storm%'"), '0 0 200',
	'storm: nothing dead, no attempt counted');
cmp_ok(system_is('storm', 'concurrency'), '==', 8, 'storm: after good answers as many at a time as before');

# Retry-After as a date, of a system whose clock is years behind
$erp->rule({ path => '/hook/storm/' }, { status => 429,
	headers => { Date => 'Mon, 01 Jan 2001 00:00:00 GMT', 'Retry-After' => 'Mon, 01 Jan 2001 00:00:02 GMT' } }, 1);
$erp->clear_log;
insert('storm_a', 1001, 1001);
is(delivered(), 't', 'Retry-After as a date');
@times = arrivals('/hook/storm/');
cmp_ok($times[1][0] - $times[0][0], '>=', 1.9, 'Retry-After as a date: kept');
cmp_ok($times[1][0] - $times[0][0], '<', 4, 'Retry-After as a date: by the clock of the system');

# --- a system down, and one probe at a time for all couriers and servers
server('down_a', "account 'down', breaker_cooldown '200ms', concurrency '8'");
server('down_b', "account 'down', breaker_cooldown '200ms', concurrency '8'");
server('works', "concurrency '8'", $other->url('/hook/works/'));
mappings(down_a => 'down_a', down_b => 'down_b');
mapping('works', 'works');
my $down = $erp->rule({ path => '/hook/down_' }, { status => 503, latency_ms => 400 });
insert('down_a', 1, 50);
insert('down_b', 1, 50);
ok($node->poll("SELECT bool_and(breaker <> 'closed' AND state = 'down' AND reason LIKE '%503%') FROM concord.system WHERE account = 'down'"),
	'breaker: open for both servers of the account');
ok($node->poll("SELECT count(*) FROM concord.status WHERE mapping LIKE 'down_%' AND breaker <> 'closed' AND breaker_reason LIKE '%503%'", '2'),
	'breaker: shown in status, with the reason');
ok($node->poll("SELECT breaker = 'open' AND breaker_until > now() FROM concord.status WHERE mapping = 'down_a'"), 'breaker: and until when');
ok($node->poll("SELECT breaker = 'half-open' AND in_flight = 1 FROM concord.system WHERE server = 'down_a'"), 'breaker: half-open while it is probed');
$erp->clear_log;
my $ids = 1;
Concord::Cluster::within(4, 'breaker: another system goes on at full speed', sub {
	insert('works', $ids, $ids + 499);
	$ids += 500;
	is(sql("SELECT concord.wait_for_delivery('works', '60s')"), 't', 'breaker: another system goes on');
	return;
});
ok($erp->wait_until(sub { scalar(arrivals('/hook/down_')) >= 4 }, 120), 'breaker: probes');
@times = arrivals('/hook/down_');
is(overlap(@times), 1, 'breaker: one probe at a time');
# the first of them is 200 ms at least; a probe that comes late moves those behind it
my @gaps = map { $times[$_][0] - $times[ $_ - 1 ][1] } 1 .. $#times;
ok(!(grep { $gaps[$_] < 0.2 * 2**$_ * 0.95 } 0 .. $#gaps), 'breaker: the time between them doubles')
  or diag("gaps: @gaps");
$erp->drop_rule($down);
is(delivered(), 't', 'breaker: all is delivered when it is back');
is(sql("SELECT string_agg(breaker || ' ' || state, ', ') FROM concord.system WHERE account = 'down'"), 'closed ok, closed ok', 'breaker: closed');
is(sql("SELECT sum(dead) || ' ' || sum(retried) FROM concord.status WHERE mapping LIKE 'down_%'"), '0 0', 'breaker: nothing dead, no attempt counted');

# --- a budget that the system tells is kept, without running into its refusals
sql(q(INSERT INTO concord.connector (name, protocol, definition) VALUES ('told', 'webhook',
	'{"limits": {"remaining": "X-RateLimit-Remaining", "limit": "X-RateLimit-Limit", "reset": "X-RateLimit-Reset-Ms", "reset_form": "milliseconds"}}')));
server('told', "concurrency '4'", undef, 'told');
sql("INSERT INTO concord.connector (name, protocol, definition) VALUES ('deaf', 'webhook', '{}')");
server('untold', "concurrency '4'", undef, 'deaf');
mappings(told_a => 'told', told_b => 'told');
mapping('untold', 'untold');
foreach my $path ('told', 'untold')
{
	$erp->rule({ path => "/hook/$path/" }, { budget => { requests => 20, window_ms => 2000 } });
}
insert('untold', 1, 45);
insert('told_a', 1, 25);
insert('told_b', 1, 25);
ok($node->poll("SELECT budget_left BETWEEN 0 AND 19 FROM concord.system WHERE server = 'told'"), 'told: what is left is shown');
is(delivered(), 't', 'told: all is delivered');
is(scalar(arrivals('/hook/told/', 429)), 0, 'told: nothing was refused');
cmp_ok(scalar(arrivals('/hook/untold/', 429)), '>', 0, 'told: as it was where nobody listened');
@times = arrivals('/hook/told/');
cmp_ok($times[-1][0] - $times[0][0], '<', 8, 'told: and no time is wasted');

# --- the forms in which systems tell it
my $hour = int(time) + 3600;
my @forms = (
	[ 'X-RateLimit, seconds', { remaining => 'x-ratelimit-remaining', limit => 'x-ratelimit-limit', reset => 'x-ratelimit-reset', reset_form => 'seconds' },
		{ 'X-RateLimit-Limit' => '100', 'X-RateLimit-Remaining' => '0', 'X-RateLimit-Reset' => '3600' }, 0, 3600 ],
	[ 'GitHub', { remaining => 'x-ratelimit-remaining', limit => 'x-ratelimit-limit', reset => 'x-ratelimit-reset', reset_form => 'epoch' },
		{ 'X-RateLimit-Limit' => '5000', 'X-RateLimit-Remaining' => '0', 'X-RateLimit-Reset' => "$hour" }, 0, 3600 ],
	[ 'a date', { remaining => 'x-left', reset => 'x-until', reset_form => 'date' },
		{ 'X-Left' => '0', 'X-Until' => 'Mon, 01 Jan 2001 00:30:00 GMT', Date => 'Mon, 01 Jan 2001 00:00:00 GMT' }, 0, 1800 ],
	[ 'IETF', { form => 'ietf' }, { RateLimit => '"burst";r=9;t=1, "day, all";r=0;t=1800', 'RateLimit-Policy' => '"burst";q=10;w=1, "day, all";q=1000;w=86400' }, 0, 1800 ],
	[ 'IETF, earlier drafts', { form => 'ietf' }, { RateLimit => 'limit=100, remaining=0, reset=1800' }, 0, 1800 ],
	[ 'IETF, three headers', { form => 'ietf' }, { 'RateLimit-Limit' => '100, 100;w=60', 'RateLimit-Remaining' => '42', 'RateLimit-Reset' => '50' }, 42 ],
	[ 'Shopify', { form => 'ratio', header => 'X-Shopify-Shop-Api-Call-Limit', window => '20s' }, { 'X-Shopify-Shop-Api-Call-Limit' => '32/40' }, 8 ],
	[ 'Salesforce', { form => 'ratio', header => 'Sforce-Limit-Info', name => 'api-usage', window => '1d' },
		{ 'Sforce-Limit-Info' => 'per-app-api-usage=17/250(appName=sample), api-usage=18/5000' }, 4982 ],
	[ 'BigCommerce', { remaining => 'X-Rate-Limit-Requests-Left', limit => 'X-Rate-Limit-Requests-Quota', reset => 'X-Rate-Limit-Time-Reset-Ms', reset_form => 'milliseconds',
			window_header => 'X-Rate-Limit-Time-Window-Ms' },
		{ 'X-Rate-Limit-Requests-Left' => '0', 'X-Rate-Limit-Requests-Quota' => '150', 'X-Rate-Limit-Time-Reset-Ms' => '600000', 'X-Rate-Limit-Time-Window-Ms' => '30000' }, 0, 600 ],
	[ 'Dataverse', { remaining => 'x-ms-ratelimit-burst-remaining-xrm-requests', limit => 6000, window => '5min' },
		{ 'x-ms-ratelimit-burst-remaining-xrm-requests' => '5999' }, 5999 ],
	[ 'HubSpot', [ { remaining => 'X-HubSpot-RateLimit-Remaining', limit => 'X-HubSpot-RateLimit-Max', window_header => 'X-HubSpot-RateLimit-Interval-Milliseconds' },
			{ remaining => 'X-HubSpot-RateLimit-Daily-Remaining', limit => 'X-HubSpot-RateLimit-Daily', window => '1d' } ],
		{ 'X-HubSpot-RateLimit-Max' => '190', 'X-HubSpot-RateLimit-Remaining' => '189', 'X-HubSpot-RateLimit-Interval-Milliseconds' => '10000',
			'X-HubSpot-RateLimit-Daily' => '250000', 'X-HubSpot-RateLimit-Daily-Remaining' => '7' }, 7 ],
	[ 'used', { used => 'x-used', limit => 'x-max' }, { 'X-Used' => '70', 'X-Max' => '100' }, 30 ],
	[ 'nonsense', { remaining => 'x-left', reset => 'x-until' }, { 'X-Left' => 'many', 'X-Until' => 'later' }, undef ]);
foreach my $form (@forms)
{
	my ($label, $limits, $headers, $left, $seconds) = @$form;
	my $name = 'form_' . ++$number;
	my $json = JSON::PP->new->canonical->encode({ limits => $limits });
	sql("INSERT INTO concord.connector (name, protocol, definition) VALUES ('$name', 'webhook', '$json')");
	server($name, '', undef, $name);
	$erp->rule({ path => "/hook/$name/" }, { headers => $headers, act => JSON::PP::true });
	is(sql("SELECT ok FROM concord.ping('$name')"), 't', "$label: an answer");
	is(system_is($name, 'budget_left'), $left // '', "$label: what is left");
	ok(sql("SELECT abs(extract(epoch FROM until - now()) - $seconds) < 20 FROM concord.system WHERE server = '$name'") eq 't', "$label: until when")
	  or diag(system_is($name, 'until - now()')) if $seconds;
	like(sql("SELECT error FROM concord.ping('$name')"), qr/nothing was sent: the system has hardly any requests left/, "$label: nothing is sent till then")
	  if $seconds;
}

# what the shipped connectors read by themselves
foreach my $connector ('rest', 'odata', 'webhook')
{
	my $name = "shipped_$connector";
	server($name, '', $erp->url("/rest/$name/"), $connector);
	my $rule = $erp->rule({ path => "/rest/$name/" }, { headers => { 'X-RateLimit-Limit' => '100', 'X-RateLimit-Remaining' => '41', 'X-RateLimit-Reset' => "$hour" } });
	sql("SELECT concord.ping('$name')");
	is(system_is($name, 'budget_left'), '41', "$connector: X-RateLimit");
	$erp->drop_rule($rule);
	$erp->rule({ path => "/rest/$name/" }, { headers => { RateLimit => '"default";r=7;t=1' } });
	sql("SELECT concord.ping('$name')");
	is(system_is($name, 'budget_left'), '7', "$connector: RateLimit");
}

# limits of a connector that is extended are replaced, not added to
sql(q(INSERT INTO concord.connector (name, protocol, definition) VALUES ('mute', 'webhook', '{"extends": "webhook", "limits": []}')));
server('mute', '', undef, 'mute');
$erp->rule({ path => '/hook/mute/' }, { headers => { 'X-RateLimit-Limit' => '100', 'X-RateLimit-Remaining' => '41' }, act => JSON::PP::true });
is(sql("SELECT ok FROM concord.ping('mute')"), 't', 'extends: an answer');
is(system_is('mute', 'budget_left'), '', 'extends: limits are replaced');

# --- servers of one courier that share an account take turns
server('turn_a', "account 'turns', rate '20/s'");
server('turn_b', "account 'turns', rate '20/s'");
mapping('turn_a', 'turn_a');
mapping('turn_c', 'untold');
mapping('turn_b', 'turn_b');
is(sql("SELECT count(DISTINCT id % 2) FROM concord.mapping WHERE name IN ('turn_a', 'turn_b')"), '1', 'one courier serves turn_a and turn_b');
insert('turn_a', 1, 60);
insert('turn_b', 1, 60);
ok($erp->wait_until(sub { scalar(arrivals('/hook/turn_')) >= 40 }), 'turns: forty requests');
@times = arrivals('/hook/turn_');
foreach my $server ('turn_a', 'turn_b')
{
	cmp_ok(scalar(grep { $_->[2] =~ /$server/ } @times[0 .. 39]), '>=', 15, "turns: $server has its part");
}
sql("SELECT concord.drop_mapping('turn_' || c) FROM unnest('{a,b,c}'::text[]) c");

# --- a session that is cancelled or ended in the middle of a request gives its place back
server('asked', "concurrency '2', timeout '60s'");
$hang = $erp->rule({ path => '/hook/asked/' }, { hang => JSON::PP::true });
my $background = $node->background_psql('postgres', on_error_stop => 0);
foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	$background->query_until(qr/begun/, "\\echo begun\nSELECT concord.ping('asked');\n");
	ok($node->poll("SELECT in_flight = 1 FROM concord.system WHERE server = 'asked'"), "$function: a place is taken");
	sql("SELECT $function(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT concord.ping(%' AND pid <> pg_backend_pid()");
	ok($node->poll("SELECT in_flight = 0 FROM concord.system WHERE server = 'asked'"), "$function: it is given back");
}
eval { $background->quit };
$erp->drop_rule($hang);
is(sql("SELECT ok FROM concord.ping('asked')"), 't', 'and can be used');
is(system_is('asked', 'in_flight'), '0', 'no place is given back twice');

# --- an account has one owner: who names another's takes nothing of it
server('ours', "account 'of us', rate '1000/min', breaker_failures '3'");
server('ours_too', "account 'of us', rate '1000/min', breaker_failures '3'");
sql(qq{CREATE ROLE stranger; GRANT USAGE ON FOREIGN DATA WRAPPER concord TO stranger; GRANT USAGE ON SCHEMA concord TO stranger;
	SET ROLE stranger; CREATE SERVER theirs FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'https://example.com/', account 'of us', rate '1/h', quota '1/1d')});
sql("SELECT concord.ping(s) FROM unnest('{ours,ours_too}'::text[]) s");
is(sql("SELECT string_agg(server || ' ' || coalesce(rate, '-') || ' ' || coalesce(hint, '-'), ', ' ORDER BY server) FROM concord.system WHERE server IN ('ours', 'ours_too')"),
	'ours 1000/min -, ours_too 1000/min -', 'a stranger who names an account changes nothing of it');
is(sql("SELECT count(*) FROM concord.system WHERE server = 'theirs' AND rate = '1000/min'"), '0', 'and has one of his own');
sql("ALTER SERVER ours_too OPTIONS (SET rate '10/min')");
like(system_is('ours', 'hint'), qr/ours, ours_too share an account and differ in rate/, 'servers of one owner share it');
sql("ALTER SERVER ours_too OWNER TO stranger");
is(system_is('ours', "coalesce(hint, '-')"), '-', 'a server that has another owner leaves it');

# --- a crash leaves nothing taken
$hang = $erp->rule({ path => '/hook/places/' }, { hang => JSON::PP::true });
insert('places_a', 601, 610);
ok($node->poll("SELECT in_flight = 3 FROM concord.system WHERE server = 'places'"), 'crash: all places taken');
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier' LIMIT 1");
$erp->drop_rule($hang);
ok($node->crash($pid), 'crash: the server is there again');
ok($node->poll("SELECT in_flight = 0 FROM concord.system WHERE server = 'places'"), 'crash: none is taken');
ok($node->poll("SELECT concord.wait_for_capture('30s')"), 'crash: capture runs');
is(delivered(), 't', 'crash: all is delivered');

$node->stop;
done_testing();
