# Concord::Sandbox: starts, scripts and asks the fake ERP of test/sandbox.
#
#   my $erp = Concord::Sandbox->new;                    # free port
#   my $url = $erp->url('/odata/v4/sales/');
#   my $id = $erp->rule({ method => 'POST' }, { status => 503 }, 3);
#   $erp->set('/odata/v4/sales/Customers', key => ['ID'], sequence => 'Version');
#   is($erp->stats->{order_violations}, 0);
#
# With recover => 1 it has its records and what it remembers again after a stop
# (also by KILL) and start; fault rules are to be stated anew.
#
# The process ends with the object.
package Concord::Sandbox;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(sleep time);

my $program = abs_path(dirname(__FILE__) . '/../../sandbox') . '/sandbox';

sub new
{
	my ($class, %args) = @_;
	my $self = bless { %args, http => HTTP::Tiny->new(timeout => 30, keep_alive => 0) }, $class;

	-x $program
	  or die "$program is missing: run \"make -C test/sandbox\" first\n";
	$self->{dir} = File::Temp->newdir;
	$self->start;
	return $self;
}

# Starts the program; the port is kept over a stop and start.
sub start
{
	my ($self) = @_;
	my $file = "$self->{dir}/port";
	my @command = ($program, '--port', $self->{port} // 0, '--port-file', $file,
		'--die-with-parent');

	unlink $file;
	push @command, '--tls', @{ $self->{tls} } if $self->{tls};
	push @command, '--log', $self->{log} if $self->{log};
	push @command, '--recover', "$self->{dir}/acts" if $self->{recover};
	push @command, '--no-log' if $self->{no_log};
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		exec { $command[0] } @command or die "exec: $!";
	}
	$self->{pid} = $pid;
	my $until = time + 60;
	while (!-e $file)
	{
		die "sandbox did not start\n" if time > $until || waitpid($pid, 1) > 0;
		sleep 0.01;
	}
	open my $fh, '<', $file or die "$file: $!";
	my @ports = map { chomp; $_ } <$fh>;
	close $fh;
	$self->{port} = $ports[0];
	$self->{control_port} = $ports[-1];
	return;
}

# Ends the program, politely or with KILL.
sub stop
{
	my ($self, $signal) = @_;

	return unless $self->{pid};
	kill $signal // 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	$self->stop;
	return;
}

sub port { return $_[0]{port}; }

# The address of a path of the service, for CREATE SERVER.
sub url
{
	my ($self, $path) = @_;
	return ($self->{tls} ? 'https://localhost:' : 'http://127.0.0.1:')
	  . $self->{port} . ($path // '/');
}

# Sends one request to the listener without TLS; returns HTTP::Tiny's hash.
sub request
{
	my ($self, $method, $path, $body, $headers) = @_;
	my %options;

	if (defined $body)
	{
		$options{content} = ref $body ? JSON::PP->new->utf8->canonical->encode($body) : $body;
		$options{headers}{'Content-Type'} = 'application/json';
	}
	$options{headers}{$_} = $headers->{$_} for keys %{ $headers // {} };
	return $self->{http}->request($method, "http://127.0.0.1:$self->{control_port}$path", \%options);
}

# One control request; dies when the sandbox refuses it.
sub control
{
	my ($self, $method, $what, $body) = @_;
	my $answer = $self->request($method, "/_control/$what", $body);

	die "sandbox: $method $what: $answer->{status} $answer->{content}\n"
	  unless $answer->{success};
	return $answer->{content} if $what =~ /^log/ && $method eq 'GET';
	return JSON::PP->new->utf8->allow_bignum->decode($answer->{content});
}

# Adds a fault rule and returns its number.
sub rule
{
	my ($self, $match, $action, $count) = @_;
	my $rule = { match => $match, action => $action };

	$rule->{count} = $count if defined $count;
	return $self->control('POST', 'rules', $rule)->{id};
}

sub drop_rule { my ($self, $id) = @_; return $self->control('DELETE', "rules/$id"); }
sub drop_rules { my ($self) = @_; return $self->control('DELETE', 'rules'); }
sub rules { my ($self) = @_; return $self->control('GET', 'rules'); }
sub set { my ($self, $path, %habits) = @_; return $self->control('POST', 'sets', { path => $path, %habits }); }
sub stats { my ($self) = @_; return $self->control('GET', 'stats'); }
sub violations { my ($self) = @_; return $self->control('GET', 'violations'); }
sub reset_all { my ($self) = @_; return $self->control('POST', 'reset'); }
sub clear_log { my ($self) = @_; return $self->control('DELETE', 'log'); }

# Everything that is held: { path => { key => entity } }, numbers as they came.
sub data
{
	my ($self, $path) = @_;
	my $all = $self->control('GET', 'data');
	return defined $path ? $all->{$path} // {} : $all;
}

# The log as a list of hashes, oldest first.
sub log_entries
{
	my ($self, $path) = @_;
	my $text = $self->control('GET', 'log' . (defined $path ? "?path=$path" : ''));
	return map { JSON::PP->new->utf8->decode($_) } split /\n/, $text;
}

# Waits until a condition over the sandbox holds; false after the timeout.
sub wait_until
{
	my ($self, $condition, $timeout) = @_;
	my $until = time + ($timeout // 30);

	while (time < $until)
	{
		return 1 if $condition->($self);
		sleep 0.05;
	}
	return 0;
}

1;
