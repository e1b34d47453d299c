# Records are searched by our key where the system gives the ids.  A key is
# data: whatever stands in it, no other record is found, linked or changed.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('find');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# other: keys that would name the record "victim" if they were read as more than
# a value; ends as [rule of the dead letter, or undef: a record of its own]
my %systems = (
	servicenow => { user_mapping => "auth 'basic', username 'concord', password 'secret'", object => 'u_customer', name => 'u_name', key => 'u_ref', whole => 'result,u_name',
		other => { 'nobody^ORu_ref=victim' => qr/cannot stand in the request/, 'nobody^NQu_ref=victim' => qr/cannot stand in the request/,
			'javascript:"victim"' => qr/cannot stand in the request/, ' JavaScript:x' => qr/cannot stand in the request/,
			'VICTIM' => qr/that record's key is another one/, 'a,victim' => undef, "it's" => undef } },
	bigcommerce_customers => { url => '/stores/abc/', user_mapping => "auth 'header', header_name 'X-Auth-Token', token 'bc_token'",
		object => 'customers', name => 'first_name', key => 'email',
		other => { 'nobody,victim' => qr/cannot stand in the request/, 'a&email:in=victim' => undef, 'VICTIM' => undef } },
	odoo => { user_mapping => "auth 'bearer', token '6578616d706c65206a736f6e20617069206b6579'", object => 'res.partner', name => 'name', key => 'ref', whole => 'name',
		other => { '"], "|", ["ref", "=", "victim' => undef, '%' => undef, 'VICTIM' => undef } },
	sage_intacct => { url => '/ia/api/v1/', user_mapping => "auth 'bearer', token 'intacct_token'", object => 'accounts-receivable/customer', collection => 'customer',
		name => 'name', key => 'id', other => { '"}}, {"$eq": {"id": "victim' => undef, 'a,victim' => undef } },
	tryton => { url => '/erp/', user_mapping => "auth 'basic', username 'concord', password 'secret'", object => 'party.party', name => 'name', key => 'code',
		other => { '"], ["code", "=", "victim' => undef, '%' => undef } },
	business_central => { url => '/v2.0/production/api/v2.0/', user_mapping => "auth 'bearer', token 'eyJ0.entra.token'",
		object => 'companies(f6f49b0a-0001-4c2b-9b4e-6b7f0b1d0c01)/customers', collection => 'customers', name => 'displayName', key => 'number', folds => 1,
		other => { "x' or number eq 'victim" => undef, "it''s" => undef, 'a&$top=1' => undef } });

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $url = $systems->url($name, $s->{url});
	my $records = sub { return values %{ $systems->data($name)->{ $s->{collection} // $s->{object} } // {} } };
	my $named = sub { my ($key) = @_; return map { $_->{ $s->{name} } } grep { $_->{ $s->{key} } eq ($s->{folds} ? uc $key : $key) } $records->() };

	sql(qq{SET client_min_messages = error;
		CREATE TABLE $name (id text PRIMARY KEY, name text);
		CREATE SERVER $name FOREIGN DATA WRAPPER concord OPTIONS (connector '$name', url '$url',
			retry_base '20ms', retry_cap '100ms', breaker_cooldown '100ms', timeout '5s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($s->{user_mapping});
		SELECT concord.create_mapping('$name', '$name', '$name', '$s->{object}', '{"$s->{name}": "name"}', '{"$s->{key}": "id"}');
		INSERT INTO $name VALUES ('victim', 'untouched')});
	is(sql("SELECT concord.wait_for_delivery('$name', '60s')"), 't', "$name: a record is there");
	if ($s->{whole})
	{
		# a session gets the record by its id, not only what delivery asks for
		my ($id) = keys %{ $systems->data($name)->{ $s->{object} } };
		is(sql("SELECT (concord.lookup('$name', '$s->{object}', '$id') #>> '{$s->{whole}}')"), 'untouched', "$name: lookup has all fields");
		(my $none = $id) =~ tr/0-9a-f/9/;
		is(sql("SELECT concord.lookup('$name', '$s->{object}', '$none') IS NULL"), 't', "$name: lookup of none");
	}
	foreach my $key (sort keys %{ $s->{other} })
	{
		my $error = $s->{other}{$key};

		# whether the first create has arrived nobody knows: it is searched for
		$systems->fault($name, match => '^(POST|PUT)', status => 502);
		(my $literal = $key) =~ s/'/''/g;
		sql("INSERT INTO $name VALUES ('$literal', 'another')");
		is(sql("SELECT concord.wait_for_delivery('$name', '60s')"), 't', "$name: $key: it comes to an end");
		is_deeply([ $named->('victim') ], ['untouched'], "$name: $key: the other record is as it was");
		is(sql("SELECT count(*) FROM (SELECT remote_id FROM concord.link WHERE mapping = '$name' AND remote_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) twice"), '0', "$name: $key: no record is linked twice");
		if ($error)
		{
			like(sql("SELECT error FROM concord.dead_letter WHERE mapping = '$name' AND local_key->>'id' = '$literal'"), $error, "$name: $key: a dead letter says why");
		}
		else
		{
			is_deeply([ $named->($key) ], ['another'], "$name: $key: it is a record of its own");
		}
	}
	sql("SELECT concord.drop_mapping('$name')");
}

done_testing();
