# Requests as data: what connectors say of queries, headers and bodies arrives
# so, in the wire formats of systems that take messages or wrap their records.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Encode ();
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use Test::More;

my $node = Concord::Cluster->create('shapes');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# header(ENTRY, NAME): a request's header, whatever its case
sub header
{
	my ($entry, $name) = @_;
	my ($found) = grep { lc $_ eq lc $name } keys %{ $entry->{headers} };
	return defined $found ? $entry->{headers}{$found} : undef;
}

my $hook = $erp->url('/hook/v1');
my $rest = $erp->url('/rest/api');
sql(qq{
	CREATE TABLE item (id int PRIMARY KEY, name text);
	-- a queue: the record as base64, the rest beside it
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('queue', 'webhook',
	  '{"create": {"path": "topics/{object}:publish", "query": {"api": "2 {object}"},
	    "headers": {"X-Kind": "{event.op} {event.subject}", "BrokerProperties": {"MessageId": "{event.id}", "Label": "{ordering_key}"}},
	    "body": {"messages": [{"data": "{record:base64}", "attributes": {"type": "{event.type}", "time": "{event.time}"}}]},
	    "content_type": "application/vnd.queue+json"},
	    "headers": {"X-Version": "2026-01"}, "idempotency_header": "X-Dedupe", "unchanged": "send", "replay": "events"}');
	CREATE SERVER queue FOREIGN DATA WRAPPER concord OPTIONS (connector 'queue', url '$hook');
	SELECT concord.create_mapping('queue', 'item', 'queue', 'items', '{"Name": "name"}', '{"ID": "id"}');
	-- a system that wraps records, assigns ids and takes its verbs in the path
	INSERT INTO concord.connector (name, protocol, definition) VALUES ('wrapped', 'rest',
	  '{"create": {"path": "{object}", "body": {"name": "{mapping}", "item": "{body}"}},
	    "update": {"method": "PUT", "path": "{object}/{key}", "body": {"id": "{key:json}", "...": "{fields}"}},
	    "remote_id": "assigned", "remote_id_path": "id", "idempotency_header": ""}');
	CREATE SERVER wrapped FOREIGN DATA WRAPPER concord OPTIONS (connector 'wrapped', url '$rest');
	SELECT concord.create_mapping('wrapped', 'item', 'wrapped', 'wrapped', '{"Name": "name"}', '{"Ours": "id"}')});
$erp->set('/rest/api/wrapped', key => ['id'], assign => JSON::PP::true);

sql("INSERT INTO item VALUES (1, 'Zo\xc3\xab 100%')");
sql("UPDATE item SET name = 'b' WHERE id = 1");
is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'all is delivered');
is(sql('SELECT count(*) FROM concord.dead_letter'), '0', 'nothing is dead')
  or diag(sql('SELECT mapping, rule, status, error FROM concord.dead_letter'));

my @sent = grep { $_->{path} =~ m{^/hook} } $erp->log_entries;
is(scalar @sent, 2, 'two messages');
my $first = $sent[0];
is($first->{path}, '/hook/v1/topics/items:publish', 'the path');
like($first->{query}, qr/^api=2(%20| )items$/, 'the query');
is(header($first, 'Content-Type'), 'application/vnd.queue+json', 'the content type');
is(header($first, 'X-Version'), '2026-01', 'a header of every request');
is(header($first, 'X-Kind'), 'insert 1', 'a header with places');
like(header($first, 'X-Dedupe'), qr/^[0-9a-f-]{36}$/, 'the idempotency key under its name');
is(header($first, 'Idempotency-Key'), undef, 'and under no other');
is(header($first, 'ce-id'), undef, 'no CloudEvents headers beside a shape');
my $broker = JSON::PP::decode_json(header($first, 'BrokerProperties'));
is($broker->{MessageId}, sql("SELECT event_id FROM concord.outbox WHERE op = 'insert'"), 'a header that is JSON');
my $body = JSON::PP::decode_json($first->{body});
is_deeply(JSON::PP::decode_json(decode_base64($body->{messages}[0]{data})), { ID => 1, Name => "Zo\x{eb} 100%" },
	'the record as base64');
is($body->{messages}[0]{attributes}{type}, 'concord.public.item.insert', 'attributes');
like($body->{messages}[0]{attributes}{time}, qr/^\d{4}-\d\d-\d\dT/, 'with the time');

my @wrapped = grep { $_->{path} =~ m{^/rest} } $erp->log_entries;
is_deeply(JSON::PP->new->decode($wrapped[0]{body}), { name => 'wrapped', item => { Name => "Zo\x{eb} 100%" } },
	'a record in a wrapper');
my $last = JSON::PP->new->decode($wrapped[-1]{body});
is($last->{Name}, 'b', 'an update has the fields beside the id');
like($wrapped[-1]{body}, qr/"id":\d+[,}]/, 'and the id is a number');
is(header($wrapped[0], 'Idempotency-Key'), undef, 'no idempotency key for a system that has none');

