# Calls and look-ups at SAP CAP: functions, actions, their parameters and errors;
# what is recorded of them.
use strict;
use warnings;

use Concord::Cluster;
use File::Temp;
use HTTP::Tiny;
use Test::More;
use Time::HiRes qw(usleep time);

plan skip_all => 'left out by SKIP_PEERS' if Concord::Cluster::left_out('cap');

my $work = File::Temp->newdir;
my $port = Concord::Cluster::free_port();
my $url = "http://127.0.0.1:$port/odata/v4/";
my $http = HTTP::Tiny->new(timeout => 30);
Concord::Cluster::start_child("$ENV{CONCORD_SRC}/test/peers/cap/serve", "$work/trade.sqlite", $port);
my $end = time + 60;
usleep(100_000) until $http->get("${url}tasks/")->{success} || time > $end;
ok($http->get("${url}tasks/")->{success}, 'CAP serves');

my $node = Concord::Cluster->create('capcall');
# a call that writes is refused until its record can be kept
ok($node->ready, 'capture is ready');
sub sql { my $query = $_[0]; utf8::encode($query); my $out = $node->safe_psql('postgres', $query); utf8::decode($out); return $out; }

# what psql says of a statement that fails, SQLSTATE first
sub fails
{
	my ($sql, $state, $what) = @_;
	my ($out, $err);
	$node->psql('postgres', "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err);
	like($err, qr/ERROR:  $state: /, $what);
	return $err;
}

sql(qq{CREATE SERVER cap FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '${url}tasks/');
	CREATE SERVER trade FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '${url}trade/')});
