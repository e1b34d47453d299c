# create_mapping(initial => 'match'): what exists on both sides is linked, what
# differs and what is only here is sent, nothing becomes a second record; a
# system that is down and a process that is killed do not change that.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $systems = Concord::Dialects->new;
my $url = $systems->url('feed', '/');
my $node = Concord::Cluster->create('match_initial', conf => 'restart_after_crash = on');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub done
{
	ok($node->poll("SELECT state FROM concord.matching WHERE mapping = '$_[0]'", 'done'), "$_[0] is matched");
	return;
}
sub delivered { is(sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"), 't', 'delivered'); return; }
sub state { return sql("SELECT concat_ws('|', state, state_reason) FROM concord.status WHERE mapping = '$_[0]'"); }

# edit(KEY => VALUES, ...): somebody changes records at the system
sub edit { return $systems->edit('Things', @_); }

# there(): what the system has
sub there
{
	my $things = $systems->data('feed')->{Things};
	return join ' ', map { "$_=$things->{$_}{Name}/" . ($things->{$_}{Stock} // '-') } sort { $a <=> $b } keys %$things;
}

# sent(): requests since the last call that change something
my $seen = 0;
sub sent
{
	my @journal = grep { $_->{method} ne 'GET' && $_->{path} !~ /_edit/ } $systems->journal('feed');
	my @new = @journal[$seen .. $#journal];
	$seen = @journal;
	return join ' ', sort map { "$_->{method} " . ($_->{path} =~ m{([^/]*)$})[0] } @new;
}

# fresh(): other rows and records
sub fresh
{
	$systems->reset_all('feed');
	$systems->set('feed', page => 2, first => 500);
	$seen = 0;
	sql('TRUNCATE person');
	return;
}

my $fields = '{"Name": "name", "Stock": "stock"}';
my $options = '{"remote_id": "assigned", "remote_id_path": "ID", "remote_id_type": "number", "match": [{"name": "name", "remote": "Name", "local": "name"}]}';
sub create
{
	my ($name, $more) = @_;
	return "SELECT concord.create_mapping('$name', 'person', 'feed', 'Things', '$fields', key => '{\"Owner\": \"id\"}', options => '$options', initial => 'match'" . ($more // '') . ')';
}

sql(qq{
	CREATE SERVER feed FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', retry_base '20ms', breaker_cooldown '100ms');
	CREATE TABLE person (id int PRIMARY KEY, name text, stock int)});

# ---- what is the same is linked, what differs is sent
fresh();
sql(q{INSERT INTO person VALUES (1, 'Ann', 1), (2, 'Bob', 2), (3, 'Only', 3), (4, 'Cy', 4), (5, 'Cy', 5), (7, 'Eve', 7)});
edit(101 => { Name => 'Ann', Stock => 1 }, 102 => { Name => 'Bob', Stock => 20 }, 103 => { Name => 'Cy', Stock => 4 },
	104 => { Name => 'There', Stock => 9 }, 107 => { Name => 'Eve', Stock => 7 });
is(sql('BEGIN; ' . create('people') . q{; SELECT state, state_reason FROM concord.mapping WHERE name = 'people';
	SELECT state FROM concord.matching; INSERT INTO person VALUES (6, 'Meanwhile', 6); UPDATE person SET stock = 70 WHERE id = 7; COMMIT}),
	"1\npaused|until its rows are matched with the records that exist\ndue", 'a mapping that waits for its match');
done('people');
delivered('people');
is(state('people'), 'active', 'it is active by itself');
like(sent(), qr/^PATCH Things\(102\) PATCH Things\(107\) (PATCH Things\(50[01]\) )?POST Things POST Things$/, 'what differs, and what is only here');
like(there(), qr{^101=Ann/1 102=Bob/2 103=Cy/4 104=There/9 107=Eve/70 (500=Only/3 501=Meanwhile/6|500=Meanwhile/6 501=Only/3)$}, 'what the system has');
is(sql(q{SELECT concat_ws('|', local, remote, matched, linked, ambiguous, duplicates, local_only, remote_only, sent) FROM concord.matching}),
	'7|5|3|0|2|0|2|1|4', 'what was found');
is(sql(q{SELECT rule || ' ' || remote_id || ' ' || error FROM concord.inbox}), 'ambiguous 103 may be row {"id": 4} or row {"id": 5}, by name', 'a person decides the rest');
sql(q{SELECT concord.set_link('people', '{"id": 5}', '103')});
delivered('people');
is(sent(), 'PATCH Things(103)', 'has decided');
is(sql(q{SELECT string_agg(local_key ->> 'id', ' ' ORDER BY (local_key ->> 'id')::int) FROM concord.link}), '1 2 3 5 6 7', 'links');
sql('UPDATE person SET stock = stock');
delivered('people');
like(sent(), qr/^POST Things$/, 'a row that is linked with nothing is a new record once it is changed');
sql(q{SELECT concord.drop_mapping('people')});
is(sql('SELECT count(*) FROM concord.match_state'), '0', 'dropped');

# ---- a system that is down
fresh();
sql(q{INSERT INTO person VALUES (1, 'Ann', 1), (2, 'Bob', 2)});
edit(101 => { Name => 'Ann', Stock => 1 });
$systems->fault('feed', match => 'GET', status => 503, times => 100_000);
sql(create('down'));
ok($node->poll("SELECT state FROM concord.matching WHERE mapping = 'down'", 'failing'), 'it fails');
like(sql("SELECT last_error FROM concord.matching"), qr/503/, 'and says why');
like(state('down'), qr/^paused\|until its rows are matched/, 'nothing is sent meanwhile');
is(sent(), '', 'nothing was');
$systems->calm('feed');
done('down');
delivered('down');
is(there(), '101=Ann/1 500=Bob/2', 'once it is up');
sql(q{SELECT concord.drop_mapping('down')});

# ---- who pauses meanwhile finds it paused
fresh();
sql(q{INSERT INTO person VALUES (1, 'Ann', 1)});
sql(q{SELECT concord.pause_system('feed')});
sql(create('held') . q{; SELECT concord.pause('held')});
sql(create('begun', ', paused => true'));
sql(create('gone'));
like(state('held'), qr/^paused\|by /, 'paused by a person');
sql(q{SELECT concord.drop_mapping('gone')});
sql(q{SELECT concord.resume_system('feed')});
done('held');
done('begun');
like(state('held'), qr/^paused\|by /, 'and still is afterwards');
is(state('begun'), 'paused', 'as one that began so');
is(sent(), '', 'nothing is sent');
sql(q{SELECT concord.resume('held')});
delivered('held');
is(there(), '500=Ann/1', 'until it is resumed');
sql(q{SELECT concord.drop_mapping('held'); SELECT concord.drop_mapping('begun')});

# ---- killed while it links
my $rows = 1500;
fresh();
$systems->set('feed', page => 500, first => 100_000);
sql("INSERT INTO person SELECT i, 'p' || i, i FROM generate_series(1, $rows) i");
edit(map { 10_000 + $_ => { Name => "p$_", Stock => $_ % 10 ? $_ : -1 } } 1 .. $rows - 5);
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('BEGIN; LOCK TABLE concord.link_item IN SHARE MODE');
sql(create('killed'));
my $killed = 0;
ok($node->poll(q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'concord applier' AND NOT l.granted}), 'it links');
$killed = kill 'KILL', sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord applier'});
is($killed, 1, 'the applier is killed');
$holder->{run}->finish if ref $holder && $holder->{run};
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back');
done('killed');
delivered('killed');
my $things = $systems->data('feed')->{Things};
is(scalar(keys %$things), $rows, 'no record is there twice');
is(scalar(grep { substr($_->{Name}, 1) != $_->{Stock} } values %$things), 0, 'all are as they are here');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'killed'"), $rows, 'all are linked');
is(sent() =~ s/POST Things//gr =~ s/PATCH //gr =~ tr/T//, int(($rows - 5) / 10), 'what is the same was not sent');
sql(q{SELECT concord.drop_mapping('killed')});

# ---- what is the system's comes with the next pull
fresh();
sql(q{ALTER TABLE person ADD city text; INSERT INTO person VALUES (1, 'Ann', 1), (2, 'Bob', 2)});
edit(101 => { Name => 'Ann', Stock => 10 }, 102 => { Name => 'Bob', Stock => 2 });
sql(q{SELECT concord.create_mapping('both', 'person', 'feed', 'Things', '{"Name": "name", "Stock": {"column": "stock", "owner": "feed"}}', key => '{"Owner": "id"}',
	options => '{"remote_id": "assigned", "remote_id_path": "ID", "remote_id_type": "number", "match": ["name = remote ->> ''Name''"], "pull": {"method": "full", "insert": false}}', initial => 'match')});
done('both');
delivered('both');
is(sent(), '', 'nothing differs in what is ours');
is(sql('SELECT stock FROM person WHERE id = 1'), '1', 'matching takes nothing');
sql(q{SELECT * FROM concord.pull('both')});
is(sql('SELECT stock FROM person WHERE id = 1'), '10', 'a pull does');
delivered('both');
is(sent(), '', 'and nothing is sent back');

# ---- refused at once
my ($out, $err);
sql(q{CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:1/')});
$node->psql('postgres', q{SELECT concord.create_mapping('hooked', 'person', 'hook', '', '{"Name": "name"}', initial => 'match')}, stdout => \$out, stderr => \$err);
like($err, qr/records of mapping "hooked" cannot be listed/, 'a system without lists');
is(sql("SELECT count(*) FROM concord.mapping WHERE name = 'hooked'"), '0', 'makes no mapping');

done_testing();
