# Messages of systems: signatures, challenges, copies, what they say, and all
# that is not as it should be.

use strict;
use warnings;

use Concord::Cluster;
use Digest::SHA qw(hmac_sha256 hmac_sha256_base64 hmac_sha256_hex);
use JSON::PP;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

my $node = Concord::Cluster->create('receive');
my $json = JSON::PP->new->canonical->utf8;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub quote { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

# call(NAME, BODY, HEADERS, ROLE): the statement
sub call
{
	my ($name, $body, $headers, $role) = @_;
	return ($role ? "SET ROLE $role; " : '') . 'SELECT concord.receive(' . join(', ', quote($name), quote($body), quote($json->encode($headers // {}))) . ')';
}

# receive(...): the answer
sub receive { return sql(call(@_)); }

# refused(SQLSTATE, PATTERN, WHAT, NAME, BODY, HEADERS, ROLE)
sub refused
{
	my ($state, $pattern, $what, @call) = @_;
	my ($out, $err);

	$node->psql('postgres', "\\set VERBOSITY verbose\n" . call(@call), stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($err, qr/ERROR:  \Q$state\E: /, "$what: SQLSTATE $state") or diag($err);
	like($err, $pattern, "$what: message");
	unlike($err, qr/MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|app-secret|shared-token/, "$what: no secret is told");
	return;
}

my $secret = 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my $older = encode_base64('an older secret of 24 bytes', '');

# standard(BODY, %with): headers of Standard Webhooks
sub standard
{
	my ($body, %with) = @_;
	my $id = $with{id} // 'msg_1';
	my $at = $with{at} // time;
	my $sign = $with{sign} // 'v1,' . encode_base64(hmac_sha256("$id.$at.$body", decode_base64($with{secret} // $secret)), '');
	return { 'Webhook-Id' => $id, 'webhook-timestamp' => "$at", 'WEBHOOK-SIGNATURE' => $sign };
}

sub inbox { return sql('SELECT op, remote_id, etag, remote_changed, record, message_id FROM concord.inbox_item ORDER BY id'); }
sub empty { sql('DELETE FROM concord.inbox_item; DELETE FROM concord.inbox_message'); return; }

sql(qq{
	CREATE EXTENSION pg_concord;
	ALTER DATABASE postgres SET timezone = 'UTC';
	CREATE TABLE contact (id int PRIMARY KEY, name text, email text);
	CREATE TABLE product (id int PRIMARY KEY, title text);
	CREATE ROLE front;
	CREATE ROLE stranger;
	GRANT USAGE ON SCHEMA concord TO front, stranger;
	GRANT EXECUTE ON FUNCTION concord.receive TO front;
	CREATE SERVER crm FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:9/');
	CREATE USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (auth 'none', receive_secret 'whsec_$secret', previous_receive_secret '$older');
	SELECT concord.create_mapping('contacts', 'contact', 'crm', 'contacts', '{"Name": {"column": "name", "owner": "crm"}}', key => '{"ID": "id"}',
		options => '{"receive": {"record": "data", "remote_id": "item:data.ID", "object": "contact"}}')});
# nothing is applied here: what is in the inbox is looked at
sql("SELECT concord.pause('contacts')");

# ---- Standard Webhooks
my $body = '{"type": "contact.updated", "data": {"ID": 7, "Name": "Müller", "Big": 12345678901234567890.10}}';
refused('42704', qr/does not say what kind/, 'an object that messages do not tell', 'contacts', $body, standard($body));
sql(q{SELECT concord.alter_mapping('contacts', options => '{"receive": {"object": null}}')});
is(receive('contacts', $body, standard($body), 'front'), '', 'an answer that is empty');
is(sql("SELECT op, remote_id, record, message_id FROM concord.inbox_item"), 'upsert|7|{"ID": 7, "Name": "Müller", "Big": 12345678901234567890.10}|msg_1', 'stored as it came, digit for digit');
receive('contacts', $body, standard($body), 'front');
is(sql('SELECT count(*) FROM concord.inbox_item'), '1', 'a message that comes again is answered, and not taken again');
receive('contacts', $body, standard($body, id => 'msg_2', secret => $older));
is(sql('SELECT count(*) FROM concord.inbox_item'), '2', 'the previous secret');
my $with_others = standard($body, id => 'msg_3');
$with_others->{'WEBHOOK-SIGNATURE'} = 'v1a,xyz v1,AAAA ' . $with_others->{'WEBHOOK-SIGNATURE'};
receive('contacts', $body, $with_others);
is(sql('SELECT count(*) FROM concord.inbox_item'), '3', 'one of several signatures');

refused('28000', qr/signature is wrong or missing/, 'a wrong signature', 'contacts', $body, standard($body, sign => 'v1,AAAA'));
refused('28000', qr/signature is wrong or missing/, 'another body', 'contacts', "$body ", standard($body));
refused('28000', qr/signature is wrong or missing/, 'another id', 'contacts', $body, { %{ standard($body) }, 'Webhook-Id' => 'msg_9' });
refused('28000', qr/signature is wrong or missing/, 'no headers', 'contacts', $body, {});
refused('28000', qr/signature is wrong or missing/, 'an empty signature', 'contacts', $body, standard($body, sign => ''));
refused('28000', qr/signature is wrong or missing/, 'only the prefix', 'contacts', $body, standard($body, sign => 'v1,'));
refused('28000', qr/more than 300 seconds ago/, 'an old one', 'contacts', $body, standard($body, at => time - 400));
refused('28000', qr/more than 300 seconds ago, or will be/, 'one of the future', 'contacts', $body, standard($body, at => time + 400));
refused('28000', qr/does not say when/, 'a timestamp that is none', 'contacts', $body, standard($body, at => 'soon'));
my $broken = '{"data": {"ID": 7';
refused('22032', qr/not JSON/, 'no JSON', 'contacts', $broken, standard($broken, id => 'msg_4'));
for my $bad ('{"data": {"ID": 7}]', '{"data": {"ID": 7, }}', "{'data': {}}", '{"data": {"ID": 7}} x', '', "{\"data\": {\"ID\": \x{1}}}")
{
	refused('22032', qr/not JSON from byte/, "no JSON: $bad", 'contacts', $bad, standard($bad, id => 'msg_7'));
}
my $none = '{"other": 1}';
refused('22032', qr/no record at "data"/, 'no record', 'contacts', $none, standard($none, id => 'msg_5'));
refused('42704', qr/neither a mapping nor a server/, 'an unknown name', 'kontacts', $body, standard($body));
refused('42501', qr/permission denied/, 'without the right', 'contacts', $body, standard($body), 'stranger');
sql("ALTER SYSTEM SET pg_concord.max_event_size = '64kB'; SELECT pg_reload_conf()");
my $large = '{"data": {"ID": 7, "Name": "' . 'x' x 70000 . '"}}';
$node->poll_query_until('postgres', "SELECT current_setting('pg_concord.max_event_size') = '64kB'");
refused('54000', qr/max_event_size/, 'too large', 'contacts', $large, standard($large, id => 'msg_6'));
is(sql('SELECT count(*) FROM concord.inbox_item'), '3', 'nothing of that was stored');

# ---- a copy that comes at the same time waits, and is dropped
empty();
my $one = $node->background_psql('postgres');
$one->query_safe('BEGIN');
$one->query_safe(call('contacts', $body, standard($body, id => 'twin')));
my $two = $node->background_psql('postgres', wait => 0);
$two->query_until(qr/sent/, "\\echo sent\n" . call('contacts', $body, standard($body, id => 'twin')) . ";\n");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%receive%'")
  or die 'the copy does not wait';
$one->query_safe('COMMIT');
$one->quit;
$two->quit;
is(sql('SELECT count(*) FROM concord.inbox_item'), '1', 'two at the same time: one');
empty();

# ---- without a secret: only who may act as the definer
sql(q{ALTER USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (DROP receive_secret, DROP previous_receive_secret)});
refused('28000', qr/may not vouch/, 'nobody vouches', 'contacts', $body, {}, 'front');
is(receive('contacts', $body, { 'Webhook-Id' => 'x1' }), '', 'the definer vouches');
is(sql('SELECT count(*) FROM concord.inbox_item'), '1', 'taken');
my $dir = $node->basedir;
open my $fh, '>', "$dir/secret" or die;
print $fh "$secret\n";
close $fh;
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (ADD receive_secret_file '$dir/secret')");
receive('contacts', $body, standard($body, id => 'x2'), 'front');
is(sql('SELECT count(*) FROM concord.inbox_item'), '2', 'a secret in a file');
is(sql("SELECT count(*) FROM pg_user_mappings WHERE umoptions::text LIKE '%$secret%'"), '0', 'which is not shown');
# the known answer of the specification's page on verifying
empty();

# ---- the systems of the catalogue: their pages are named in the install script
# system(CONNECTOR, OBJECT, KEY, RECEIVE): a server and a mapping of this name
sub system_of
{
	my ($connector, $object, $key, $receive, $auth) = @_;
	sql(qq{
		CREATE TABLE "of_$connector" (id int PRIMARY KEY, name text);
		CREATE SERVER "$connector" FOREIGN DATA WRAPPER concord OPTIONS (connector '$connector', url 'http://127.0.0.1:9/');
		CREATE USER MAPPING FOR CURRENT_USER SERVER "$connector" OPTIONS (auth 'none', receive_secret 'app-secret');
		SELECT concord.create_mapping('of_$connector', 'of_$connector', '$connector', '$object', '{"Name": {"column": "name", "owner": "$connector"}}', key => '{"$key": "id"}',
			options => jsonb_build_object('receive', '@{[ $json->encode($receive // {}) ]}'::jsonb), paused => true)});
	return;
}

system_of('shopify', 'product', 'handle', { object => 'products' });
my $shop = '{"id": 788032119674292922, "admin_graphql_api_id": "gid://shopify/Product/788032119674292922", "title": "Shirt", "updated_at": "2026-11-20T10:00:00-05:00"}';
my %shop = ('X-Shopify-Topic' => 'products/update', 'X-Shopify-Webhook-Id' => 'b54557e4', 'X-Shopify-Hmac-Sha256' => encode_base64(hmac_sha256($shop, 'app-secret'), ''));
is(receive('shopify', $shop, \%shop, 'front'), '', 'Shopify: through its server');
is(inbox(), 'upsert|gid://shopify/Product/788032119674292922||2026-11-20 15:00:00+00|' . $shop . '|b54557e4', 'Shopify: a record');
receive('shopify', $shop, \%shop);
is(sql('SELECT count(*) FROM concord.inbox_item'), '1', 'Shopify: the same delivery again');
receive('shopify', $shop, { %shop, 'X-Shopify-Topic' => 'products/delete', 'X-Shopify-Webhook-Id' => 'c' });
is(sql('SELECT op FROM concord.inbox_item ORDER BY id DESC LIMIT 1'), 'delete', 'Shopify: a deletion');
refused('42704', qr/no mapping of "shopify" receives "orders"/, 'Shopify: an object that nobody wants', 'shopify', $shop, { %shop, 'X-Shopify-Topic' => 'orders/create', 'X-Shopify-Webhook-Id' => 'd' });
refused('28000', qr/signature/, 'Shopify: a wrong signature', 'shopify', $shop, { %shop, 'X-Shopify-Hmac-Sha256' => encode_base64(hmac_sha256($shop, 'app-secre'), '') });
empty();

system_of('business_central', 'customers', 'number');
is(receive('business_central', '', { ':path' => '/hook?validationToken=abc%20%2Bd&x=1' }, 'front'), 'abc +d', 'Business Central: the handshake');
my $bc = '{"value": [{"subscriptionId": "customers", "clientState": "app-secret", "expirationDateTime": "2026-11-24T00:00:00Z",
 "resource": "api/v2.0/companies(b18aed47-c385-49d2-b954-dbdf8ad71780)/customers(26814998-936a-401c-81c1-0e848a64971d)", "changeType": "updated", "lastModifiedDateTime": "2026-11-20T20:30:00.1Z"},
 {"clientState": "app-secret", "resource": "api/v2.0/companies(b18aed47-c385-49d2-b954-dbdf8ad71780)/customers(8e5a27a8-d5d4-ea11-bbf3-000d3a24b2c7)", "changeType": "deleted"},
 {"clientState": "app-secret", "resource": "api/v2.0/companies(b18aed47-c385-49d2-b954-dbdf8ad71780)/items(8e5a27a8-d5d4-ea11-bbf3-000d3a24b2c7)", "changeType": "created"},
 {"clientState": "app-secret", "resource": "api/v2.0/companies(b18aed47-c385-49d2-b954-dbdf8ad71780)/customers?$filter=lastModifiedDateTime%20gt%202026-11-20T20:30:00Z", "changeType": "collection"}]}';
receive('business_central', $bc, {}, 'front');
is(inbox(), "fetch|26814998-936a-401c-81c1-0e848a64971d||2026-11-20 20:30:00.1+00||\ndelete|8e5a27a8-d5d4-ea11-bbf3-000d3a24b2c7||||\nfetch|||||",
	'Business Central: what is to be read, what is gone, and that many have changed');
(my $forged = $bc) =~ s/"app-secret", "resource": "([^"]*)", "changeType": "deleted"/"other", "resource": "$1", "changeType": "deleted"/;
refused('28000', qr/signature/, 'Business Central: one notice without the state', 'business_central', $forged, {});
refused('28000', qr/signature/, 'Business Central: no notice, so no state either', 'business_central', '{"value": []}', {});
empty();

