# Odoo: test/dialects/odoo.py names its documents.

use strict;
use warnings;

use Concord::Catalogue;
use Concord::Cluster;
use Concord::Dialects;
use Test::More;

my $node = Concord::Cluster->create('odoo');
my $systems = Concord::Dialects->new;
ok($node->ready, 'capture is ready');

my $c = Concord::Catalogue->new($node, $systems,
	connector => 'odoo',
	user_mapping => "auth 'bearer', token '6578616d706c65206a736f6e20617069206b6579'",
	object => 'res.partner',
	fields => '{"name": "name", "credit_limit": "amount"}',
	key => '{"ref": "id::text"}');
$c->lifecycle(sub { my %held = %{ $_[0]{'res.partner'} }; return { map { $_->{ref} => [ $_->{name}, $_->{credit_limit} ] } values %held } });
$c->once('create', 20, sub { scalar grep { $_->{name} eq 'once' } values %{ $_[0]{'res.partner'} } });
$c->survives('a serialization failure', { match => 'create', status => 500,
	body => { name => 'psycopg2.errors.SerializationFailure', message => 'could not serialize access due to concurrent update' } }, 10);
$c->dead('a validation error', { match => 'create', status => 422,
	body => { name => 'odoo.exceptions.ValidationError', message => 'The name is taken' } }, 11,
	status => qr/^422$/, error => qr/The name is taken/);

done_testing();
