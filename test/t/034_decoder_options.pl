# Every option of the decoder against hostile values, through an SQL function
# and through a walsender: each is taken, or refused at start with a message
# that names it, an errcode of the user's and a hint or detail.

use strict;
use warnings;
use utf8;

use Concord::Cluster;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = Concord::Cluster->create('options', conf => 'log_min_messages = error');
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('hostile', 'concord_decoder')});

# printable(TEXT) in ASCII, for the output of the test.
sub printable
{
	my ($text) = @_;
	return $text =~ s/[^ -~\n]/./gr;
}

# literal(TEXT) as SQL has it, also where a backslash is in it.
sub literal
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# peek(OPTIONS) and start(OPTIONS): statements that begin to read the slot.
sub peek
{
	return "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('hostile', NULL, NULL, "
	  . join(', ', map { literal($_) } @_) . ');';
}

sub start
{
	my @pairs;
	while (my ($name, $value) = splice(@_, 0, 2))
	{
		$name =~ s/"/""/g;
		push @pairs, qq("$name") . (defined $value ? ' ' . literal($value) : '');
	}
	return 'START_REPLICATION SLOT "hostile" LOGICAL 0/0 (' . join(', ', @pairs) . ');';
}

# errors(CONNECTION, STATEMENT, ...): what one session says to each, '' for
# those that it takes.
sub errors
{
	my ($connection, @statements) = @_;
	my $script = "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n\\encoding UTF8\n";
	$script .= "\\warn CASE $_\n$statements[$_]\n" foreach 0 .. $#statements;
	$script .= "\\warn CASE end\n";
	my $file = PostgreSQL::Test::Utils::tempdir() . '/options.sql';
	open my $out, '>:encoding(UTF-8)', $file or die "$file: $!";
	print $out $script;
	close $out;
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=0', '-d', $connection, '-f', $file ],
		'>', \$stdout, '2>', \$stderr);
	utf8::decode($stderr);
	my @said;
	$said[$1] = $2 while $stderr =~ /^(?:psql:\S+: )?CASE (\d+)\n(.*?)(?=^(?:psql:\S+: )?CASE )/gms;
	return @said;
}

# clear(ERROR): is this how a user wants to be told?
sub clear
{
	my ($error) = @_;
	return 0 unless $error =~ /ERROR:  (\w{5}): (.*)/;
	my ($code, $message) = ($1, $2);
	return $code =~ /^(?:22023|42601|42602|42704|55000|0A000)$/
	  && $message =~ /option|publication|origin/
	  && $error =~ /^(?:HINT|DETAIL): /m
	  && length($error) < 8000;
}

my $sql = $node->connstr('postgres');
my $replication = "$sql replication=database";

# the list of options is what an unknown one is told
my ($unknown) = errors($sql, peek('no_such_option', 'x'));
like($unknown, qr/ERROR:  22023: output plugin "concord_decoder" has no option "no_such_option"/, 'unknown');
like($unknown, qr/^format: json \| binary.*, default json$/m, 'type and default of an enumeration');
like($unknown, qr/^max_value: size with unit, default 16MB$/m, 'type and default of a size');
like($unknown, qr/^include_xid: boolean, default true$/m, 'type and default of a boolean');
like($unknown, qr/^tables: list of schema\.table$/m, 'no default');
my @options = $unknown =~ /^(\w+): \S/mg;
@options = grep { !/^(?:DETAIL|LOCATION|HINT|ERROR)$/ } @options;
cmp_ok(scalar(@options), '>=', 17, 'all options are listed');
unlike($unknown, qr/^\w+: *$/m, 'each has a type');

# and the documents have all of them, in their tables
foreach my $file ('decoder/README.md', 'doc/decoder.md')
{
	my $text = PostgreSQL::Test::Utils::slurp_file("$ENV{CONCORD_SRC}/$file");
	my ($table) = $text =~ /^## Options\n(.*?)^## /ms;
	my @missing = grep { $table !~ /^\|[^|]*`$_`[^|]*\|/m } @options;
	is("@missing", '', "$file has every option");
}