system_of('slack', 'C1', 'ts', { object => 'message', remote_id => 'body:event.ts' });
is(receive('slack', '{"type": "url_verification", "token": "x", "challenge": "3eZbrw1a"}', {}, 'front'), '3eZbrw1a', 'Slack: the challenge');
my $slack = '{"type": "event_callback", "event_id": "Ev1", "event": {"type": "message", "ts": "1355517523.000005", "text": "hi"}}';
my $at = time;
receive('slack', $slack, { 'X-Slack-Request-Timestamp' => "$at", 'X-Slack-Signature' => 'v0=' . hmac_sha256_hex("v0:$at:$slack", 'app-secret') }, 'front');
is(sql('SELECT op, remote_id, record, message_id FROM concord.inbox_item'), 'upsert|1355517523.000005|{"type": "message", "ts": "1355517523.000005", "text": "hi"}|Ev1', 'Slack: an event');
empty();

system_of('bigcommerce', 'catalog/products', 'sku', { object => 'product' });
receive('bigcommerce', '{"store_id": "11111", "producer": "stores/abcde", "scope": "store/product/updated", "data": {"type": "product", "id": 173331}, "hash": "3f9e", "created_at": 1561488106}',
	{ 'X-Concord-Token' => 'app-secret' }, 'front');
