# Thin notices: a message only names a record, which is looked up and applied;
# what cannot be looked up now, later, or never; and that nobody holds anything
# while a system is waited for.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $systems = Concord::Dialects->new;
my $url = $systems->url('feed', '/');
my $node = Concord::Cluster->create('notices', conf => 'restart_after_crash = on');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub until_is { my ($query, $expected, $what) = @_; ok($node->poll_query_until('postgres', "SELECT ($query)::text = '$expected'"), $what) or diag(sql("SELECT ($query)::text")); return; }
sub rows { return q{SELECT coalesce(string_agg(id || chr(61) || coalesce(name, '-') || '/' || coalesce(stock::text, '-'), ' ' ORDER BY id), '') FROM thing}; }

# edit(KEY => VALUES, ...): somebody changes records at the system
sub edit { return $systems->edit('Things', @_); }

# asked(PATTERN): how often the system was asked for such an address
sub asked { my ($pattern) = @_; return scalar grep { $_->{method} eq 'GET' && "$_->{path}" =~ $pattern } $systems->journal('feed'); }

# told(ID, ...): messages that name records
sub told
{
	my (@ids) = @_;
	sql(join '; ', map { defined $_ ? qq{SELECT concord.receive('things', '{"id": "$_"}')} : q{SELECT concord.receive('things', '{}')} } @ids);
	return;
}

sql(qq{
	CREATE SERVER feed FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '100ms', retry_cap '200ms', retry_limit '3', timeout '60s');
	CREATE TABLE thing (id int PRIMARY KEY, name text, stock int CHECK (stock >= 0), note text);
	SELECT concord.create_mapping('things', 'thing', 'feed', 'Things',
		'{"Name": {"column": "name", "owner": "feed"}, "Stock": {"column": "stock", "owner": "feed"}}', key => '{"ID": "id"}',
		push => 'off', options => '{"pull": {"delete": "delete"}, "receive": {"fetch": true, "remote_id": "body:id"}}')});

# ---- a message names a record
edit(map { $_ => { Name => "n$_", Stock => $_ } } 1 .. 5);
told(2);
until_is(rows(), '2=n2/2', 'the record that a message names is looked up and applied');
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'and the message is done');
is(sql("SELECT outcome, remote_id FROM concord.applied"), 'inserted|2', 'it is in the record of what was applied');
edit(2 => { Stock => 20 });
told(2, 3, 4);
until_is(rows(), '2=n2/20 3=n3/3 4=n4/4', 'several');
edit(3 => undef);
told(3);
until_is(rows(), '2=n2/20 4=n4/4', 'a record that is not there any more is deleted');
told(77);
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'one that never was is nothing');

# ---- many messages about one record are one look-up
my $before = asked(qr/Things\(5\)/);
sql("SELECT concord.pause('things')");
told((5) x 30);
is(sql("SELECT count(*) FROM concord.inbox WHERE op = 'fetch'"), '30', 'nothing is asked for while the mapping is paused');
sql("SELECT concord.resume('things')");
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'then all are done');
is(asked(qr/Things\(5\)/) - $before, 1, 'by one request');
is(sql('SELECT name FROM thing WHERE id = 5'), 'n5', 'the record is here');

# ---- the system cannot now
$systems->fault('feed', match => 'GET /Things\(2\)', status => 503, headers => { 'Retry-After' => '1' }, times => 2);
edit(2 => { Stock => 21 });
told(2);
until_is('SELECT stock FROM thing WHERE id = 2', '21', 'asked again after 503');
$systems->calm('feed');
$systems->fault('feed', match => 'GET /Things\(2\)', status => 429, headers => { 'Retry-After' => '1' }, times => 2);
edit(2 => { Stock => 22 });
told(2);
until_is('SELECT stock FROM thing WHERE id = 2', '22', 'asked again after 429');
$systems->calm('feed');
$systems->fault('feed', match => 'GET /Things\(2\)', drop => 10, status => 200, times => 1);
edit(2 => { Stock => 23 });
told(2);
until_is('SELECT stock FROM thing WHERE id = 2', '23', 'asked again after half an answer');
is(sql("SELECT count(*) FROM concord.inbox_item"), '0', 'and the messages are done');
$systems->calm('feed');

# ---- it refuses
$systems->fault('feed', match => 'GET /Things\(2\)', status => 403, body => { error => { code => 'no', message => 'not for you' } }, times => 1000);
edit(2 => { Stock => 24 }, 4 => { Stock => 44 });
told(2, 4);
until_is("SELECT count(*) FROM concord.inbox WHERE state = 'parked' AND op = 'fetch' AND remote_id = '2'", '1', 'what is refused is parked');
like(sql("SELECT error FROM concord.inbox WHERE state = 'parked'"), qr/403.*not for you/, 'with the reason');
until_is('SELECT stock FROM thing WHERE id = 4', '44', 'and the others go on');
$systems->calm('feed');
sql("SELECT concord.retry_inbox('things')");
until_is('SELECT stock FROM thing WHERE id = 2', '24', 'retry_inbox() asks again');
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'and is done');
$systems->fault('feed', match => 'GET /Things\(2\)', status => 200, body => 'no JSON', times => 1000);
told(2);
until_is("SELECT state || attempts FROM concord.inbox_item", 'parked3', 'an answer that is none is asked for as often as retry_limit says');
$systems->calm('feed');
sql("SELECT concord.discard_inbox('things', NULL, 'test'); DELETE FROM concord.inbox_item");

