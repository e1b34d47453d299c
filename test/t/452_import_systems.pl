# IMPORT FOREIGN SCHEMA from the catalogue's systems that describe themselves,
# each with its own way to identify and its own form of metadata.

use strict;
use warnings;

use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $node = Concord::Cluster->create('importsystems');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');
sub sql { return $node->safe_psql('postgres', $_[0]); }

# system(NAME, PATH, SERVER OPTIONS, USER MAPPING, SERVICE, TABLES)
sub imported
{
	my ($name, $path, $server, $mapping, $service, $tables) = @_;

	sql("CREATE SERVER $name FOREIGN DATA WRAPPER concord OPTIONS (connector '$name', url '" . $systems->url($name, $path) . "'$server);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($mapping);
		CREATE SCHEMA $name; IMPORT FOREIGN SCHEMA \"$service\" FROM SERVER $name INTO $name OPTIONS (names 'snake')");
	is(sql("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = '$name'::regnamespace"), $tables, "$name: tables");
	is_deeply($systems->wrong($name), [], "$name: nothing was refused");
	return;
}

imported('sap_s4_v2', '/sap/opu/odata/sap/', q(, service 'API_BUSINESS_PARTNER', headers '{"sap-client": "100"}'), q(auth 'session', username 'CONCORD', password 'secret'),
	'.', 'a_business_partner a_role i_value_help');
imported('sap_s4', '/sap/opu/odata4/sap/api_bp/srvd_a2x/sap/bp/', q(, service '0001', headers '{"sap-client": "100"}'), q(auth 'session', username 'CONCORD', password 'secret'),
	'.', 'sales_order sales_order_item');
imported('sap_b1', '/b1s/v2/', '', q(auth 'session', company 'SBODEMO', username 'concord', password 'secret'), '.', 'business_partners orders');
imported('dataverse', '/api/data/v9.2/', '', q(auth 'bearer', token 'eyJ0.entra.token'), '.', 'accounts contacts expandos');
imported('business_central', '/v2.0/production/api/v2.0/', '', q(auth 'bearer', token 'eyJ0.entra.token'), '.', 'companies customers sales_orders');

done_testing();
