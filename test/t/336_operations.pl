# What operators do: rows again from the table, events again by position, audit
# levels, and the history of who did what.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(usleep);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('operations');
my $set = '/odata/v4/sales/Stock';

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub sql_error
{
	my ($err);
	$node->psql('postgres', $_[0], stderr => \$err);
	return $err;
}

sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }

$erp->set($set, key => ['ID'], sequence => 'V', etag => JSON::PP::true);
sql(<<"SQL");
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL, v int NOT NULL DEFAULT 1, note text);
CREATE TABLE tick (id int PRIMARY KEY, n int);
CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata',
  url '@{[ $erp->url('/odata/v4/sales/') ]}', concurrency '16', retry_base '20ms', retry_cap '100ms');
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook',
  url '@{[ $erp->url('/hook/') ]}', retry_base '20ms', retry_cap '100ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'none');
SELECT concord.create_mapping('stock', 'stock', 'erp', 'Stock', '{"Qty": "qty", "V": "v"}', key => '{"ID": "id::text"}');
SELECT concord.create_mapping('tick', 'tick', 'hook', 'tick', '{"n": "n"}');
INSERT INTO stock SELECT i, i FROM generate_series(1, 200) i;
INSERT INTO tick SELECT i, i FROM generate_series(1, 5) i;
SQL
is(delivered('stock'), 't', 'the records are there');
is(delivered('tick'), 't', 'and the events');

# --- resync: rows that have not changed are sent again
my $seen = $erp->stats->{requests};
is(sql("SELECT concord.resync('stock', 'id <= 50')"), '50', 'rows of a condition');
is(delivered('stock'), 't', 'are delivered');
is($erp->stats->{requests} - $seen, 50, 'each with one request, though nothing has changed');
is(sql("SELECT count(*) FROM concord.delivery WHERE mapping = 'stock' AND op = 'resync' AND state = 'done'"), '50',
	'and stand in the log as resync');
$erp->clear_log;
is(sql("SELECT concord.resync('tick')"), '5', 'all rows, to a webhook');
is(delivered('tick'), 't', 'are delivered');
my %types = map { $_->{headers}{'ce-type'} => 1 } $erp->log_entries('/hook/tick');
is(join(',', keys %types), 'concord.public.tick.resync', 'with a type of their own');
like(sql_error("SELECT concord.resync('stock', 'id')"), qr/filter must be of type boolean/, 'a filter that is none');
like(sql_error("SELECT concord.resync('stock', 'true) ORDER BY (id')"), qr/not a single SQL expression|syntax error/, 'or two halves of one');
like(sql_error("SELECT concord.resync('stock', 'nothing = 1')"), qr/column "nothing" does not exist/, 'or names what is not there');
like(sql_error("CREATE ROLE nobody; SET ROLE nobody; SELECT concord.resync('stock')"),
	qr/permission denied/, 'is not for everybody');
is(sql("BEGIN; SELECT concord.resync('stock'); ROLLBACK; SELECT concord.wait_for_delivery('stock')"), "200\nt",
	'what is rolled back is not sent');


