# Webhook signatures, checked by somebody else's code: the npm package
# standardwebhooks verifies what arrived at the sandbox.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use IPC::Run ();
use JSON::PP;
use MIME::Base64;
use Test::More;

my $dir = "$ENV{CONCORD_SRC}/test/peers/cap";
plan skip_all => 'left out by SKIP_PEERS' if Concord::Cluster::left_out('cap');

ok(-e "$dir/node_modules/.complete", 'standardwebhooks is installed')
  or BAIL_OUT('run test/peers/cap/prepare and read npm.log, or set SKIP_PEERS=cap');

my $secret = 'whsec_' . encode_base64('0123456789abcdef0123456789abcdef', '');
my $erp = Concord::Sandbox->new;
my $url = $erp->url('/hook/');
my $node = Concord::Cluster->create('main');
ok($node->ready, 'capture is ready');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE customer (id int PRIMARY KEY, name text);
CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'webhook', url '$url', retry_base '50ms');
CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (auth 'hmac', secret '$secret');
SELECT concord.create_mapping('hooks', 'customer', 'hook', 'customers', fields => '{"name": "name"}', key => '{"id": "id"}');
SELECT concord.create_mapping('structured', 'customer', 'hook', 'structured', fields => '{"name": "name"}',
	key => '{"id": "id"}', options => '{"cloudevents": "structured"}');
SQL

# every tenth request fails first: a repeat is signed anew
$erp->rule({ path => '/hook/', every => 10 }, { status => 500 });
$node->safe_psql('postgres', q{
INSERT INTO customer SELECT i, 'Zoë ☃ ' || i FROM generate_series(1, 50) i;
UPDATE customer SET name = NULL WHERE id <= 10;
DELETE FROM customer WHERE id > 45});
is($node->safe_psql('postgres', "SELECT concord.wait_for_delivery(timeout => '60s')"), 't', 'delivered');

my $log = $erp->control('GET', 'log?path=/hook/');
my ($out, $err);
IPC::Run::run([ "$dir/node", "$dir/verify.js", $secret ], '<', \$log, '>', \$out, '2>', \$err);
is($err, '', 'the verifier runs');
my @lines = split /\n/, $out;
cmp_ok(scalar(@lines), '>=', 130, 'requests came: ' . scalar(@lines));
is(scalar(grep { !/^good / } @lines), 0, 'each has a good signature')
  or diag(join("\n", grep { !/^good / } @lines));

my ($wrong, $none) = ('', '');
my $other = 'whsec_' . encode_base64('another secret, another secret!!', '');
IPC::Run::run([ "$dir/node", "$dir/verify.js", $other ], '<', \$log, '>', \$wrong);
is(scalar(grep { !/^bad / } split(/\n/, $wrong)), 0, 'none is good under another secret');

$node->stop;
done_testing();
