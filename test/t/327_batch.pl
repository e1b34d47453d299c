# Several events in one request: what is packed, what the answer says of each,
# and what becomes of a batch that is refused, torn or stopped.
#
# Wire formats by OASIS OData 4.01 Part 1, 11.7.7 ($batch) and JSON Format 19;
# what other vendors document is in 328_batch_formats.pl.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;

my $node = Concord::Cluster->create('batch');
my $erp = Concord::Sandbox->new;
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub settle
{
	my ($label) = @_;
	is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$label: delivered");
	return;
}

# Requests whose path is exactly this one.
sub requests { my ($path) = @_; return grep { $_->{path} eq $path } $erp->log_entries($path); }

sub forget
{
	sql('SELECT concord.discard_dead(name, NULL, $$test$$) FROM concord.mapping');
	$erp->drop_rules;
	$erp->clear_log;
	return;
}

my $rest = $erp->url('/rest/api');
my $odata = $erp->url('/odata/v4/sales');
sql(qq{
	INSERT INTO concord.connector (name, protocol, definition) VALUES
	  ('stops', 'odata', '{"batch": {"format": "odata_batch_multipart", "headers": {"OData-Version": "4.0"}}}'),
	  ('sets', 'odata', '{"batch": {"format": "odata_batch_multipart", "change_sets": "each"}}'),
	  ('json', 'odata', '{"batch": {"format": "odata_batch_json"}}');
	CREATE SERVER re FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms', retry_cap '100ms');
	CREATE SERVER od FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$odata', concurrency '1', retry_base '20ms', retry_cap '100ms');
	CREATE SERVER st FOREIGN DATA WRAPPER concord OPTIONS (connector 'stops', url '$odata', concurrency '1', retry_base '20ms', retry_cap '100ms', breaker_failures '1000');
	CREATE SERVER cs FOREIGN DATA WRAPPER concord OPTIONS (connector 'sets', url '$odata', batch_size '50');
	CREATE SERVER js FOREIGN DATA WRAPPER concord OPTIONS (connector 'json', url '$odata', batch_size '50');
	CREATE SERVER hk FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '@{[ $erp->url('/hook/in') ]}');
	CREATE TABLE thing (id int PRIMARY KEY, name text);
	CREATE TABLE big (id int PRIMARY KEY, name text)});
$erp->set('/rest/api/things', key => ['id']);
$erp->set("/odata/v4/sales/$_", key => ['ID'], etag => JSON::PP::true) for qw(Od St Cs Js);