# A row that is gone when its turn comes is not sent.
sql("SELECT concord.pause('stock'); SELECT concord.resync('stock', 'id = 200'); DELETE FROM stock WHERE id = 200;
	 SELECT concord.resume('stock')");
is(delivered('stock'), 't', 'a row that was deleted meanwhile');
is($erp->data($set)->{200}, undef, 'stays deleted');

# --- resync beside changes of the same rows: never an older image after a newer
$erp->rule({ path => '/' }, { latency_ms => [ 1, 10 ] });
my @pids;
for my $w (1 .. 3)
{
	my $pid = fork;
	if ($pid == 0)
	{
		for my $round (1 .. 25)
		{
			my $part = ($round + $w) % 3;
			system('psql', '-qX', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c',
				"UPDATE stock SET qty = qty + 1, v = v + 1 WHERE id <= 150 AND id % 3 = $part AND id % 3 = " . ($w - 1));
			system('psql', '-qX', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c',
				"UPDATE stock SET qty = qty + 1, v = v + 1 WHERE id <= 150 AND id % 3 = " . ($w - 1));
		}
		POSIX::_exit(0);
	}
	push @pids, $pid;
}
for (1 .. 12)
{
	sql("SELECT concord.resync('stock')");
	usleep(100_000);
}
waitpid($_, 0) for @pids;
is(delivered('stock'), 't', 'rows are changed and sent again at the same time');
$erp->drop_rules;
my $want = sql("SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM stock");
my $data = $erp->data($set);
is(join(',', map { "$_->{ID}:$_->{V}" } sort { $a->{ID} <=> $b->{ID} } values %$data), $want, 'the ERP holds what the table holds');
is($erp->stats->{order_violations}, 0, 'and never went back') or diag(explain($erp->violations));
cmp_ok(sql("SELECT count(*) FROM concord.delivery WHERE mapping = 'stock' AND op = 'resync' AND state = 'superseded'"), '>', 0,
	'some resyncs gave way to newer events');

# --- many rows: the courier's memory stays flat
sql("CREATE TABLE many (id int PRIMARY KEY, n int); INSERT INTO many SELECT i, i FROM generate_series(1, 20000) i;
	 SELECT concord.create_mapping('many', 'many', 'erp', 'Many', '{\"N\": \"n\"}', key => '{\"ID\": \"id::text\"}')");
is(delivered('many'), 't', 'a mapping of many rows');
is(sql("SELECT concord.resync('many')"), '20000', 'all again');
is(delivered('many'), 't', 'have arrived');
is(scalar(keys %{ $erp->data('/odata/v4/sales/Many') }), 20000, 'each');

# --- replay by position
$erp->clear_log;
my ($from, $to) = split /\|/, sql("SELECT min(seq) + 1, min(seq) + 3 FROM concord.outbox WHERE source = 'public.tick' AND op = 'insert'");
is(sql("SELECT concord.replay('tick', from_seq => $from, to_seq => $to)"), '3', 'events of a span of positions');
is(delivered('tick'), 't', 'are delivered');
is(join(',', map { JSON::PP->new->decode($_->{body})->{n} } $erp->log_entries('/hook/tick')), '2,3,4', 'those, in order');
is(sql("SELECT concord.replay('tick', NULL, NULL, '{\"id\": 5}')"), '1', 'by key as before');
is(delivered('tick'), 't', 'delivered');
like(sql_error("SELECT concord.replay('tick', from_seq => 5, to_seq => 4)"), qr/ends before it begins/, 'a span the wrong way round');

# --- audit
$erp->clear_log;
sql("INSERT INTO tick VALUES (10, 10)");
is(delivered('tick'), 't', 'an event');
my ($entry) = $erp->log_entries('/hook/tick');
is(sql("SELECT payload_hash || ' ' || attempts || ' ' || version || ' ' || (elapsed_ms >= 0) FROM concord.delivery
	WHERE mapping = 'tick' AND local_key = '{\"id\": 10}'"), substr(sha256_hex($entry->{body}), 0, 32) . ' 1 1 true',
	'full: hash of what was sent, attempts, version, time');
sql("SELECT concord.alter_mapping('tick', options => '{\"audit\": \"failures\"}')");
$erp->rule({ path => '/hook/tick', body => '12' }, { status => 500 }, 1);
sql("INSERT INTO tick VALUES (11, 11), (12, 12)");
is(delivered('tick'), 't', 'one that fails once, and one that does not');
is(sql("SELECT string_agg(local_key ->> 'id' || ' ' || state || ' ' || attempts || ' ' || (payload_hash IS NOT NULL), ',') FROM concord.delivery
	WHERE mapping = 'tick' AND (local_key ->> 'id')::int IN (11, 12)"), '12 done 2 true', 'failures: the one that was tried again');
sql("SELECT concord.alter_mapping('tick', options => '{\"audit\": \"off\"}')");
my $count = sql("SELECT delivered FROM concord.status WHERE mapping = 'tick'");
sql("INSERT INTO tick VALUES (13, 13)");
is(delivered('tick'), 't', 'another');
is(sql("SELECT count(*) FROM concord.delivery WHERE mapping = 'tick' AND local_key = '{\"id\": 13}'"), '0', 'off: none');
is(sql("SELECT delivered - $count FROM concord.status WHERE mapping = 'tick'"), '1', 'but counted');

# --- dead letters by number and by filter, and history
$erp->rule({ path => '/hook/tick', body => $_ }, { status => 422 }) for '20', '21';
sql("INSERT INTO tick VALUES (20, 20), (21, 21)");
is(delivered('tick'), 't', 'two that are refused');
$erp->drop_rules;
my $dead = sql("SELECT min(delivery) FROM concord.dead_letter WHERE mapping = 'tick'");
is(sql("SELECT concord.retry_dead('tick', $dead)"), '1', 'one again by its number');
is(sql("SELECT concord.retry_dead('tick', filter => 'status = 422')"), '1', 'one by a filter');
is(delivered('tick'), 't', 'both');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'tick'"), '0', 'are no dead letters any more');
like(sql_error("SELECT concord.retry_dead('tick', 1)"), qr/NOTICE:  mapping "tick" has no dead letter 1/, 'one that is none');
sql("SELECT concord.pause_system('hook'); SELECT concord.resume_system('hook'); SELECT concord.pause('tick')");
is(sql("SELECT string_agg(DISTINCT what, ',' ORDER BY what) FROM concord.history WHERE mapping = 'tick' OR server = 'hook'"),
	'create_mapping,pause,pause_system,replay,resume_system,resync,retry_dead,version 2,version 3', 'the history has all of it');

# --- a dead letter whose event is replayed: one is open, whatever becomes of it
sql(q{CREATE TABLE again_dead (id int PRIMARY KEY, v int)});
sql(qq{SELECT concord.create_mapping('again_dead', 'again_dead', (SELECT server FROM concord.mapping WHERE name = 'tick'), 'again', '{"v": "1 / v"}');
	INSERT INTO again_dead VALUES (1, 0)});
is(sql("SELECT concord.wait_for_delivery('again_dead', '60s')"), 't', 'an event that cannot be mapped');
is(sql("SELECT concord.replay('again_dead')"), '1', 'a dead event is replayed');
is(sql("SELECT concord.wait_for_delivery('again_dead', '60s')"), 't', 'and dies again');
is(sql("SELECT string_agg(state || ' ' || (superseded_by IS NOT NULL), ', ' ORDER BY delivery) FROM concord.exception WHERE mapping = (SELECT id FROM concord.mapping WHERE name = 'again_dead')"),
	'superseded true, dead false', 'one dead letter is open, and the older one says by which it is superseded');
sql("SELECT concord.drop_mapping('again_dead')");
is(sql("SELECT role || ' ' || count || ' ' || why FROM concord.history WHERE what = 'retry_dead' AND why IS NOT NULL"),
	sql('SELECT current_user') . ' 1 filter: status = 422', 'who, how many, what');


# --- keys that JSON has no form of their own for: what is no number, and arrays whose bounds begin elsewhere
my $rest = $erp->url('/rest/odd/');
sql(qq(CREATE SERVER odd FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest', retry_base '20ms', retry_limit '2');
	CREATE TABLE nan (x float8, id int, v int, PRIMARY KEY (x, id));
	CREATE TABLE box (at int[] PRIMARY KEY, v int);
	SELECT concord.create_mapping('nan', 'nan', 'odd', 'nan', '{"v": "v"}', key => '{"id": "id"}');
	SELECT concord.create_mapping('box', 'box', 'odd', 'box', '{"v": "v", "at": "at"}', key => '{"id": "translate(at::text, ''{}[]'', ''()<>'')"}');
	INSERT INTO nan VALUES ('NaN', 1, 1), ('Infinity', 2, 1), (3, 3, 1);
	INSERT INTO box VALUES ('{1,2}', 1), ('[0:1]={1,2}', 2), ('[0:0][5:6]={{1,2}}', 3), ('{}', 4)));
is(delivered('nan') . delivered('box'), 'tt', 'odd keys');
is(sql("SELECT string_agg(local_key::text, ' ' ORDER BY (local_key->>'id')::int) FROM concord.link WHERE mapping = 'nan'"),
	'{"x": "NaN", "id": 1} {"x": "Infinity", "id": 2} {"x": 3, "id": 3}', 'what is no number is a text');
is(sql("SELECT string_agg(local_key->>'at', ' ' ORDER BY local_key->>'at' COLLATE \"C\") FROM concord.link WHERE mapping = 'box'"),
	'[0:0][5:6]={{1,2}} [0:1]={1,2} [1, 2] []', 'rows whose arrays differ by their bounds are two');
is(sql("SELECT count(DISTINCT remote_id) FROM concord.link WHERE mapping = 'box'"), '4', 'with a record each');
$erp->clear_log;
sql("BEGIN; SELECT concord.resync('nan'), concord.resync('box'); UPDATE nan SET v = v + 1; UPDATE box SET v = v + 10; COMMIT");
is(delivered('nan') . delivered('box'), 'tt', 'rows again, and changes of them behind');
is(sql("SELECT count(*) || ' ' || count(*) FILTER (WHERE v = 2) FROM nan") . '|' . join(' ', sort map { JSON::PP->new->decode($_->{body})->{v} } $erp->log_entries('/rest/odd/nan')), '3 3|2 2 2', 'each row once, as it is');
is(join(' ', sort map { JSON::PP->new->decode($_->{body})->{v} } $erp->log_entries('/rest/odd/box')), '11 12 13 14', 'and of the other table');
is(sql(q{SELECT concord.replay('nan', keys => '{"x": "NaN", "id": 1}')}), '1', 'replayed by such a key');
is(sql(q{SELECT concord.replay('box', keys => '[{"at": "[0:1]={1,2}"}, {"at": [1, 2]}]')}), '2', 'and by two of arrays');
is(delivered('nan') . delivered('box'), 'tt', 'which ends');
sql(q{UPDATE box SET at = '[7:8]={1,2}' WHERE v = 12; DELETE FROM box WHERE v = 11});
is(delivered('box'), 't', 'another key, and a delete');
is(sql("SELECT string_agg(local_key->>'at', ' ' ORDER BY local_key->>'at' COLLATE \"C\") FROM concord.link WHERE mapping = 'box'"), '[0:0][5:6]={{1,2}} [7:8]={1,2} []', 'of the right row');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping IN ('nan', 'box')"), '0', 'nothing of it is dead') or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter'));

done_testing();
