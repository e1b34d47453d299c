# The binary stream is what decoder/README.md says, byte by byte: its statements
# are run, and each of its messages is looked for in what comes of them.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$ENV{CONCORD_SRC}/decoder/README.md");
my ($options, $sql, $hex) = $readme =~
  /^### Byte by byte\n.*?read with `([^`]*)`.*?^```sql\n(.*?)^```\n.*?^```\n(.*?)^```\n/ms
  or die 'README.md has no examples';

my $node = Concord::Cluster->create('main',
	conf => 'logical_decoding_work_mem = 64kB');
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_concord;
	SELECT pg_create_logical_replication_slot('s', 'concord_decoder', false, true)});
$node->safe_psql('postgres', $sql);
$options =~ s/(\w+) '/'$1', '/g;
my @writes = split /\n/, $node->safe_psql('postgres',
	"SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('s', NULL, NULL, $options)");

# Reads a varint at an offset; gives it and the offset after it.
sub varint
{
	my ($bytes, $at) = @_;
	my ($v, $shift) = (0, 0);
	for (;;)
	{
		my $byte = ord substr($bytes, $at++, 1);
		$v |= ($byte & 0x7f) << $shift;
		return ($v, $at) if $byte < 0x80;
		$shift += 7;
	}
}

# A message is as long as it says, and batch 'off' makes each one a write.
my @messages;
foreach my $write (@writes)
{
	my $bytes = pack 'H*', $write;
	my ($length, $at) = varint($bytes, 1);
	die "a message of $length bytes is not a write: $write"
	  if $at + $length != length $bytes;
	push @messages, $bytes;
}
cmp_ok(scalar @messages, '>', 500, 'a write is a message');

# An example as a pattern: two dots are a byte, three are a varint.
my %seen;
foreach my $example (split /\n\n/, $hex)
{
	my ($kind, $about) = $example =~ /^(\w\w) \S+ +(\w+)/ or die $example;
	my $pattern = '';
	foreach my $line (split /\n/, $example)
	{
		$line =~ s/ {3,}.*//;
		foreach my $word (split / /, $line)
		{
			$pattern .=
				$word eq '..' ? '.'
			  : $word eq '...' ? '[\x80-\xff]*[\x00-\x7f]'
			  : $word =~ /^[0-9a-f]{2}\z/ ? "\\x$word"
			  : die "not a byte: $word in $line";
		}
	}
	ok((scalar grep { /^$pattern\z/s } @messages), "$about as in README.md");
	$seen{ chr hex $kind } = 1;
}

# Nothing is sent that has no example, and of what is not sent there is none.
my %sent = map { substr($_, 0, 1) => 1 } @messages;
is(join('', sort keys %sent), join('', sort keys %seen),
	'each kind that is sent has an example');
my $protocol = slurp_file("$ENV{CONCORD_SRC}/decoder/protocol.h");
my %known = map { $_ => 1 } $protocol =~ /^\tCONCORD_MSG_\w+ = '(.)'/mg;
delete $known{P};
is(join('', sort keys %seen), join('', sort keys %known),
	'each kind of protocol.h has one, but PROGRESS, which the plugin does not send');
foreach my $kind (sort keys %known, 'P')
{
	like($readme, qr/^\| (`\w` )*`$kind` (`\w` )*\| /m, "README.md has fields of $kind");
}

done_testing();
