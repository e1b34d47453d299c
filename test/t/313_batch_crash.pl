# Crashes under load with batches: records by $batch, where each part has its own
# idempotency key, events as batches of CloudEvents.
use strict;
use warnings;

use Concord::Crash qw(crash_test);
use Test::More;

my $erp = crash_test(
	name => 'batchcrash',
	rounds => 2,
	stock => '{"batch_size": 25}',
	tick => '{"batch_size": 25}');
cmp_ok(scalar(grep { $_->{path} =~ /batch/ } $erp->log_entries('/odata/v4/sales/$batch')), '>', 10, 'there were batches');
done_testing();