# Values that would end a header, or that one cannot carry, are encoded: for
# each system that puts some into headers, in databases of two encodings.
my %odd = (
	"a\r\nX-Evil: 1\r\n\r\nGET /evil" => 'a%0D%0AX-Evil: 1%0D%0A%0D%0AGET /evil',
	" \x01\t\x7f " => '%20%01%09%7F%20',
	"Zo\x{eb} \"q\" 100%" => 'Zo%C3%AB "q" 100%25');
for my $encoding ('UTF8', 'LATIN1')
{
	my $db = lc "odd_$encoding";
	sql("CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	ok($node->ready($db), "capture is ready in $encoding");
	$node->safe_psql($db, qq{
		CREATE TABLE odd (id text PRIMARY KEY);
		INSERT INTO concord.connector (name, protocol, definition) VALUES ('queue', 'webhook',
		  '{"create": {"path": "t/{key}", "query": {"k": "{key}"},
		    "headers": {"X-Kind": "{event.subject}", "X-Record": "{record:base64}", "X-Key": "{key:base64}",
		                "BrokerProperties": {"Label": "{ordering_key}", "MessageId": "{event.id}"}}},
		    "headers": {"X-Always": "{mapping} {key}"}, "unchanged": "send", "replay": "events"}');
		CREATE SERVER queue FOREIGN DATA WRAPPER concord OPTIONS (connector 'queue', url '${\$erp->url("/hook/$db/shaped")}');
		CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '${\$erp->url("/hook/$db/plain")}');
		SELECT concord.create_mapping('queue', 'odd', 'queue', 'items', '{"Id": "id"}', '{"ID": "id"}');
		SELECT concord.create_mapping('hook', 'odd', 'hook', '', '{"Id": "id"}', '{"ID": "id"}')});
	$node->safe_psql($db, join '', map { "INSERT INTO odd SELECT convert_from(decode('" . unpack('H*', Encode::encode_utf8($_)) . "', 'hex'), 'UTF8');" } sort keys %odd);
	$node->safe_psql($db, q(INSERT INTO odd VALUES ('')));
	is($node->safe_psql($db, "SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$encoding: all is delivered");
	is($node->safe_psql($db, 'SELECT count(*) FROM concord.dead_letter'), '0', "$encoding: nothing is dead");
	my @plain = $erp->log_entries("/hook/$db/plain");
	my @shaped = $erp->log_entries("/hook/$db/shaped");
	is(scalar @plain . ' ' . scalar @shaped, '4 4', "$encoding: requests");
	is(scalar(grep { grep { /evil/i } keys %{ $_->{headers} } } @plain, @shaped), 0, "$encoding: nothing became a header");
	for my $value (sort keys %odd)
	{
		my $is = "$encoding: " . ($odd{$value} =~ s/ .*//r);
		my ($hook) = grep { JSON::PP::decode_json(Encode::encode_utf8($_->{body}))->{Id} eq $value } @plain;
		my ($queue) = grep { header($_, 'X-Kind') eq $odd{$value} } @shaped;
		is(header($hook, 'ce-subject'), $odd{$value} =~ s/([ "])/sprintf '%%%02X', ord $1/ger, "$is: ce-subject");
		ok(defined $queue, "$is: a header's text") or next;
		is(header($queue, 'X-Always'), "queue $odd{$value}", "$is: of every request");
		my $broker = header($queue, 'BrokerProperties');
		like($broker, qr/^[ -~]+$/, "$is: JSON in a header is printable ASCII");
		is(JSON::PP::decode_json($broker)->{Label}, $value, "$is: and says the same");
		is(JSON::PP::decode_json(decode_base64(header($queue, 'X-Record')))->{ID}, $value, "$is: a record in a header");
		is(Encode::decode_utf8(decode_base64(header($queue, 'X-Key'))), $value, "$is: a key in base64 is UTF-8");
		my $path = join '', map { /[-._~A-Za-z0-9]/ ? $_ : sprintf '%%%02X', ord } split //, Encode::encode_utf8($value);
		is($queue->{query}, "k=$path", "$is: and the query");
	}
	my $shown = $node->safe_psql($db, q(SELECT convert_to(body::text, 'UTF8') FROM concord.preview('hook', max_rows => 100) WHERE key->>'id' LIKE 'Zo%'));
	is(JSON::PP::decode_json(pack 'H*', $shown =~ s/^\\x//r)->{Id}, "Zo\x{eb} \"q\" 100%", "$encoding: preview shows the text");
	my ($empty) = grep { JSON::PP::decode_json(Encode::encode_utf8($_->{body}))->{Id} eq '' } @plain;
	is(header($empty, 'ce-subject'), undef, "$encoding: no empty subject");
}

done_testing();
