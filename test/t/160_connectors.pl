# Connectors against the sandbox: records of systems with different habits end
# as the rows are, and nothing is made twice.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $node = Concord::Cluster->create('connectors');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# settle(LABEL): all is delivered and nothing is dead
sub settle
{
	my ($label) = @_;
	is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$label: delivered");
	is(sql("SELECT count(*) FROM concord.dead_letter"), '0', "$label: no dead letter")
	  or diag(sql('SELECT mapping, rule, status, error FROM concord.dead_letter'));
	return;
}

# names(SET): what the system holds, as key=name
sub names
{
	my ($path) = @_;
	my $held = $erp->data($path);
	return join(',', map { "$_=" . ($held->{$_}{Name} // 'null') } sort keys %$held);
}

my $odata = $erp->url('/odata/v4/sales');
my $rest = $erp->url('/rest/api');
sql(qq{
	CREATE SERVER od FOREIGN DATA WRAPPER concord
	  OPTIONS (connector 'odata', url '$odata', retry_base '20ms', retry_cap '100ms', timeout '2s', breaker_cooldown '100ms');
	CREATE SERVER re FOREIGN DATA WRAPPER concord
	  OPTIONS (connector 'rest', url '$rest', retry_base '20ms', retry_cap '100ms', timeout '2s', breaker_cooldown '100ms');
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('numbered', 'rest',
	  '{"update": {"method": "PUT"}, "remote_id": "assigned", "remote_id_path": "id"}');
	CREATE SERVER nu FOREIGN DATA WRAPPER concord
	  OPTIONS (connector 'numbered', url '$rest', retry_base '20ms', retry_cap '100ms');
	CREATE TABLE plain (id int PRIMARY KEY, name text);
	CREATE TABLE strict (id int PRIMARY KEY, name text);
	CREATE TABLE thing (id int PRIMARY KEY, name text);
	CREATE TABLE numbered (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('plain', 'plain', 'od', 'Plain', '{"Name": "name"}', '{"ID": "id"}');
	SELECT concord.create_mapping('strict', 'strict', 'od', 'Strict', '{"Name": "name"}', '{"ID": "id"}');
	SELECT concord.create_mapping('thing', 'thing', 're', 'things', '{"Name": "name"}', '{"ID": "id"}');
	SELECT concord.create_mapping('numbered', 'numbered', 'nu', 'numbered', '{"Name": "name", "Ours": "id"}', '{"Ours": "id"}')});
$erp->set('/odata/v4/sales/Plain', key => ['ID']);
$erp->set('/odata/v4/sales/Strict', key => ['ID'], etag => JSON::PP::true,
	match_required => JSON::PP::true, exists_status => 500);
$erp->set('/rest/api/things', key => ['ID']);
$erp->set('/rest/api/numbered', key => ['id'], assign => JSON::PP::true);

# create, update, delete, change of the key; tables are told apart by server
foreach my $table (qw(plain strict thing numbered))
{
	sql("INSERT INTO $table SELECT i, 'n' || i FROM generate_series(1, 6) i");
	sql("UPDATE $table SET name = 'changed' WHERE id = 2");
	sql("DELETE FROM $table WHERE id = 3");
	sql("UPDATE $table SET id = 40 WHERE id = 4");
	sql("UPDATE $table SET name = NULL WHERE id = 40");
}
settle('changes');
my $want = '1=n1,2=changed,40=null,5=n5,6=n6';
is(names('/odata/v4/sales/Plain'), $want, 'odata without tags');
is(names('/odata/v4/sales/Strict'), $want, 'odata with tags');
is(names('/rest/api/things'), $want, 'rest: the key changed though the system keeps keys');
my $numbered = $erp->data('/rest/api/numbered');
is(join(',', sort map { $_->{Ours} . '=' . ($_->{Name} // 'null') } values %$numbered), $want,
	'rest with assigned ids');

# somebody else changed the record: our tag is stale
$erp->request('PATCH', '/odata/v4/sales/Strict(5)', '{"Name":"theirs"}', { 'If-Match' => '*' });
sql("UPDATE strict SET name = 'ours' WHERE id = 5");
settle('stale tag');
like(names('/odata/v4/sales/Strict'), qr/5=ours/, 'a stale tag is read again');

# somebody else made or deleted it
foreach my $case ([ 'od', 'Plain', 'plain' ], [ 'od', 'Strict', 'strict' ])
{
	my ($server, $set, $table) = @$case;
	$erp->request('POST', "/odata/v4/sales/$set", '{"ID":50,"Name":"theirs"}');
	$erp->request('DELETE', "/odata/v4/sales/$set(6)", undef, { 'If-Match' => '*' });
	$erp->request('DELETE', "/odata/v4/sales/$set(1)", undef, { 'If-Match' => '*' });
	sql("INSERT INTO $table VALUES (50, 'ours')");
	sql("UPDATE $table SET name = 'again' WHERE id = 6");
	sql("DELETE FROM $table WHERE id = 1");
	settle("$set: changed elsewhere");
	like(names("/odata/v4/sales/$set"), qr/^2=changed,40=null,5=\w+,50=ours,6=again$/, "$set: as the rows are");
}

# a create is answered by nothing but was done
foreach my $case ([ 'Plain', 'plain', '/odata/v4/sales/Plain' ], [ 'things', 'thing', '/rest/api/things' ])
{
	my ($set, $table, $path) = @$case;
	$erp->clear_log;
	$erp->rule({ method => 'POST', path => $path }, { reset => 'after' }, 1);
	sql("INSERT INTO $table VALUES (60, 'once')");
	settle("$set: no answer");
	like(names($path), qr/60=once/, "$set: it is there");
	is(scalar(grep { $_->{method} eq 'POST' } $erp->log_entries($path)), 1, "$set: and was made once");
	is(scalar(grep { $_->{method} eq 'PATCH' } $erp->log_entries($path)), 0, "$set: and is not written again");
}

# A record that is there already as we make it is not written, however the
# system writes its values; one that differs in anything is.
sql(qq{
	CREATE TABLE rich (id int PRIMARY KEY, name text, amount numeric, at timestamptz, tags text[], doc jsonb, city text, zip text);
	SELECT concord.create_mapping('rich', 'rich', 'od', 'Rich', '{"Name": "name", "Amount": "amount", "At": "at", "Tags": "tags",
		"Doc": "doc", "Address/City": "city", "Address/Zip": "zip"}', '{"ID": "id"}')});
$erp->set('/odata/v4/sales/Rich', key => ['ID']);
my %same = (Name => '"a\\u00e9\\"b"', Amount => '12.50', At => '"2026-01-02T03:04:05.123456Z"', Tags => '["x","y"]',
	Doc => '{"k": [1, {"z": null}]}', Address => '{"City": "Ulm", "Zip": null}');
my @theirs = (
	[ 'equal', 0, {} ],
	[ 'other notation', 0, { Name => '"a\xc3\xa9\\u0022b"', Amount => '"1.25e1"', At => '"2026-01-02T03:04:05.123+00:00"',
		Tags => '[ "x" , "y" ]', Doc => '{"k":[1.0,{"z":null,"y":2}],"more":true}',
		Address => '{"Zip":null,"City":"Ulm","Country":"DE"}', Extra => '[{}]' } ],
	[ 'name', 1, { Name => '"a"' } ],
	[ 'amount', 1, { Amount => '12.51' } ],
	[ 'an amount that is none', 1, { Amount => '"12,5"' } ],
	[ 'time', 1, { At => '"2026-01-02T03:04:06.123Z"' } ],
	[ 'zone', 1, { At => '"2026-01-02T03:04:05.123456+01:00"' } ],
	[ 'more elements', 1, { Tags => '["x","y","z"]' } ],
	[ 'fewer elements', 1, { Tags => '["x"]' } ],
	[ 'other order', 1, { Tags => '["y","x"]' } ],
	[ 'deep value', 1, { Doc => '{"k":[1,{"z":0}]}' } ],
	[ 'other kind', 1, { Doc => '[1]' } ],
	[ 'nested member', 1, { Address => '{"City":"Ulm","Zip":"1"}' } ],
	[ 'missing member', 1, { Address => '{"City":"Ulm"}' } ],
	[ 'null', 1, { Name => 'null' } ],
	[ 'null for an object', 1, { Address => 'null' } ]);
for my $i (0 .. $#theirs)
{
	my %record = (%same, %{ $theirs[$i][2] });
	$erp->request('POST', '/odata/v4/sales/Rich', '{"ID":' . $i . join('', map { ",\"$_\":$record{$_}" } sort keys %record) . '}');
}
$erp->clear_log;
sql(qq(INSERT INTO rich SELECT i, U&'a\\00e9"b', 12.5, '2026-01-02 03:04:05.123456Z', '{x,y}', '{"k": [1, {"z": null}]}', 'Ulm', NULL
	FROM generate_series(0, $#theirs) i));
settle('records that are there');
my %patched = map { $_->{path} =~ /\((\d+)\)/ ? ($1 => 1) : () } grep { $_->{method} eq 'PATCH' } $erp->log_entries('/odata/v4/sales/Rich');
is($patched{$_} // 0, $theirs[$_][1], "already there: $theirs[$_][0]") for 0 .. $#theirs;

# answers that are too large, or no text
$erp->rule({ method => 'PATCH', path => '/odata/v4/sales/Plain' }, { invalid_utf8 => JSON::PP::true, status => 422 }, 1);
sql("UPDATE plain SET name = 'refused' WHERE id = 2");
sql("SELECT concord.wait_for_delivery('plain', '60s')");
is(sql("SELECT rule || ' ' || status FROM concord.dead_letter"), 'refused 422', 'a refusal with an answer that is no text');

is($erp->stats->{key_reused}, 0, 'no idempotency key came with two bodies');
$node->stop;
done_testing();