is(inbox(), 'fetch|173331||||3f9e', 'BigCommerce: a thin notice');
refused('28000', qr/signature/, 'BigCommerce: without the header', 'bigcommerce', '{"scope": "store/product/updated", "data": {"id": 1}, "hash": "a"}', {});
empty();

system_of('dataverse', 'accounts', 'accountnumber', { object => 'account' });
receive('dataverse', '{"MessageName": "Update", "PrimaryEntityName": "account", "PrimaryEntityId": "51a0e1a0-0000-4000-8000-000000000001", "OperationId": "op1", "OperationCreatedOn": "/Date(1763625600000)/"}',
	{ ':path' => '/hook?code=app-secret' }, 'front');
is(inbox(), 'fetch|51a0e1a0-0000-4000-8000-000000000001||2025-11-20 08:00:00+00||op1', 'Dataverse: a step');
empty();

system_of('sap_s4', 'A_BusinessPartner', 'BusinessPartner', { object => 'BusinessPartner', remote_id => 'body:data.BusinessPartner' });
receive('sap_s4', '{"specversion": "1.0", "id": "e1", "source": "/default/sap.s4/1", "type": "sap.s4.beh.businesspartner.v1.BusinessPartner.Changed.v1", "time": "2026-11-20T08:00:00Z", "data": {"BusinessPartner": "1000"}}',
	{ 'x-concord-token' => 'app-secret' }, 'front');