my %hostile = (
	'empty' => '',
	'blank' => " \t ",
	'comma' => ',',
	'trailing comma' => 'a.b,',
	'leading comma' => ',a.b',
	'two commas' => 'a.b,,c.d',
	'one quote' => '"',
	'open quote' => '"a.b',
	'open quote of the second' => 'a."b',
	'quote in the middle' => 'a.b"c"',
	'empty quotes' => '"".""',
	'three names' => 'a.b.c',
	'dot' => '.',
	'no table' => 'a.',
	'no schema' => '.b',
	'star' => '*',
	'parentheses' => 'a.b(c',
	'closing parenthesis' => 'a.b)',
	'minus' => '-',
	'format string' => '%s%n%d',
	'quote of SQL' => "a'b",
	'backslash' => '\\x41',
	'control' => "\001.\002",
	'new line' => "a\n.b\n",
	'words' => 'true false',
	'null' => 'null',
	'number' => '-1',
	'large number' => '99999999999999999999',
	'exponent' => '1e999',
	'unit' => '1 parsec',
	'unit alone' => 'MB',
	'nan' => 'NaN',
	'letters beyond ASCII' => 'Größe.表',
	'emoji' => "\x{1F4A5}",
	'long' => 'x' x 100_000,
	'long name of a table' => 'a.' . 'b' x 64,
	'long list' => join(',', ('a.b') x 20_000),
);
my @names = sort keys %hostile;
my @cases = map { my $option = $_; map { [ $option, $_ ] } @names } @options;

