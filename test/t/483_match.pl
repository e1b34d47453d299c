# Matching: rows and records that are the same are found by links, key and rules
# and linked where there is no doubt; the rest is a person's to decide.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $systems = Concord::Dialects->new;
my $url = $systems->url('feed', '/');
my $node = Concord::Cluster->create('match');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# found(MAPPING, APPLY): what the function returns, in one line
sub found
{
	my ($mapping, $apply) = @_;
	return sql(qq{SELECT string_agg(coalesce(local_key::text, '-') || ' ' || coalesce(remote_id, '-') || ' ' || coalesce(rule, '-') || ' ' || verdict, '; '
		ORDER BY verdict, local_key, remote_id COLLATE "C", rule) FROM concord.match('$mapping'} . ($apply ? ', true' : '') . ')');
}
sub links { return sql(qq{SELECT coalesce(string_agg((local_key ->> 'id') || '=' || remote_id, ' ' ORDER BY (local_key ->> 'id')::int), '') FROM concord.link WHERE mapping = '$_[0]'}); }
sub inbox { return sql(qq{SELECT string_agg(concat_ws('|', remote_id, local_key, state, rule, error), '; ' ORDER BY remote_id, local_key, rule) FROM concord.inbox WHERE mapping = '$_[0]' AND state <> 'discarded'}); }
sub delivered { is(sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"), 't', 'delivered'); return; }

# edit(KEY => VALUES, ...): somebody changes records at the system
sub edit { return $systems->edit('Things', @_); }

# sent(): requests since the last call that change something
my $seen = 0;
sub sent
{
	my @journal = grep { $_->{method} ne 'GET' && $_->{path} !~ /_edit/ } $systems->journal('feed');
	my @new = @journal[$seen .. $#journal];
	$seen = @journal;
	return join ' ', map { "$_->{method} " . ($_->{path} =~ m{([^/]*)$})[0] } @new;
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

# ---- ids that are keys
sql(qq{
	CREATE SERVER feed FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url');
	CREATE TABLE thing (id int PRIMARY KEY, name text, stock int);
	INSERT INTO thing SELECT i, 'n' || i, i FROM generate_series(1, 5) i;
	SELECT concord.create_mapping('things', 'thing', 'feed', 'Things', '{"Name": "name", "Stock": "stock"}', key => '{"ID": "id"}')});
edit(map { $_ => { Name => "n$_", Stock => $_ == 4 ? 40 : $_ } } 3 .. 7);
$systems->set('feed', page => 2);
my $all = '{"id": 1} - - local only; {"id": 2} - - local only; {"id": 3} 3 key match; {"id": 4} 4 key match; {"id": 5} 5 key match; - 6 - remote only; - 7 - remote only';
is(found('things'), $all, 'what is the same, and what is not');
is(links('things'), '', 'nothing is written');
is(found('things', 1), $all, 'applied');
is(links('things'), '3=3 4=4 5=5', 'links');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'things' AND etag IS NOT NULL"), '3', 'with the records\' versions');
(my $linked = $all) =~ s/key match/- linked/g;
$linked = join '; ', sort { ($a =~ /(\S+ ?\S*)$/)[0] cmp ($b =~ /(\S+ ?\S*)$/)[0] } split /; /, $linked;
is(join('; ', sort split /; /, found('things', 1)), join('; ', sort split /; /, $linked), 'again: they are linked');
is(sql("SELECT outcome || ' ' || origin || ' ' || count(*) FROM concord.applied GROUP BY outcome, origin"), 'linked match 3', 'concord.applied');
sent();
sql('UPDATE thing SET stock = stock WHERE id = 3');
sql('UPDATE thing SET name = name WHERE id = 4');
delivered('things');
is(sent(), 'PATCH Things(4)', 'what the record says is not sent, what differs is');
sql('UPDATE thing SET stock = 33 WHERE id = 3');
delivered('things');
is(sent(), 'PATCH Things(3)', 'and then each change');
edit(5 => undef);
sql('ALTER TABLE thing DISABLE TRIGGER ALL; DELETE FROM thing WHERE id = 3');
delivered('things');
like(found('things'), qr/\{"id": 5\} 5? ?-? ?-? ?record missing|\{"id": 5\} - - record missing/, 'a record that is gone');

# ---- ids that the system gives
sql(qq{
	CREATE TABLE person (id int PRIMARY KEY, name text, mail text, note text);
	INSERT INTO person VALUES (1, 'Ann', 'ann\@x', 'a'), (2, 'Bob', 'bob\@x', 'b'), (3, 'Cy', 'cy\@x', 'c'), (4, 'Cy', 'cy2\@x', 'c'),
		(5, 'Di', 'di\@x', 'd'), (6, 'Ed', 'ed\@x', 'e'), (7, 'Fay', 'fay\@x', 'f'), (8, 'Gus', 'gus\@x', 'g'), (9, 'Gus', 'gus2\@x', 'g')});
$systems->reset_all('feed');
$seen = 0;
edit(101 => { Name => 'ann' }, 102 => { Name => 'Bob' }, 103 => { Name => 'Cy' }, 105 => { Name => 'Di' }, 106 => { Name => 'Di' },
	107 => { Name => 'x', Owner => 6 }, 110 => { Name => 'Nobody' }, 111 => { Name => 'Fay' }, 112 => { Name => 'Gus' });
sql(qq{SELECT concord.create_mapping('people', 'person', 'feed', 'Things', '{"Name": "name"}', key => '{"ID": "id"}',
	options => '{"remote_id": "assigned", "remote_id_path": "ID", "remote_id_type": "number",
		"match": [{"name": "name", "remote": "Name", "local": "name"},
			{"name": "any case", "remote": "Name", "local": "lower(name)"}, "person.id = (remote ->> ''Owner'')::int"]}')});
sql(q{SELECT concord.set_link('people', '{"id": 8}', '112')});
is(found('people', 1), '{"id": 3} 103 name ambiguous; {"id": 4} 103 name ambiguous; '
	. '{"id": 5} 105 name duplicate; {"id": 5} 106 name duplicate; {"id": 9} 112 name duplicate; '
	. '{"id": 8} 112 - linked; {"id": 1} 101 any case match; {"id": 2} 102 name match; '
	. q({"id": 6} 107 person.id = (remote ->> 'Owner')::int match; {"id": 7} 111 name match; - 110 - remote only), 'rules in their order');
is(links('people'), '1=101 2=102 6=107 7=111 8=112', 'links of what is not in doubt');
my $open = '103|parked|ambiguous|may be row {"id": 3} or row {"id": 4}, by name; '
	. '105|parked|duplicate|is row {"id": 5}, by name, which is another record\'s, too; '
	. '106|parked|duplicate|is row {"id": 5}, by name, which is another record\'s, too; '
	. '112|{"id": 9}|parked|duplicate|row {"id": 9} is the record, too, by name, which is another row\'s';
is(inbox('people'), $open, 'the rest is in the inbox');
found('people', 1);
is(inbox('people'), $open, 'once, however often it is matched');

# ---- a person decides
fails(q{SELECT concord.set_link('people', '{"id": 3}', '101')}, '23505', qr/record with the id "101" is linked with row \{"id": 1\} already/, 'an id that another key has');
fails(q{SELECT concord.set_link('people', '{"id": 1}', '103')}, '23505', qr/row \{"id": 1\} is linked with the record with the id "101" already/, 'a key that another id has');
fails(q{SELECT concord.retry_inbox('people')}, '55000', qr/takes nothing from its system/, 'nothing to try again');
sent();
sql(q{SELECT concord.set_link('people', '{"id": 4}', '103')});
delivered('people');
is(sent(), 'PATCH Things(103)', 'what is linked by a person is sent');
unlike(inbox('people'), qr/103/, 'and out of the inbox');
like(found('people'), qr/\{"id": 3\} 103 name duplicate/, 'the other row seems to be the same');
sql("SELECT concord.discard_inbox('people', NULL, 'they are different')");
is(inbox('people'), '', 'given up');

# ---- what is no use, or in doubt by itself
$systems->reset_all('feed');
edit(map { $_ => { Name => "p$_" } } 201 .. 204);
sql(q{SELECT concord.pause('people'); TRUNCATE person; DELETE FROM concord.link_item; DELETE FROM concord.inbox_item});
sql(q{INSERT INTO person VALUES (1, 'p201'), (2, 'p202'), (3, 'p203'), (4, 'p204')});
$systems->set('feed', page => 100, twice => { 202 => {}, 203 => { Stock => 5 } }, nameless => ['204']);
is(found('people', 1), '{"id": 3} 203 name duplicate; {"id": 3} 203 name duplicate; {"id": 4} - - local only; '
	. '{"id": 1} 201 name match; {"id": 2} 202 name match; - - - unusable',
	'two records with one id, one record twice, one without an id');
like(inbox('people'), qr/^203\|parked\|duplicate\|.*; 203\|parked\|duplicate\|.*; parked\|key\|the record has no key$/, 'with the reason');

# ---- mistakes
fails(q{SELECT * FROM concord.match('nobody')}, '42704', qr/mapping "nobody" does not exist/, 'an unknown mapping');
fails(q{SELECT concord.alter_mapping('people', options => '{"match": [{"remote": "Name", "local": "nmae"}]}')}, '42703', qr/column "nmae" does not exist.*match rule "Name = nmae" of mapping "people"/s, 'an unknown column in a rule');
fails(q{SELECT concord.alter_mapping('people', options => '{"match": [{"name": "both", "remote": "Name", "local": "name"}, "nmae = remote->>''Name''"]}')}, '42703', qr/column "nmae" does not exist.*match rule "nmae = remote->>'Name'"/s, 'and in a condition');
fails(q{SELECT concord.alter_mapping('people', options => '{"match": ["name"]}')}, '42804', qr/rule "name" must be of type boolean/, 'a condition that is none');
fails(q{SELECT concord.alter_mapping('people', options => '{"match": [{"remote": "Name"}]}')}, '22023', qr/rule 1 of mapping option "match" is not complete/, 'half a rule');
fails(q{SELECT concord.alter_mapping('people', options => '{"match": [{"remote": "Name", "local": "name", "locl": "x"}]}')}, '22023', qr/unrecognized member "locl"/, 'an unknown member');
sql(q{CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:1/');
	SELECT concord.create_mapping('hooked', 'person', 'hook', '', '{"Name": "name"}')});
fails(q{SELECT * FROM concord.match('hooked')}, '0A000', qr/records of mapping "hooked" cannot be listed.*no lists/s, 'a system without lists');
fails(q{SELECT concord.alter_mapping('people', options => '{"remote_id_path": null}'); SELECT * FROM concord.match('people')}, '55000', qr/not known where the records of mapping "people" have their ids/, 'ids that are nowhere');
fails(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM concord.match('things', true)}, '55000', qr/READ COMMITTED/, 'another isolation level');
sql(q{SELECT concord.alter_mapping('people', options => '{"remote_id_path": "ID", "match": [{"name": "bad", "remote": "Name", "local": "1 / (id - 3)"}]}')});
fails(q{SELECT * FROM concord.match('people')}, '22012', qr/division by zero.*mapping "people"/s, 'an expression that fails');

done_testing();