is(inbox(), 'fetch|1000||2026-11-20 08:00:00+00||e1', 'S/4: an event');
empty();

system_of('odoo', 'res.partner', 'ref');
receive('odoo', '{"_action": "Send Webhook Notification(#1)", "_id": 14, "_model": "res.partner", "name": "x"}', { ':path' => '/odoo?token=app-secret' }, 'front');
is(inbox(), 'fetch|14||||', 'Odoo: an automation rule');
empty();

system_of('shipstation', 'orders', 'orderKey', { object => 'ORDER' });
receive('shipstation', '{"resource_url": "https://ssapi.shipstation.com/orders?importBatch=1b0", "resource_type": "ORDER_NOTIFY"}', { ':path' => '/s?token=app-secret' }, 'front');
is(inbox(), 'fetch|||||https://ssapi.shipstation.com/orders?importBatch=1b0', 'ShipStation: something has changed');

# ---- what was stored becomes a row, by itself
sql(q{SELECT concord.alter_mapping('contacts', options => '{"receive": {"record": "data", "remote_id": null}}'); SELECT concord.resume('contacts')});
my $row = '{"data": {"ID": 70, "Name": "Grace"}}';
receive('contacts', $row, standard($row, id => 'row'));
ok($node->poll_query_until('postgres', "SELECT string_agg(id || name, ' ') = '70Grace' FROM contact"), 'applied');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM concord.inbox WHERE mapping = 'contacts'"), 'and out of the inbox');