# ---- a record that a check refuses, and one later that is good
edit(4 => { Stock => -1 });
told(4);
until_is("SELECT state || ' ' || rule FROM concord.inbox_item", 'parked thing_stock_check', 'a record that a check refuses is parked');
edit(4 => { Stock => 45 });
told(4);
until_is('SELECT stock FROM thing WHERE id = 4', '45', 'the next one is applied');
until_is("SELECT count(*) FROM concord.inbox_item WHERE state <> 'discarded'", '0', 'and takes its place');
sql('DELETE FROM concord.inbox_item');

# ---- deleted and made again: what came before is applied before
sql("SELECT concord.pause('things')");
sql(q{INSERT INTO concord.inbox_item (mapping, origin, op, remote_id) SELECT id, 'receive', 'delete', '4' FROM concord.mapping WHERE name = 'things'});
told(4);
sql("SELECT concord.resume('things')");
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'a deletion and a notice');
is(sql('SELECT stock FROM thing WHERE id = 4'), '45', 'the record is there at last');

# ---- a message that names no record: what has changed is asked for
edit(6 => { Name => 'n6', Stock => 6 }, 1 => { Stock => 11 });
told(undef);
until_is(rows(), '1=n1/11 2=n2/24 4=n4/45 5=n5/5 6=n6/6', 'a message without an id makes a pull');
until_is('SELECT count(*) FROM concord.inbox_item', '0', 'and is done when that is');
sql(q{SELECT concord.alter_mapping('things', options => '{"pull": null}')});
told(undef);
is(sql('SELECT state, rule FROM concord.inbox_item'), 'parked|id', 'without option pull it is parked');
sql(q{DELETE FROM concord.inbox_item; SELECT concord.alter_mapping('things', options => '{"pull": {"delete": "delete"}}')});

# ---- nobody holds anything while a system takes its time
my $applier = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord applier'};
# slow(PATTERN, WHAT, SUB): while such a request waits for its answer
sub slow
{
	my ($match, $what, $start) = @_;
	$systems->set('feed', wait => $match);
	$start->();
	my $waiting = 0;
	for (1 .. 600)
	{
		$waiting = $systems->settings('feed')->{waiting} // 0;
		last if $waiting;
		select undef, undef, undef, 0.05;
	}
	ok($waiting, "$what: the system was asked");
	is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'concord applier'"), '1', "$what: the applier is there");
	is(sql("SELECT concat_ws(' ', backend_xid, backend_xmin) FROM pg_stat_activity WHERE backend_type = 'concord applier'"), '', "$what: neither xid nor snapshot");
	is(sql("SELECT string_agg(locktype || ' ' || mode, ', ') FROM pg_locks WHERE pid = ($applier) AND locktype <> 'virtualxid'"), '', "$what: no lock");
	sql('ALTER TABLE thing ADD COLUMN IF NOT EXISTS more text');
	is($systems->settings('feed')->{waiting}, 1, "$what: the request still waits");
	$systems->set('feed', wait => '');
	return;
}
edit(2 => { Stock => 25 });
slow('GET /Things\(2\)', 'a look-up', sub { told(2) });
until_is('SELECT stock FROM thing WHERE id = 2', '25', 'and then it is applied');
edit(2 => { Stock => 26 });
slow('GET /Things$', 'a pull', sub { sql(q{SELECT concord.alter_mapping('things', options => '{"pull": {"every": "1 s"}}')}) });
until_is('SELECT stock FROM thing WHERE id = 2', '26', 'and then it is applied');

# ---- what has changed meanwhile is not applied to what is not the same any more
edit(2 => { Stock => 27 });
slow('GET /Things$', 'a pull that is overtaken', sub { sql('SELECT 1') });
until_is('SELECT stock FROM thing WHERE id = 2', '27', 'applied');
edit(map { $_ => { Stock => 1000 + $_ } } 1, 2);
$systems->set('feed', wait => 'GET /Things$');
for (1 .. 600) { last if $systems->settings('feed')->{waiting}; select undef, undef, undef, 0.05; }
sql("SELECT concord.pause('things')");
$systems->set('feed', wait => '');
for (1 .. 600) { last unless $systems->settings('feed')->{waiting}; select undef, undef, undef, 0.05; }
sql("SELECT concord.alter_mapping('things', options => '{\"pull\": {\"every\": null}}')");
is(sql('SELECT stock FROM thing WHERE id = 2'), '27', 'a paused mapping is left alone');
sql("SELECT concord.resume('things')");

# ---- killed in the middle, again and again: nothing is lost
sql('TRUNCATE thing; DELETE FROM concord.link_item; DELETE FROM concord.pull_state');
edit(map { $_ => { Name => "k$_", Stock => $_ } } 1 .. 400);
for my $round (1 .. 5)
{
	edit(map { $_ => { Stock => $round * 1000 + $_ } } 1 .. 400);
	sql("SELECT count(concord.receive('things', format('{\"id\": \"%s\"}', i))) FROM generate_series(1, 400) i");
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM thing WHERE stock = $round * 1000 + id");
	my $log = -s $node->logfile;
	my $pid = sql($applier);
	my $killed = $pid && kill($round % 2 ? 'TERM' : 'KILL', $pid);
	# one that is killed takes all others along
	if ($killed && $round % 2 == 0)
	{
		ok($node->poll_log(qr/all server processes terminated; reinitializing/, $log), "killed, round $round");
		ok($node->poll('SELECT true'), 'and back');
	}
	until_is("SELECT count(*) FROM thing WHERE stock = $round * 1000 + id", '400', "ended in the middle, round $round");
	until_is('SELECT count(*) FROM concord.inbox_item', '0', "nothing is left, round $round");
}
is_deeply($systems->wrong('feed'), [], 'the system found nothing wrong');

done_testing();
