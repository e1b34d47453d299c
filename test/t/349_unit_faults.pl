# Option unit beside a network that fails: the changes of a transaction are all
# there or none, once, in order, whatever becomes of a request; and records of
# one transaction that refer to each other by ids that the system gives.
# Salesforce's composite resource with allOrNone: test/dialects/salesforce.py.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use JSON::PP;
use Test::More;
use Time::HiRes qw(usleep);

my $systems = Concord::Dialects->new;
my $url = $systems->url('salesforce', '/services/data/v60.0/');
my $node = Concord::Cluster->create('unitfaults', conf => "restart_after_crash = on");
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub settle { is(sql("SELECT concord.wait_for_delivery(timeout => '60s')"), 't', "$_[0]: delivered") or diag(sql('SELECT server, breaker, reason, last_error FROM concord.system')); return; }
sub fault { $systems->fault('salesforce', @_); return; }
sub alive { is(sql('SELECT count(*) FROM concord.dead_letter'), '0', "$_[0]: nothing is dead") or diag(sql('SELECT mapping, rule, status, error, request, answer FROM concord.dead_letter LIMIT 3')); return; }

# What the system has of a transaction: "accounts contacts", of which none may be there twice.
sub there
{
	my ($n) = @_;
	my $data = $systems->data('salesforce');
	my %seen;
	for my $kind (qw(Account Contact))
	{
		$seen{$kind}{ $_->{Ext__c} }++ for grep { $_->{Ext__c} =~ /^$n-/ } values %{ $data->{$kind} // {} };
	}
	return 'twice: ' . join ' ', sort grep { $seen{Account}{$_} > 1 } keys %{ $seen{Account} } if grep { $_ > 1 } values %{ $seen{Account} }, values %{ $seen{Contact} };
	return scalar(keys %{ $seen{Account} }) . ' ' . scalar(keys %{ $seen{Contact} });
}
sub composites { return grep { $_->{path} =~ /composite$/ } $systems->journal('salesforce'); }

# "upsert" is the connector as it is, "assigned" creates with POST: what is sent twice is there twice.
sql(qq{INSERT INTO concord.connector (name, protocol, definition) VALUES
		('upsert', 'rest', '{"extends": "salesforce", "batch": {"format": "salesforce_composite"}}'),
		('assigned', 'rest', '{"extends": "salesforce", "batch": {"format": "salesforce_composite"}, "create_repeats": "no", "remote_id": "assigned",
			"create": {"method": "POST", "path": "sobjects/{object}", "body": "{record}"},
			"update": {"method": "PATCH", "path": "sobjects/{object}/{remote_id}", "body": "{fields}"}, "delete": {"path": "sobjects/{object}/{remote_id}"},
			"find": {"path": "query", "query": {"q": "SELECT Id FROM {object} WHERE {key.name} = ''{key}''"}}, "find_path": "records.0.Id"}'),
		('mute', 'rest', '{"extends": "assigned", "batch": {"format": "salesforce_composite", "unit": {"reference": null}}}');
	CREATE TABLE account (id text PRIMARY KEY, name text, via text);
	CREATE TABLE contact (id text PRIMARY KEY, account text, last_name text, via text)});
for my $s (qw(upsert assigned mute))
{
	sql(qq{CREATE SERVER $s FOREIGN DATA WRAPPER concord OPTIONS (connector '$s', url '$url', retry_base '20ms', retry_cap '100ms', breaker_cooldown '50ms', timeout '5s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $s OPTIONS (auth 'bearer', token '00Dxx!session');
		SELECT concord.create_mapping('a_$s', 'account', '$s', 'Account', '{"Name": "name"}', key => '{"Ext__c": "id"}', filter => \$\$via = '$s'\$\$, options => '{"unit": "transaction"}');
		SELECT concord.create_mapping('c_$s', 'contact', '$s', 'Contact', '{"LastName": "last_name", "AccountId": "concord.remote_id(''a_$s'', account)"}',
			key => '{"Ext__c": "id"}', filter => \$\$via = '$s'\$\$, options => '{"unit": "transaction"}')});
}

my $n = 0;
for my $s (qw(upsert assigned))
{
	# a transaction: an account and two contacts that refer to it, the contacts first
	my $change = sub {
		my ($id, $name) = @_;
		sql("BEGIN; INSERT INTO contact VALUES ('$id-1', '$id-1', 'One', '$s'), ('$id-2', '$id-1', 'Two', '$s');
			INSERT INTO account VALUES ('$id-1', " . ($name // "'Acme'") . ", '$s');
			UPDATE contact SET last_name = 'Last' WHERE id = '$id-2'; COMMIT");
	};

	# --- references to what is created in the same request
	$n++;
	$change->("x$n");
	settle("$s, references");
	alive("$s, references");
	is(there("x$n"), '1 2', "$s: all of it is there");
	my $data = $systems->data('salesforce');
	my ($account) = grep { $data->{Account}{$_}{Ext__c} eq "x$n-1" } keys %{ $data->{Account} };
	is(join(' ', map { $_->{AccountId} } grep { $_->{Ext__c} =~ /^x$n-/ } values %{ $data->{Contact} }), "$account $account", "$s: contacts have the account's id");
	is(sql("SELECT remote_id FROM concord.link WHERE mapping = 'a_$s' AND local_key->>'id' = 'x$n-1'"), $account, "$s: the account's link has it");
	is(scalar(composites()), $n == 1 ? 1 : scalar(composites()), "$s: in one request") if $n == 1;
	sql("UPDATE contact SET last_name = 'Other' WHERE id = 'x$n-1'");
	settle("$s, changed afterwards");
	is((grep { $_->{Ext__c} eq "x$n-1" } values %{ $systems->data('salesforce')->{Contact} })[0]{LastName}, 'Other', "$s: an update later on");
	is((grep { $_->{Ext__c} eq "x$n-1" } values %{ $systems->data('salesforce')->{Contact} })[0]{AccountId}, $account, "$s: which has the id itself");

	# --- faults of the network and of the system
	my @faults = (
		[ 'reset before it was done', { drop => 0 } ],
		[ 'reset after it was done', { act => JSON::PP::true, drop => 0 } ],
		[ 'half an answer', { act => JSON::PP::true, drop => 60 } ],
		[ 'half an answer of nothing', { drop => 0 }, { act => JSON::PP::true, drop => 100 }, { drop => 0 } ],
		[ '429', { status => 429, headers => { 'Retry-After' => '1' }, body => [] } ],
		[ '503', { status => 503, body => 'down' } ],
		[ '500', { status => 500, body => [ { errorCode => 'UNKNOWN_EXCEPTION', message => 'it broke' } ] } ],
		[ '500 after it was done', { act => JSON::PP::true, status => 500, body => [] } ],
	);
	for my $fault (@faults)
	{
		my ($label, @answers) = @$fault;

		$n++;
		fault(match => 'composite$', %$_) for @answers;
		$change->("x$n");
		sql("UPDATE account SET name = 'Acme $n' WHERE id = 'x$n-1'");
		settle("$s, $label");
		alive("$s, $label");
		is(there("x$n"), '1 2', "$s, $label: all of it, once");
		is((grep { $_->{Ext__c} eq "x$n-1" } values %{ $systems->data('salesforce')->{Account} })[0]{Name}, "Acme $n", "$s, $label: what came after it, after it");
	}

	# --- one is refused: nothing is left, and it is named
	$n++;
	$change->("x$n", 'NULL');
	settle("$s, refused");
	is(there("x$n"), '0 0', "$s: nothing of a refused transaction is there");
	is(sql("SELECT string_agg(mapping || ' ' || (local_key->>'id') || ' ' || coalesce(status::text, '-') || ' ' || (rule = 'unit'), ', ' ORDER BY mapping, local_key->>'id') FROM concord.dead_letter"),
		"a_$s x$n-1 400 false, c_$s x$n-1 - true, c_$s x$n-2 - true", "$s: the one to blame has the answer");
	like(sql("SELECT error FROM concord.dead_letter WHERE mapping = 'c_$s' LIMIT 1"), qr/record \{"id": "x$n-1"\} of mapping "a_$s" of the same transaction/, "$s: the others name it");
	sql("UPDATE account SET name = 'Corrected' WHERE id = 'x$n-1'");
	settle("$s, corrected");
	sql("SELECT concord.retry_dead('c_$s')");
	settle("$s, again");
	is(there("x$n"), '1 2', "$s: corrected, they arrive");
	alive("$s, again");

	# --- down for longer than outage_limit
	$n++;
	sql("ALTER SERVER $s OPTIONS (ADD outage_limit '300ms')");
	fault(match => 'composite$', status => 503, body => 'down', times => 1000);
	$change->("x$n");
	ok($node->poll("SELECT count(*) FROM concord.dead_letter WHERE rule = 'outage_limit'", '3'), "$s: all of it is given up together")
	  or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter'));
	is(sql("SELECT count(*) FROM concord.dead_letter WHERE error LIKE '%of the same transaction%'"), '0', "$s: none of them is to blame");
	is(there("x$n"), '0 0', "$s: nothing of it is there");
	$systems->calm('salesforce');
	sql("ALTER SERVER $s OPTIONS (DROP outage_limit); SELECT concord.retry_dead('a_$s')");
	settle("$s, up again");
	is(there("x$n"), '1 2', "$s: up again, all of it arrives");
	alive("$s, up again");
}

# --- retries end: the answer is kept, and nobody is blamed for what is the system's
sql(q{SELECT concord.alter_mapping('a_upsert', options => '{"retry_limit": 1}'), concord.alter_mapping('c_upsert', options => '{"retry_limit": 1}')});
fault(match => 'composite$', status => 500, body => [ { errorCode => 'UNKNOWN_EXCEPTION', message => 'it broke' } ], times => 2);
sql(q{BEGIN; INSERT INTO account VALUES ('r1-1', 'Acme', 'upsert'); INSERT INTO contact VALUES ('r1-1', 'r1-1', 'One', 'upsert'); COMMIT});
settle('retries end');
is(sql(q{SELECT count(*) || ' ' || count(*) FILTER (WHERE error LIKE '%of the same transaction%') || ' ' || count(*) FILTER (WHERE answer LIKE '%it broke%') FROM concord.dead_letter}), '2 0 1', 'all are dead, none is blamed, one has the answer');
sql(q{SELECT concord.retry_dead('a_upsert')});
settle('retried');
is(there('r1'), '1 1', 'and they arrive together');

# --- an orderly end, and kill -9, while nobody knows whether it arrived
for my $how ('pause', 'restart', 'kill')
{
	$n++;
	fault(match => 'composite$', act => JSON::PP::true, drop => 0);
	fault(match => 'query$', status => 503, body => 'down', times => 3);
	sql("BEGIN; INSERT INTO account VALUES ('x$n-1', 'Acme', 'assigned'); INSERT INTO contact VALUES ('x$n-1', 'x$n-1', 'One', 'assigned'); COMMIT");
	my $until = time + 30;
	usleep(2_000) until there("x$n") eq '1 1' || time > $until;
	if ($how eq 'pause')
	{
		sql(q{SELECT concord.pause('a_assigned'), concord.pause('c_assigned')});
		usleep(300_000);
		sql(q{SELECT concord.resume('a_assigned'), concord.resume('c_assigned')});
	}
	elsif ($how eq 'restart') { $node->restart; }
	else
	{
		ok($node->crash(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'})), 'killed');
	}
	settle($how);
	is(there("x$n"), '1 1', "$how: it is there once");
	alive($how);
}

# --- kill -9 again and again while the network fails; dead letters that go again, too
fault(match => 'composite$', act => JSON::PP::true, drop => 0) for 1 .. 15;
for my $round (1 .. 4)
{
	sql("BEGIN; INSERT INTO account VALUES ('k$round-$_', 'Acme', 'assigned'); INSERT INTO contact VALUES ('k$round-$_', 'k$round-$_', 'One', 'assigned'); COMMIT") for 1 .. 10;
	my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier'});
	$node->crash($pid) if $pid;
}
settle('killed');
alive('killed');
is(there("k$_"), '10 10', "killed, round $_: all of it, once") for 1 .. 4;

# --- a form that cannot say it: said at once, and nobody else waits
sql(q{BEGIN; INSERT INTO account VALUES ('m1-1', 'Acme', 'mute'); INSERT INTO contact VALUES ('m1-1', 'm1-1', 'One', 'mute'); COMMIT;
	INSERT INTO account VALUES ('m2-1', 'Acme', 'mute')});
settle('no references');
is(there('m1') . ', ' . there('m2'), '0 0, 1 0', 'nothing of it is sent, and the next one goes');
like(sql(q{SELECT error FROM concord.dead_letter WHERE mapping = 'c_mute'}), qr/a record that the same transaction creates.*connector "mute" cannot say that/, 'it says why');
is_deeply($systems->wrong('salesforce') // [], [ grep { /REQUIRED_FIELD_MISSING/ } @{ $systems->wrong('salesforce') } ], 'the system refused what it had to');

# --- an id is any text: it stands in the change set as a text of JSON
$systems->calm('salesforce');
fault(match => 'composite$', drop => 0);
fault(match => 'query$', status => 200, body => { records => [ { Id => '0"\\1' } ] }, times => 2);
my $sent = composites();
sql(q{BEGIN; INSERT INTO account VALUES ('q1-1', 'Acme', 'assigned'); INSERT INTO contact VALUES ('q1-1', 'q1-1', 'One', 'assigned'); COMMIT});
settle('an id with a quote');
my @after = composites();
ok(@after > $sent + 1, 'what was in doubt is sent again') or diag(scalar(@after) . " of $sent");
my @ids = map { my $set = eval { JSON::PP->new->utf8->decode($_->{body}) }; $set ? map { $_->{body}{AccountId} // () } @{ $set->{compositeRequest} } : "no JSON: $_->{body}" } @after[ $sent .. $#after ];
is(join(' ', grep { !/^\@\{r\d+\.id\}$/ } @ids), '0"\\1', 'the id that was found, whole') or diag(join "\n", map { "$_->{path} $_->{body}" } ($systems->journal('salesforce'))[-8 .. -1]);

# --- what is created and deleted by one transaction is nothing to send, whatever it refers to
my $before = sql('SELECT count(*) FROM concord.dead_letter');
my $requests = composites();
sql(q{BEGIN; INSERT INTO account VALUES ('gone-1', 'Stays', 'assigned'); INSERT INTO contact VALUES ('gone-1', 'gone-1', 'Gone', 'assigned'); DELETE FROM contact WHERE id = 'gone-1'; COMMIT});
settle('created and deleted at once');
is(there('gone'), '1 0', 'what is left of the transaction is there');
sql(q{BEGIN; INSERT INTO contact VALUES ('gone-2', 'nobody', 'Gone', 'assigned'); UPDATE contact SET last_name = 'Going' WHERE id = 'gone-2'; DELETE FROM contact WHERE id = 'gone-2'; COMMIT});
is(sql('SELECT concord.wait_for_delivery(timeout => $$60s$$)'), 't', 'one that refers to a record which never comes is waited for by nobody');
sql(q{BEGIN; INSERT INTO contact VALUES ('gone-3', 'nobody', 'Three', 'assigned'); UPDATE contact SET account = 'gone-1' WHERE id = 'gone-3'; COMMIT});
is(sql('SELECT concord.wait_for_delivery(timeout => $$60s$$)'), 't', 'nor is one that refers to another in the end');
is(there('gone'), '1 1', 'which is there');
sql(q{BEGIN; UPDATE contact SET last_name = 'Last words' WHERE id = 'gone-3'; DELETE FROM contact WHERE id = 'gone-3'; COMMIT});
settle('changed and deleted');
is(there('gone'), '1 0', 'a record that was there is deleted');
is(sql('SELECT count(*) FROM concord.dead_letter'), $before, 'nothing of it is dead') or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter ORDER BY delivery DESC LIMIT 3'));
is(scalar(composites()) - $requests, 3, 'in one request each');

# --- a transaction that waits for a record is passed by those that have nothing to do with it
sub waits { is(there($_[0]), '0 0', $_[1]); return; }
sub arrives { my ($id, $want, $label) = @_; my $until = time + 30; usleep(50_000) until there($id) eq $want || time > $until; is(there($id), $want, $label); return; }
sql(q{BEGIN; INSERT INTO account VALUES ('w1-1', 'First', 'assigned'); INSERT INTO contact VALUES ('w1-1', 'late-1', 'One', 'assigned'); COMMIT;
	BEGIN; INSERT INTO account VALUES ('p1-1', 'Passes', 'assigned'); INSERT INTO contact VALUES ('p1-1', 'p1-1', 'Passes', 'assigned'); COMMIT});
arrives('p1', '1 1', 'one behind it goes');
waits('w1', 'nothing of the one that waits is there');
sql(q{BEGIN; UPDATE contact SET last_name = 'Two' WHERE id = 'w1-1'; INSERT INTO account VALUES ('w2-1', 'Shares a key', 'assigned'); COMMIT;
	INSERT INTO contact VALUES ('w3-1', 'w1-1', 'Refers to it', 'assigned');
	BEGIN; INSERT INTO contact VALUES ('w4-1', 'w2-1', 'Refers to that', 'assigned'); UPDATE account SET name = 'Later' WHERE id = 'w2-1'; COMMIT;
	INSERT INTO account VALUES ('p2-1', 'Passes', 'assigned')});
arrives('p2', '1 0', 'one behind all of them goes');
waits("w$_", "what shares a record with it, or refers to one of it, waits ($_)") for 1 .. 4;
is(sql(q{SELECT concord.wait_for_delivery('a_assigned', '100ms')}), 'f', 'they are pending');
sql(q{UPDATE account SET name = 'Passes again' WHERE id = 'p2-1'});
my $until = time + 30;
my $name_of = sub { return (map { $_->{Name} } grep { $_->{Ext__c} eq $_[0] } values %{ $systems->data('salesforce')->{Account} })[0] };
usleep(50_000) until $name_of->('p2-1') eq 'Passes again' || time > $until;
is($name_of->('p2-1'), 'Passes again', 'updates pass, too');
$node->restart;
waits('w1', 'after a restart it waits as before');
sql(q{INSERT INTO account VALUES ('late-1', 'Late', 'assigned')});
settle('what it waited for has come');
is(join(', ', map { there("w$_") } 1 .. 4), '1 1, 1 0, 0 1, 0 1', 'all of them are there, once');
is((grep { $_->{Ext__c} eq 'w1-1' } values %{ $systems->data('salesforce')->{Contact} })[0]{LastName}, 'Two', 'a record that two of them changed is as the second one made it');
is($name_of->('w2-1'), 'Later', 'and another one');
is(sql('SELECT count(*) FROM concord.dead_letter'), $before, 'nothing of it is dead') or diag(sql('SELECT mapping, rule, error FROM concord.dead_letter ORDER BY delivery DESC LIMIT 3'));

# --- what never comes is given up after wait_limit, alone
sql(q{SELECT concord.alter_mapping('c_assigned', options => '{"wait_limit": "2s"}');
	INSERT INTO contact VALUES ('n1-1', 'never', 'Never', 'assigned'); INSERT INTO account VALUES ('n2-1', 'Goes', 'assigned')});
arrives('n2', '1 0', 'one behind it goes');
settle('given up');
is(sql(q{SELECT string_agg(local_key->>'id', ' ') FROM concord.dead_letter WHERE mapping = 'c_assigned' AND local_key->>'id' LIKE 'n%'}), 'n1-1', 'it is dead, alone');

done_testing();
