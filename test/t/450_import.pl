# IMPORT FOREIGN SCHEMA from what a service says of itself: tables, comments in
# the same transaction, LIMIT TO and EXCEPT, ETags, and what goes wrong.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Sandbox;
use Test::More;

my $erp = Concord::Sandbox->new;
my $node = Concord::Cluster->create('import');
ok($node->ready, 'capture is ready');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# fails(SQL): the error, with its context
sub fails
{
	my (undef, undef, $error) = $node->psql('postgres', $_[0]);
	return $error;
}

# document(NAME): one of test/metadata
sub document
{
	open my $in, '<', "$ENV{CONCORD_SRC}/test/metadata/$_[0].xml" or die $!;
	local $/;
	return scalar <$in>;
}

# serves(PATH, ACTION, COUNT): what the system answers there
sub serves
{
	my ($path, $action, $count) = @_;
	return $erp->rule({ method => 'GET', path => "$path\$metadata" }, $action, $count // 1_000_000);
}

my %xml = ('Content-Type' => 'application/xml');
my $n = 0;

# answered(ACTION): the error where a system answers so; each has a breaker of
# its own
sub answered
{
	my ($action) = @_;
	my $service = 'broken' . ++$n;

	serves("/odata/$service/", $action);
	sql("CREATE SERVER $service FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '" . $erp->url('/odata/') . "');");
	return fails(qq{IMPORT FOREIGN SCHEMA "$service" FROM SERVER $service INTO public});
}

my $url = $erp->url('/odata/');
sql(qq{CREATE SERVER erp FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata', url '$url', service 'sales');
	CREATE USER MAPPING FOR CURRENT_USER SERVER erp OPTIONS (auth 'none');
	CREATE SCHEMA bp; CREATE SCHEMA snake});
serves('/odata/API_BUSINESS_PARTNER/', { status => 200, headers => \%xml, body => document('gateway_v2') });
serves('/odata/sales/', { status => 200, headers => \%xml, body => document('s4_v4') });
serves('/odata/types/', { status => 200, headers => \%xml, body => document('types_v4') });

# tables and comments
sql('IMPORT FOREIGN SCHEMA "API_BUSINESS_PARTNER" FROM SERVER erp INTO bp');
is(sql(q{SELECT string_agg(foreign_table_name, ' ' ORDER BY 1) FROM information_schema.foreign_tables WHERE foreign_table_schema = 'bp'}),
	'A_BusinessPartner A_Role I_ValueHelp', 'the sets that can be read are tables');
is(sql(q{SELECT obj_description('bp."A_Role"'::regclass)}), "Role\nRead only", 'a comment on a table');
is(sql(q{SELECT col_description('bp."A_BusinessPartner"'::regclass, 1)}), 'Business Partner: Business Partner Number', 'a comment on a column');
is(sql(q{SELECT col_description('bp."A_Role"'::regclass, 1)}), "Business Partner\nReferences A_BusinessPartner(BusinessPartner)", 'what a column refers to');
is(sql(q{SELECT format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || array_to_string(attfdwoptions, ',') FROM pg_attribute
		WHERE attrelid = 'bp."A_BusinessPartner"'::regclass AND attname = 'CreationDate'}),
	'date false type=Edm.DateTime,read_only=true', 'type and options of a column');
is(sql(q{SELECT array_to_string(ftoptions, ',') FROM pg_foreign_table WHERE ftrelid = 'bp."A_Role"'::regclass}),
	'service=API_BUSINESS_PARTNER,object=A_Role,updatable=false', 'options of a table');

# what is asked for: names of theirs and of ours, folded ones too
sql(q{IMPORT FOREIGN SCHEMA "API_BUSINESS_PARTNER" LIMIT TO ("A_Role", a_business_partner) FROM SERVER erp INTO snake OPTIONS (names 'snake')});
is(sql(q{SELECT string_agg(relname, ' ' ORDER BY 1) FROM pg_class WHERE relnamespace = 'snake'::regnamespace}), 'a_business_partner a_role', 'LIMIT TO');
is(sql(q{SELECT col_description('snake.a_role'::regclass, 1)}), "Business Partner\nReferences a_business_partner(business_partner)", 'names in comments are ours');
sql(q{DROP SCHEMA snake CASCADE; CREATE SCHEMA snake;
	IMPORT FOREIGN SCHEMA "." EXCEPT ("SalesOrder") FROM SERVER erp INTO snake OPTIONS (names 'snake', comments 'off')});
is(sql(q{SELECT string_agg(relname || ' ' || array_to_string(ftoptions, ','), ' ') FROM pg_class JOIN pg_foreign_table ON ftrelid = oid}
		. q{ WHERE relnamespace = 'snake'::regnamespace}),
	'sales_order_item object=SalesOrderItem,updatable=false', "EXCEPT; '.' is the server's own service");
is(sql(q{SELECT count(*) FROM pg_description WHERE objoid = 'snake.sales_order_item'::regclass}), 0, 'no comments where none are wanted');
sql(q{DROP SCHEMA snake CASCADE; CREATE SCHEMA snake;
	IMPORT FOREIGN SCHEMA "." LIMIT TO ("SalesOrderItem") FROM SERVER erp INTO snake OPTIONS (navigation 'tables', names 'lower')});
is(sql(q{SELECT string_agg(relname, ' ' ORDER BY 1) FROM pg_class WHERE relnamespace = 'snake'::regnamespace}), 'salesorder salesorderitem',
	'navigation: the sets that are led to are tables too');

# what the system does not sort, we do; a singleton is a table of one row
like(sql(q{EXPLAIN (VERBOSE) SELECT * FROM bp."A_BusinessPartner" ORDER BY "Counter" NULLS FIRST}), qr/orderby=Counter/, 'order at the system');
unlike(sql(q{EXPLAIN (VERBOSE) SELECT * FROM bp."A_BusinessPartner" ORDER BY "ValidFrom" NULLS FIRST}), qr/orderby/, 'order here');
my $me = q{<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices><Schema Namespace="N" xmlns="http://docs.oasis-open.org/odata/ns/edm">
	<EntityType Name="Person"><Property Name="Name" Type="Edm.String"/><Property Name="Tags" Type="Collection(Edm.String)"/>
		<NavigationProperty Name="Trips" Type="Collection(N.Trip)" ContainsTarget="true"/></EntityType>
	<EntityType Name="Trip"><Key><PropertyRef Name="No"/></Key><Property Name="No" Type="Edm.Int32" Nullable="false"/></EntityType>
	<EntityContainer Name="C"><Singleton Name="Me" Type="N.Person"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>};
serves('/odata/me/', { status => 200, headers => \%xml, body => $me });
my %json = ('Content-Type' => 'application/json');
$erp->rule({ method => 'GET', path => '/odata/me/Me/Trips' }, { status => 200, headers => \%json, body => '{"value": [{"No": 1}, {"No": 2}]}' }, 1000);
$erp->rule({ method => 'GET', path => '/odata/me/Me' }, { status => 200, headers => \%json, body => '{"Name": "Ada", "Tags": ["a", "b"]}' }, 1000);
sql(q{CREATE SCHEMA me; IMPORT FOREIGN SCHEMA me FROM SERVER erp INTO me OPTIONS (navigation 'tables', names 'snake')});
is(sql('SELECT * FROM me.me'), 'Ada|{a,b}', 'a singleton is a table of one row');
is(sql(q{SELECT count(*) FROM me.me WHERE name = 'Bob'}), 0, 'which is filtered here');
is(sql('SELECT count(*) FROM me.me'), 1, 'and counted here');
is(sql('SELECT sum(no) FROM me.me_trips'), 3, 'what it contains is a table');

# every type can be made
sql(q{CREATE SCHEMA types; IMPORT FOREIGN SCHEMA types FROM SERVER erp INTO types OPTIONS (navigation 'columns')});
is(sql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'types."All"'::regclass AND attnum > 0}), 56, 'a table with a column of every type');

