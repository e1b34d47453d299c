# Ids that the system gives: read from the body or from the address of what was
# created, kept in the link, and used from then on.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('assigned');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub settle
{
	my ($label) = @_;
	is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$label: delivered");
	is(sql("SELECT count(*) FROM concord.dead_letter"), '0', "$label: nothing is dead")
	  or diag(sql('SELECT mapping, rule, status, error, request FROM concord.dead_letter'));
	return;
}

my $odata = $erp->url('/odata/v4/sales');
my $rest = $erp->url('/rest/api');
sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('v2', 'odata', '{"version": "v2"}');
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('located', 'rest', '{"remote_id": "assigned"}');
	CREATE SERVER v4 FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$odata');
	CREATE SERVER v2 FOREIGN DATA WRAPPER concord OPTIONS (connector 'v2', url '$odata');
	CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'located', url '$rest');
	CREATE TABLE item (id int PRIMARY KEY, name text)});

# mapping, server, set, options, what the answer to a create is
my $guid = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
my @cases = (
	[ 'body', 'v4', '{"remote_id": "assigned", "remote_id_path": "Number"}', '{"Number":"0000017"}', {}, q{Body('0000017')} ],
	[ 'number', 'v4', '{"remote_id": "assigned", "remote_id_path": "a.DocEntry", "remote_id_type": "number"}', '{"a":{"DocEntry":42}}', {}, 'Number(42)' ],
	[ 'entityid', 'v4', '{"remote_id": "assigned"}', '', { 'OData-EntityId' => "$odata/Entityid($guid)" }, "Entityid($guid)" ],
	[ 'wrapped', 'v2', '{"remote_id": "assigned", "remote_id_path": "Id"}', qq({"d":{"Id":"$guid"}}), {}, "Wrapped(guid'$guid')" ],
	[ 'quoted', 'v2', '{"remote_id": "assigned"}', '', { Location => "$odata/Quoted('O''N%20x')" }, q{Quoted('O''N%20x')} ],
	[ 'segment', 're', '{}', '', { Location => '/rest/api/Segment/107?x=1' }, 'Segment/107' ],
);
foreach my $case (@cases)
{
	my ($name, $server, $options, $body, $headers, $address) = @$case;
	my $set = ucfirst $name;

	# what is asked is the sender; all else is accepted
	$erp->rule({ path => "/odata/v4/sales/$set", method => 'POST' }, { status => 201, body => $body, headers => $headers });
	$erp->rule({ path => "/rest/api/$set", method => 'POST' }, { status => 201, body => $body, headers => $headers });
	$erp->rule({ path => "/odata/v4/sales/$set" }, { status => 204, body => '' });
	$erp->rule({ path => "/rest/api/$set" }, { status => 204, body => '' });
	sql(qq{SELECT concord.create_mapping('$name', 'item', '$server', '$set', '{"Name": "name"}', '{"Ours": "id"}', options => '$options')});
	$case->[6] = "/" . ($server eq 're' ? 'rest/api' : 'odata/v4/sales') . "/$address";
}
sql("INSERT INTO item VALUES (1, 'a')");
settle('creates');
sql("UPDATE item SET name = 'b'");
sql("UPDATE item SET id = 2");
sql("DELETE FROM item");
settle('changes');
my @log = $erp->log_entries;
foreach my $case (@cases)
{
	my ($name, $server, undef, undef, undef, undef, $address) = @$case;
	my $set = ucfirst $name;
	my @sent = grep { $_->{path} =~ m{/$set\b} } @log;
	my $update = $server eq 'v2' ? 'MERGE' : 'PATCH';

	is(join(' ', map { $_->{method} } @sent), "POST $update $update DELETE", "$name: a changed key is none of the system's: an update");
	is($sent[1]{path}, $address, "$name: the address of the update");
	is($sent[3]{path}, $address, "$name: and of the deletion");
	is_deeply(JSON::PP::decode_json($sent[0]{body}), { Name => 'a', $server eq 're' ? () : (Ours => 1) },
		"$name: a create has our key where records can be found by it");
	is_deeply(JSON::PP::decode_json($sent[1]{body}), { Name => 'b' }, "$name: an update has not");
	is_deeply(JSON::PP::decode_json($sent[2]{body}), { Name => 'b', Ours => 2 }, "$name: unless it has changed");
}
my %v2 = %{ (grep { $_->{path} =~ /Wrapped/ } @log)[0]{headers} };
my ($version) = grep { lc $_ eq 'dataserviceversion' } keys %v2;
is($v2{ $version // '' }, '2.0', 'version 2 says so');

done_testing();
