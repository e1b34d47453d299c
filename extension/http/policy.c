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
 * IPv6 addresses that carry an IPv4 address (mapped, compatible, translated,
 * NAT64, 6to4, Teredo) are judged by it.  A connection that is kept open is
 * judged again for each request: it may have been opened for a server that was
 * allowed more.  Called from callbacks of libcurl: nothing here may raise an
 * error or allocate with palloc.
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
	const char *text;
	int			bits;
	PolAddress	address;		/* len 0: not read yet */
} PolNetwork;

static PolNetwork pol_refused[] = {
	{"169.254.0.0", 16},		/* link-local; metadata of most clouds */
	{"100.100.100.200", 32},	/* metadata: Alibaba */
	{"168.63.129.16", 32},		/* metadata: Azure */
	{"192.0.0.0", 24},			/* metadata: Oracle; protocol assignments */
	{"224.0.0.0", 4},			/* multicast */
	{"240.0.0.0", 4},			/* reserved, broadcast */
	{"fd00:ec2::254", 128},		/* metadata: AWS */
	{"fd00:ec2::23", 128},		/* credentials of pods: AWS */
	{"fd20:ce::254", 128},		/* metadata: Google */
	{"fd00:42::42", 128},		/* metadata: Scaleway */
	{"64:ff9b:1::", 48},		/* NAT64 of a network's own: may hide any */
	{"fe80::", 10},				/* link-local */
	{"ff00::", 8},				/* multicast */
};

static PolNetwork pol_private[] = {
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
	static const unsigned char prefixes[][12] = {
		{[10] = 0xFF,[11] = 0xFF},	/* mapped: ::ffff:a.b.c.d */
		{[8] = 0xFF,[9] = 0xFF},	/* translated: ::ffff:0:a.b.c.d */
		{0x00, 0x64, 0xFF, 0x9B},	/* NAT64: 64:ff9b::a.b.c.d */
		{0},					/* compatible: ::a.b.c.d */
	};
	static const unsigned char teredo[4] = {0x20, 0x01, 0x00, 0x00};
	unsigned char *bytes = address->bytes;
	int			at = -1;

	/* :: and ::1 are themselves */
	if (address->len != 16 || (memcmp(bytes, prefixes[3], 12) == 0 &&
							   memcmp(bytes + 12, "\0\0\0", 3) == 0 &&
							   bytes[15] <= 1))
		return;
	for (int i = 0; i < lengthof(prefixes); i++)
	{
		if (memcmp(bytes, prefixes[i], 12) == 0)
			at = 12;
	}
	if (bytes[0] == 0x20 && bytes[1] == 0x02)	/* 6to4 */
		at = 2;
	if (memcmp(bytes, teredo, sizeof(teredo)) == 0)
	{
		at = 12;
		for (int i = 12; i < 16; i++)
			bytes[i] ^= 0xFF;
	}
	if (at < 0)
		return;
	memmove(bytes, bytes + at, 4);
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
pol_in_table(const PolAddress *address, PolNetwork *table, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (table[i].address.len == 0)
			(void) pol_parse(table[i].text, &table[i].address);
		if (pol_inside(address, &table[i].address, table[i].bits))
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

/* pol_allowed judges an address. */
static bool
pol_allowed(PolAddress *address, bool private_allowed,
			const char *allowed_networks)
{
	pol_embedded(address);
	if (pol_in_table(address, pol_refused, lengthof(pol_refused)))
		return false;
	if (!pol_in_table(address, pol_private, lengthof(pol_private)))
		return true;
	return private_allowed || pol_in_list(address, allowed_networks);
}

/*
 * concord_address_allowed_text judges an address that is a text; what is none
 * is refused.
 */
bool
concord_address_allowed_text(const char *address, bool private_allowed,
							 const char *allowed_networks)
{
	PolAddress	a;

	return pol_parse(address, &a) &&
		pol_allowed(&a, private_allowed, allowed_networks);
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
	return pol_allowed(&a, private_allowed, allowed_networks);
}
