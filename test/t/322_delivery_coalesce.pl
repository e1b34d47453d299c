# Option coalesce: of several pending images of a record only the newest goes,
# and no order changes. And what holds without it: no old image after a newer
# one, whatever is retried, and nothing suppressed that the system may not have.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep);

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('coalesce', conf => 'restart_after_crash = on');
my $rest = $erp->url('/rest/api/');

ok($node->ready, 'capture runs');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub delivered { return sql("SELECT concord.wait_for_delivery('$_[0]', '60s')"); }
sub body_of { return JSON::PP->new->utf8->decode($_[0]{body}); }

# got(PATH, FIELD): what arrived there since the log was cleared, as "METHOD key value"
sub got
{
	my ($path, $field) = @_;
	return join(', ', map { join(' ', $_->{method}, $_->{key} // body_of($_)->{id}, $_->{body} ? body_of($_)->{$field} // 'null' : ()) }
		grep { $_->{method} ne 'GET' } $erp->log_entries($path));
}

# How often each state stands in the log of a mapping, from a position on.
sub states
{
	my ($mapping, $seq) = @_;
	return sql("SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n
		FROM concord.delivery WHERE mapping = '$mapping' AND seq > $seq GROUP BY 1) s");
}

sub last_seq { return sql('SELECT coalesce(max(seq), 0) FROM concord.outbox'); }

sql(qq(CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$rest',
		retry_base '20ms', retry_cap '50ms', retry_limit '3', breaker_cooldown '100ms', timeout '1s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
	CREATE TABLE stock (id int PRIMARY KEY, n int, note text);
	SELECT concord.create_mapping('stock', 'stock', 'erp', 'stock',
		'{"n": "n", "note": "note", "made": {"value": "''here''", "on": "create"}}',
		options => '{"coalesce": true}');));

# transaction(STATEMENT, ...): each its own transaction
sub each_committed { sql($_) foreach @_; return; }

# --- while nothing can be sent
my $seq = last_seq();
sql("SELECT concord.pause('stock')");
each_committed(
	"INSERT INTO stock VALUES (1, 1)", (map { "UPDATE stock SET n = $_ WHERE id = 1" } 2 .. 20),
	"INSERT INTO stock VALUES (2, 1)", "UPDATE stock SET n = 2 WHERE id = 2", "DELETE FROM stock WHERE id = 2",
	"INSERT INTO stock VALUES (3, 1)", "DELETE FROM stock WHERE id = 3", "INSERT INTO stock VALUES (3, 2)");
sql("SELECT concord.resume('stock')");
is(delivered('stock'), 't', 'all has ended');
is(join(', ', sort split /, /, got('/rest/api/stock', 'n')), 'POST 1 20, POST 3 2',
	'create and updates: one create with the newest image; create and delete: nothing; create, delete, create: one create');
is(body_of(($erp->log_entries('/rest/api/stock'))[0])->{made}, 'here', 'with what only a create has');
is(states('stock', $seq), 'done 2, superseded 22, unchanged 2', 'the log says what became of the others');

# --- deletes of known records
$erp->clear_log;
sql("SELECT concord.pause('stock')");
each_committed("UPDATE stock SET n = 21 WHERE id = 1", "DELETE FROM stock WHERE id = 1",
	"UPDATE stock SET n = 3 WHERE id = 3", "DELETE FROM stock WHERE id = 3",
	"INSERT INTO stock VALUES (3, 4)", "UPDATE stock SET n = 5 WHERE id = 3");
sql("SELECT concord.resume('stock')");
is(delivered('stock'), 't', 'all has ended');
is(join(', ', sort split /, /, got('/rest/api/stock', 'n')), 'DELETE 1, DELETE 3, POST 3 5',
	'update and delete: the delete; delete and create: both');

# --- a change of key stands by itself, and holds what is before and behind it
$erp->clear_log;
sql("SELECT concord.pause('stock')");
each_committed("UPDATE stock SET n = 6 WHERE id = 3", "UPDATE stock SET n = 7 WHERE id = 3", "UPDATE stock SET id = 4 WHERE id = 3",
	"UPDATE stock SET n = 8 WHERE id = 4", "UPDATE stock SET n = 9 WHERE id = 4");
sql("SELECT concord.resume('stock')");
is(delivered('stock'), 't', 'all has ended');
my @seen = split /, /, got('/rest/api/stock', 'n');
is($seen[0], 'PATCH 3 7', 'before it: the newest');
is($seen[-1], 'PATCH 4 9', 'behind it: the newest');
is(scalar(grep { /(PATCH|POST) \d 8/ } @seen), 0, 'and nothing else');

# --- one under way: what comes meanwhile goes as one
$erp->clear_log;
$erp->rule({ path => '/rest/api/stock', method => 'PATCH' }, { latency_ms => 800, act_first => JSON::PP::true }, 1);
sql("UPDATE stock SET n = 100 WHERE id = 4");
ok($erp->wait_until(sub { $erp->data('/rest/api/stock')->{4}{n} == 100 }), 'one is under way');
sql(join(";\n", map { "UPDATE stock SET n = $_ WHERE id = 4" } 101 .. 130));
is(delivered('stock'), 't', 'all has ended');
is(got('/rest/api/stock', 'n'), 'PATCH 4 100, PATCH 4 130', 'the first, and the newest of the rest');

# --- while the system is down a key that changes all the time fills nothing
$erp->clear_log;
$seq = last_seq();
my $down = $erp->rule({ path => '/rest/api/stock' }, { status => 503 });
sql("INSERT INTO stock VALUES (10, 0)");
ok($node->poll("SELECT breaker <> 'closed' FROM concord.system WHERE server = 'erp'"), 'it is down');
sql("DO \$\$ BEGIN FOR i IN 1 .. 5000 LOOP UPDATE stock SET n = i WHERE id = 10; UPDATE stock SET n = -i WHERE id = 4; COMMIT; END LOOP; END \$\$");
ok($node->poll("SELECT count(*) > 9000 FROM concord.delivery WHERE mapping = 'stock' AND state = 'superseded' AND seq > $seq"),
	'ten thousand images come to an end in the outage');
$erp->drop_rules;
$erp->clear_log;
is(delivered('stock'), 't', 'it is up again');
my %last = map { my $b = body_of($_); ($_->{key} // $b->{id}) => $b->{n} } grep { $_->{body} && $_->{acted} } $erp->log_entries('/rest/api/stock');
is_deeply(\%last, { 10 => 5000, 4 => -5000 }, 'the newest have arrived');
cmp_ok(scalar($erp->log_entries('/rest/api/stock')), '<', 20, 'in a few requests');

# --- a retry that has been overtaken is not sent again
$erp->clear_log;
sql("ALTER SERVER erp OPTIONS (SET retry_base '1s', SET retry_cap '1s')");
$erp->rule({ path => '/rest/api/stock', body => '"n":200' }, { status => 500 });
sql("UPDATE stock SET n = 200 WHERE id = 4");
ok($node->poll("SELECT retrying = 1 FROM concord.status WHERE mapping = 'stock'"), 'one waits for its retry');
sql("SELECT concord.pause('stock')");
each_committed(map { "UPDATE stock SET n = $_ WHERE id = 4" } 201 .. 210);
$erp->clear_log;
sql("SELECT concord.resume('stock')");
is(delivered('stock'), 't', 'all has ended');
is(scalar(grep { $_->{body} =~ /"n":200/ } $erp->log_entries('/rest/api/stock')), 0, 'the old image is not sent again');
is($erp->data('/rest/api/stock')->{4}{n}, 210, 'the newest arrived');
is(scalar(grep { $_->{body} =~ /"n":20[1-9]/ } $erp->log_entries('/rest/api/stock')), 0, 'and none between');
is(sql("SELECT count(*) FROM concord.exception e JOIN concord.mapping m ON m.id = e.mapping WHERE m.name = 'stock' AND e.state = 'superseded'"),
	1, 'its row says that it was superseded');
$erp->drop_rules;
sql("ALTER SERVER erp OPTIONS (SET retry_base '20ms', SET retry_cap '50ms')");

# --- order by an expression: only neighbours of one record
sql(q(CREATE TABLE line (id int PRIMARY KEY, grp int, n int);
	ALTER TABLE line REPLICA IDENTITY FULL;
	SELECT concord.create_mapping('line', 'line', 'erp', 'line', '{"grp": "grp", "n": "n"}',
		options => '{"coalesce": true, "ordering": "grp"}', paused => true)));
$erp->clear_log;
each_committed("INSERT INTO line VALUES (1, 7, 1)", "UPDATE line SET n = 2 WHERE id = 1", "INSERT INTO line VALUES (2, 7, 1)",
	"UPDATE line SET n = 3 WHERE id = 1", "UPDATE line SET n = 4 WHERE id = 1", "UPDATE line SET n = 2 WHERE id = 2");
sql("SELECT concord.resume('line')");
is(delivered('line'), 't', 'all has ended');
is(got('/rest/api/line', 'n'), 'POST 1 2, POST 2 1, PATCH 1 4, PATCH 2 2', 'order by an expression is kept');

# --- crashes: the newest arrives, none goes back
sql(q(CREATE TABLE run (id int PRIMARY KEY, n int);
	SELECT concord.create_mapping('run', 'run', 'erp', 'run', '{"n": "n"}', options => '{"coalesce": true}')));
$erp->set('/rest/api/run', key => ['id'], sequence => 'n');
sql("INSERT INTO run SELECT i, 0 FROM generate_series(1, 20) i");
is(delivered('run'), 't', 'records to begin with');
$erp->rule({ path => '/rest/api/run' }, { latency_ms => [ 1, 20 ] });
foreach my $round (1 .. 4)
{
	sql("DO \$\$ BEGIN FOR i IN 1 .. 200 LOOP UPDATE run SET n = n + 1 WHERE id = 1 + i % 20; COMMIT; END LOOP; END \$\$");
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'");
	if ($round < 3 && $pid) { $node->crash($pid) }
	else { usleep(300_000) }
	if ($round == 3)
	{
		$node->stop('immediate');
		$node->start;
	}
	ok($node->poll('SELECT true'), "round $round: the server is there");
}
is(delivered('run'), 't', 'all has ended');
is_deeply([ map { $erp->data('/rest/api/run')->{$_}{n} } 1 .. 20 ], [ (40) x 20 ], 'the newest images are there');
is($erp->stats->{order_violations}, 0, 'nothing went back') or diag(explain($erp->violations));
$erp->drop_rules;

# --- without coalescing: ten thousand retries of old images after newer ones
sql(q(CREATE TABLE old (id int PRIMARY KEY, n int);
	SELECT concord.create_mapping('old', 'old', 'erp', 'old', '{"n": "n"}')));
$erp->set('/rest/api/old', key => ['id'], sequence => 'n');
my $refuse = $erp->rule({ path => '/rest/api/old' }, { status => 422 });
sql("INSERT INTO old SELECT i, 1 FROM generate_series(1, 10000) i");
ok($node->poll("SELECT dead = 10000 FROM concord.status WHERE mapping = 'old'"), 'ten thousand dead letters');
$erp->drop_rules;
sql("UPDATE old SET n = 2");
is(delivered('old'), 't', 'newer images are delivered');
$erp->clear_log;
is(sql("SELECT concord.retry_dead('old')"), 10000, 'all that is dead is tried again');
is(delivered('old'), 't', 'and ends');
is(scalar($erp->log_entries('/rest/api/old')), 0, 'none of the old images was sent');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'old'"), 0, 'no dead letter is left');
is(sql("SELECT count(*) FROM concord.exception e JOIN concord.mapping m ON m.id = e.mapping WHERE m.name = 'old' AND e.state = 'superseded'"),
	10000, 'they are superseded');

# ... and ten thousand that are retried while newer ones are written
$erp->rule({ path => '/rest/api/old', body => '"n":3' }, { status => 422 });
sql("UPDATE old SET n = 3");
sql("UPDATE old SET n = 4");
is(delivered('old'), 't', 'all has ended');
is(sql("SELECT count(*) FROM concord.dead_letter WHERE mapping = 'old'"), 10000, 'old images are dead');
$erp->drop_rules;
sql("SELECT concord.retry_dead('old')");
is(delivered('old'), 't', 'tried again');
is(scalar(grep { $_->{n} != 4 } values %{ $erp->data('/rest/api/old') }), 0, 'the newer images stand');
is($erp->stats->{order_violations}, 0, 'nothing was out of order') or diag(explain([ @{ $erp->violations }[ 0 .. 3 ] ]));

# --- what may have arrived and was given up is not taken for what was there before
$erp->clear_log;
sql("ALTER SERVER erp OPTIONS (SET retry_limit '0')");
$erp->rule({ path => '/rest/api/old', key => '5' }, { reset => 'after' }, 1);
sql("UPDATE old SET n = 5 WHERE id = 5");
ok($node->poll("SELECT dead = 1 FROM concord.status WHERE mapping = 'old'"), 'given up without an answer');
is($erp->data('/rest/api/old')->{5}{n}, 5, 'but it had arrived');
$erp->set('/rest/api/old', key => ['id']);
sql("UPDATE old SET n = 4 WHERE id = 5");
is(delivered('old'), 't', 'back to the value before');
is($erp->data('/rest/api/old')->{5}{n}, 4, 'is sent, though it equals what was last acknowledged');

$node->stop;
done_testing();