for my $partner (q({"ID": "P001", "Name": "Ada", "CreditLimit": 1000.50, "Rating": 3, "Turnover": 4000000000}), q({"ID": "P002", "Name": "O''Neil & Çelik", "CreditLimit": 10, "Rating": 1}))
{
	is(sql("SELECT status, body ->> 'ID' FROM concord.call('cap', 'POST', 'Partners', body => '$partner')") =~ s/\|.*//r, '201', 'a record is made');
}

# ---- functions
is(sql(q{SELECT status, body ->> 'value' FROM concord.call('cap', 'GET', 'greet(name=''Ada'',times=2)')}), '200|hello Ada, hello Ada', 'a function');
is(sql(q{SELECT body ->> 'value' FROM concord.call('cap', 'GET', 'greet(name=@n,times=@t)', query => '{"@n": "''Ada''", "@t": 3}')}), 'hello Ada, hello Ada, hello Ada', 'parameters in the query');
for my $name ("O''Neil", "\x{c7}elik", 'a b', '100%', 'x/y', 'a,b', 'a&b=c', '#1', '(x)', "tab", '?')
{
	(my $expected = $name) =~ s/''/'/g;
	(my $quoted = $name) =~ s/''/''''/g;
	is(sql(qq{SELECT body ->> 'value' FROM concord.call('cap', 'GET', 'greet(name=\@n,times=1)', query => jsonb_build_object('\@n', '''$quoted'''))}), "hello $expected", "a text with $name");
}
is(sql(q{SELECT body ->> 'value' FROM concord.call('cap', 'GET', 'greet(name=''a%20b'',times=1)')}), 'hello a b', 'a path that is encoded already');
is(sql(q{SELECT body ->> 'days', body -> 'later' FROM concord.call('cap', 'GET', 'between(first=2026-01-31,last=2026-03-01)')}), '29|true', 'dates, and a structure');
is(sql(q{SELECT body -> 'value' FROM concord.call('cap', 'GET', 'several(n=3)')}), '["no. 1", "no. 2", "no. 3"]', 'a list');
is(sql(q{SELECT body -> 'value' FROM concord.call('cap', 'GET', 'Partners(''P001'')/better(than=2)')}), 'true', 'a function of a record');
is(sql(q{SELECT string_agg(DISTINCT (body ->> 'value'), ',') FROM generate_series(1, 3) g, LATERAL concord.call('cap', 'GET', 'greet(name=''Ada'',times=' || g || ')')}), 'hello Ada,hello Ada, hello Ada,hello Ada, hello Ada, hello Ada', 'one for each row');

# ---- actions
is(sql(q{SELECT status, body ->> 'value' FROM concord.call('cap', 'POST', 'Partners(''P001'')/raiseLimit', body => '{"percent": 10, "reason": "good"}')}), '200|1100.55', 'an action of a record');
is(sql(q{SELECT concord.lookup('cap', 'Partners', 'P001') ->> 'CreditLimit', concord.lookup('cap', 'Partners', 'P001') ->> 'City'}), '1100.55|good', '... has done it');
is(sql(q{SELECT status, body ->> 'settled', body ->> 'day' FROM concord.call('cap', 'POST', 'settle', body => '{"partners": ["P001", "P002", "P999"], "day": "2026-01-31", "dry": false}')}), '200|2|2026-01-31', 'an action with a list, a date and a boolean');
is(sql(q{SELECT status, body IS NULL, raw IS NULL FROM concord.call('cap', 'POST', 'tidy', body => '{}')}), '204|t|t', 'one that answers nothing');
is(sql(q{BEGIN; SELECT status FROM concord.call('cap', 'POST', 'settle', body => '{"partners": ["P002"], "day": "2026-02-28"}'); ROLLBACK; SELECT concord.lookup('cap', 'Partners', 'P002') ->> 'Since'}), "200\n2026-02-28", 'a ROLLBACK undoes nothing there');

# ---- errors, as results and as exceptions
is(sql(q{SELECT status, body #>> '{error,message}' FROM concord.call('cap', 'POST', 'refuse', body => '{"status": 409, "text": "period is closed"}')}), '409|period is closed', 'a refusal is a result');
like(fails(q{SELECT concord.call('cap', 'POST', 'refuse', body => '{"status": 409, "text": "period is closed"}', raise => true)}, 'K4409', 'or an exception'), qr/DETAIL:.*period is closed/, '... with what the system says');
fails(q{SELECT concord.call('cap', 'POST', 'refuse', body => '{"status": 422, "text": "no"}', raise => true)}, 'K4422', 'another status');
fails(q{SELECT concord.call('cap', 'POST', 'Partners(''P001'')/raiseLimit', body => '{"percent": "much"}', raise => true)}, 'K4400', 'a parameter of another type');
fails(q{SELECT concord.call('cap', 'POST', 'Partners(''P001'')/raiseLimit', body => '{"percents": 10}', raise => true)}, 'K4400', 'one that it does not have');
fails(q{SELECT concord.call('cap', 'POST', 'Partners(''P999'')/raiseLimit', body => '{"percent": 10}', raise => true)}, 'K4404', 'a record that is not there');
fails(q{SELECT concord.call('cap', 'GET', 'greets(name=''Ada'')', raise => true)}, 'K4404', 'a function that is not there');
fails(q{SELECT concord.call('cap', 'GET', 'settle', raise => true)}, 'K44\d\d', 'an action that is asked for by GET');
fails(q{SELECT concord.call('cap', 'POST', 'greet', body => '{"name": "Ada"}', raise => true)}, 'K44\d\d', 'a function by POST');
is(sql(q{DO $$ BEGIN PERFORM concord.call('cap', 'POST', 'refuse', body => '{"status": 409, "text": "x"}', raise => true); EXCEPTION WHEN SQLSTATE 'K4409' THEN CREATE TABLE caught (); END $$; SELECT count(*) FROM pg_class WHERE relname = 'caught'}), '1', 'a handler tells it apart');

# ---- what is recorded: what may change something
ok($node->poll("SELECT count(*) = 14 AND bool_and(outcome <> 'unknown') FROM concord.call_log"), 'every action is recorded, the one that was rolled back too')
	or diag(sql("SELECT method, url, status, outcome FROM concord.call_log ORDER BY at"));
is(sql("SELECT count(*) FROM concord.call_log WHERE method = 'GET'"), '0', 'no function is');
is(sql("SELECT string_agg(substr(url, position('/odata' IN url)) || ' ' || status, ', ' ORDER BY at) FROM concord.call_log WHERE url LIKE '%settle'"), '/odata/v4/tasks/settle 200, /odata/v4/tasks/settle 200', 'with address and status');

# ---- the list of what may be called
sql("ALTER SERVER cap OPTIONS (ADD call_allow 'GET greet(*); POST Partners(*)/raiseLimit')");
is(sql(q{SELECT status FROM concord.call('cap', 'GET', 'greet(name=''Ada'',times=1)'); SELECT status FROM concord.call('cap', 'POST', 'Partners(''P002'')/raiseLimit', body => '{"percent": 1}')}), "200\n200", 'what is allowed');
fails(q{SELECT concord.call('cap', 'POST', 'tidy', body => '{}')}, '42501', 'what is not');

# ---- records: written, searched, looked up, cached
is(sql(q{SELECT status, body ->> 'Name' FROM concord.call('trade', 'PATCH', 'BusinessPartners(''P001'')', body => '{"Name": "called"}')}), '200|called', 'a call that writes');
is(sql(q{SELECT concord.lookup('trade', 'BusinessPartners', 'P001') ->> 'Name', concord.lookup('trade', 'BusinessPartners', 'P999') IS NULL, concord.lookup('trade', 'Prices', '{"Product": "no", "Currency": "EUR"}'::jsonb) IS NULL}), 'called|t|t', 'look-ups, also by a key of two parts');
is(sql(q{SELECT jsonb_array_length(body -> 'value'), body ->> '@odata.count' FROM concord.call('trade', 'GET', 'BusinessPartners', query => '{"$filter": "startswith(ID,''P00'')", "$count": true, "$top": 1}')}), '1|2', 'a query string');
is(sql(q{SELECT status FROM concord.call('trade', 'GET', 'Nothing')}), '404', 'an entity that is not there');
is(sql(q{SELECT (SELECT count(*) FROM concord.call('trade', 'GET', 'BusinessPartners(''P002'')', max_age => '1h') WHERE NOT cached), (SELECT cached FROM concord.call('trade', 'GET', 'BusinessPartners(''P002'')', max_age => '1h'))}), '1|t', 'an answer that is used again');
done_testing();
