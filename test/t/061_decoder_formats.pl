# Formats in JSON, over the replication protocol, in databases of several
# encodings: python's parser reads every line, names and values are true.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('main');
my $file = $node->basedir . '/received';

# Lines of a slot as python has read and written them.
sub lines_of
{
	my ($database, $name, %options) = @_;
	my $end =
	  $node->safe_psql($database, 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql($database,
		q{SELECT pg_copy_logical_replication_slot('s', 't')});
	$node->command_ok(
		[
			'pg_recvlogical', '--dbname' => $database, '--slot' => 't',
			'--start', '--no-loop', "--endpos=$end", '--file' => $file,
			map { ('--option' => "$_=$options{$_}") } sort keys %options
		],
		"$name: received");
	$node->poll(q{SELECT count(*) FROM pg_stat_replication}, 0, $database);
	$node->safe_psql($database, q{SELECT pg_drop_replication_slot('t')});
	my ($out, $err);
	IPC::Run::run([ 'python3', "$ENV{CONCORD_SRC}/test/formats/lines.py", $file ],
		'>', \$out, '2>', \$err);
	is($err, '', "$name: every line is JSON");
	my $ascii = slurp_file($file) !~ /[^\x00-\x7f]/;
	unlink $file;
	return (\$ascii, split /\n/, $out);
}

# What is written into a database, as bytes of UTF-8 or by SQL, and how python
# shows it.  A name has quotes, backslashes and line ends in any encoding.
my @cases = (
	{
		encoding => 'UTF8',
		name => "t\xc3\xa4 \"x\" \\ \n",
		shown_name => '"t\u00e4 \"x\" \\\\ \n"',
		value => "'\xe2\x82\xac \xf0\x9d\x84\x9e \x7f'",
		shown => '"\u20ac \ud834\udd1e \u007f"',
		raw => 1,
	},
	{
		encoding => 'LATIN1',
		name => "t\xc3\xa4 \"x\" \\ \n",
		shown_name => '"t\u00e4 \"x\" \\\\ \n"',
		value => "'\xc3\x84 \xc3\xbf \"q\" \\ \t'",
		shown => '"\u00c4 \u00ff \"q\" \\\\ \t"',
	},
	{
		encoding => 'WIN1252',
		name => "\xe2\x82\xac",
		shown_name => '"\u20ac"',
		value => q{'a' || convert_from('\x8081fc', 'WIN1252')},
		shown => '"a\u20ac\ufffd\u00fc"',
	},
	{
		encoding => 'EUC_JP',
		name => "\xe8\xa1\xa8",
		shown_name => '"\u8868"',
		value => "repeat('\xe6\x97\xa5\xe6\x9c\xac x', 300)",
		shown => '"' . ('\u65e5\u672c x' x 300) . '"',
	},
	{
		encoding => 'EUC_JP',
		name => "\xe8\xa1\xa8",
		shown_name => '"\u8868"',
		value => "repeat('\xe6\x97\xa5', 3000)",
		shown => '"' . ('\u65e5' x 3000) . '"',
	},
	{
		encoding => 'MULE_INTERNAL',
		name => 'plain',
		shown_name => '"plain"',
		value => q{convert_from('\x4181e4', 'MULE_INTERNAL')},
		shown => '"A\u0081\u00e4"',
		client => 'MULE_INTERNAL',
	},
	{
		encoding => 'SQL_ASCII',
		name => "b\xe4\xff",
		shown_name => '"b\u00e4\u00ff"',
		value => q{convert_from('\x22e4ff', 'SQL_ASCII')},
		shown => '"\"\u00e4\u00ff"',
		client => 'SQL_ASCII',
	});

my %formats = (
	json => {},
	cloudevents => { schema => 'once', include_transaction => 'on' },
	debezium => {
		schema => 'inline', include_transaction => 'on', include_key => 'on' });

my $number = 0;
foreach my $case (@cases)
{
	my $database = 'd' . ++$number;
	# a newer server may not have all
	next
	  if $node->safe_psql('postgres',
		"SELECT pg_char_to_encoding('$case->{encoding}')") < 0;
	my $quoted = '"' . ($case->{name} =~ s/"/""/gr) . '"';

	$node->safe_psql('postgres',
		"CREATE DATABASE $database TEMPLATE template0 ENCODING '$case->{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, q{
		SELECT pg_create_logical_replication_slot('s', 'concord_decoder')});
	local $ENV{PGCLIENTENCODING} = $case->{client} || 'UTF8';
	$node->safe_psql($database, qq{
		CREATE SCHEMA $quoted;
		CREATE TABLE $quoted.$quoted ($quoted text PRIMARY KEY, j json, b jsonb, a text[]);
		ALTER TABLE $quoted.$quoted ALTER $quoted SET STORAGE PLAIN;
		ALTER TABLE $quoted.$quoted DROP CONSTRAINT ${\ ($quoted =~ s/"\z/_pkey"/r)};
		ALTER TABLE $quoted.$quoted REPLICA IDENTITY FULL;
		CREATE TABLE subject (k text PRIMARY KEY);
		ALTER TABLE subject ALTER k SET STORAGE PLAIN;
		INSERT INTO subject VALUES ('$case->{name}');
		SELECT pg_logical_emit_message(false, $case->{value}, $case->{value});
		INSERT INTO $quoted.$quoted SELECT v, json_build_object(v, v), jsonb_build_array(v), ARRAY[v] FROM (SELECT $case->{value} AS v) x;
		TRUNCATE $quoted.$quoted;
		SELECT pg_logical_emit_message(true, 'end', 'end')});

	foreach my $format (sort keys %formats)
	{
		my $about = "$case->{encoding} $format";
		my ($ascii, @lines) = lines_of($database, $about,
			format => $format, %{ $formats{$format} });
		my ($subject) = grep { /"table": "subject"/ && /"op": "insert"/ } @lines;
		my ($insert) = grep { /"op": "(insert|c)"/ && !/"table": "subject"/ } @lines;
		my ($message) = grep { /"prefix": / && !/"prefix": "end"/ } @lines;
		my ($v, $n) = ($case->{shown}, $case->{shown_name});

		like($insert, qr/"schema": \Q$n\E/, "$about: name of the schema");
		like($insert, qr/"table": \Q$n\E/, "$about: name of the table");
		like($insert, qr/[{ ]\Q$n\E: \Q$v\E/, "$about: name and value of the column");
		like($insert, qr/"a": \[\Q$v\E\]/, "$about: value in an array");
		if ($format ne 'debezium')
		{
			like($insert, qr/"b": \[\Q$v\E\]/, "$about: value in jsonb");
			like($insert, qr/"j": \{\Q$v\E: \Q$v\E\}/, "$about: value in json");
		}
		like($message, qr/"prefix": \Q$v\E/, "$about: prefix of a message");
		like($message, qr/"content": \Q$v\E/, "$about: content of a message")
		  if $format ne 'debezium';
		if ($format eq 'cloudevents')
		{
			# a name that has a line end is shown as JSON
			my $shown = $n =~ /\\n/ ? $n =~ s/([\\"])/\\$1/gr : $n;
			$shown = qq("$shown") if $n =~ /\\n/;
			$shown =~ s/\\\\u/\\u/g if $case->{raw};
			like($subject, qr/"subject": \Q$shown\E, /, "$about: subject");
		}
		ok($$ascii, "$about: ASCII") unless $case->{raw};
	}
	$node->safe_psql($database, q{SELECT pg_drop_replication_slot('s')});
}

done_testing();
