# Both sides compared: what differs, by owner; what is on its way is no
# difference; repair makes both sides equal; it can be stopped at any moment.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use HTTP::Tiny;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time usleep);

my $systems = Concord::Dialects->new;
my $url = $systems->url('feed', '/');
my $node = Concord::Cluster->create('reconcile');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }

# edit(KEY => VALUES, ...): somebody changes records at the system
sub edit { return $systems->edit('Things', @_); }

# theirs(): records of the system, as KEY=NAME/STOCK/PRICE
sub theirs
{
	my %records;
	my $at = "${url}Things";
	while (defined $at)
	{
		my $answer = decode_json(HTTP::Tiny->new->get($at)->{content});
		$records{$_->{ID}} = join('/', map { $_ // '-' } @{$_}{qw(Name Stock Price)}) for @{ $answer->{value} };
		$at = defined $answer->{'@odata.nextLink'} ? "$url$answer->{'@odata.nextLink'}" : undef;
	}
	return join ' ', map { "$_=$records{$_}" } sort { $a <=> $b } keys %records;
}

# reconcile(ARGUMENTS): its rows, and what it said
my ($out, $err);
sub reconcile
{
	my ($arguments) = @_;
	$node->psql('postgres', "SELECT key, difference, action FROM concord.reconcile($arguments) ORDER BY key::text", stdout => \$out, stderr => \$err);
	return $out;
}

sql(qq{
	CREATE SERVER feed FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE TABLE thing (id int PRIMARY KEY, name text, stock int CHECK (stock >= 0), price numeric(10,2));
	SELECT concord.create_mapping('things', 'thing', 'feed', 'Things',
		'{"Name": "name", "Price": "price", "Stock": {"column": "stock", "owner": "feed"}}', key => '{"ID": "id"}',
		options => '{"pull": {"changed": "ModifiedAt"}}')});
$systems->set('feed', page => 3);
sql(q{INSERT INTO thing (id, name, price) SELECT i, 'n' || i, i + 0.5 FROM generate_series(1, 5) i});
is(wait_for('things'), 't', 'rows are delivered');
is(reconcile(q{'things'}), '', 'both sides are equal');

like($err, qr/^\S+ NOTICE:  mapping "things": no record has field "Stock"; it was not compared$/, 'but that no record has a stock');

# ---- what differs, by owner
edit(1 => { Stock => 10 }, 2 => { Name => 'theirs', Stock => 20, Price => 2.5 }, 3 => { Price => 7.25 });
edit(4 => undef, 9 => { Name => 'nine', Stock => 9 });
is(reconcile(q{'things'}), join("\n",
	'{"id": 1}|{"fields": {"Stock": {"ours": null, "owner": "feed", "theirs": 10}}}|apply',
	'{"id": 2}|{"fields": {"Name": {"ours": "n2", "owner": "local", "theirs": "theirs"}, "Stock": {"ours": null, "owner": "feed", "theirs": 20}}}|apply, send',
	'{"id": 3}|{"fields": {"Price": {"ours": 3.50, "owner": "local", "theirs": 7.25}}}|send',
	'{"id": 4}|{"only": "here"}|create',
	'{"id": 9}|{"only": "there"}|insert'), 'what differs');
is($err, '', 'nothing to say') or diag($err);
is(reconcile(q{'things', 'id IN (1, 5)'}), '{"id": 1}|{"fields": {"Stock": {"ours": null, "owner": "feed", "theirs": 10}}}|apply', 'of some rows, and their records');
is(reconcile(q{'things', 'id = 5'}), '', 'of one that does not');
is(sql('SELECT stock IS NULL FROM thing WHERE id = 1'), 't', 'nothing is changed by that');

# ---- repaired: ours is sent, theirs is applied, by owner
reconcile(q{'things', NULL, true});
is(scalar(my @lines = split /\n/, $out), 5, 'all of it is told again');
is(wait_for('things'), 't', 'what is ours is delivered');
is(theirs(), '1=n1/10/1.5 2=n2/20/2.5 3=n3/-/3.5 4=n4/-/4.5 5=n5/-/5.5 9=-/9/-', 'their side; a new row says what is ours');
is(sql("SELECT string_agg(id || '=' || coalesce(name, '-') || '/' || coalesce(stock::text, '-'), ' ' ORDER BY id) FROM thing"),
	'1=n1/10 2=n2/20 3=n3/- 4=n4/- 5=n5/- 9=-/9', 'our side: what is not owned there has its default');
is(reconcile(q{'things'}), '', 'both sides are equal');
is(theirs(), '1=n1/10/1.5 2=n2/20/2.5 3=n3/-/3.5 4=n4/-/4.5 5=n5/-/5.5 9=-/9/-', 'as the owners have it');
like(sql("SELECT what, count > 0 FROM concord.history WHERE what = 'reconcile' ORDER BY at LIMIT 1"), qr/^reconcile\|t$/, 'a repair is in the history');
is(sql("SELECT DISTINCT origin FROM concord.applied"), 'reconcile', 'and what was applied says so');

# ---- deleted there: the row goes where option pull says so, but never all of them
sql(q{SELECT concord.alter_mapping('things', options => '{"pull": {"delete": "delete"}}')});
edit(5 => undef);
is(reconcile(q{'things', NULL, true}), '{"id": 5}|{"only": "here"}|delete', 'a record that is gone');
is(sql('SELECT count(*) FROM thing WHERE id = 5'), '0', 'so is its row');
wait_for('things');
$systems->set('feed', lost => [ map { "$_" } 1 .. 9 ]);
is(reconcile(q{'things', NULL, true}), '', 'a list without any record');
like($err, qr/5 rows or records are on their way, or have just changed/, 'rows are looked up one by one: their records are there');
is(sql('SELECT count(*) FROM thing'), '5', 'no row goes');

# ---- a list that leaves out what is there, as pages do when others delete
$systems->set('feed', lost => ['3']);
is(reconcile(q{'things'}), '', 'a record that the list has not is looked up');
$systems->set('feed', lost => []);

# ---- what is on its way is no difference
sql(q{SELECT concord.pause_system('feed')});
sql(q{UPDATE thing SET name = 'later' WHERE id = 1; DELETE FROM thing WHERE id = 2; INSERT INTO thing (id, name) VALUES (11, 'new'); UPDATE thing SET id = 12 WHERE id = 3});
is(reconcile(q{'things'}), '', 'what is still to be delivered');
like($err, qr/on their way/, 'it says that there is something');
$node->psql('postgres', q{BEGIN; UPDATE thing SET name = 'mine' WHERE id = 4; SELECT * FROM concord.reconcile('things'); ROLLBACK}, stdout => \$out, stderr => \$err);
is($out, '', 'nor is what this transaction has changed');
sql(q{SELECT concord.resume_system('feed')});
wait_for('things');
is(reconcile(q{'things'}), '', 'equal once it is delivered');
is(theirs(), '1=later/10/1.5 4=n4/-/4.5 9=-/9/- 11=new/-/- 12=n3/-/3.5', 'their side has all of it');

# ---- records in the inbox
edit(4 => { Stock => -5 });
is(reconcile(q{'things', NULL, true}), '{"id": 4}|{"fields": {"Stock": {"ours": null, "owner": "feed", "theirs": -5}}}|parked', 'a record that a constraint refuses');
like(sql("SELECT origin, state, error FROM concord.inbox"), qr/^reconcile\|parked\|.*stock/, 'is parked with its reason');
is(reconcile(q{'things'}), '{"id": 4}|{"fields": {"Stock": {"ours": null, "owner": "feed", "theirs": -5}}}|apply', 'and is a difference until somebody does something');
sql(q{UPDATE concord.inbox_item SET state = 'waiting', next_try = now() + interval '1 day'});
is(reconcile(q{'things'}), '', 'one that waits is on its way');
edit(4 => { Stock => 'many' });
sql(q{DELETE FROM concord.inbox_item});
like(reconcile(q{'things'}), qr/^\{"id": 4\}\|\{"error": "invalid input syntax.*"\}\|decide$/, 'a value that is none');
edit(4 => { Stock => 4 });
is(reconcile(q{'things', NULL, true}), '{"id": 4}|{"fields": {"Stock": {"ours": null, "owner": "feed", "theirs": 4}}}|apply', 'corrected');

# ---- a row that cannot be sent
sql(q{SELECT concord.alter_mapping('things', checks => '{"named": "name IS NOT NULL"}')});
sql(q{INSERT INTO thing (id) VALUES (20)});
wait_for('things');
is(reconcile(q{'things'}), '{"id": 20}|{"only": "here", "error": "named: check \"named\" failed"}|none', 'a row that fails a check');
sql(q{DELETE FROM thing WHERE id = 20; SELECT concord.alter_mapping('things', checks => '{"named": null}')});
sql(q{SELECT concord.discard_dead('things', NULL, 'test')});
wait_for('things');

# ---- shared fields: who has changed, and then the policy
for my $policy (qw(local remote manual additive))
{
	my %expected = (local => 'send', remote => 'apply', manual => 'decide', additive => 'apply, send');
	my %value = (local => 150, remote => 120, manual => 150, additive => 170);
	$systems->reset_all('feed');
	$systems->set('feed', page => 3);
	sql(qq{SELECT concord.drop_mapping('things'); DROP TABLE thing; CREATE TABLE thing (id int PRIMARY KEY, stock int);
		SELECT concord.set_owner('thing', '{stock}', 'shared', '$policy');
		SELECT concord.create_mapping('things', 'thing', 'feed', 'Things', '{"Stock": {"column": "stock"}}', key => '{"ID": "id"}', options => '{"pull": {}}')});
	edit(map { $_ => { Stock => 100 } } 1 .. 3);
	sql(q{SELECT * FROM concord.pull('things')});
	wait_for('things');
	is(reconcile(q{'things'}), '', "$policy: equal");
	# ours was not sent: a dead letter was discarded
	$systems->fault('feed', match => 'PATCH', status => 400, body => { error => { code => 'no', message => 'no' } }, times => 2);
	sql(q{UPDATE thing SET stock = 150 WHERE id IN (1, 3)});
	wait_for('things');
	sql(q{SELECT concord.discard_dead('things', NULL, 'test')});
	$systems->calm('feed');
	edit(1 => { Stock => 120 }, 2 => { Stock => 130 });
	is(reconcile(q{'things'}) =~ s/^\{"id": (\d)\}\|.*"owner": "shared".*\|/$1 /gmr, "1 $expected{$policy}\n2 apply\n3 send", "$policy: what would become of it");
	reconcile(q{'things', NULL, true});
	wait_for('things');
	is(sql(q{SELECT string_agg(stock::text, ' ' ORDER BY id) FROM thing}), "$value{$policy} 130 150", "$policy: ours after a repair");
	my $left = $policy eq 'manual' ? '1 decide' : '';
	is(reconcile(q{'things'}) =~ s/^\{"id": (\d)\}\|.*\|/$1 /gmr, $left, "$policy: equal again, but for what a person must decide");
}
is(sql(q{SELECT count(*) FROM concord.conflict_log WHERE state = 'open'}), '0', 'conflicts of mappings that are gone are gone');

# ---- ids that the system gives; rules by which records are rows
$systems->reset_all('feed');
sql(q{SELECT concord.drop_mapping('things'); DROP TABLE thing; CREATE TABLE thing (id int PRIMARY KEY, name text, stock int);
	SELECT concord.create_mapping('things', 'thing', 'feed', 'Things', '{"Name": {"column": "name", "owner": "feed"}, "Stock": {"column": "stock", "owner": "feed"}}',
		key => '{"Ref": "id"}', push => 'off', options => '{"remote_id": "assigned", "remote_id_path": "ID", "pull": {"insert": false}, "match": [{"remote": "Name", "local": "name"}]}')});
edit(71 => { Name => 'a', Stock => 1 }, 72 => { Name => 'b', Stock => 2 }, 73 => { Name => 'c', Stock => 3 });
sql(q{SET pg_concord.bypass_ownership = on; INSERT INTO thing VALUES (1, 'a', 1), (2, 'b', 5); INSERT INTO thing VALUES (4, 'd', 4)});
sql(q{SELECT concord.set_link('things', '{"id": 1}', '71')});
is(reconcile(q{'things'}), join("\n",
	'{"id": 2}|{"only": "here"}|none',
	'{"id": 2}|{"only": "there", "rule": "Name = name"}|link',
	'{"id": 4}|{"only": "here"}|none',
	'{"remote_id": "73"}|{"only": "there"}|none'), 'by links, and what a rule would link');
reconcile(q{'things', NULL, true});
is(reconcile(q{'things'}), join("\n", '{"id": 4}|{"only": "here"}|none', '{"remote_id": "73"}|{"only": "there"}|none'), 'linked');
is(sql(q{SELECT stock FROM thing WHERE id = 2}), '2', 'and applied');

# ---- who may, and when
sql(q{CREATE ROLE nobody; GRANT USAGE ON SCHEMA concord TO nobody; GRANT EXECUTE ON FUNCTION concord.reconcile TO nobody});
$node->psql('postgres', q{SET ROLE nobody; SELECT * FROM concord.reconcile('things')}, stdout => \$out, stderr => \$err);
like($err, qr/ERROR:  permission denied for mapping "things"/, 'members of its definer only');
for ([ q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM concord.reconcile('things')}, qr/needs isolation level READ COMMITTED/ ],
	[ q{SELECT * FROM concord.reconcile('things', 'id')}, qr/filter must be of type boolean/ ],
	[ q{SELECT * FROM concord.reconcile('nothing')}, qr/mapping "nothing" does not exist/ ],
	[ q{BEGIN READ ONLY; SELECT * FROM concord.reconcile('things', repair => true)}, qr/cannot execute concord.reconcile\(\) in a read-only transaction/ ],
	[ q{CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:9/');
		SELECT concord.create_mapping('hooks', 'kept', 'hook', 'x', '{"id": "id"}', paused => true); SELECT * FROM concord.reconcile('hooks')}, qr/Connector "webhook" has no lists/ ])
{
	$node->psql('postgres', 'CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY)');
	$node->psql('postgres', $_->[0], stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, $_->[1], "refused: $_->[1]");
}
is(scalar(@{ $systems->wrong('feed') }), 0, 'the system was asked nothing that it does not know');
done_testing();
