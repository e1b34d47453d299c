# Queues and streams over HTTP, and Slack: test/dialects/queues.py names the
# documents. Each row change is one message, in order.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use JSON::PP ();
use Test::More;

my $node = Concord::Cluster->create('queues');
my $systems = Concord::Dialects->new;
my $json = JSON::PP->new;
ok($node->ready, 'capture is ready');

my $aws = q{auth 'sigv4', access_key 'AKID', secret_key 'secret', region 'eu-central-1', aws_service};
my $whole = '{"name": "name", "amount": "amount"}';

# what a message is: [type's end, id, name]
my %systems = (
	google_pubsub => {
		user_mapping => "auth 'bearer', token 'ya29.token'",
		object => 'projects/p/topics/items',
		read => sub { my ($m) = @_; return ($m->{attributes}{'ce-type'}, $m->{data}, $m->{attributes}{'ce-id'}, $m->{orderingKey}) },
		down => { status => 401, body => { error => { status => 'UNAUTHENTICATED' } } },
		retry => { status => 409, body => { error => { status => 'ABORTED' } } },
		dead => [ { status => 400, body => { error => { message => 'no good', status => 'INVALID_ARGUMENT' } } }, error => qr/no good/ ],
	},
	kafka_rest => {
		object => 'items',
		read => sub { my ($m) = @_; return ($m->{value}{type}, $m->{value}{data}, $m->{value}{id}, $m->{key}) },
		retry => { status => 200, body => { offsets => [ { partition => undef, offset => undef, error_code => 2, error => 'timed out' } ] } },
		dead => [ { status => 200, body => { offsets => [ { error_code => 1, error => 'record too large' } ] } }, rule => qr/^record was refused$/ ],
	},
	azure_service_bus => {
		user_mapping => "auth 'bearer', token 'eyJ.token'",
		object => 'items',
		read => sub { my ($m) = @_; return ($m->{properties}{Label}, $m->{body}, $m->{properties}{MessageId}, $m->{properties}{SessionId}) },
		down => { status => 401, body => '<Error/>' },
		retry => { status => 500, body => '<Error><Code>500</Code></Error>' },
		dead => [ { status => 413, body => '<Error><Code>413</Code></Error>' }, status => qr/^413$/ ],
	},
	aws_eventbridge => {
		user_mapping => "$aws 'events'",
		object => 'orders',
		read => sub { my ($m) = @_; return ($m->{DetailType}, $json->decode($m->{Detail}), 'x', $m->{Resources}[0]) },
		down => { status => 400, body => { __type => 'ExpiredTokenException', message => 'The security token has expired' } },
		retry => { status => 200, body => { FailedEntryCount => 1, Entries => [ { ErrorCode => 'InternalFailure', ErrorMessage => 'x' } ] } },
		dead => [ { status => 200, body => { FailedEntryCount => 1, Entries => [ { ErrorCode => 'NotAuthorizedForSourceException', ErrorMessage => 'x' } ] } },
			rule => qr/^entry was refused$/ ],
	},
	sqs => {
		user_mapping => "$aws 'sqs'",
		object => '123456789012/items',
		read => sub { my ($m) = @_; return ($m->{MessageAttributes}{'ce-type'}{StringValue}, $json->decode($m->{MessageBody}), $m->{MessageAttributes}{'ce-id'}{StringValue}) },
		down => { status => 400, body => { __type => 'com.amazonaws.sqs#QueueDoesNotExist' } },
		retry => { status => 500, body => { __type => 'InternalFailure' } },
		dead => [ { status => 400, body => { __type => 'com.amazonaws.sqs#InvalidMessageContents', message => 'bad characters' } }, error => qr/bad characters/ ],
	},
	sqs_fifo => {
		user_mapping => "$aws 'sqs'",
		object => '123456789012/items.fifo',
		read => sub { my ($m) = @_; return ($m->{MessageAttributes}{'ce-type'}{StringValue}, $json->decode($m->{MessageBody}), $m->{MessageDeduplicationId}, $m->{MessageGroupId}) },
	},
	slack => {
		url => '/api/',
		user_mapping => "auth 'bearer', token 'xoxb-token'",
		object => 'C024BE91L',
		fields => q[{"text": "name", "thread_ts": "NULL::text"}],
		options => '{"on_delete": "ignore", "nulls": "omit"}',
		texts => [ 'a', 'b' ],
		down => { status => 200, body => { ok => JSON::PP::false, error => 'token_revoked' } },
		retry => { status => 200, body => { ok => JSON::PP::false, error => 'internal_error' } },
		dead => [ { status => 200, body => { ok => JSON::PP::false, error => 'channel_not_found' } }, rule => qr/^refused by Slack$/, error => qr/channel_not_found/ ],
	});

foreach my $name (sort keys %systems)
{
	my $s = $systems{$name};
	my $c = Concord::Catalogue->new($node, $systems, connector => $name, url => $s->{url}, user_mapping => $s->{user_mapping},
		object => $s->{object}, fields => $s->{fields} // $whole, key => '{"id": "id"}', options => $s->{options} // '{}');
	$c->sql("INSERT INTO $c->{table} VALUES (1, 'a', 1.50)");
	$c->sql("UPDATE $c->{table} SET name = 'b'");
	$c->sql("DELETE FROM $c->{table}");
	$c->settle('messages');
	my @messages = @{ $systems->data($name)->{ $s->{object} } };
	if ($s->{texts})
	{
		is_deeply([ map { $_->{text} } @messages ], $s->{texts}, "$name: the texts, in order");
	}
	else
	{
		my @read = map { [ $s->{read}->($_) ] } @messages;
		is_deeply([ map { ($_->[0] =~ /\.(\w+)$/)[0] } @read ], [qw(insert update delete)], "$name: types, in order");
		is_deeply([ map { "$_->[1]{id} " . ($_->[1]{name} // 'none') } @read ], [ '1 a', '1 b', '1 none' ], "$name: records");
		is($read[0][1]{amount}, 1.5, "$name: a number");
		my %ids = map { $_->[2] => 1 } @read;
		is(scalar keys %ids, $read[0][2] eq 'x' ? 1 : 3, "$name: each message has an id of its own");
		is($read[0][3], '1', "$name: order is kept by the key") if defined $read[0][3] && $name ne 'sqs_fifo';
	}
	$c->survives('credentials that are refused for a moment', { times => 1, %{ $s->{down} } }, 10) if $s->{down};
	$c->survives('a failure', { times => 2, %{ $s->{retry} } }, 11) if $s->{retry};
	$c->dead('a refusal', { %{ $s->{dead}[0] } }, 12, @{ $s->{dead} }[ 1 .. $#{ $s->{dead} } ]) if $s->{dead};
	$c->sql("SELECT concord.drop_mapping('$c->{mapping}')");
}

done_testing();
