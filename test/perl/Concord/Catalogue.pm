# Concord::Catalogue: a connector of the catalogue against its dialect.
#
#   my $c = Concord::Catalogue->new($node, $systems, connector => 'salesforce', url => '/services/data/v60.0/',
#       user_mapping => "auth 'bearer', token '...'", object => 'Account',
#       fields => '{"Name": "name", "Amount__c": "amount"}', key => '{"Ext__c": "id"}');
#   $c->lifecycle(sub { ... });
#
# The source is a table item (id int, name text, amount numeric). lifecycle()
# inserts, updates and deletes rows and compares what the system holds: the
# function gets all of a collection's records and returns them as
# {id => [name, amount as text]}.
package Concord::Catalogue;

use strict;
use warnings;

use JSON::PP ();
use Test::More;

sub new
{
	my ($class, $node, $systems, %args) = @_;
	my $self = bless { node => $node, systems => $systems, %args }, $class;
	my $name = $self->{connector};
	my $dialect = $self->{dialect} //= $name;
	my $url = $systems->url($dialect, $args{url});
	my ($fields, $key, $options) = map { my $text = $_ // '{}'; $text =~ s/'/''/g; $text } @args{qw(fields key options)};
	my $more = $args{server_options} ? ", $args{server_options}" : '';

	$self->{server} = $args{server} // "s_$name";
	$self->{mapping} = $args{mapping} // "m_$name";
	$self->{table} = $args{table} // "item_$name";
	(my $user_mapping = $args{user_mapping} // "auth 'none'") =~ s/\{base\}/$systems->url($dialect)/ge;
	$self->sql(qq{
		SET client_min_messages = error;
		CREATE TABLE $self->{table} (id int PRIMARY KEY, name text, amount numeric(12,2));
		CREATE SERVER $self->{server} FOREIGN DATA WRAPPER concord OPTIONS (connector '$name', url '$url',
			retry_base '20ms', retry_cap '100ms', breaker_cooldown '100ms', timeout '5s'$more);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $self->{server} OPTIONS ($user_mapping);
		SELECT concord.create_mapping('$self->{mapping}', '$self->{table}', '$self->{server}', '$args{object}',
			'$fields', '$key', options => '$options')});
	return $self;
}

sub sql { my ($self, $sql) = @_; return $self->{node}->safe_psql('postgres', $sql); }

# settle(LABEL): all is delivered, nothing is dead, the system refused nothing
sub settle
{
	my ($self, $label) = @_;
	my $name = $self->{connector};

	is($self->sql("SELECT concord.wait_for_delivery('$self->{mapping}', '60s')"), 't', "$name: $label: delivered")
	  or diag($self->sql("SELECT state, reason, last_error FROM concord.system WHERE server = '$self->{server}'"));
	is($self->sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = '$self->{mapping}'"), '0', "$name: $label: nothing is dead")
	  or diag($self->sql("SELECT rule, status, error, request, answer FROM concord.dead_letter WHERE mapping = '$self->{mapping}'"));
	is_deeply($self->{systems}->wrong($self->{dialect}), [], "$name: $label: nothing was refused");
	return;
}

# lifecycle(HELD): insert, update, delete; what is there in the end is what the table has
sub lifecycle
{
	my ($self, $held) = @_;
	my ($table, $name) = ($self->{table}, $self->{connector});

	$self->sql("INSERT INTO $table VALUES (1, 'Ada \"L\" \xc3\xa9', 1.50), (2, 'Bob', 20), (3, 'Cy', 0)");
	$self->settle('inserts');
	$self->sql("UPDATE $table SET name = 'Changed', amount = 99.95 WHERE id = 2");
	$self->sql("DELETE FROM $table WHERE id = 3");
	$self->settle('changes');
	my %want = (1 => [ "Ada \"L\" \x{e9}", '1.5' ], 2 => [ 'Changed', '99.95' ]);
	is_deeply($held->($self->{systems}->data($self->{dialect})), \%want, "$name: the system has what the table has");

	# a record whose key changes is there once, under its new key
	$self->sql("UPDATE $table SET id = 5, name = 'Moved' WHERE id = 2");
	$self->settle('a changed key');
	delete $want{2};
	$want{5} = [ 'Moved', '99.95' ];
	is_deeply($held->($self->{systems}->data($self->{dialect})), \%want, "$name: a changed key leaves nothing behind");

	# and is the record that later changes and the deletion go to
	$self->sql("INSERT INTO $table VALUES (6, 'Six', 6)");
	$self->sql("UPDATE $table SET id = 7 WHERE id = 6");
	$self->settle('another changed key');
	$self->sql("UPDATE $table SET name = 'Seven' WHERE id = 7");
	$self->settle('a change after it');
	$want{7} = [ 'Seven', '6' ];
	is_deeply($held->($self->{systems}->data($self->{dialect})), \%want, "$name: a change after a changed key");
	$self->sql("DELETE FROM $table WHERE id = 7");
	$self->settle('a deletion after it');
	delete $want{7};
	is_deeply($held->($self->{systems}->data($self->{dialect})), \%want, "$name: a deletion after a changed key");
	return;
}

# outcome(LABEL, FAULT, ROW, {rule, ...}): a row whose delivery meets a fault
# ends as a dead letter with these columns
sub dead
{
	my ($self, $label, $fault, $id, %want) = @_;
	my $table = $self->{table};

	$self->{systems}->fault($self->{dialect}, %$fault);
	$self->sql("INSERT INTO $table VALUES ($id, 'x$id', 1)");
	$self->{node}->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM concord.dead_letter WHERE mapping = '$self->{mapping}' AND local_key->>'id' = '$id'");
	foreach my $column (sort keys %want)
	{
		like($self->sql("SELECT $column FROM concord.dead_letter WHERE mapping = '$self->{mapping}' AND local_key->>'id' = '$id'"),
			$want{$column}, "$self->{connector}: $label: $column");
	}
	$self->sql("SELECT concord.discard_dead('$self->{mapping}', NULL, 'test')");
	return;
}

# survives(LABEL, FAULT, ROW): a row whose first tries meet a fault is delivered
sub survives
{
	my ($self, $label, $fault, $id) = @_;

	$self->{systems}->fault($self->{dialect}, %$fault);
	$self->sql("INSERT INTO $self->{table} VALUES ($id, 'x$id', 1)");
	$self->settle($label);
	return;
}

# once(LABEL, MATCH, ROW, HELD): the answer to a create is lost, and yet there is
# one record of the row
sub once
{
	my ($self, $match, $id, $held) = @_;

	$self->{systems}->fault($self->{dialect}, match => $match, status => 502, act => JSON::PP::true());
	$self->sql("INSERT INTO $self->{table} VALUES ($id, 'once', 1)");
	$self->settle('a lost answer');
	my $n = $held->($self->{systems}->data($self->{dialect}), $id);
	is($n, 1, "$self->{connector}: a create whose answer is lost makes one record");
	return;
}

1;
