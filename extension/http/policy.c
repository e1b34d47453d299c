/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  Which addresses a request may go to.
 *
 * Judged is the address that a name was resolved to, at the moment of the
 * connection, so that no name and no second resolution gets around it:
 *
 *	always refused	metadata services of clouds, link-local, multicast,
 *					broadcast and reserved addresses
 *	private			loopback, private and shared networks: where the server
 *					belongs to a superuser, or pg_concord.allowed_networks has
 *					the address
 *	public			allowed
 *
 * IPv6 addresses that carry an IPv4 address (mapped, NAT64, 6to4) are judged
 * by it.  Called from a callback of libcurl: nothing here may raise an error
 * or allocate with palloc.
 *
 *-------------------------------------------------------------------------
 */
#include "http/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* An address: 4 or 16 bytes in network order. */
typedef struct PolAddress
{
	int			len;
	unsigned char bytes[16];
} PolAddress;

typedef struct PolNetwork
{
	const char *address;
	int			bits;
} PolNetwork;

static const PolNetwork pol_refused[] = {
	{"169.254.0.0", 16},		/* link-local; metadata of most clouds */
	{"100.100.100.200", 32},	/* metadata: Alibaba */
	{"168.63.129.16", 32},		/* metadata: Azure */
	{"192.0.0.0", 24},			/* metadata: Oracle; protocol assignments */
	{"224.0.0.0", 4},			/* multicast */
	{"240.0.0.0", 4},			/* reserved, broadcast */
	{"fd00:ec2::254", 128},		/* metadata: AWS */
	{"fd20:ce::254", 128},		/* metadata: Google */
	{"fe80::", 10},				/* link-local */
	{"ff00::", 8},				/* multicast */
};

static const PolNetwork pol_private[] = {
	{"0.0.0.0", 8},				/* this host */
	{"10.0.0.0", 8},
	{"100.64.0.0", 10},			/* shared by carriers */
	{"127.0.0.0", 8},
	{"172.16.0.0", 12},
	{"192.168.0.0", 16},
	{"198.18.0.0", 15},			/* benchmarks */
	{"::", 128},
	{"::1", 128},
	{"fc00::", 7},				/* unique local */
	{"fec0::", 10},				/* site-local */
};

/* pol_parse reads a literal address. */
static bool
pol_parse(const char *text, PolAddress *address)
{
	if (inet_pton(AF_INET, text, address->bytes) == 1)
		address->len = 4;
	else if (inet_pton(AF_INET6, text, address->bytes) == 1)
		address->len = 16;
	else
		return false;
	return true;
}

/* pol_embedded makes an IPv6 address that carries an IPv4 address that one. */
static void
pol_embedded(PolAddress *address)
{
	static const unsigned char mapped[12] = {[10] = 0xFF,[11] = 0xFF};
	static const unsigned char nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
	int			at;

	if (address->len != 16)
		return;
	if (memcmp(address->bytes, mapped, 12) == 0 ||
		memcmp(address->bytes, nat64, 12) == 0)
		at = 12;
	else if (address->bytes[0] == 0x20 && address->bytes[1] == 0x02)
		at = 2;
	else
		return;
	memmove(address->bytes, address->bytes + at, 4);
	address->len = 4;
}

/* pol_inside says whether an address is in a network. */
static bool
pol_inside(const PolAddress *address, const PolAddress *network, int bits)
{
	int			whole = bits / 8;
	int			rest = bits % 8;

	if (address->len != network->len || bits < 0 || bits > address->len * 8)
		return false;
	if (memcmp(address->bytes, network->bytes, whole) != 0)
		return false;
	return rest == 0 ||
		((address->bytes[whole] ^ network->bytes[whole]) >> (8 - rest)) == 0;
}

/* pol_in_table says whether an address is in one of the table's networks. */
static bool
pol_in_table(const PolAddress *address, const PolNetwork *table, int n)
{
	for (int i = 0; i < n; i++)
	{
		PolAddress	network;

		if (pol_parse(table[i].address, &network) &&
			pol_inside(address, &network, table[i].bits))
			return true;
	}
	return false;
}

/*
 * pol_in_list says whether an address is in one of the networks of a setting:
 * addresses with or without /bits, separated by commas or blanks.
 */
static bool
pol_in_list(const PolAddress *address, const char *list)
{
	while (list != NULL && *list)
	{
		char		item[INET6_ADDRSTRLEN + 5];
		size_t		len;
		char	   *slash;
		PolAddress	network;

		list += strspn(list, ", \t\n\"");
		len = strcspn(list, ", \t\n\"");
		if (len > 0 && len < sizeof(item))
		{
			memcpy(item, list, len);
			item[len] = '\0';
			slash = strchr(item, '/');
			if (slash != NULL)
				*slash = '\0';
			if (pol_parse(item, &network) &&
				pol_inside(address, &network,
						   slash ? atoi(slash + 1) : network.len * 8))
				return true;
		}
		list += len;
	}
	return false;
}

/* concord_address_allowed judges a socket address. */
bool
concord_address_allowed(const struct sockaddr *address, bool private_allowed,
						const char *allowed_networks)
{
	PolAddress	a;

	if (address->sa_family == AF_INET)
	{
		a.len = 4;
		memcpy(a.bytes, &((const struct sockaddr_in *) address)->sin_addr, 4);
	}
	else if (address->sa_family == AF_INET6)
	{
		a.len = 16;
		memcpy(a.bytes, &((const struct sockaddr_in6 *) address)->sin6_addr, 16);
	}
	else
		return false;
	pol_embedded(&a);

	if (pol_in_table(&a, pol_refused, lengthof(pol_refused)))
		return false;
	if (!pol_in_table(&a, pol_private, lengthof(pol_private)))
		return true;
	return private_allowed || pol_in_list(&a, allowed_networks);
}
