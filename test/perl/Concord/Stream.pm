# A client of the replication protocol, down to the byte: it sees each message
# by itself and when it came, and says of a position what the test wants said.
#
#	my $stream = Concord::Stream->new($node, 'postgres');
#	$stream->start('slot', format => 'json', messages => '');
#	while (my $message = $stream->receive(5)) { ... }
#
# A message is { type => 'w', lsn, data }, { type => 'k', lsn, reply }, { type =>
# 'c' } (the server has ended the copy), { type => 'E', text, fields } or
# { type => 'eof' }; undef says that there was none in time.
package Concord::Stream;

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# new(NODE, DATABASE, PARAMETER => VALUE, ...)
sub new
{
	my ($class, $node, $database, %parameters) = @_;
	my $path = $node->host . '/.s.PGSQL.' . $node->port;
	my $socket = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!";
	my $self = bless { socket => $socket, buffer => '', select => IO::Select->new($socket) }, $class;
	my %startup = (user => scalar getpwuid($<), database => $database, replication => 'database', %parameters);
	my $body = pack('N', 196608) . join('', map { "$_\0$startup{$_}\0" } sort keys %startup) . "\0";
	$self->_send(pack('N', length($body) + 4) . $body);
	$self->_until('Z');
	return $self;
}

# query(SQL): its rows, each an array; dies with the message of an error.
sub query
{
	my ($self, $sql) = @_;
	$self->_message('Q', "$sql\0");
	return $self->_until('Z');
}

# start(SLOT, OPTION => VALUE, ...): START_REPLICATION. With -written => LSN
# the server reads, before anything else, that all before it has come here.
sub start
{
	my ($self, $slot, %options) = @_;
	my $written = delete $options{-written};
	my $given = join(', ', map { qq("$_" '$options{$_}') } sort keys %options);
	$self->_send(_packed('Q', qq(START_REPLICATION SLOT "$slot" LOGICAL 0/0 ($given)\0)) .
		(defined $written ? _packed('d', _reply($written, 0, 0)) : ''));
	$self->_until('W');
	return;
}

# receive(SECONDS): the next message of the stream.
sub receive
{
	my ($self, $seconds) = @_;
	my ($type, $body) = $self->_next(time + $seconds) or return;
	return { type => 'eof' } if $type eq '';
	return { type => 'c' } if $type eq 'c';
	return _error($body) if $type eq 'E';
	die "unexpected message $type" if $type ne 'd';
	my $kind = substr($body, 0, 1);
	return { type => 'w', lsn => unpack('Q>', substr($body, 1, 8)), data => substr($body, 25) } if $kind eq 'w';
	return { type => 'k', lsn => unpack('Q>', substr($body, 1, 8)), reply => unpack('C', substr($body, 17, 1)) };
}

# reply(LSN, ASK): all before LSN is safe here; with ASK the server answers.
sub reply
{
	my ($self, $lsn, $ask) = @_;
	$self->_message('d', _reply($lsn, $lsn, $ask));
	return;
}

# done: the client ends the copy; what still comes is there to be received.
sub done
{
	my ($self) = @_;
	$self->_message('c', '');
	return;
}

# finish: after the server's end of the copy, until it takes commands again.
sub finish
{
	my ($self) = @_;
	$self->_until('Z');
	return;
}

# cut: as if the client had been killed.
sub cut
{
	my ($self) = @_;
	close $self->{socket};
	return;
}

sub _error
{
	my ($body) = @_;
	my %fields = map { substr($_, 0, 1) => substr($_, 1) } grep { length } split /\0/, $body;
	return { type => 'E', text => $fields{M}, fields => \%fields };
}

sub _send
{
	my ($self, $bytes) = @_;
	while (length $bytes)
	{
		my $n = syswrite($self->{socket}, $bytes);
		die "the server does not take what is sent: $!" unless $n;
		substr($bytes, 0, $n, '');
	}
	return;
}

sub _packed
{
	my ($type, $body) = @_;
	return $type . pack('N', length($body) + 4) . $body;
}

sub _reply
{
	my ($written, $flushed, $ask) = @_;
	my $now = int((time - 946684800) * 1000000);
	return 'r' . pack('Q>4C', $written, $flushed, $flushed, $now, $ask ? 1 : 0);
}

sub _message
{
	my ($self, $type, $body) = @_;
	$self->_send(_packed($type, $body));
	return;
}

# A message, or () if there is none in time; type '' is the end of the stream.
sub _next
{
	my ($self, $end) = @_;
	for (;;)
	{
		my $have = length $self->{buffer};
		if ($have >= 5)
		{
			my ($type, $length) = unpack('aN', $self->{buffer});
			if ($have > $length)
			{
				my $body = substr($self->{buffer}, 5, $length - 4);
				substr($self->{buffer}, 0, $length + 1, '');
				next if $type eq 'N' || $type eq 'S';
				return ($type, $body);
			}
		}
		my $wait = $end - time;
		return () unless $self->{select}->can_read($wait > 0 ? $wait : 0);
		my $n = sysread($self->{socket}, $self->{buffer}, 65536, $have);
		return ('', '') unless $n;
	}
}

# Reads on to a message of a type; gives the rows that came before it.
sub _until
{
	my ($self, $wanted) = @_;
	my ($error, @rows);
	for (;;)
	{
		my ($type, $body) = $self->_next(time + 60) or die "no message $wanted in a minute";
		die 'the server has gone' if $type eq '';
		$error = _error($body)->{text} if $type eq 'E';
		push @rows, _row($body) if $type eq 'D';
		die "$error\n" if $error && $type eq q(Z);
		return \@rows if $type eq $wanted;
	}
}

sub _row
{
	my ($body) = @_;
	my ($count, @row) = unpack('n', $body);
	my $at = 2;
	foreach (1 .. $count)
	{
		my $length = unpack('l>', substr($body, $at, 4));
		push @row, $length < 0 ? undef : substr($body, $at + 4, $length);
		$at += 4 + ($length > 0 ? $length : 0);
	}
	return \@row;
}

1;
