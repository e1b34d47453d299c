# A library that a server loads first, to live in a world that a test makes: the
# wall clock is off by a number of seconds, and names have addresses of the test's
# choosing.  Both stand in a file that is read each time.
#
#	my $world = Concord::Preload->new;
#	$world->start($node);
#	$world->set(clock => -3 * 3600, name => 'erp.test', address => '127.0.0.2');
#
# The clock that does not jump (CLOCK_MONOTONIC, CLOCK_BOOTTIME) is left alone.
package Concord::Preload;

use strict;
use warnings;

use File::Temp;

my $source = <<'C';
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

typedef struct { long clock; char name[64]; char address[64]; } World;
static volatile World *world;

__attribute__((constructor)) static void
begin(void)
{
	const char *file = getenv("CONCORD_TEST_WORLD");
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	void *at = fd >= 0 ? mmap(NULL, sizeof(World), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	if (at != MAP_FAILED)
		world = at;
}

int
clock_gettime(clockid_t clock, struct timespec *t)
{
	int rc = syscall(SYS_clock_gettime, clock, t);

	if (rc == 0 && world && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		t->tv_sec += world->clock;
	return rc;
}

int
gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec s;

	clock_gettime(CLOCK_REALTIME, &s);
	t->tv_sec = s.tv_sec;
	t->tv_usec = s.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *t)
{
	struct timespec s;

	clock_gettime(CLOCK_REALTIME, &s);
	if (t)
		*t = s.tv_sec;
	return s.tv_sec;
}

int
getaddrinfo(const char *restrict node, const char *restrict service,
			const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	char address[64];

	if (world && node && world->name[0] && strcmp(node, (const char *) world->name) == 0)
	{
		memcpy(address, (const void *) world->address, sizeof(address));
		return real(address, service, hints, res);
	}
	return real(node, service, hints, res);
}
C

# new: undef where there is no compiler, or the server has other such libraries
sub new
{
	my ($class) = @_;
	return if $ENV{LD_PRELOAD};
	my $dir = File::Temp->newdir;
	chmod 0755, "$dir";
	open my $fh, '>', "$dir/world.c" or die "$dir: $!";
	print $fh $source;
	close $fh;
	return if system("cc -shared -fPIC -O1 -o $dir/world.so $dir/world.c -ldl") != 0;
	my $self = bless { dir => $dir, clock => 0, name => '', address => '' }, $class;
	$self->set;
	return $self;
}

# set(clock => SECONDS, name => NAME, address => TEXT): in place, it is mapped
sub set
{
	my ($self, %world) = @_;
	$self->{$_} = $world{$_} for keys %world;
	my $new = !-e "$self->{dir}/world";
	open my $fh, $new ? '>' : '+<', "$self->{dir}/world" or die "$self->{dir}: $!";
	print $fh pack 'q a64 a64', $self->{clock}, $self->{name}, $self->{address};
	close $fh;
	chmod 0644, "$self->{dir}/world";
	return;
}

# start(NODE): with the library
sub start
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = "$self->{dir}/world.so";
	local $ENV{CONCORD_TEST_WORLD} = "$self->{dir}/world";
	$node->start;
	return;
}

1;
