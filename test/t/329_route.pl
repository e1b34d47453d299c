# Option route: rows of one mapping for several shops.  Where rows go, what
# becomes of one that is moved, and that a shop that is down holds its own only.
use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use JSON::PP;
use List::Util qw(max min);
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Concord::Cluster->create('route', conf => "pg_concord.couriers = 2\nrestart_after_crash = on");
my %shop = map { $_ => Concord::Sandbox->new } qw(a b c);
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub settle { my ($label) = @_; is(sql("SELECT concord.wait_for_delivery(timeout => '90s')"), 't', "$label: delivered"); return; }
sub ids { my ($shop) = @_; return join(' ', sort { $a <=> $b } map { /"(?:id|ID)": *"?(\d+)/ ? $1 : /(\d+)/ } keys %{ $shop{$shop}->data('/rest/api/products') }); }
# Whether the server has come back after a process was killed.
sub up
{
	my ($pid) = @_;
	for (1 .. 300)
	{
		return 1 if eval { $node->safe_psql('postgres', "SELECT count(*) || ' ' || count(*) FILTER (WHERE pid = $pid) FROM pg_stat_activity WHERE backend_type = 'concord courier'") eq '2 0' };
		usleep(100_000);
	}
	return 0;
}

sub fails { my ($sql) = @_; my ($rc, $out, $err) = $node->psql('postgres', $sql); return $err; }
sub requests { my ($shop, $method) = @_; return grep { !defined $method || $_->{method} eq $method } $shop{$shop}->log_entries('/rest/api/products'); }

sql('CREATE ROLE merchant LOGIN; GRANT CREATE ON SCHEMA public TO merchant; GRANT USAGE ON SCHEMA concord TO merchant');
for my $name (sort keys %shop)
{
	my $url = $shop{$name}->url('/rest/api');

	$shop{$name}->set('/rest/api/products', key => ['id']);
	sql("CREATE SERVER shop_$name FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url '$url', retry_base '50ms', retry_cap '300ms',
			breaker_cooldown '200ms', concurrency '4')");
}
sql(q{CREATE SERVER hooks FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url 'http://127.0.0.1:9/')});
sql(q{CREATE TABLE product (id int PRIMARY KEY, shop text, name text);
	  SELECT concord.create_mapping('products', 'product', 'shop_a', 'products', '{"name": "name", "shop": "shop"}',
		options => $${"route": "'shop_' || shop"}$$)});

# --- what is refused when the option is stated
like(fails(q{SELECT concord.alter_mapping('products', options => '{"route": "id"}')}), qr/route must be of type text or name, not type integer/, 'a route is a name');
like(fails(q{SELECT concord.alter_mapping('products', options => '{"route": "nonesuch"}')}), qr/column "nonesuch" does not exist/, 'its expression is checked');
like(fails(q{SELECT concord.alter_mapping('products', options => '{"route": 7}')}), qr/invalid value for mapping option "route"/, 'and is text');
is(sql(q{SELECT definition #>> '{options,route}' FROM concord.mapping_version WHERE mapping = (SELECT id FROM concord.mapping) ORDER BY version DESC LIMIT 1}),
	q{'shop_' || shop}, 'it is part of the version');

# --- rows by shop
sql(q{INSERT INTO product VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, 'c', 'three'), (4, NULL, 'four'), (5, 'b', 'five')});
settle('rows by shop');
is(ids('a'), '1 4', 'shop a has its own, and those without a shop');
is(ids('b'), '2 5', 'shop b has its own');
is(ids('c'), '3', 'shop c has its own');
is(sql(q{SELECT string_agg((local_key->>'id') || ' ' || server, ', ' ORDER BY local_key->>'id') FROM concord.link}),
	'1 shop_a, 2 shop_b, 3 shop_c, 4 shop_a, 5 shop_b', 'links say where');
is(sql(q{SELECT string_agg((local_key->>'id') || ' ' || server || ' ' || state, ', ' ORDER BY local_key->>'id') FROM concord.delivery}),
	'1 shop_a done, 2 shop_b done, 3 shop_c done, 4 shop_a done, 5 shop_b done', 'deliveries, too');
is(sql(q{SELECT server || ' ' || array_to_string(routes, ' ') FROM concord.status}), 'shop_a shop_a shop_b shop_c', 'status has all of them');
my $port = $shop{b}->port;
like(sql(q{SELECT method || ' ' || url FROM concord.preview('products', 'id = 2')}), qr{^PATCH http://127.0.0.1:$port/rest/api/products/2$}, 'preview shows the address there');

# --- a row that moves, with its updates before and after
$_->clear_log for values %shop;
sql(q{UPDATE product SET name = 'two more' WHERE id = 2; UPDATE product SET shop = 'c' WHERE id = 2; UPDATE product SET name = 'two at last' WHERE id = 2});
settle('moved');
is(ids('b'), '5', 'it is gone where it was');
is(ids('c'), '2 3', 'and is there where it went');
is((values %{ { map { $_->{name} => 1 } grep { $_->{id} == 2 } values %{ $shop{c}->data('/rest/api/products') } } })[0] && (grep { $_->{id} == 2 } values %{ $shop{c}->data('/rest/api/products') })[0]{name}, 'two at last', 'with its newest image');
my ($created) = grep { $_->{method} eq 'POST' } requests('c');
my ($deleted) = requests('b', 'DELETE');
cmp_ok($created->{done}, '<=', $deleted->{at}, 'created there before it was deleted here');
is(sql(q{SELECT server FROM concord.link WHERE local_key->>'id' = '2'}), 'shop_c', 'its link has moved');
is(scalar(requests('a')), 0, 'the others heard nothing of it');

# --- moved and renumbered in one change
sql(q{UPDATE product SET id = 50, shop = 'a' WHERE id = 5});
settle('moved under another key');
is(ids('a') . '|' . ids('b'), '1 4 50|', 'the old record is gone, the new one is there');
is(sql(q{SELECT string_agg(local_key->>'id', ' ' ORDER BY (local_key->>'id')::int) FROM concord.link}), '1 2 3 4 50', 'and so are the links');

# --- deletes go where the record is, though the old row does not say it
sql(q{DELETE FROM product WHERE id IN (2, 3, 4)});
settle('deleted');
is(ids('a') . '|' . ids('b') . '|' . ids('c'), '1 50||', 'deleted where they were');

# --- unknown shop: a dead letter, and everything else goes on
sql(q{INSERT INTO product VALUES (6, 'nowhere', 'six'), (7, 'b', 'seven')});
settle('unknown shop');
is(sql(q{SELECT (local_key->>'id') || '|' || rule || '|' || error || '|' || coalesce(server, '-') FROM concord.dead_letter}),
	'6|route|the row is routed to server "shop_nowhere": it does not exist|-', 'a dead letter names the server');
is(sql(q{SELECT state FROM concord.status}), 'active', 'the mapping is active');
is(ids('b'), '7', 'the next row arrived');
like(sql(q{SELECT problems FROM concord.preview('products', 'id = 6')}), qr/shop_nowhere.*does not exist/, 'preview says it beforehand');
sql(q{UPDATE product SET shop = 'c' WHERE id = 6});
settle('corrected');
is(ids('c'), '6', 'a corrected row arrives');
sql(q{SELECT concord.discard_dead('products', NULL, 'corrected')});

# --- a server whose connector speaks otherwise
sql(q{SELECT concord.alter_mapping('products', options => $${"route": "CASE shop WHEN 'hooks' THEN 'hooks' ELSE 'shop_' || shop END"}$$);
	  INSERT INTO product VALUES (8, 'hooks', 'eight')});
settle('other protocol');
like(sql(q{SELECT error FROM concord.dead_letter}), qr/server "hooks": its protocol is "webhook", and that of the mapping's server "shop_a" is "rest"/, 'refused, and said why');
sql(q{SELECT concord.discard_dead('products', NULL, 'test'); DELETE FROM product WHERE id = 8});
settle('gone');

# --- rights: of the definer, for each server
sql(q{GRANT USAGE ON FOREIGN SERVER shop_a, shop_b TO merchant; SET ROLE merchant;
	  CREATE TABLE article (id int PRIMARY KEY, shop text, name text);
	  CREATE USER MAPPING FOR merchant SERVER shop_a OPTIONS (auth 'none'); CREATE USER MAPPING FOR merchant SERVER shop_b OPTIONS (auth 'none')});
sql(q{GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA concord TO merchant; SET ROLE merchant;
	  SELECT concord.create_mapping('articles', 'article', 'shop_a', 'articles', '{"name": "name"}', options => $${"route": "'shop_' || shop"}$$)});
$_->set('/rest/api/articles', key => ['id']) for values %shop;
sql(q{INSERT INTO article VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x')});
settle('rights');
is(sql(q{SELECT (local_key->>'id') || '|' || error FROM concord.dead_letter}), '3|the row is routed to server "shop_c": role "merchant" has no USAGE on server "shop_c"', 'no right: a dead letter that names server and role');
is(scalar(keys %{ $shop{b}->data('/rest/api/articles') }), 1, 'the others arrived');
sql(q{GRANT USAGE ON FOREIGN SERVER shop_c TO merchant; CREATE USER MAPPING FOR merchant SERVER shop_c OPTIONS (auth 'none'); SELECT concord.retry_dead('articles')});
settle('right given');
is(scalar(keys %{ $shop{c}->data('/rest/api/articles') }), 1, 'with the right it arrives');
sql(q{REVOKE USAGE ON FOREIGN SERVER shop_b FROM merchant});
usleep(1_500_000);
sql(q{INSERT INTO article VALUES (4, 'b', 'x'), (5, 'a', 'x')});
settle('right taken');
is(sql(q{SELECT local_key->>'id' FROM concord.dead_letter}), '4', 'a right that was taken: a dead letter');
is(sql(q{SELECT state FROM concord.status WHERE mapping = 'articles'}), 'active', 'and the mapping goes on');
sql(q{GRANT USAGE ON FOREIGN SERVER shop_b TO merchant});
ok($node->poll(q{SELECT concord.retry_dead('articles') >= 0 AND concord.wait_for_delivery('articles') AND NOT EXISTS (SELECT FROM concord.dead_letter)}, 't'), 'given again, it arrives');

# --- one shop is down, the others work at full speed
$shop{b}->stop;
$_->clear_log for @shop{qw(a c)};
my $began = time;
sql(q{INSERT INTO product SELECT i, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE 'c' END, 'bulk' FROM generate_series(1001, 7000) i});
sql(q{UPDATE product SET name = 'again' WHERE id BETWEEN 1001 AND 1060});
ok($shop{a}->wait_until(sub { scalar(keys %{ $_[0]->data('/rest/api/products') }) >= 2002 }, 60), 'shop a has all of its rows');
ok($shop{c}->wait_until(sub { scalar(keys %{ $_[0]->data('/rest/api/products') }) >= 2001 }, 60), 'shop c has all of its rows');
note(sprintf 'two shops of three took %.1f s', time - $began);
is(sql(q{SELECT breaker FROM concord.status WHERE mapping = 'products'}) ne 'closed', 1, 'status shows that one is down');
is(sql(q{SELECT string_agg(DISTINCT server, ' ') FROM concord.delivery WHERE mapping = 'products' AND state IN ('blocked', 'retry')}), 'shop_b', 'what waits is for the shop that is down');
is(sql(q{SELECT count(*) FROM concord.dead_letter}), '0', 'nothing died');

# --- a row leaves the shop that is down, changes, and comes back
sql(q{UPDATE product SET shop = 'a', name = 'moved' WHERE id = 7});
ok($shop{a}->wait_until(sub { exists $_[0]->data('/rest/api/products')->{7} || grep { $_->{id} == 7 } values %{ $_[0]->data('/rest/api/products') } }, 30), 'it arrives though its old shop is down');
sql(q{UPDATE product SET name = 'changed' WHERE id = 7});
ok($shop{a}->wait_until(sub { grep { $_->{id} == 7 && $_->{name} eq 'changed' } values %{ $_[0]->data('/rest/api/products') } }, 30), 'and so does its next change');
is(sql(q{SELECT op || ' ' || server || ' ' || state FROM concord.delivery WHERE mapping = 'products' AND local_key->>'id' = '7' AND state NOT IN ('done', 'unchanged')}) =~ /^delete shop_b (retry|blocked)$/ ? 1 : 0, 1, 'the delete waits for the shop');
sql(q{UPDATE product SET shop = 'b', name = 'back' WHERE id = 7});
$shop{b}->start;
$shop{b}->set('/rest/api/products', key => ['id']);
settle('up again');
is(scalar(keys %{ $shop{b}->data('/rest/api/products') }), 2001, 'shop b has all of its rows');
is((grep { $_->{id} == 7 } values %{ $shop{b}->data('/rest/api/products') })[0]{name}, 'back', 'the row is back');
is(scalar(grep { $_->{id} == 7 } values %{ $shop{a}->data('/rest/api/products') }), 0, 'and gone where it was meanwhile');
is(scalar(grep { $_->{name} eq 'again' } map { values %{ $_->data('/rest/api/products') } } values %shop), 60, 'every update arrived after its create');
is(sql(q{SELECT count(*) FROM concord.exception WHERE state NOT IN ('discarded', 'superseded')}), '0', 'nothing is left over');

# --- limits are each server's own
sql(q{ALTER SERVER shop_b OPTIONS (ADD rate '1/min')});
$_->clear_log for values %shop;
sql(q{UPDATE product SET name = 'slow' WHERE id IN (SELECT id FROM product WHERE shop = 'b' AND id > 1000 ORDER BY id LIMIT 40);
	  UPDATE product SET name = 'fast' WHERE shop = 'a' AND id > 1000});
ok($shop{a}->wait_until(sub { scalar(grep { $_->{name} eq 'fast' } values %{ $_[0]->data('/rest/api/products') }) == 2000 }, 60), 'the shop without a rate has all');
cmp_ok(scalar(requests('b')), '<', 40, 'before the one with a rate has');
sql(q{ALTER SERVER shop_b OPTIONS (DROP rate)});
settle('rate');
is(scalar(requests('b')), 40, 'which has, once it has none');

# --- in batches: each has rows of one server
$_->clear_log for values %shop;
sql(q{SELECT concord.alter_mapping('products', options => '{"batch_size": 20, "linger": "300ms"}');
	  INSERT INTO product SELECT i, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE 'c' END, 'batched' FROM generate_series(8001, 8120) i});
settle('batches');
for my $name (sort keys %shop)
{
	my @batches = grep { $_->{body} =~ /^\[/ } requests($name, 'POST');

	cmp_ok(scalar(@batches), '<=', 6, "shop $name: few requests");
	is(max(map { scalar @{ decode_json($_->{body}) } } @batches), 20, '... as large as they may be');
	is(scalar(grep { $_->{shop} ne $name } map { @{ decode_json($_->{body}) } } @batches), 0, '... of its own rows');
}

# --- a restart while a shop is down
$shop{b}->stop;
# it moves once 256 of it are ready: those that were under way when the shop was found to be down are not among them
sql(q{INSERT INTO product SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'waits' FROM generate_series(9001, 10200) i});
ok($node->poll(q{SELECT count(*) > 255 FROM concord.delivery WHERE state IN ('blocked', 'retry') AND server = 'shop_b'}, 't'), 'what waits for it has moved');
$node->restart;
sql(q{UPDATE product SET name = 'waits no more' WHERE id = 9600});
ok($shop{a}->wait_until(sub { grep { $_->{id} == 9600 && $_->{name} eq 'waits no more' } values %{ $_[0]->data('/rest/api/products') } }, 30), 'after a restart the others go on');
$shop{b}->start;
$shop{b}->set('/rest/api/products', key => ['id']);
settle('restarted');
is(scalar(grep { $_->{name} eq 'waits' } values %{ $shop{b}->data('/rest/api/products') }), 600, 'all arrive once it is up');

# --- kill -9 of a courier while rows move, of a mapping that two of them share
sql(q{SELECT concord.alter_mapping('products', options => '{"couriers": 2}')});
for my $round (1 .. 4)
{
	sql("UPDATE product SET shop = CASE shop WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' ELSE 'a' END, name = 'round $round' WHERE id BETWEEN 2000 AND 2299");
	usleep(150_000 * $round);
	my ($pid) = split /\n/, sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'concord courier' ORDER BY random()");
	next unless $pid;
	$node->crash($pid);
	ok(up($pid), "round $round: the server is up again");
}
settle('killed');
my %want = map { split /\|/ } split /\n/, sql('SELECT id, shop FROM product WHERE id BETWEEN 2000 AND 2299');
my %have;
for my $name (sort keys %shop)
{
	push @{ $have{ $_->{id} } }, "$name $_->{name}" for grep { $_->{id} >= 2000 && $_->{id} <= 2299 } values %{ $shop{$name}->data('/rest/api/products') };
}
is(scalar(grep { join(',', @{ $have{$_} // [] }) ne "$want{$_} round 4" } keys %want), 0, 'every row is at its shop, and only there');
is(sql(q{SELECT count(*) FROM concord.dead_letter}), '0', 'nothing died');

# --- a server gets another name; the option goes
sql(q{ALTER SERVER shop_c RENAME TO shop_d; SELECT concord.alter_mapping('products', options => $${"route": "'shop_' || CASE shop WHEN 'c' THEN 'd' ELSE shop END"}$$)});
sql(q{UPDATE product SET name = 'renamed' WHERE id = 6});
settle('renamed');
is((grep { $_->{id} == 6 } values %{ $shop{c}->data('/rest/api/products') })[0]{name}, 'renamed', 'a server under its new name');
is(sql(q{SELECT server FROM concord.link WHERE mapping = 'products' AND local_key->>'id' = '6'}), 'shop_d', 'links have it');
sql(q{SELECT concord.alter_mapping('products', options => '{"route": null}'); UPDATE product SET name = 'home' WHERE id = 6});
settle('without the option');
is(scalar(grep { $_->{id} == 6 } values %{ $shop{c}->data('/rest/api/products') }), 0, 'without the option a changed row comes to the mapping\'s own server');
is((grep { $_->{id} == 6 } values %{ $shop{a}->data('/rest/api/products') })[0]{name}, 'home', 'and is there');

done_testing();