# ---- mistakes in definitions
sub mistaken
{
	my ($receive, $pattern, $what) = @_;
	my ($out, $err);
	$node->psql('postgres', "SELECT concord.alter_mapping('contacts', options => jsonb_build_object('receive', " . quote($receive) . '::jsonb))', stderr => \$err, stdout => \$out);
	like($err, $pattern, $what);
	return;
}
mistaken('{"signatur": "header:x"}', qr/unrecognized member "signatur" of mapping option "receive".*Perhaps you meant "signature"/s, 'a member');
mistaken('{"signature": "heder:x"}', qr/"signature".*begins with none of/s, 'a place');
mistaken('{"signature": "body:x"}', qr/stands in what it signs/, 'a signature of itself');
mistaken('{"id": "body:x..y"}', qr/no path to one value/, 'a path');
mistaken('{"id": "body:x.*"}', qr/no path to one value/, 'a path to many');
mistaken('{"op": {"at": "body:x", "match": "("}}', qr/invalid regular expression/, 'a regular expression');
mistaken('{"delete": "x"}', qr/needs "op"/, 'delete without op');
mistaken('{"signed": "{id}"}', qr/has no \{body\}/, 'a signature that is not of the body');
mistaken('{"signature": "header:x", "signed": "{timestamp}.{body}"}', qr/has \{timestamp\}/, 'a signature of a time that is not there');
mistaken('{"tolerance": 0}', qr/between 1 and 86400/, 'a tolerance');
mistaken('{"fetch": "yes"}', qr/neither true nor false/, 'fetch');
mistaken('{"challenges": [{"when": "body:x"}]}', qr/without when or answer/, 'a challenge');
mistaken('{"object": 7}', qr/is not a text/, 'an object');
mistaken('"x"', qr/It is an object/, 'no object at all');
sql("SELECT concord.alter_mapping('contacts', options => '{\"receive\": null}')");
refused('55000', qr/mapping "contacts" does not receive/, 'a mapping that does not receive', 'contacts', $body, {});
refused('55000', qr/no mapping of server "crm" receives/, 'a server whose mappings do not', 'crm', $body, {});

done_testing();