# one transaction: comments come and go with the tables, event triggers see them
is(sql(q{BEGIN; CREATE SCHEMA gone; IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO gone;
		SELECT count(*) > 0 FROM pg_description WHERE objoid = 'gone."SalesOrder"'::regclass; ROLLBACK}), 't', 'comments are there at once');
is(sql(q{SELECT count(*) FROM pg_description d LEFT JOIN pg_class c ON c.oid = d.objoid WHERE d.classoid = 'pg_class'::regclass AND c.oid IS NULL}),
	0, 'and gone with a rollback');
sql(q{CREATE TABLE seen (tag text, identity text);
	CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.seen SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands(); END';
	CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see();
	CREATE SCHEMA watched; IMPORT FOREIGN SCHEMA "." LIMIT TO ("SalesOrderItem") FROM SERVER erp INTO watched;
	DROP EVENT TRIGGER see});
is(sql(q{SELECT string_agg(DISTINCT identity, ' ') FROM seen WHERE tag = 'COMMENT'}),
	'watched."SalesOrderItem" watched."SalesOrderItem"."SalesOrder"', 'event triggers see comments');
sql(q{CREATE SCHEMA twice; CREATE TABLE twice."SalesOrderItem" ()});
like(fails('IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO twice'), qr/relation "SalesOrderItem" already exists/, 'a table that is there already');
is(sql(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'twice'::regnamespace AND relkind = 'f'}), 0, 'leaves nothing behind');
sql(q{CREATE FOREIGN TABLE twice."SalesOrder" () SERVER erp});
is(sql(q{SELECT count(*) FROM pg_description WHERE objoid = 'twice."SalesOrder"'::regclass}), 0, 'no comment gets to a table that is made by hand');

