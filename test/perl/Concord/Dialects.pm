# Concord::Dialects: the systems of test/dialects, each in its wire format.
#
#   my $systems = Concord::Dialects->new;
#   my $url = $systems->url('salesforce', '/services/data/v60.0/');
#   $systems->fault('salesforce', match => 'PATCH', status => 503, times => 2);
#   is_deeply($systems->wrong('salesforce'), []);
#
# The process ends with the object.
package Concord::Dialects;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use Time::HiRes qw(sleep time);

my $program = abs_path(dirname(__FILE__) . '/../../dialects') . '/server.py';

sub new
{
	my ($class) = @_;
	my $self = bless { http => HTTP::Tiny->new(timeout => 30, keep_alive => 0), dir => File::Temp->newdir }, $class;
	my $file = "$self->{dir}/port";
	my $pid = fork() // die "fork: $!";

	if ($pid == 0)
	{
		exec 'python3', $program, '--port', '0', '--port-file', $file or die "exec: $!";
	}
	$self->{pid} = $pid;
	my $until = time + 60;
	while (!-e $file)
	{
		die "test/dialects/server.py did not start\n" if time > $until || waitpid($pid, 1) > 0;
		sleep 0.02;
	}
	open my $fh, '<', $file or die "$file: $!";
	chomp($self->{port} = <$fh>);
	close $fh;
	return $self;
}

sub DESTROY
{
	my ($self) = @_;

	local ($?, $!);
	return unless $self->{pid};
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

# url(DIALECT, PATH): an address of a system
sub url
{
	my ($self, $dialect, $path) = @_;
	return "http://127.0.0.1:$self->{port}" . (defined $dialect ? "/$dialect" : '') . ($path // '/');
}

# control(METHOD, DIALECT, WHAT, DATA): what the answer's JSON says
sub control
{
	my ($self, $method, $dialect, $what, $data) = @_;
	my $answer = $self->{http}->request($method, "http://127.0.0.1:$self->{port}/_control/$dialect/" . ($what // ''),
		{ defined $data ? (content => encode_json($data)) : () });

	die "dialects: $method $dialect: $answer->{status} $answer->{content}\n" unless $answer->{success};
	return length $answer->{content} ? decode_json($answer->{content}) : undef;
}

sub data { my ($self, $dialect) = @_; return $self->control('GET', $dialect, 'data'); }
sub journal { my ($self, $dialect) = @_; return @{ $self->control('GET', $dialect, 'journal') }; }
sub wrong { my ($self, $dialect) = @_; return $self->control('GET', $dialect, 'wrong'); }
sub settings { my ($self, $dialect) = @_; return $self->control('GET', $dialect, 'settings'); }
sub reset_all { my ($self, $dialect) = @_; return $self->control('DELETE', $dialect); }
sub calm { my ($self, $dialect) = @_; return $self->control('DELETE', $dialect, 'faults'); }
sub set { my ($self, $dialect, %settings) = @_; return $self->control('POST', $dialect, 'settings', \%settings); }

# fault(DIALECT, match => REGEX, status => N, headers => {}, body => ..., times => N, act => true, drop => N):
# with drop the connection ends after N bytes of the answer's body, with 0 before it, by a reset; act: having done it
sub fault
{
	my ($self, $dialect, %fault) = @_;
	return $self->control('POST', $dialect, 'faults', \%fault);
}

# edit(SET, KEY => VALUES, ...): somebody changes records at the feed
sub edit
{
	my ($self, $set, @edits) = @_;
	my @list;

	while (my ($key, $values) = splice @edits, 0, 2) { push @list, { set => $set, key => $key, values => $values }; }
	my $answer = $self->{http}->request('POST', $self->url('feed', '/_edit'),
		{ content => encode_json(\@list), headers => { 'Content-Type' => 'application/json' } });
	die $answer->{content} unless $answer->{success};
	return;
}

1;