# --- arrays of bodies
sql(q{SELECT concord.create_mapping('things', 'thing', 're', 'things', '{"name": "name"}', options => '{"batch_size": 100, "linger": "300ms"}')});
sql("INSERT INTO thing SELECT i, 'n' || i FROM generate_series(1, 250) i");
settle('array');
is(scalar(keys %{ $erp->data('/rest/api/things') }), 250, 'all 250 are there');
my @arrays = grep { $_->{body} =~ /^\[/ } requests('/rest/api/things');
is(join(' ', map { scalar @{ decode_json($_->{body}) } } @arrays), '100 100 50', 'in three requests, the last after lingering');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'things' AND remote_id = local_key->>'id'"), '250', 'each has its link');
is(scalar(grep { $_->{headers}{'idempotency-key'} } @arrays), 3, 'a batch has an idempotency key');
my @parts = map { $_->{body} =~ /(\{[^{}]*\})/g } @arrays;
is(sql("SELECT count(DISTINCT payload_hash) FROM concord.delivery WHERE mapping = 'things' AND payload_hash IN ('" .
		join("','", map { substr(sha256_hex($_), 0, 32) } @parts) . "')"), '250', 'the audit has the hash of its own part');

# --- one of them is refused: it dies with its part
$erp->clear_log;
$erp->rule({ method => 'POST', path => '/rest/api/things', key => '1007' }, { status => 422 });
sql("INSERT INTO thing SELECT 1000 + i, 'm' || i FROM generate_series(1, 20) i");
settle('one refused');
is(sql("SELECT local_key->>'id', status, request LIKE '%\"m7\"%', request LIKE '%m8%', answer LIKE '%scripted%' FROM concord.dead_letter"),
	'1007|422|t|f|t', 'a dead letter shows its own part of request and answer');
is(scalar(keys %{ $erp->data('/rest/api/things') }), 269, 'the others were created');
is(scalar(grep { $_->{body} =~ /^\[/ } requests('/rest/api/things')), 1, 'by one request');
forget();

# --- a poison event among 1,000 that has the whole refused
sql(q{SELECT concord.create_mapping('bigs', 'big', 're', 'bigs', '{"name": "name"}', options => '{"batch_size": 1000, "linger": "2s"}')});
$erp->set('/rest/api/bigs', key => ['id']);
$erp->rule({ method => 'POST', path => '/rest/api/bigs', body => 'poison' }, { status => 400 });
sql("INSERT INTO big SELECT i, CASE i WHEN 617 THEN 'poison' ELSE 'n' END FROM generate_series(1, 1000) i");
settle('poison');
is(sql("SELECT string_agg(local_key->>'id', ',') FROM concord.dead_letter"), '617', 'one died');
is(sql("SELECT attempts FROM concord.dead_letter"), '1', 'after one attempt');
is(scalar(keys %{ $erp->data('/rest/api/bigs') }), 999, 'all others arrived');
my @refused = grep { $_->{status} == 400 } requests('/rest/api/bigs');
my @whole = grep { $_->{body} =~ /^\[/ } requests('/rest/api/bigs');
cmp_ok(scalar(@refused), '<=', 11, 'refused as often as 1,000 can be halved, and once alone');
cmp_ok(scalar(@whole), '<=', 21, 'requests of more than one record: two a halving');
is($erp->stats->{duplicates_other_key}, 0, 'nothing was sent twice');
forget();

# --- 413: smaller ones from then on
$erp->control('POST', 'config', { max_body => 1500 });
sql("INSERT INTO thing SELECT 2000 + i, 'some text, so that it has bytes ' || i FROM generate_series(1, 80) i");
settle('413');
is(scalar(grep { $_ >= 2000 } map { /(\d+)/ } keys %{ $erp->data('/rest/api/things') }), 80, 'all arrived in parts');
cmp_ok(scalar(grep { $_->{status} == 413 } requests('/rest/api/things')), '>', 0, 'after a 413');
$erp->clear_log;
sql("INSERT INTO thing SELECT 2200 + i, 'some text, so that it has bytes ' || i FROM generate_series(1, 80) i");
settle('after 413');
is(scalar(grep { $_->{status} == 413 } requests('/rest/api/things')), 0, 'and none after that');
$erp->control('POST', 'config', { max_body => 64 * 1024 * 1024 });
forget();

# --- bytes bound a batch, too
sql(q{SELECT concord.alter_mapping('things', options => '{"batch_bytes": 4096}')});
sql("INSERT INTO thing SELECT 2400 + i, repeat('x', 900) FROM generate_series(1, 20) i");
settle('bytes');
cmp_ok((sort { $b <=> $a } map { length $_->{body} } requests('/rest/api/things'))[0], '<=', 4096, 'no request is larger than batch_bytes');
forget();

# --- OData: multipart, with tags, updates and deletes together
for (['od', 'Od', 'multipart'], ['cs', 'Cs', 'change sets'], ['js', 'Js', 'JSON'])
{
	my ($server, $set, $label) = @$_;
	my $batch = '/odata/v4/sales/$batch';

	sql("CREATE TABLE t_$server (id int PRIMARY KEY, name text);
		 SELECT concord.create_mapping('m_$server', 't_$server', '$server', '$set', '{\"Name\": \"name\"}', key => '{\"ID\": \"id\"}',
		   options => '{\"batch_size\": 50, \"linger\": \"300ms\"}');
		 INSERT INTO t_$server SELECT i, 'é' || i FROM generate_series(1, 40) i");
	settle("$label, creates");
	is(scalar(keys %{ $erp->data("/odata/v4/sales/$set") }), 40, "$label: all are there");
	is(scalar(requests($batch)), 1, "$label: by one request");
	is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'm_$server' AND etag IS NOT NULL"), '40', "$label: each has its tag");
	$erp->clear_log;
	sql("BEGIN; UPDATE t_$server SET name = 'u' || id WHERE id <= 20; DELETE FROM t_$server WHERE id > 30;
		 INSERT INTO t_$server VALUES (100, 'new'); COMMIT");
	settle("$label, changes");
	is(scalar(requests($batch)), 1, "$label: changes of all kinds in one request");
	is(scalar(grep { $_->{headers}{'if-match'} } $erp->log_entries("/odata/v4/sales/$set")), 30, "$label: updates and deletes name the version");
	my $data = $erp->data("/odata/v4/sales/$set");
	is(join(' ', scalar(keys %$data), scalar(grep { $_->{Name} =~ /^u/ } values %$data)), '31 20', "$label: as in the table");
	is(sql('SELECT count(*) FROM concord.dead_letter'), '0', "$label: nothing is dead");
	# one changed behind our back: its look and repetition go on alone
	$erp->request('PATCH', "/odata/v4/sales/$set(5)", { Name => 'theirs' }, { 'If-Match' => '*' });
	sql("UPDATE t_$server SET name = 'v' || id WHERE id <= 10");
	settle("$label, stale tag");
	is(scalar(grep { $_->{Name} =~ /^v/ } values %{ $erp->data("/odata/v4/sales/$set") }), 10, "$label: a stale tag of one is read again");
	forget();
}

# --- a service that stops at the first failure: the rest was not attempted
sql(q{CREATE TABLE t_st (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('m_st', 't_st', 'st', 'St', '{"Name": "name"}', key => '{"ID": "id"}',
		options => '{"batch_size": 50, "linger": "300ms", "retry_limit": 0}')});
$erp->rule({ path => '/odata/v4/sales/St', body => 'bad' }, { status => 400 });
sql("INSERT INTO t_st SELECT i, CASE WHEN i % 10 = 0 THEN 'bad' ELSE 'good' END FROM generate_series(1, 45) i");
settle('stops');
is(sql("SELECT string_agg(local_key->>'id', ',' ORDER BY delivery), sum(attempts) FROM concord.dead_letter WHERE mapping = 'm_st'"),
	'10,20,30,40|4', 'those that failed are dead after one attempt');
is(sql("SELECT count(*), max(attempts) FROM concord.delivery WHERE mapping = 'm_st' AND state = 'done'"), '41|1',
	'not attempted costs no attempt, although no retry was allowed');
is(scalar(requests('/odata/v4/sales/$batch')), 5, 'a request for each stop');
forget();

# --- torn after it was done: looked at before anything is sent again
for my $fault ({ torn => JSON::PP::true }, { reset => 'after' })
{
	my ($what) = keys %$fault;

	$erp->clear_log;
	$erp->rule({ path => '/odata/v4/sales/$batch' }, $fault, 1);
	my $from = $what eq 'torn' ? 500 : 600;
	sql("INSERT INTO t_od SELECT $from + i, 't' || i FROM generate_series(1, 30) i");
	settle($what);
	is(scalar(grep { $_->{method} eq 'POST' && $_->{status} < 300 } $erp->log_entries('/odata/v4/sales/Od')), 30, "$what: each was created once");
	is(scalar(grep { $_->{method} eq 'GET' } $erp->log_entries('/odata/v4/sales/Od')), 30, "$what: each was looked for");
	is(scalar(grep { $_->{method} eq 'POST' && $_->{status} >= 400 } $erp->log_entries('/odata/v4/sales/Od')), 0, "$what: none was created again");
	is(sql("SELECT count(*) FROM concord.dead_letter"), '0', "$what: nothing is dead");
	forget();
}

# --- the whole fails with 500: one poison event does not take others along
$erp->rule({ path => '/odata/v4/sales/$batch', body => 'crash' }, { status => 500 });
$erp->rule({ path => '/odata/v4/sales/Od', body => 'crash' }, { status => 500 });
sql("SELECT concord.alter_mapping('m_od', options => '{\"retry_limit\": 3}');
	 ALTER SERVER od OPTIONS (ADD breaker_failures '1000');
	 INSERT INTO t_od SELECT 700 + i, CASE i WHEN 5 THEN 'crash' ELSE 'fine' END FROM generate_series(1, 10) i");
settle('500');
is(sql("SELECT string_agg(local_key->>'id', ',') FROM concord.dead_letter"), '705', '500: it died alone');
is(scalar(grep { $_->{ID} > 700 } values %{ $erp->data('/odata/v4/sales/Od') }), 9, '500: the others arrived');
forget();

# --- one whose answer is missing is unknown, and looked at
$erp->rule({ path => '/odata/v4/sales/$batch' }, { act => JSON::PP::true, body => '{}', status => 200 }, 1);
sql("INSERT INTO t_od SELECT 800 + i, 'unsaid' FROM generate_series(1, 10) i");
settle('no parts');
is(scalar(grep { $_->{ID} > 800 } values %{ $erp->data('/odata/v4/sales/Od') }), 10, 'an answer that says nothing: all are there');
is(scalar(grep { $_->{method} eq 'POST' && $_->{status} >= 400 } $erp->log_entries('/odata/v4/sales/Od')), 0, 'and none was created twice');
forget();

# --- 429 and 503 of the whole cost no attempt
$erp->rule({ path => '/odata/v4/sales/$batch' }, { status => 429, headers => { 'Retry-After' => '1' } }, 1);
sql("INSERT INTO t_od SELECT 900 + i, 'later' FROM generate_series(1, 10) i");
settle('429');
is(sql("SELECT max(attempts) FROM concord.delivery WHERE mapping = 'm_od' AND state = 'done' AND (local_key->>'id')::int > 900"), '1', '429: no attempt was counted');
forget();

# --- the system throttles each item of one answer: it has throttled once
sql(qq{CREATE SERVER th FOREIGN DATA WRAPPER concord OPTIONS (connector 'json', url '$odata', concurrency '8', batch_size '50');
	CREATE TABLE t_th (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('m_th', 't_th', 'th', 'Th', '{"Name": "name"}', key => '{"ID": "id"}', options => '{"linger": "300ms"}')});
$erp->rule({ path => '/odata/v4/sales/Th' }, { status => 429 }, 40);
sql("INSERT INTO t_th SELECT i, 'n' FROM generate_series(1, 40) i");
settle('throttled items');
is(scalar(keys %{ $erp->data('/odata/v4/sales/Th') }), 40, 'throttled items: all arrive');
is(sql("SELECT concurrency FROM concord.system WHERE server = 'th'"), '4', 'throttled items: concurrency was halved once');
forget();

# --- a tag with a line end in it does not become a header of its part
sql(q{CREATE TABLE t_ev (id int PRIMARY KEY, name text);
	SELECT concord.create_mapping('m_ev', 't_ev', 'od', 'Ev', '{"Name": "name"}', key => '{"ID": "id"}', options => '{"batch_size": 50, "linger": "300ms"}')});
$erp->rule({ method => 'POST', path => '/odata/v4/sales/Ev', body => 'evil' },
	{ act => JSON::PP::true, status => 201, body => '{"ID":951,"@odata.etag":"W/\\"1\\"\\r\\nX-Evil: 1"}' }, 1);
sql("INSERT INTO t_ev VALUES (951, 'evil'), (952, 'good')");
settle('evil tag');
is(sql("SELECT count(*) FROM concord.link WHERE mapping = 'm_ev' AND local_key->>'id' = '951' AND etag ~ E'\\r\\nX-Evil'"), '1', 'evil tag: it was taken')
  or diag(sql("SELECT etag FROM concord.link WHERE mapping = 'm_ev' AND local_key->>'id' = '951'"));
$erp->clear_log;
sql("UPDATE t_ev SET name = 'new' WHERE id > 950");
settle('evil tag, update');
my ($evil) = grep { $_->{body} =~ /X-Evil/ } requests('/odata/v4/sales/$batch');
like($evil->{body}, qr/^If-Match: [^\r\n]*  X-Evil: 1\r$/m, 'evil tag: it is in the line of its header');
unlike($evil->{body}, qr/^X-Evil/m, 'evil tag: and in no other one');
forget();

# --- a webhook takes batches of CloudEvents where the mapping asks for them
sql(q{CREATE TABLE note (id int PRIMARY KEY, t text);
	SELECT concord.create_mapping('notes', 'note', 'hk', '', '{"t": "t"}', options => '{"batch_size": 10, "linger": "300ms"}');
	INSERT INTO note SELECT i, 'x' FROM generate_series(1, 25) i});
settle('cloudevents');
my @hooks = grep { ($_->{headers}{'content-type'} // '') =~ /cloudevents-batch/ } $erp->log_entries('/hook/in');
is(join(' ', map { scalar @{ decode_json($_->{body}) } } @hooks), '10 10 5', 'CloudEvents in batches of ten');
my $event = decode_json($hooks[0]{body})->[0];
is(join(' ', $event->{specversion}, $event->{type}, $event->{subject}, $event->{data}{t}), '1.0 concord.public.note.insert 1 x', 'each a structured event');
sql("INSERT INTO note VALUES (99, 'alone')");
settle('one event');
is((grep { $_->{body} =~ /alone/ && $_->{body} =~ /^\[/ } $erp->log_entries('/hook/in'))[0]{headers}{'content-type'},
	'application/cloudevents-batch+json; charset=utf-8', 'one alone is a batch of one');
my $preview = sql(q{SELECT body FROM concord.preview('notes', 'id = 99')});
is(ref decode_json($preview), 'ARRAY', 'and preview shows it so');

# --- what is refused when it is written
my ($ret, $out, $err);
for ([ q{SELECT concord.create_mapping('x', 'thing', 'nob', 'x', '{"name": "name"}', options => '{"batch_size": 10}')}, qr/has no batches/ ],
	[ q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('b', 'rest', '{"batch": {"format": "xml"}}')}, qr/is none of template/ ],
	[ q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('b', 'rest', '{"batch": {"format": "template", "body": {"a": 1}}}')}, qr/has no \{items\}/ ],
	[ q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('b', 'rest', '{"batch": {"format": "json_array", "max": 1}}')}, qr/"max" is not known/ ],
	[ q{SELECT concord.alter_mapping('things', options => '{"batch_size": 0}')}, qr/from 1 to 10000/ ])
{
	sql(q{INSERT INTO concord.connector (name, protocol, definition) VALUES ('nob', 'rest', '{}') ON CONFLICT DO NOTHING;
		DO $$BEGIN CREATE SERVER nob FOREIGN DATA WRAPPER concord OPTIONS (connector 'nob', url 'http://127.0.0.1:1/'); EXCEPTION WHEN duplicate_object THEN END$$});
	($ret, $out, $err) = $node->psql('postgres', $_->[0]);
	like($err, $_->[1], "refused: $_->[1]");
}

done_testing();
