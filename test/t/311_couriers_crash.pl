# Crashes of three couriers under load that share mappings by key; some records
# move to another key, and so to another share, while the couriers die.
use strict;
use warnings;

use Concord::Crash qw(crash_test);
use Test::More;

crash_test(
	name => 'crashes',
	couriers => 3,
	conf => "max_worker_processes = 30\npg_concord.couriers = 3",
	stock => '{"couriers": 3, "on_key_change": "recreate"}',
	tick => '{"couriers": 2}',
	sql => sub {
		my ($round) = @_;
		return "UPDATE stock SET id = id + 500000, v = v + 1 WHERE id BETWEEN 1000 AND 400000 AND id % 400 = $round % 400;";
	});
done_testing();