# a document is not sent again to a session that has it
my $doc = document('dataverse');
serves('/odata/tagged/', { status => 200, headers => { %xml, ETag => 'W/"7"' }, body => $doc }, 1);
serves('/odata/tagged/', { status => 304, headers => { ETag => 'W/"7"' } });
is(sql(q{CREATE SCHEMA crm;
		IMPORT FOREIGN SCHEMA tagged LIMIT TO (accounts) FROM SERVER erp INTO crm OPTIONS (language 'de');
		IMPORT FOREIGN SCHEMA tagged LIMIT TO (contacts) FROM SERVER erp INTO crm OPTIONS (language 'de');
		SELECT count(*) FROM pg_foreign_table JOIN pg_class ON oid = ftrelid WHERE relnamespace = 'crm'::regnamespace}), 2, 'imported twice');
my @asked = $erp->log_entries('/odata/tagged/');
is($asked[1]{headers}{'if-none-match'} // $asked[1]{headers}{'If-None-Match'}, 'W/"7"', 'the second time with the tag');
is($asked[0]{headers}{'accept-language'} // $asked[0]{headers}{'Accept-Language'}, 'de', 'the language is asked for');
like(fails('IMPORT FOREIGN SCHEMA tagged FROM SERVER erp INTO public'), qr/status 304/, 'another session has no use for 304');

# the fingerprint
my $print = sql(q{SELECT concord.metadata_fingerprint('erp', '.')});
like($print, qr/^[0-9a-f]{64}$/, 'a fingerprint');
my $s4 = document('s4_v4');
sub fingerprint { return sql(qq{SELECT concord.metadata_fingerprint('erp', '.', \$doc\$$_[0]\$doc\$)}); }
is(fingerprint($s4), $print, 'of a document, the same');
is(fingerprint($s4 =~ s/Number of the sales order/Another text/r), $print, 'texts do not count');
isnt(fingerprint($s4 =~ s/MaxLength="10"/MaxLength="12"/r), $print, 'facets do');
isnt(fingerprint($s4 =~ s/"Deletable" Bool="false"/"Deletable" Bool="true"/r), $print, 'capabilities do');

# what goes wrong
like(fails('IMPORT FOREIGN SCHEMA "." LIMIT TO ("SalesOrdr") FROM SERVER erp INTO public'),
	qr/no entity set "SalesOrdr".*HINT:  Perhaps you meant "SalesOrder"/s, 'a mistyped name');
like(fails('IMPORT FOREIGN SCHEMA "." EXCEPT (SalesOrder) FROM SERVER erp INTO public'),
	qr/no entity set "salesorder".*Perhaps you meant "SalesOrder"; names with capital letters want double quotes/s, 'a name without quotes');
like(fails(q{IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO public OPTIONS (navigations 'x')}),
	qr/invalid option "navigations".*Perhaps you meant the option "navigation"/s, 'a mistyped option');
like(fails(q{IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO public OPTIONS (names 'camel')}),
	qr/invalid value "camel" of option "names".*as_is\|lower\|snake/s, 'a mistyped value');
like(fails(qq{IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO public OPTIONS (language E'de\\r\\nX: y')}), qr/invalid value .* of option "language"/s, 'no header comes in by an option');
like(fails('IMPORT FOREIGN SCHEMA "../admin" FROM SERVER erp INTO public'), qr/not a path under the server's url/, 'a path that climbs');
like(answered({ status => 404 }), qr{gave no metadata: it answered with status 404.*asked for /odata/broken1/\$metadata.*option service}s, 'a service that is not there');
like(answered({ status => 401 }), qr/status 401.*HINT:  The current user has no user mapping/s, 'no credentials');
like(answered({ status => 500, body => 'short dump' }), qr/gave no metadata: it answered with status 500/s, 'a failure there');
like(answered({ status => 302, headers => { Location => '/login' } }), qr/status 302.*Redirects are not followed/s, 'a redirect');
like(answered({ status => 200, headers => { 'Content-Type' => 'text/html' }, body => "\n<!DOCTYPE html>\n<html><body>Log in</body></html>" }), qr/an HTML page, as a login page/, 'a login page');
like(answered({ status => 200, body => '{"value": []}' }), qr/It is JSON.*CONTEXT:  metadata of server "broken/s, 'JSON');
like(answered({ status => 200, body => '' }), qr/It is empty/, 'nothing');
like(answered({ status => 200, body => '<rss version="2"/>' }), qr/outermost element is "rss"/, 'other XML');
like(answered({ status => 200, body => substr($s4, 0, 3000) }), qr/not valid XML.*Line \d+: /s, 'a document that is cut');
like(answered({ raw => "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n$s4" }), qr/no whole answer|not valid XML/, 'an answer that is torn');
like(answered({ status => 200, body => qq{<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>} }), qr/document type definition/, 'entities');
like(answered({ status => 200, body => qq{<Edmx>\xe9</Edmx>} =~ s/\xe9/&#38;nbsp;/r }), qr/describe nothing/, 'an empty document');
like(answered({ status => 200, body => '<Edmx>' . '<a>' x 300 . '</a>' x 300 . '</Edmx>' }), qr/not valid XML/, 'too deep');
{
	my $schema = sub { qq{<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices><Schema Namespace="N" xmlns="http://docs.oasis-open.org/odata/ns/edm">$_[0]</Schema></edmx:DataServices></edmx:Edmx>} };
	my $collide = $schema->('<EntityType Name="T"><Property Name="aB" Type="Edm.String"/><Property Name="AB" Type="Edm.String"/></EntityType>'
		. '<EntityContainer Name="C"><EntitySet Name="S" EntityType="N.T"/><EntitySet Name="s" EntityType="N.U"/></EntityContainer><EntityType Name="U"/>');
	serves('/odata/collide/', { status => 200, headers => \%xml, body => $collide });
	like(fails(q{IMPORT FOREIGN SCHEMA collide LIMIT TO ("S") FROM SERVER erp INTO public OPTIONS (names 'lower')}),
		qr/properties "aB" and "AB" of "S" would both be column "ab".*HINT:  Import with/s, 'columns that collide');
	like(fails(q{IMPORT FOREIGN SCHEMA collide FROM SERVER erp INTO public OPTIONS (names 'lower', complex 'jsonb')}),
		qr/would both be/, 'tables that collide');
	serves('/odata/loop/', { status => 200, headers => \%xml, body => $schema->('<EntityType Name="A" BaseType="N.B"/><EntityType Name="B" BaseType="N.A"/>') });
	like(fails('IMPORT FOREIGN SCHEMA loop FROM SERVER erp INTO public'), qr/is derived from itself/, 'types in a circle');
	serves('/odata/wide/', { status => 200, headers => \%xml, body => $schema->('<EntityType Name="A">' . join('', map { qq{<Property Name="p$_" Type="Edm.String"/>} } 1 .. 1700)
				. '</EntityType><EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>') });
	like(fails('IMPORT FOREIGN SCHEMA wide FROM SERVER erp INTO public'), qr/more than 1600 columns/, 'too many columns');
}

# rights
sql(q{CREATE ROLE other LOGIN; GRANT ALL ON SCHEMA public TO other});
like(fails('SET ROLE other; IMPORT FOREIGN SCHEMA "." FROM SERVER erp INTO public'), qr/permission denied for foreign server erp/, 'without USAGE');
sql(q{CREATE SERVER hook FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://127.0.0.1:1/')});
like(fails('IMPORT FOREIGN SCHEMA "." FROM SERVER hook INTO public'), qr/does not tell what objects there are/, 'a connector without metadata');

# cancelled while the document comes
serves('/odata/slow/', { status => 200, headers => \%xml, body => $doc, slow => { bytes => 10, ms => 100 } });
like(fails(q{SET statement_timeout = '300ms'; IMPORT FOREIGN SCHEMA slow FROM SERVER erp INTO public}), qr/statement timeout/, 'can be cancelled');

done_testing();
