# The rules of delivery, one by one: what counts against a record and what
# against its system, what holds a key, what options make of events.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use File::Temp;
use JSON::PP;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('rules', conf => "pg_concord.environment = 'test'");
my $rest = $erp->url('/rest/api/');
my $fast = "retry_base '20ms', retry_cap '50ms', breaker_cooldown '100ms', timeout '1s', connect_timeout '1s'";

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Runs a query and returns what it gave and the messages.
sub sql_all
{
	my ($out, $err);
	$node->psql('postgres', $_[0], stdout => \$out, stderr => \$err);
	return ($out, $err);
}

# server(NAME, CONNECTOR, URL, OPTIONS)
sub server
{
	my ($name, $connector, $url, $options) = @_;
	sql("CREATE SERVER $name FOREIGN DATA WRAPPER concord OPTIONS (connector '$connector', url '$url'"
		  . ($options ? ", $options" : '') . ");
		 CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (auth 'none')");
	return;
}

sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub status { return sql("SELECT $_[1] FROM concord.status WHERE mapping = '$_[0]'"); }
sub system_is { return sql("SELECT $_[1] FROM concord.system WHERE server = '$_[0]'"); }

# got(PATH): requests there since the log was cleared, as "METHOD key"
sub got { return join(', ', map { "$_->{method} " . ($_->{key} // '') } $erp->log_entries($_[0])); }

sub body_of { return JSON::PP->new->utf8->decode($_[0]{body}); }

# --- a record that makes the system fail: it dies, the system is not held
server('lone', 'rest', $rest, "retry_base '20ms', retry_cap '50ms', retry_limit '6', breaker_failures '3', breaker_cooldown '60s'");
sql(q(CREATE TABLE lone (id int PRIMARY KEY, note text);
	  SELECT concord.create_mapping('lone', 'lone', 'lone', 'lone', '{"note": "note"}');
	  INSERT INTO lone VALUES (1, 'known')));
is(delivered('lone'), 't', 'a system that works');
$erp->rule({ path => '/rest/api/lone', key => '7' }, { status => 500 });
$erp->rule({ path => '/rest/api/lone', body => '"poison"' }, { status => 500 });
sql("INSERT INTO lone VALUES (7, 'poison')");
is(delivered('lone'), 't', 'a lone record that makes it answer 500 ends');
is(sql("SELECT attempts || ' ' || status || ' ' || rule FROM concord.dead_letter WHERE mapping = 'lone'"), '7 500 server error',
	'dead after retry_limit');
is(system_is('lone', "breaker || ' ' || failures"), 'closed 1', 'the breaker has stayed closed');
sql("SELECT concord.retry_dead('lone'); INSERT INTO lone SELECT i, 'fine' FROM generate_series(10, 29) i");
is(sql("SELECT concord.wait_for_delivery('lone', '60s')"), 't', 'beside it all others flow');
is(scalar(grep { $_->{note} eq 'fine' } values %{ $erp->data('/rest/api/lone') }), 20, 'and arrive');
is(status('lone', 'dead'), '1', 'it is dead again');
sql("SELECT concord.discard_dead('lone', NULL, 'a test')");

# --- the same answer to different records is the system's
my $all = $erp->rule({ path => '/rest/api/lone' }, { status => 500 });
sql("ALTER SERVER lone OPTIONS (SET breaker_cooldown '100ms')");
sql("UPDATE lone SET note = 'later' WHERE id BETWEEN 10 AND 19");
ok($node->poll("SELECT breaker <> 'closed' AND state = 'down' AND failures >= 3 FROM concord.system WHERE server = 'lone'"),
	'different records open the breaker');
my $tries = sub { return scalar(grep { $_->{status} == 500 } $erp->log_entries('/rest/api/lone')); };
my $before = $tries->();
ok($erp->wait_until(sub { $tries->() >= $before + 3 }), 'it is probed');
is(status('lone', 'dead'), '0', 'and nothing dies');
$erp->drop_rules;
is(delivered('lone'), 't', 'it goes on');
is(scalar(grep { $_->{note} eq 'later' } values %{ $erp->data('/rest/api/lone') }), 10, 'and all arrives');

# --- no name, no listener, no trust: down, not dead; others go on
sql('CREATE TABLE multi (id int PRIMARY KEY, note text)');
my $dir = File::Temp->newdir;
my @gone = ('nohost', 'refused');
server('nohost', 'rest', 'http://concord-test.invalid/', $fast);
server('refused', 'rest', 'http://127.0.0.1:' . Concord::Cluster::free_port() . '/', $fast);
server('good', 'rest', $rest, $fast);
my $tls;
if (system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
	  . "-keyout $dir/key.pem -out $dir/cert.pem >/dev/null 2>&1") == 0)
{
	$tls = Concord::Sandbox->new(tls => [ "$dir/cert.pem", "$dir/key.pem" ]);
	server('notrust', 'rest', $tls->url('/rest/api/'), $fast);
	push @gone, 'notrust';
}
sql("SELECT concord.create_mapping('m_$_', 'multi', '$_', 'multi', '{\"note\": \"note\"}')") for @gone, 'good';
sql("INSERT INTO multi SELECT i, 'x' FROM generate_series(1, 10) i");
is(delivered('m_good'), 't', 'a system that works gets its rows');
foreach my $server (@gone)
{
	ok($node->poll("SELECT state = 'down' AND breaker <> 'closed' AND until IS NOT NULL AND last_error IS NOT NULL
					FROM concord.system WHERE server = '$server'"), "$server: down");
	is(status("m_$server", "dead || ' ' || pending || ' ' || retried"), '0 10 0', "$server: all pending, nothing dead or counted");
	note("$server: " . system_is($server, 'reason'));
}
like(system_is('nohost', 'reason'), qr/resolve/i, 'a host without address is named as that');
like(system_is('refused', 'reason'), qr/refused|connect/i, 'a refused connection as that');
SKIP:
{
	skip 'no openssl program', 3 unless $tls;
	like(system_is('notrust', 'reason'), qr/certificate/i, 'and a certificate as that');
	sql("ALTER SERVER notrust OPTIONS (ADD ca_file '$dir/cert.pem')");
	is(delivered('m_notrust'), 't', 'a corrected server goes on by itself');
	is(scalar(keys %{ $tls->data('/rest/api/multi') }), 10, 'with all');
}

# --- an outage with a limit does make dead letters
sql("ALTER SERVER refused OPTIONS (ADD outage_limit '1s')");
is(delivered('m_refused'), 't', 'outage_limit: an end');
is(sql("SELECT DISTINCT rule FROM concord.dead_letter WHERE mapping = 'm_refused'"), 'outage_limit', 'as dead letters of that name');
sql("SELECT concord.drop_mapping('m_' || s) FROM unnest('{nohost,refused,notrust}'::text[]) s
	 WHERE EXISTS (SELECT FROM concord.mapping WHERE name = 'm_' || s)");

# --- no whole answer: a time-out, and again
foreach my $case ([ 'endless body', { endless => JSON::PP::true } ], [ 'slow body', { slow => { bytes => 1, ms => 400 } } ],
	[ 'no answer', { hang => JSON::PP::true } ])
{
	my ($label, $action) = @$case;
	$erp->rule({ path => '/rest/api/multi', key => '3' }, $action, 1);
	sql("UPDATE multi SET note = '$label' WHERE id = 3");
	is(delivered('m_good'), 't', "$label: ends");
	is($erp->data('/rest/api/multi')->{3}{note}, $label, "$label: arrives");
	is(status('m_good', 'dead'), '0', "$label: nothing is dead");
}

# --- answers that are no text stay readable
foreach my $action ({ nul => JSON::PP::true, status => 422 }, { invalid_utf8 => JSON::PP::true, status => 422 })
{
	my ($label) = grep { $_ ne 'status' } keys %$action;
	$erp->rule({ path => '/rest/api/multi', key => '4' }, $action, 1);
	sql("UPDATE multi SET note = '$label' WHERE id = 4");
	is(delivered('m_good'), 't', "answer with $label");
	is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'm_good' AND length(answer) > 0 AND length(error) > 0"), '1',
		"answer with $label: kept as text");
	sql("SELECT concord.discard_dead('m_good', NULL, 'a test')");
}

# --- a value that is too large: that event only
$node->append_conf('postgresql.conf', 'pg_concord.max_event_size = 64kB');
$node->restart;
is(sql("SELECT concord.wait_for_capture('60s')"), 't', 'max_event_size: set');
sql("INSERT INTO multi VALUES (20, repeat('large ', 30000)), (21, 'small')");
is(delivered('m_good'), 't', 'a value that is too large');
is(sql("SELECT local_key ->> 'id' || ' ' || rule FROM concord.dead_letter WHERE mapping = 'm_good'"), '20 size', 'is dead for its size');
like(sql("SELECT error FROM concord.dead_letter WHERE mapping = 'm_good'"), qr/note.*(large|size|byte)/i, 'says which column');
is($erp->data('/rest/api/multi')->{21}{note}, 'small', 'the next one arrives');
sql("SELECT concord.discard_dead('m_good', NULL, 'a test')");

# --- options of the mapping over the server's; on_dead
server('slow', 'rest', $rest, "retry_base '1h', retry_cap '1h', retry_limit '20'");
sql(q(CREATE TABLE own (id int PRIMARY KEY, v int);
	  SELECT concord.create_mapping('own', 'own', 'slow', 'own', '{"v": "v"}',
		options => '{"retry_limit": 2, "retry_base": "20ms", "retry_cap": "40ms", "on_dead": "block"}')));
my $refuse = $erp->rule({ path => '/rest/api/own', body => '"v":13' }, { status => 409 });
sql("INSERT INTO own VALUES (1, 13), (2, 2)");
ok($node->poll("SELECT dead = 1 FROM concord.status WHERE mapping = 'own'"), 'retry_limit and retry_base of the mapping hold');
is(sql("SELECT attempts FROM concord.dead_letter WHERE mapping = 'own'"), '3', 'with as many attempts');
sql("UPDATE own SET v = 14 WHERE id = 1; UPDATE own SET v = 3 WHERE id = 2");
ok($erp->wait_until(sub { ($_[0]->data('/rest/api/own')->{2}{v} // 0) == 3 }), 'on_dead block: other keys flow');
is($erp->data('/rest/api/own')->{1}, undef, 'on_dead block: a later event of the key does not');
is(status('own', 'pending'), '1', 'on_dead block: it is pending');
$erp->drop_rule($refuse);
sql("SELECT concord.retry_dead('own')");
is(delivered('own'), 't', 'on_dead block: until it was tried again');
is($erp->data('/rest/api/own')->{1}{v}, 14, 'on_dead block: then both went');
like(got('/rest/api/own'), qr/POST 1, .*PATCH 1$/, 'on_dead block: in order');
$refuse = $erp->rule({ path => '/rest/api/own', body => '"v":13' }, { status => 422 });
sql("UPDATE own SET v = 13 WHERE id = 1; UPDATE own SET v = 15 WHERE id = 1");
ok($node->poll("SELECT dead = 1 AND pending = 1 FROM concord.status WHERE mapping = 'own'"), 'on_dead block: again');
sql("SELECT concord.discard_dead('own', NULL, 'not wanted')");
is(delivered('own'), 't', 'on_dead block: until it was given up');
is($erp->data('/rest/api/own')->{1}{v}, 15, 'on_dead block: then the later one goes');
$erp->drop_rules;

# --- a record that refers to another waits for it, and costs no attempt
sql(q(CREATE TABLE parent (id int PRIMARY KEY, note text); CREATE TABLE child (id int PRIMARY KEY, parent int);
	  SELECT concord.create_mapping('parent', 'parent', 'good', 'parents', '{"note": "note"}', paused => true);
	  SELECT concord.create_mapping('child', 'child', 'good', 'children', '{"parent": "concord.remote_id(''parent'', parent)"}',
		options => '{"retry_limit": 0}');
	  INSERT INTO parent VALUES (5, 'five'); INSERT INTO child VALUES (50, 5), (51, NULL)));
ok($node->poll("SELECT waiting = 1 AND delivered = 1 AND dead = 0 FROM concord.status WHERE mapping = 'child'"),
	'a record without its parent waits, one without a parent does not');
ok($node->poll(q(SELECT next_try > committed_at + interval '1 s' FROM concord.delivery WHERE mapping = 'child' AND state <> 'done')),
	'and goes on waiting after it has looked');
is(sql("SELECT state || ' ' || attempts FROM concord.delivery WHERE mapping = 'child' AND state <> 'done'"), 'waiting 0', 'without an attempt');
sql("SELECT concord.resume('parent')");
is(delivered('child'), 't', 'when the parent is there it goes');
is($erp->data('/rest/api/children')->{50}{parent}, '5', 'and names it');
is(sql("SELECT attempts FROM concord.delivery WHERE mapping = 'child' AND local_key ->> 'id' = '50'"), '1', 'with one attempt');

# --- a server of another environment is not contacted
server('prod', 'rest', $rest, "environment 'prod', $fast");
sql(q(CREATE TABLE secret (id int PRIMARY KEY);
	  SELECT concord.create_mapping('secret', 'secret', 'prod', 'secret', '{"n": "id"}'); INSERT INTO secret VALUES (1)));
ok($node->poll("SELECT state = 'held' AND reason LIKE '%environment%' FROM concord.system WHERE server = 'prod'"),
	'a server of another environment is held, with the reason');
like(system_is('prod', 'hint'), qr/set pg_concord.environment/, 'and what to do');
my ($out, $err) = sql_all("SELECT concord.wait_for_delivery('secret', '30s')");
like("$out $err", qr/^f.*NOTICE:.*environment/s, 'waiting for it ends at once');
is(got('/rest/api/secret'), '', 'nothing was sent');
$node->append_conf('postgresql.conf', "pg_concord.environment = 'prod'");
$node->reload;
ok($node->poll("SELECT state <> 'held' FROM concord.system WHERE server = 'prod'"), 'in its own it is contacted');
is(delivered('secret'), 't', 'and gets what waited');

# --- delivery off
$node->append_conf('postgresql.conf', 'pg_concord.delivery = off');
$node->reload;
ok($node->poll("SELECT bool_and(state = 'delivery off') FROM concord.system"), 'delivery off: every system shows it');
$erp->clear_log;
sql("INSERT INTO secret VALUES (2)");
ok($node->poll("SELECT bool_and(reason LIKE '%pg_concord.delivery%') FROM concord.system_state"), 'delivery off: with the reason');
($out, $err) = sql_all("SELECT concord.wait_for_delivery('secret', '30s')");
like("$out $err", qr/^f.*NOTICE:.*pg_concord.delivery is off/s, 'delivery off: waiting ends at once');
is(got('/'), '', 'delivery off: nothing is sent');
$node->append_conf('postgresql.conf', 'pg_concord.delivery = on');
$node->reload;
ok($node->poll("SELECT state NOT IN ('delivery off', 'held') FROM concord.system WHERE server = 'prod'"), 'delivery on');
is(delivered('secret'), 't', 'what waited is sent');

# --- what options make of a row and of its end, in three protocols
my $odata = $erp->url('/odata/v4/shop/');
server('shop', 'odata', $odata, $fast);
server('hook', 'webhook', $erp->url('/hook/'), $fast);
my %path = (good => '/rest/api/item', shop => '/odata/v4/shop/item', hook => '/hook/item');
$erp->set('/odata/v4/shop/item', key => ['id']);
sql('CREATE TABLE item (id int PRIMARY KEY, note text, price numeric(10,2), open bool DEFAULT true)');
sub items
{
	my ($options, $filter) = @_;
	sql("SELECT concord.drop_mapping(name) FROM concord.mapping WHERE source = 'item'::regclass");
	sql("SELECT concord.create_mapping('item_' || s, 'item', s, 'item', '{\"note\": \"note\", \"price\": \"price\"}',
			key => '{\"id\": \"id\"}', filter => " . ($filter ? "'$filter'" : 'NULL') . ", options => '$options')
		 FROM unnest('{good,shop,hook}'::name[]) s");
	$erp->clear_log;
	return;
}

# what each system got, as "METHOD key"
sub each_got { return join('; ', map { got($path{$_}) =~ s/[()]//gr } qw(good shop hook)); }

sub all_delivered
{
	my ($label) = @_;
	is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$label: delivered");
	is(sql("SELECT string_agg(mapping || ': ' || coalesce(error, rule), ', ') FROM concord.dead_letter"), '', "$label: nothing is dead");
	note("$label: " . each_got());
	return;
}

items('{"nulls": "omit", "numbers": "string"}');
sql("INSERT INTO item VALUES (1, NULL, 1.50)");
all_delivered('nulls omit, numbers string');
foreach my $server (sort keys %path)
{
	my ($entry) = $erp->log_entries($path{$server});
	my $body = body_of($entry);
	ok(!exists $body->{note}, "$server: a null is left out");
	like($entry->{body}, qr/"price"\s*:\s*"1\.50"/, "$server: a number is quoted");
}

items('{"unmatched": "keep", "on_delete": "ignore"}', 'open');
sql("INSERT INTO item VALUES (2, 'b', 2); UPDATE item SET open = false, note = 'kept' WHERE id = 2; DELETE FROM item WHERE id = 2");
all_delivered('unmatched keep, on_delete ignore');
is(each_got(), 'POST 2; POST 2; POST 2', 'unmatched keep, on_delete ignore: only the insert is sent');

items('{"unmatched": "delete"}', 'open');
sql("INSERT INTO item VALUES (3, 'c', 3); UPDATE item SET open = false WHERE id = 3; UPDATE item SET open = true, note = 'back' WHERE id = 3");
all_delivered('unmatched delete');
like(each_got(), qr/^POST 3, DELETE 3, (PATCH 3, )?POST 3; POST 3, DELETE 3, (PATCH 3, )?POST 3;/, 'unmatched delete: removed, and made again');

items(q({"unmatched": "update", "on_delete": {"note": "''gone''"}}), 'open');
sql("INSERT INTO item VALUES (4, 'd', 4); UPDATE item SET open = false, note = 'closed' WHERE id = 4; DELETE FROM item WHERE id = 4");
all_delivered('unmatched update, on_delete fields');
is(each_got(), 'POST 4, PATCH 4, PATCH 4; POST 4, PATCH 4, PATCH 4; POST 4, POST 4, POST 4', 'unmatched update, on_delete fields: updates');
is(join(',', map { body_of(($erp->log_entries($path{$_}))[-1])->{note} } qw(good shop hook)), 'gone,gone,gone',
	'on_delete fields: as it says');

items('{"on_key_change": "update"}');
sql("INSERT INTO item VALUES (6, 'f', 6); UPDATE item SET id = 60 WHERE id = 6");
all_delivered('on_key_change update');
note('on_key_change update: ' . each_got());
items('{"on_key_change": "recreate"}');
sql("INSERT INTO item VALUES (7, 'g', 7); UPDATE item SET id = 70 WHERE id = 7");
all_delivered('on_key_change recreate');
note('on_key_change recreate: ' . each_got());
foreach my $server (qw(good shop))
{
	my %held = map { s/[()]//gr => 1 } keys %{ $erp->data($path{$server}) };
	is(join(',', map { $held{$_} ? 1 : 0 } 6, 60, 7, 70), '0,1,0,1', "$server: the record is there under its new key only");
}

# --- a truncate: for a person to see, nothing, or deletes
items('{"truncate": "ignore"}');
sql("INSERT INTO item VALUES (8, 'h', 8); TRUNCATE item");
all_delivered('truncate ignore');
is(each_got(), 'POST 8; POST 8; POST 8', 'truncate ignore: nothing is sent');
items('{"truncate": "delete"}');
sql("SELECT concord.drop_mapping('item_hook')");
sql("INSERT INTO item VALUES (9, 'i', 9), (10, 'j', 10); TRUNCATE item; INSERT INTO item VALUES (10, 'new', 1)");
all_delivered('truncate delete');
foreach my $server (qw(good shop))
{
	my %held = map { s/[()]//gr => 1 } keys %{ $erp->data($path{$server}) };
	is(join(',', map { $held{$_} ? 1 : 0 } 9, 10), '0,1', "$server: truncate delete: what was there is gone");
}
items('{}');
sql("TRUNCATE item");
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'truncate alert: ends');
is(sql("SELECT string_agg(mapping || ' ' || op || ' ' || rule, ', ' ORDER BY mapping) FROM concord.dead_letter"),
	'item_good truncate truncate, item_hook truncate truncate, item_shop truncate truncate', 'truncate alert: as dead letters');
is(each_got(), '; ; ', 'truncate alert: nothing is sent');
sql("SELECT concord.discard_dead(mapping, NULL, 'seen') FROM concord.dead_letter");

# --- replay: every event, by time and by key
items('{}');
my $start = sql('SELECT clock_timestamp()');
sql("INSERT INTO item VALUES (11, 'one', 1), (12, 'one', 1)");
all_delivered('replay: first');
my $time = sql('SELECT clock_timestamp()');
sql("UPDATE item SET note = 'two' WHERE id = 11");
sql("UPDATE item SET note = 'three' WHERE id = 11");
all_delivered('replay: then');
$erp->clear_log;
is(sql("SELECT concord.replay('item_hook', from_time => '$time')"), '2', 'replay of events by time: all of the span');
all_delivered('replay of events');
is(join(',', map { body_of($_)->{note} } $erp->log_entries('/hook/item')), 'two,three', 'in order');
$erp->clear_log;
is(sql(q(SELECT concord.replay('item_hook', keys => '[{"id": 11}]'))), '3', 'replay of events by key: all of the key');
all_delivered('replay of events by key');
is(join(',', map { body_of($_)->{note} } $erp->log_entries('/hook/item')), 'one,two,three', 'in order');
is(sql("SELECT concord.replay('item_good', from_time => '$time')"), '1', 'replay of state by time: one of each key');
is(sql("SELECT concord.replay('item_good', from_time => '$start', to_time => '$time')"), '2', 'replay of state: the keys of the span');
all_delivered('replay of state');
is($erp->data($path{good})->{11}{note}, 'three', 'replay of state: the newest image');

is($erp->stats->{key_reused}, 0, 'no idempotency key came with another body');
done_testing();