# a list with 20000 items may be fine; everything else is something or nothing
my @said = errors($sql, map { peek($_->[0], $hostile{ $_->[1] }) } @cases);
is(scalar(@said), scalar(@cases), 'an answer to each');
my @refused = grep { $said[$_] =~ /ERROR: / } 0 .. $#said;
my @warned = grep { $said[$_] ne '' && $said[$_] !~ /ERROR: / } 0 .. $#said;
is(scalar(grep { $said[$_] !~ /WARNING: .*option "\w+".*DETAIL: /s } @warned), 0, scalar(@warned) . ' warnings are clear');
my @unclear = grep { !clear($said[$_]) } @refused;
is(scalar(@unclear), 0, scalar(@refused) . ' refusals of ' . @cases . ' are clear');
diag("$cases[$_][0], $cases[$_][1]: " . printable(substr($said[$_], 0, 400))) foreach @unclear[ 0 .. ($#unclear < 9 ? $#unclear : 9) ];
foreach my $option (@options)
{
	my @of = grep { $cases[$_][0] eq $option } @refused;
	cmp_ok(scalar(@of), '>', 3, "$option refuses some (" . @of . ')');
}

# a walsender says the same
my @again = errors($replication, map { start($cases[$_][0], $hostile{ $cases[$_][1] }) } @refused);
my @different = grep { ($again[$_] =~ /ERROR:  (.*)/)[0] ne ($said[ $refused[$_] ] =~ /ERROR:  (.*)/)[0] } 0 .. $#refused;
is(scalar(@different), 0, 'a walsender refuses the same in the same words');
diag("@{$cases[$refused[$_]]}: " . printable(substr($again[$_], 0, 400))) foreach @different[ 0 .. ($#different < 9 ? $#different : 9) ];

# what only a walsender, or only an option's name, can be given
foreach my $name ('', ' ', 'Format', 'format ', 'f' x 63, '"', "form\001t", 'Größe', '--', '*')
{
	my ($error) = errors($sql, peek($name, 'x'));
	like($error, qr/ERROR:  22023: output plugin "concord_decoder" has no option/, 'no option ' . printable($name));
}
my ($long) = errors($sql, peek('x' x 100_000, 'x'));
cmp_ok(length($long), '<', 6000, 'a long name is not repeated in full');
foreach my $option (@options)
{
	my ($error) = errors($replication, start($option, undef));
	ok(clear($error) && $error =~ /option "$option" of output plugin "concord_decoder" has no value/, "$option without a value");
	($error) = errors($sql, peek($option, 'true', $option, 'true'));
	($error) = errors($sql, peek($option, 'json', $option, 'json')) if $error !~ /more than once/;
	like($error, qr/"$option".*(?:more than once|invalid value)|invalid value.*"$option"/, "$option twice");
}
my ($twice) = errors($replication, start('format', 'json', 'tables', 'a.b', 'format', 'json'));
like($twice, qr/42601: option "format" of output plugin "concord_decoder" is given more than once/, 'twice, by a walsender');

# bytes that are no text at all do not even get there
my ($stdout, $stderr);
my $garbage = "SELECT * FROM pg_logical_slot_peek_changes('hostile', NULL, NULL, 'tables', 'a.\xFF\xFE');";
IPC::Run::run([ 'psql', '-X', '-d', $sql, '-c', '\\encoding UTF8', '-c', $garbage ], '>', \$stdout, '2>', \$stderr);
like($stderr, qr/invalid byte sequence for encoding "UTF8"/, 'bytes that are no UTF-8, by SQL');
IPC::Run::run([ 'psql', '-X', '-d', $replication, '-c', qq(START_REPLICATION SLOT "hostile" LOGICAL 0/0 ("tables" 'a.\xFF\xFE')) ],
	'>', \$stdout, '2>', \$stderr);
like($stderr, qr/invalid byte sequence for encoding "UTF8"/, 'and by a walsender');

# where every byte is a letter they do, and match nothing
$node->safe_psql('postgres', q{CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('bytes', q{CREATE TABLE seen (id int); SELECT pg_create_logical_replication_slot('bytes', 'concord_decoder');
	INSERT INTO seen VALUES (1)});
foreach my $case ([ "\"\xFF\".\xFE*, public.seen", 1 ], [ "public.\xC3", 0 ], [ "\xF0.", undef ], [ ".\x80", undef ], [ "\xE8\"", undef ])
{
	my ($tables, $rows) = @$case;
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-d', $node->connstr('bytes'), '-c',
			"SELECT count(*) FROM pg_logical_slot_peek_changes('bytes', NULL, NULL, 'tables', '$tables')" ],
		'>', \$stdout, '2>', \$stderr);
	if (defined $rows) { is($stdout, "$rows\n", 'SQL_ASCII: ' . printable($tables)); }
	else { like($stderr, qr/ERROR:  invalid value for option "tables".*DETAIL:  .*HINT:  /s, 'SQL_ASCII: ' . printable($tables)); }
}

# pg_recvlogical, as people use it
sub recvlogical
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_recvlogical', '-d', $sql, '-S', 'hostile', '--start', '--no-loop', '-f', '-', @_ ], '>', \$out, '2>', \$err);
	return $err;
}
like(recvlogical('-o', 'tabels=a.b'), qr/has no option "tabels".*HINT:  Perhaps you meant the option "tables"/s, 'pg_recvlogical: a slip');
like(recvlogical('-o', 'batch'), qr/option "batch" of output plugin "concord_decoder" has no value/, 'pg_recvlogical: no value');
like(recvlogical('-o', 'tables=a.b', '-o', 'publication_names=p'), qr/exclude each other.*HINT/s, 'pg_recvlogical: contradictory');

# a slot is made without options and is as it was after all of that
is($node->safe_psql('postgres', q{SELECT active, plugin FROM pg_replication_slots WHERE slot_name = 'hostile'}),
	'f|concord_decoder', 'the slot is free');
$node->safe_psql('postgres', 'CREATE TABLE seen (id int); INSERT INTO seen VALUES (1)');
like($node->safe_psql('postgres', q{SELECT data FROM pg_logical_slot_get_changes('hostile', NULL, NULL, 'tables', 'public.seen')}),
	qr/"op":"insert"/, 'and can be read');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:|terminated by signal|ERROR:  XX/, 'no crash, no internal error');

$node->stop;
done_testing();
