# Crashes of one courier under load.
use strict;
use warnings;

use Concord::Crash qw(crash_test);
use Test::More;

crash_test(name => 'crash');
done_testing();
