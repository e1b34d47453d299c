# Types of postgis, which come through their output functions: geometry and
# geography in all formats are what pgoutput makes of the same WAL; values out of
# line, arrays, composites, domains.
use strict;
use warnings;

use lib 'test/perl';
use Concord::Cluster;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Concord::Cluster->create('main');
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'}) eq '0')
{
	plan skip_all => 'postgis is not installed for this version';
}
my $json = JSON::PP->new->allow_nonref;
sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(q{
	CREATE SCHEMA gis; CREATE EXTENSION postgis SCHEMA gis;
	SET search_path = public, gis;
	CREATE TYPE spot AS (name text, place geometry);
	CREATE DOMAIN site AS geometry CHECK (gis.ST_IsValid(VALUE));
	CREATE TABLE place (id int PRIMARY KEY, g geometry, p geometry(Point, 4326), s site, w geography, ws geography(Polygon),
		many geometry[], c spot, b box2d, b3 box3d);
	ALTER TABLE place ALTER g SET STORAGE EXTERNAL;
	ALTER TABLE place REPLICA IDENTITY FULL;
	CREATE PUBLICATION places FOR TABLE place;
	SELECT pg_create_logical_replication_slot('ours', 'concord_decoder');
	SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')});
my @shapes = map { "'$_'" } (
	'POINT(0.1 0.30000000000000004)', 'SRID=4326;POINT Z (1 2 3)', 'SRID=3857;POINT ZM (1 2 3 4)', 'POINT EMPTY', 'GEOMETRYCOLLECTION EMPTY',
	'LINESTRING(0 0, 1e300 -1e-300)', 'POLYGON((0 0, 10 0, 10 10, 0 0), (4 2, 5 2, 5 3, 4 2))', 'SRID=4326;MULTIPOINT((1 1), (2 2))',
	'CIRCULARSTRING(0 0, 1 1, 2 0)', 'CURVEPOLYGON(CIRCULARSTRING(0 0, 4 0, 4 4, 0 4, 0 0))', 'TIN(((0 0 0, 0 0 1, 0 1 0, 0 0 0)))',
	'GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))', 'POINT(NaN NaN)', 'SRID=999999;POINT(1 1)');
push @shapes, q{ST_Buffer(ST_Point(0, 0), 1000, 'quad_segs=2000')}, 'NULL';
my $n = 0;
sql("SET search_path = public, gis; INSERT INTO place (id, g) VALUES " . join(', ', map { $n++; "($n, $_)" } @shapes));
sql(q{SET search_path = public, gis;
	INSERT INTO place VALUES (100, 'POINT(1 2)', 'SRID=4326;POINT(-1 -2)', 'POINT(5 5)', 'POINT(-179.5 89.25)', 'POLYGON((0 0, 1 0, 1 1, 0 0))',
		ARRAY['POINT(1 2)'::geometry, NULL, 'SRID=4326;LINESTRING(0 0, 1 1)'], ('a "spot"', 'POINT(7 8)'), 'BOX(1 2, 3 4)', 'BOX3D(1 2 3, 4 5 6)'),
		(101, NULL, NULL, NULL, 'SRID=4326;MULTIPOINT((1 1))', NULL, '{}', (NULL, NULL), NULL, NULL);
	UPDATE place SET p = 'SRID=4326;POINT(0 0)';	-- g is left alone
	DELETE FROM place WHERE id > 1});

# Messages of pgoutput: kind, and the texts of its last tuple.
sub theirs
{
	my @changes;
	foreach my $message (split /\n/, sql(q{SELECT encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('theirs', NULL, NULL, 'proto_version', '1', 'publication_names', 'places')}))
	{
		my $bytes = pack 'H*', $message;
		my $kind = substr $bytes, 0, 1;
		next unless $kind =~ /[IUD]/;
		my ($at, @images) = (5);
		while ($at < length $bytes)
		{
			my ($count) = unpack 'n', substr $bytes, $at + 1, 2;
			my @image;
			$at += 3;
			for (1 .. $count)
			{
				my $form = substr $bytes, $at++, 1;
				push(@image, $form eq 'u' ? \'unchanged' : undef), next if $form ne 't';
				my ($length) = unpack 'N', substr $bytes, $at, 4;
				push @image, substr $bytes, $at + 4, $length;
				$at += 4 + $length;
			}
			push @images, \@image;
		}
		# what is not in WAL is as it was
		my $image = $images[-1];
		$image = [ map { ref $image->[$_] ? $images[0][$_] : $image->[$_] } 0 .. $#$image ];
		push @changes, [ $kind, @$image ];
	}
	return @changes;
}
my @theirs = theirs();
is(scalar(grep { $_->[0] eq 'I' } @theirs), @shapes + 2, 'pgoutput has the inserts');
is(scalar(@theirs), 3 * (@shapes + 2) - 1, 'and the rest');
ok((grep { length($_->[2] // '') > 100_000 } @theirs) >= 2, 'one of them with a large value');

my @columns = split /,/, sql(q{SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'place'::regclass AND attnum > 0});
sub ours
{
	my ($options) = @_;
	return map { $json->decode($_) } split /\n/, sql("SELECT data FROM pg_logical_slot_peek_changes('ours', NULL, NULL, 'publication_names', 'places', $options)");
}

# text(FORM, COLUMN): what pgoutput would say, of a value as JSON has it
sub text
{
	my ($value, $column) = @_;
	return undef unless defined $value;
	return ref $value ? '{' . join(':', map { $_ // 'NULL' } @$value) . '}' : $value if $column eq 'many';
	if ($column eq 'c')
	{
		my ($name, $place) = @$value{qw(name place)};
		$name =~ s/"/""/g if defined $name;
		return '(' . (defined $name ? "\"$name\"" : '') . ',' . ($place // '') . ')';
	}
	return "$value";
}

# same(WHAT, CHANGE, ...): each [kind, value, ...] is pgoutput's
sub same
{
	my ($what, @changes) = @_;
	my $wrong = 0;
	is(scalar(@changes), scalar(@theirs), "$what: as many changes");
	foreach my $i (0 .. $#theirs)
	{
		my @ours = map { $_ // 'NULL' } @{ $changes[$i] // [] };
		my @want = map { $_ // 'NULL' } @{ $theirs[$i] };
		next if "@ours" eq "@want";
		diag("change $i, ours: @ours[0 .. 3]\nchange $i, pgoutput: @want[0 .. 3]") if !$wrong++ && length "@ours" < 20_000;
	}
	is($wrong, 0, "$what: with the same values");
	return;
}
my %op = (insert => 'I', update => 'U', delete => 'D', c => 'I', u => 'U', d => 'D');
sub changes { return map { my $e = $_; my $row = $e->{new} // $e->{old}; [ $op{ $e->{op} }, map { text($row->{$_}, $_) } @columns ] } @_; }
my @json = ours(q('format', 'json'));
same('json', changes(@json));
same('cloudevents', changes(map { $_->{data} } ours(q('format', 'cloudevents'))));
is_deeply([ grep { $_->{unchanged} || $_->{failed} || $_->{oversize} } @json ], [], 'json: no value is missing');

# the binary stream, read by the reader that the differential test has
my $file = $node->basedir . '/received';
my $end = sql('SELECT pg_current_wal_insert_lsn()');
sql(q{SELECT pg_copy_logical_replication_slot('ours', 'copy')});
$node->command_ok([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 'copy', '--start', '--no-loop', "--endpos=$end", '--file', $file,
		'--option', 'format=binary', '--option', 'publication_names=places' ], 'binary: received');
my $bytes = slurp_file($file);
my $at = 0;
sub varint { my ($v, $shift) = (0, 0); while (1) { my $b = ord substr $bytes, $at++, 1; $v |= ($b & 127) << $shift; $shift += 7; return $v if $b < 128 } }
my @binary;
while ($at < length $bytes)
{
	my $kind = substr $bytes, $at++, 1;
	if ($kind eq "\n") { next }    # pg_recvlogical ends each write with one
	my $length = varint();
	my $next = $at + $length;
	if ($kind =~ /[IUD]/)
	{
		varint();
		my $flags = ord substr $bytes, $at++, 1;
		my $image;
		foreach (grep { $flags & $_ } 3, 4)
		{
			my $count = varint();
			$image = [ map {
				my $form = varint();
				my $value = $form >= 6 ? substr($bytes, $at, $form - 6) : undef;
				die "a value of form $form" if $form > 0 && $form < 6;
				$at += $form - 6 if $form >= 6;
				$value } 1 .. $count ];
		}
		push @binary, [ $kind, @$image ];
	}
	$at = $next;
}
same('binary', @binary);

# debezium: a structure with EWKB, and what was in it said beside
my @debezium = ours(q('format', 'debezium'));
my ($wrong, $looked) = (0, 0);
foreach my $i (0 .. $#theirs)
{
	my $row = $debezium[$i]{after} // $debezium[$i]{before};
	foreach my $n (0 .. $#columns)
	{
		next unless $columns[$n] =~ /^(?:g|p|s|w|ws)$/;
		my ($hex, $value) = ($theirs[$i][ $n + 1 ], $row->{ $columns[$n] });
		my $want = defined $hex ? encode_base64(pack('H*', $hex), '') : undef;
		$looked++ if defined $hex;
		$wrong++ if ($want // '') ne ($value->{wkb} // '');
		my ($flags, $srid) = defined $hex ? unpack('x V V', pack 'H*', $hex) : (0, 0);
		$wrong++ if ($value->{srid} // 'none') ne ($flags & 0x20000000 ? $srid : 'none');
	}
}
is(scalar(@debezium), scalar(@theirs), 'debezium: as many changes');
cmp_ok($looked, '>', 40, 'debezium: values to look at');
is($wrong, 0, 'debezium: EWKB and reference systems are the same');
my ($full) = grep { $_->{op} eq 'c' && $_->{after}{id} == 100 } @debezium;
is(join(' ', map { defined $_ ? "$_->{srid}" : 'null' } grep { !defined $_ || defined $_->{srid} } @{ $full->{after}{many} }), 'null 4326', 'debezium: arrays');
my ($inline) = ours(q('format', 'debezium', 'schema', 'inline'));
my %fields = map { $_->{field} => $_ } @{ (grep { $_->{field} eq 'after' } @{ $inline->{schema}{fields} })[0]{fields} };
is_deeply([ map { $fields{$_}{name} } qw(g w) ], [ 'io.debezium.data.geometry.Geometry', 'io.debezium.data.geometry.Geography' ], 'debezium: names of the schemas');
is_deeply([ map { "$_->{field} $_->{type} " . ($_->{optional} ? 'optional' : 'always') } @{ $fields{g}{fields} } ], [ 'wkb bytes always', 'srid int32 optional' ], 'debezium: and their fields');

# a column left alone under another identity, and one that is too large
sql(q{ALTER TABLE place REPLICA IDENTITY DEFAULT; UPDATE place SET g = gis.ST_Buffer(gis.ST_Point(0, 0), 1, 'quad_segs=2000') WHERE id = 1; UPDATE place SET b = NULL WHERE id = 1});
my $last = (ours(q('max_value', '1000')))[-1];
is_deeply($last->{unchanged}, ['g'], 'a value that is left alone is listed');
my $large = (ours(q('max_value', '1000')))[-2];
is($large->{oversize}{g}{length}, sql('SELECT pg_column_size(g) FROM place WHERE id = 1'), 'one above max_value is told with its length');
$node->stop;
done_testing();
