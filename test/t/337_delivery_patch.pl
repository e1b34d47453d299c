# Option patch 'changed': an update has only the fields that differ from what
# was sent last, and all of them where that is not certain.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('patch');
my $rest = $erp->url('/rest/api/');
my $odata = $erp->url('/odata/v4/sales/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }

# sent(PATH): requests with a body since the log was cleared, as "METHOD names"
sub sent
{
	my @all = map { "$_->{method} " . join(' ', sort keys %{ JSON::PP->new->utf8->decode($_->{body}) }) }
		grep { $_->{body} } $erp->log_entries($_[0]);
	$erp->clear_log;
	return join(', ', @all);
}

sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$odata',
		retry_base '20ms', retry_cap '50ms', retry_limit '0', breaker_cooldown '100ms', timeout '2s');
	CREATE SERVER api FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms');
	CREATE TABLE partner (id text PRIMARY KEY, name text, city text, rating int, big text);
	ALTER TABLE partner ALTER big SET STORAGE EXTERNAL;));
my $fields = q({"Name": "name", "Address/City": "upper(city)", "Address/Country": "''GB''", "Rating": "rating", "Big": "big",
	"Made": {"value": "''x''", "on": "create"}, "By": {"value": "''y''", "on": "update"}});
sql("SELECT concord.create_mapping('partners', 'partner', 'erp', 'Partners', '$fields', key => '{\"ID\": \"id\"}',
		options => '{\"patch\": \"changed\"}');
	 SELECT concord.create_mapping('other', 'partner', 'api', 'partners', '{\"name\": \"name\", \"city\": \"city\"}',
		options => '{\"patch\": \"changed\", \"nulls\": \"omit\"}')");

sql("INSERT INTO partner VALUES ('A', 'Ada', 'London', 1, repeat('b', 9000))");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'POST Address Big ID Made Name Rating', 'a create is whole');
is(delivered('other'), 't', 'delivered');
is(sql("SELECT octet_length(fields) FROM concord.link_item WHERE fields IS NOT NULL ORDER BY 1"), "16\n40", '8 bytes a field are kept');

sql("UPDATE partner SET name = 'Ada L.' WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH By Name', 'the changed field, and what goes with every update');
sql("UPDATE partner SET rating = 2, city = 'Oxford' WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is_deeply(JSON::PP->new->utf8->decode(($erp->log_entries('/odata'))[-1]{body}),
	{ Address => { City => 'OXFORD' }, Rating => 2, By => 'y' }, 'nested members too');
$erp->clear_log;
sql("UPDATE partner SET rating = NULL WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH By Rating', 'NULL is a value');
sql("UPDATE partner SET city = 'OXFORD' WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), '', 'nothing differs there: nothing is sent');
my $held = $erp->data('/odata/v4/sales/Partners');
is_deeply([ map { my $v = (values %$held)[0]{$_}; ref $v ? $v->{City} : defined $v ? length $v : 'null' } qw(Name Address Rating Big) ],
	[ 6, 'OXFORD', 'null', 9000 ], 'the record is as the row maps');
is(delivered('other'), 't', 'delivered');

# another version of the mapping: what maps otherwise goes
sql("SELECT concord.alter_mapping('partners', fields => '{\"Rating\": \"rating * 2\", \"Zip\": \"''1''\", \"By\": null}')");
sql("UPDATE partner SET rating = 5 WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Rating Zip', 'a field that is new in the mapping');

# again, by hand: whole
sql("SELECT concord.replay('partners', keys => '[{\"id\": \"A\"}]')");
is(delivered('partners'), 't', 'replayed');
is(sent('/odata'), 'PATCH Address Big Name Rating Zip', 'a replay is whole');
sql("UPDATE partner SET rating = 6 WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Rating', 'and what is changed afterwards not');

# gone at the system: created anew, whole
$erp->request('DELETE', '/odata/v4/sales/Partners(%27A%27)');
$erp->clear_log;
sql("UPDATE partner SET rating = 7 WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Rating, POST Address Big ID Made Name Rating Zip', 'a create in place of an update is whole');

# an attempt that may have arrived: whole, until one is acknowledged
$erp->rule({ path => '/odata', method => 'PATCH' }, { reset => 'after' }, 1);
sql("UPDATE partner SET rating = 8 WHERE id = 'A'");
ok($node->poll("SELECT dead = 1 FROM concord.status WHERE mapping = 'partners'"), 'given up without an answer');
$erp->clear_log;
sql("UPDATE partner SET rating = 7 WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Address Big Name Rating Zip', 'after an attempt that may have arrived: whole');
is((values %{ $erp->data('/odata/v4/sales/Partners') })[0]{Rating}, 14, 'back to what it was');
sql("UPDATE partner SET name = 'B' WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Name', 'then in parts again');

# a refusal changes nothing there
$erp->rule({ path => '/odata', method => 'PATCH' }, { status => 422 }, 1);
sql("UPDATE partner SET name = 'C' WHERE id = 'A'");
is(delivered('partners'), 't', 'refused');
$erp->clear_log;
sql("UPDATE partner SET rating = 9 WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Name Rating', 'what was refused goes with the next one');

# a change of key moves the record, whole
sql("UPDATE partner SET id = 'B' WHERE id = 'A'");
is(delivered('partners'), 't', 'delivered');
like(sent('/odata'), qr/POST Address Big ID Made Name Rating Zip$/, 'a changed key: whole');
sql("UPDATE partner SET name = 'D' WHERE id = 'B'");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Name', 'under the new key in parts');

# what is asked for again goes whole
sql("SELECT concord.resync('partners')");
is(delivered('partners'), 't', 'delivered');
like(sent('/odata'), qr/^PATCH Address Big (By )?Name Rating/, 'a resync: whole');

# with coalescing, against what was sent and not what was left out
sql("SELECT concord.alter_mapping('partners', options => '{\"coalesce\": true}'); SELECT concord.pause('partners')");
sql($_) foreach "UPDATE partner SET name = 'E' WHERE id = 'B'", "UPDATE partner SET rating = 1 WHERE id = 'B'",
	"UPDATE partner SET name = 'D' WHERE id = 'B'";
sql("SELECT concord.resume('partners')");
is(delivered('partners'), 't', 'delivered');
like(sent('/odata'), qr/^PATCH (Rating|Address Big Name Rating Zip)$/, 'one update');
is((values %{ $erp->data('/odata/v4/sales/Partners') })[0]{Rating}, 2, 'with what differs');

# deleted and inserted again
sql("SELECT concord.alter_mapping('partners', options => '{\"on_delete\": {\"Deleted\": \"true\"}}', fields => '{\"Deleted\": \"false\"}')");
sql("DELETE FROM partner");
is(delivered('partners'), 't', 'delivered');
is(sent('/odata'), 'PATCH Deleted', 'a soft delete');
sql("INSERT INTO partner VALUES ('B', 'D', 'OXFORD', 1, 'b')");
is(delivered('partners'), 't', 'delivered');
is((values %{ $erp->data('/odata/v4/sales/Partners') })[0]{Deleted}, JSON::PP::false, 'and back');

$node->stop;
done_testing();
