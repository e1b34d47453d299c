# Batches as vendors document them, each as a definition that a DBA could write:
# Salesforce sObject Collections and Composite (REST API Developer Guide),
# Dataverse UpsertMultiple (Web API), Kafka REST Proxy v2, SQS SendMessageBatch,
# EventBridge PutEvents, Pub/Sub topics.publish, Service Bus "Send message
# batch"; lines as bulk interfaces take them.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('formats');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub requests { my ($path) = @_; return grep { $_->{path} eq $path } $erp->log_entries($path); }

my $bus = '{"content_type": "application/vnd.microsoft.servicebus.json", "item": {"Body": "{body:text}", "BrokerProperties": {"MessageId": "{event.id}", "SessionId": "{ordering_key}"}}, "body": "{items}"}';
# name, protocol, definition, url, object, where items arrive, how many of 30
# fail, what the request looks like
my @cases = (
	[ 'lines', 'rest', '{"batch": {"format": "json_lines", "operations": ["create"]}}', '/rest/lines', 'Acc', '/rest/lines/Acc', '/rest/lines/Acc', qr/^\{[^\n]+\}\n\{/ ],
	[ 'collections', 'rest', '{"batch": {"format": "salesforce_collections", "operations": ["create"]}}',
		'/rest/sf', 'Acc', '/rest/sf/Acc', '/rest/sf/composite/sobjects', qr/"attributes":\{"type":"Acc"\}.*"allOrNone":false/ ],
	[ 'composite', 'rest', '{"batch": {"format": "salesforce_composite"}}', '/rest/co', 'Acc', '/rest/co/Acc', '/rest/co/composite', qr/"referenceId": ?"r1"/ ],
	[ 'multiple', 'odata', '{"upsert": "patch", "batch": {"format": "dataverse_multiple"}}', '/odata/v4/dv', 'accounts', '/odata/v4/dv/accounts',
		'/odata/v4/dv/accounts/Microsoft.Dynamics.CRM.UpsertMultiple', qr/"\@odata.id": ?"accounts\(1\)".*"\@odata.type": ?"Microsoft.Dynamics.CRM.account"|"\@odata.type": ?"Microsoft.Dynamics.CRM.account".*"\@odata.id"/ ],
	[ 'kafka', 'webhook', '{"batch": {"format": "template", "size": 100, "alone": "batch", "content_type": "application/vnd.kafka.json.v2+json", "body": {"records": "{items}"}, "item": {"key": "{ordering_key}", "value": "{body}"}, "answer": {"list": "offsets", "error": "error_code", "missing": "unknown"}}}',
		'/queue/kafka/topics', 'acc', '/hook/queue/kafka/topics/acc', '/queue/kafka/topics/acc', qr/^\{"records":\[\{"key":"\d+","value":\{/ ],
	[ 'sqs', 'webhook', '{"batch": {"format": "template", "size": 10, "max_count": 10, "alone": "batch", "id": "m", "body": {"QueueUrl": "q", "Entries": "{items}"}, "item": {"Id": "{request.id}", "MessageBody": "{body:text}"}, "answer": {"list": [{"path": "Successful", "status": 200}, {"path": "Failed", "status": 400}], "match": "id", "id": "Id", "missing": "unknown"}}}',
		'/queue/sqs', '', '/hook/queue/sqs', '/queue/sqs', qr/"Id":"m1"/ ],
	[ 'events', 'webhook', '{"batch": {"format": "template", "size": 10, "alone": "batch", "headers": {"X-Amz-Target": "AWSEvents.PutEvents"}, "content_type": "application/x-amz-json-1.1", "body": {"Entries": "{items}"}, "item": {"Source": "{event.source}", "DetailType": "{event.type}", "Detail": "{body:text}"}, "answer": {"list": "Entries", "error": "ErrorCode", "missing": "unknown"}}}',
		'/queue/events', '', '/hook/queue/events', '/queue/events', qr/"Entries":\[\{/ ],
	[ 'pubsub', 'webhook', '{"batch": {"format": "template", "size": 100, "alone": "batch", "body": {"messages": "{items}"}, "item": {"data": "{body:base64}", "attributes": {"id": "{event.id}"}, "orderingKey": "{ordering_key}"}}}',
		'/queue/pubsub', '', '/hook/queue/pubsub', '/queue/pubsub', qr/"orderingKey":"\d+"/ ],
	[ 'bus', 'webhook', qq({"batch": {"format": "template", "size": 100, "alone": "batch", ${\ substr($bus, 1)}}), '/queue/bus', '', '/hook/queue/bus', '/queue/bus', qr/"BrokerProperties":\{/ ]);

sql('CREATE TABLE acc (id int PRIMARY KEY, name text)');
$erp->set($_->[5], key => ['id'], patch_creates => JSON::PP::true) foreach grep { $_->[5] =~ m{^/(rest|odata)} } @cases;
foreach my $case (@cases)
{
	my ($name, $protocol, $definition, $url, $object) = @$case;

	sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES ('b_$name', '$protocol', \$d\$$definition\$d\$);
		CREATE SERVER $name FOREIGN DATA WRAPPER concord OPTIONS (connector 'b_$name', url '@{[ $erp->url($url) ]}', retry_limit '0');
		SELECT concord.create_mapping('$name', 'acc', '$name', '$object', '{"name": "name"}', options => '{"batch_size": 10, "linger": "300ms"}')});
}
# the counterparts that say how single items went refuse one
my %says = map { $_ => 1 } qw(lines collections composite multiple kafka sqs events);
$erp->rule({ path => $_->[5], body => 'bad' }, { status => 422 }) foreach grep { $says{$_->[0]} } @cases;
sql("INSERT INTO acc SELECT i, CASE i WHEN 17 THEN 'bad' ELSE 'n' || i END FROM generate_series(1, 30) i");
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'all has ended');

foreach my $case (@cases)
{
	my ($name, undef, undef, undef, undef, $items, $path, $looks) = @$case;
	my @batches = $name eq 'lines' ? grep { $_->{headers}{'content-type'} =~ /ndjson/ } requests($path) : requests($path);

	cmp_ok(scalar(@batches), '>=', 3, "$name: batches");
	like($batches[0]{body}, $looks, "$name: looks as documented");
	is(sql("SELECT string_agg(local_key->>'id', ',') FROM concord.dead_letter WHERE mapping = '$name'"), $says{$name} ? '17' : '', "$name: what was refused, and nothing else");
	is(sql("SELECT delivered FROM concord.status WHERE mapping = '$name'"), $says{$name} ? '29' : '30', "$name: the others are delivered");
	is(sql("SELECT max(attempts) FROM concord.delivery WHERE mapping = '$name'"), '1', "$name: by one attempt each");
}
sql("INSERT INTO acc VALUES (99, 'alone')");
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'one alone');
like((requests('/queue/kafka/topics/acc'))[-1]{body}, qr/^\{"records":\[\{"key":"99"/, 'to a queue it goes in the same form');

done_testing();
