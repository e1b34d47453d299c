# Every example of README.md and doc/ that is marked as run does run, in the
# order of its file, against a server and the sandbox.
#
#	```sql run			statements that must succeed
#	```sql fails TEXT	a statement that must fail with TEXT in its message
#	```result			what the block before it printed, white space aside
#
# Each file gets a database of its own. An example that names the ERP at
# http://127.0.0.1:8080 talks to the sandbox of this test, one that names
# http://127.0.0.1:8081 to a system of test/dialects.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $systems = Concord::Dialects->new;
(my $dialects = $systems->url) =~ s{/$}{};
my $node = Concord::Cluster->create('docs');

# The blocks of a file: [line, info string, text].
sub blocks
{
	my ($file) = @_;
	my (@blocks, $current);

	open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
	while (my $line = <$fh>)
	{
		if ($line =~ /^```(.*?)\s*$/)
		{
			if ($current) { push @blocks, $current; undef $current; }
			else { $current = [ $., $1, '' ]; }
		}
		elsif ($current) { $current->[2] .= $line; }
	}
	close $fh;
	return @blocks;
}

# White space and the lines of a table do not matter.
sub plain
{
	my ($text) = @_;
	$text =~ s/^[-+ ]+$//mg;
	$text =~ s/^\(\d+ rows?\)$//mg;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/ *\n */\n/g;
	$text =~ s/\n+/\n/g;
	$text =~ s/^\s+|\s+$//g;
	return $text;
}

sub run_file
{
	my ($file, $database) = @_;
	my $printed;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	foreach my $block (blocks("$ENV{CONCORD_SRC}/$file"))
	{
		my ($line, $info, $text) = @$block;
		my ($out, $err) = ('', '');

		if ($info eq 'result')
		{
			is(plain($printed), plain($text), "$file:$line gives what it shows");
			next;
		}
		next unless $info =~ /^sql (run|fails)\s*(.*)$/;
		my ($how, $message) = ($1, $2);
		my $url = $erp->url('');
		$url =~ s{/$}{};
		$text =~ s{http://127\.0\.0\.1:8080}{$url}g;
		$text =~ s{http://127\.0\.0\.1:8081}{$dialects}g;
		utf8::encode($text);
		my $status = $node->psql($database, $text, on_error_stop => 1,
			stdout => \$out, stderr => \$err,
			extra_params => [ '-P', 'format=aligned', '-P', 'tuples_only=off' ]);
		$printed = $out;
		utf8::decode($printed);
		if ($how eq 'run')
		{
			is($status, 0, "$file:$line runs") or diag("$text\n$err");
		}
		else
		{
			like($err, qr/\Q$message\E/, "$file:$line fails as it says") or diag($text);
		}
	}
	$node->safe_psql('postgres', "DROP DATABASE $database");
	$erp->reset_all;
	return;
}

my @files = ('README.md', map { s{^\Q$ENV{CONCORD_SRC}\E/}{}r } glob("$ENV{CONCORD_SRC}/doc/*.md $ENV{CONCORD_SRC}/doc/connectors/*.md"));
my $n = 0;
foreach my $file (@files)
{
	my $runnable = grep { $_->[1] =~ /^sql (run|fails)/ } blocks("$ENV{CONCORD_SRC}/$file");
	run_file($file, 'docs_' . ++$n) if $runnable > 0;
}
cmp_ok($n, '>=', 5, "$n files have examples that run");

# Links between the files lead somewhere.
foreach my $file (@files)
{
	my ($dir) = $file =~ m{^(.*/)};
	open my $fh, '<', "$ENV{CONCORD_SRC}/$file" or die $!;
	my $text = do { local $/; <$fh> };
	close $fh;
	my @dead = grep { !-e "$ENV{CONCORD_SRC}/" . ($dir // '') . $_ }
	  grep { !/^(https?:|#)/ } map { s/#.*//r } $text =~ /\]\(([^)\s]+)\)/g;
	is("@dead", '', "$file: its links lead somewhere");
}

$node->stop;
done_testing();
