# Pulls from a system that tells what has changed: links of changes, changes
# since, everything compared; feeds that expire, clocks that are off, lists that
# go round in circles.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $systems = Concord::Dialects->new;
my $url = $systems->url('feed', '/');
my $node = Concord::Cluster->create('pull');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub rows { return sql("SELECT string_agg(id || '=' || coalesce(name, '-') || '/' || coalesce(stock::text, '-'), ' ' ORDER BY id) FROM thing"); }
sub pull { return sql("SELECT * FROM concord.pull('things')"); }
sub state { return sql("SELECT method, coalesce(note, '') FROM concord.pulling WHERE mapping = 'things'"); }

# edit(KEY => VALUES, ...): somebody changes records at the system
sub edit { return $systems->edit('Things', @_); }

# asked(): addresses that were asked for since the last call
my $seen = 0;
sub asked
{
	my @journal = grep { $_->{method} eq 'GET' } $systems->journal('feed');
	my @new = @journal[$seen .. $#journal];
	$seen = @journal;
	return @new;
}

# fails(SQL, SQLSTATE, PATTERN, WHAT)
sub fails
{
	my ($sql, $state, $pattern, $what) = @_;
	my ($out, $err);
	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E: /, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	return;
}

sql(qq{
	CREATE SERVER feed FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE TABLE thing (id int PRIMARY KEY, name text, stock int CHECK (stock >= 0), note text);
	SELECT concord.create_mapping('things', 'thing', 'feed', 'Things',
		'{"Name": {"column": "name", "owner": "feed"}, "Stock": {"column": "stock", "owner": "feed"}}', key => '{"ID": "id"}',
		push => 'off', options => '{"pull": {"delete": "delete"}}')});

# ---- the feed of changes
edit(map { $_ => { Name => "n$_", Stock => $_ } } 1 .. 5);
$systems->set('feed', page => 2);
is(pull(), '5|5|0|0', 'everything, at first');
is(rows(), '1=n1/1 2=n2/2 3=n3/3 4=n4/4 5=n5/5', 'the rows');
is(scalar(asked()), 3, 'three pages');
is(state(), 'delta|', 'by the feed');
is(pull(), '0|0|0|0', 'nothing has changed');
like((asked())[0]{query}{'$deltatoken'}, qr/^5$/, 'the link of the last pull');
edit(2 => { Stock => 20 }, 4 => undef, 6 => { Name => 'n6', Stock => 6 }, 2 => { Stock => 21 });
like(pull(), qr{^[34]\|3\|0\|0$}, 'what has changed, one of it perhaps on two pages');
is(rows(), '1=n1/1 2=n2/21 3=n3/3 5=n5/5 6=n6/6', 'changed, deleted, inserted');
edit(4 => { Name => 'again', Stock => 4 }, 1 => undef);
$systems->set('feed', style => '4.0');
pull();
is(rows(), '2=n2/21 3=n3/3 4=again/4 5=n5/5 6=n6/6', 'deleted as OData 4.0 tells it, and one that is back');

# ---- rolled back with the rows
edit(2 => { Stock => 22 });
sql("BEGIN; SELECT * FROM concord.pull('things'); ROLLBACK");
is(rows(), '2=n2/21 3=n3/3 4=again/4 5=n5/5 6=n6/6', 'a rollback takes the rows back');
is(pull(), '1|1|0|0', 'and the cursor');

# ---- a feed that has expired
edit(3 => undef, 7 => { Name => 'n7', Stock => 7 });
$systems->set('feed', forget => 100);
my ($out, $err);
$node->psql('postgres', "SELECT * FROM concord.pull('things')", stdout => \$out, stderr => \$err);
like($err, qr/NOTICE:  mapping "things": the system's feed of changes has expired; everything is compared/, 'it says so');
is(rows(), '2=n2/22 4=again/4 5=n5/5 6=n6/6 7=n7/7', 'and everything is compared: what is gone, too');
like(state(), qr/^delta\|.*has expired/, 'the view says so');
$systems->set('feed', forget => -1);
edit(7 => { Stock => 70 });
is(pull(), '1|1|0|0', 'with a new link');
is(sql('SELECT count(*) FROM concord.pull_seen'), '0', 'nothing is left of the compare');

# ---- another list: the link of the old one is not for it
sql(q{SELECT concord.alter_mapping('things', options => '{"pull": {"filter": "now=1"}}')});
asked();
pull();
is(join(',', map { $_->{query}{'$deltatoken'} // 'all' } (asked())[0]), 'all', 'another list is read from its beginning');
pull();
like((asked())[0]{query}{'$deltatoken'} // '', qr/^\d+$/, 'and then followed');
sql(q{SELECT concord.alter_mapping('things', options => '{"pull": {"filter": null}}')});
pull();

# ---- a record that a check refuses is parked, the rest goes on
edit(8 => { Name => 'bad', Stock => -1 }, 9 => { Name => 'n9', Stock => 9 });
is(pull(), '2|1|0|1', 'one is refused');
is(rows(), '2=n2/22 4=again/4 5=n5/5 6=n6/6 7=n7/70 9=n9/9', 'the other is there');
like(sql("SELECT state, rule, error FROM concord.inbox"), qr/^parked\|.*stock/, 'with the reason');

# ---- a system that keeps no feed
$systems->set('feed', untracked => 1);
sql(qq{SELECT concord.alter_mapping('things', options => '{"pull": {"changed": "ModifiedAt"}}'); UPDATE concord.pull_state SET link = NULL, method = 'delta'});
pull();
is(state(), 'since|the system gave no link of changes: what was changed since is asked for', 'no link: changes since');
asked();
edit(9 => { Stock => 90 });
sql(qq{SELECT concord.alter_mapping('things', options => '{"pull": {"overlap": "0 s"}}')});
my ($fetched, $applied) = split /\|/, pull();
is("$applied", '1', 'what was changed since');
cmp_ok($fetched, '<=', 2, 'with what has the time of the newest');
my ($since) = asked();
like($since->{query}{'$filter'}, qr/^ModifiedAt ge \d{4}-\d\d-\d\dT[\d:.]+Z$/, 'by a filter');
is($since->{query}{'$orderby'}, 'ModifiedAt asc', 'in their order');
sql(qq{SELECT concord.alter_mapping('things', options => '{"pull": {"overlap": "1 h"}}')});
edit(9 => { Stock => 91 });
($fetched, $applied) = split /\|/, pull();
cmp_ok($fetched, '>', 3, 'an overlap reads more');
is("$applied", '1', 'and applies the same');

# ---- its clock is an hour off
for my $off (3600, -3600)
{
	sql('DELETE FROM concord.pull_state; DELETE FROM concord.inbox_item');
	$systems->reset_all('feed');
	$systems->set('feed', clock => $off, untracked => 1);
	edit(map { $_ => { Name => "c$_", Stock => $_ + $off } } 3601 .. 3603) if $off < 0;
	edit(map { $_ => { Name => "c$_", Stock => $_ + $off } } 1 .. 3) if $off > 0;
	sql('TRUNCATE thing; DELETE FROM concord.link_item');
	pull();
	my $key = $off > 0 ? 2 : 3602;
	edit($key => { Stock => 777 });
	pull();
	is(sql("SELECT stock FROM thing WHERE id = $key"), '777', "a clock that is $off seconds off");
}

# ---- everything, each time
$systems->reset_all('feed');
sql(q{TRUNCATE thing; DELETE FROM concord.link_item; DELETE FROM concord.pull_state; SELECT concord.alter_mapping('things', options => '{"pull": {"method": "full", "overlap": null}}')});
edit(map { $_ => { Name => "f$_", Stock => $_ } } 1 .. 250);
is(pull(), '250|250|0|0', 'all');
edit(100 => undef, 200 => { Stock => 0 });
is((split /\|/, pull())[0], '250', 'all again, and one that is gone');
is(sql('SELECT count(*), sum(stock) FROM thing'), '249|' . (250 * 251 / 2 - 300), 'compared');
$systems->set('feed', lost => [ map { "$_" } 1 .. 250 ]);
pull();
is(sql('SELECT count(*) FROM thing'), '249', 'a list that has lost everything deletes nothing');
like(state(), qr/no records at all/, 'and that is said');
$systems->set('feed', lost => []);
sql(q{SELECT concord.alter_mapping('things', options => '{"pull": {"delete": "ignore"}}')});
edit(101 => undef);
pull();
is(sql('SELECT count(*) FROM thing'), '249', 'deletions that are not wanted');
$systems->set('feed', circle => 1, page => 50);
fails("SELECT * FROM concord.pull('things')", 'K0004', qr/goes round in circles/, 'a page that is its own next');
$systems->set('feed', circle => 0);

# ---- mistakes, and rights
fails(q{SELECT concord.alter_mapping('things', options => '{"pull": {"method": "delt"}}')}, '22023', qr/Perhaps you meant "delta"/, 'a method');
fails(q{SELECT concord.alter_mapping('things', options => '{"pull": {"method": "since", "changed": null}}')}, '22023', qr/needs member "changed"/, 'since without a field');
fails(q{CREATE SERVER q FOREIGN DATA WRAPPER concord OPTIONS (connector 'slack', url 'http://127.0.0.1:9/');
	SELECT concord.create_mapping('q', 'thing', 'q', 'C1', '{"text": "note"}', options => '{"pull": {}}')}, '0A000', qr/has no lists to pull/, 'a system without lists');
fails("SELECT * FROM concord.pull('nothing')", '42704', qr/"nothing"/, 'no such mapping');
sql("CREATE ROLE someone; GRANT USAGE ON SCHEMA concord TO someone; GRANT EXECUTE ON FUNCTION concord.pull TO someone");
fails("SET ROLE someone; SELECT * FROM concord.pull('things')", '42501', qr/things/, 'somebody who may not');
sql("SELECT concord.alter_mapping('things', options => '{\"pull\": null}')");
fails("SELECT * FROM concord.pull('things')", '55000', qr/does not pull/, 'a mapping that does not pull');

# ---- by itself, every second
$systems->reset_all('feed');
sql(q{TRUNCATE thing; DELETE FROM concord.link_item; DELETE FROM concord.pull_state; DELETE FROM concord.inbox_item;
	SELECT concord.alter_mapping('things', options => '{"pull": {"every": "1 s", "delete": "delete", "changed": "ModifiedAt"}}')});
edit(map { $_ => { Name => "e$_", Stock => $_ } } 1 .. 4500);
sub until_is { my ($query, $expected, $what) = @_; ok($node->poll_query_until('postgres', "SELECT ($query)::text = '$expected'"), $what); return; }
until_is('SELECT count(*) FROM thing', '4500', 'pulled by the applier');
is(sql("SELECT count(*) > 1 FROM concord.applied a WHERE a.mapping = 'things' GROUP BY applied_at LIMIT 1"), 't', 'in parts');
cmp_ok(sql("SELECT count(DISTINCT applied_at) FROM concord.applied WHERE outcome = 'inserted' AND remote_id::int <= 4500 AND applied_at > now() - interval '1 min'"), '>=', 2, 'each in a transaction of its own');
edit(7 => { Stock => 7000 }, 8 => undef);
until_is('SELECT string_agg(id || chr(61) || stock, chr(32) ORDER BY id) FROM thing WHERE id BETWEEN 6 AND 9', '6=6 7=7000 9=9', 'what has changed later');
sql("SELECT concord.pause_system('feed')");
edit(9 => { Stock => 9000 });
my $finished = sql("SELECT finished_at FROM concord.pulling");
$node->poll_query_until('postgres', "SELECT next_at < clock_timestamp() - interval '2 s' FROM concord.pulling");
is(sql("SELECT finished_at FROM concord.pulling"), $finished, 'a paused system is left alone');
sql("SELECT concord.resume_system('feed')");
until_is('SELECT stock FROM thing WHERE id = 9', '9000', 'and goes on when it is not paused any more');
$systems->fault('feed', match => 'GET /Things', status => 500, times => 1000);
until_is("SELECT failures > 0 AND last_error LIKE '%500%' FROM concord.pulling", 'true', 'a failure is noted');
$systems->calm('feed');
edit(10 => { Stock => 10000 });
until_is('SELECT stock FROM thing WHERE id = 10', '10000', 'and tried again');
until_is('SELECT failures FROM concord.pulling', '0', 'the failures are forgotten');
for my $round (1 .. 5)
{
	edit(map { $_ => { Stock => $round * 10000 + $_ } } 1 .. 4500);
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM thing WHERE stock = $round * 10000 + id");
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord applier'");
	kill 'TERM', $pid if $pid;
	until_is("SELECT count(*) FROM thing WHERE stock = $round * 10000 + id", '4500', "ended in the middle, round $round");
}
is_deeply($systems->wrong('feed'), [], 'the system found nothing wrong');

# ---- a mapping that is dropped leaves nothing
sql("SELECT concord.drop_mapping('things')");
is(sql('SELECT (SELECT count(*) FROM concord.pull_state) + (SELECT count(*) FROM concord.pull_seen) + (SELECT count(*) FROM concord.inbox_item) + (SELECT count(*) FROM concord.conflict_item)'),
	'0', 'nothing is left of a mapping that was dropped');

done_testing();
