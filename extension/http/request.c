/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Requests, and the easy handles that carry them.
 *
 * Handles are expensive to make and cheap to reuse: what never changes is set
 * once, what belongs to a server only when the handle served another one
 * before.  Nothing here raises an error after libcurl has been given a
 * pointer, except out of memory before a transfer starts.
 *
 * What libcurl may not do: follow redirects, leave http and https, read the
 * environment's proxies, wait for a resolver thread when a transfer ends, and
 * repeat a request by itself.  It does repeat one whose reused connection
 * broke before the answer began; that may be a second create, so that the
 * callback before sending stops the repetition and the transfer is unknown.
 *
 * Connections are shared by all servers at one address, so that callback also
 * judges the address again: another server's connection is no way around the
 * policy.  What a proxy is asked to contact we cannot judge where it has a name,
 * only where it is an address.
 *
 * Names are looked up again after REQ_DNS_S and connections end after
 * REQ_CONNECTION_S, also busy ones, so that a system that has moved is followed.
 *
 *-------------------------------------------------------------------------
 */
#include "http/transfer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/settings.h"
#include "utils/memutils.h"

#define REQ_USER_AGENT		"pg_concord/" CONCORD_VERSION
#define REQ_AGENT_LINE		"User-Agent: " REQ_USER_AGENT
#define REQ_HEADER_STEP		16

/* Bodies beyond this have libcurl ask first whether they may be sent. */
#define REQ_EXPECT_SIZE		1024

/* How long an address and a connection are used, in seconds. */
#define REQ_DNS_S			30
#define REQ_CONNECTION_S	300

/* Buffers beyond this are given back after use. */
#define REQ_BUFFER_KEEP		(64 * 1024)

/* concord_request_create makes an empty request in its own context. */
ConcordRequest *
concord_request_create(MemoryContext context)
{
	/* one block is enough for most, and contexts of this size are reused */
	MemoryContext mine = AllocSetContextCreate(context, "concord request",
											   ALLOCSET_DEFAULT_SIZES);
	ConcordRequest *request = concord_request_create_in(mine);

	request->shared = false;
	return request;
}

ConcordRequest *
concord_request_create_in(MemoryContext context)
{
	ConcordRequest *request = MemoryContextAllocZero(context,
													 sizeof(ConcordRequest));

	request->context = context;
	request->shared = true;
	request->verify = true;
	request->timeout_ms = 30000;
	request->connect_timeout_ms = 5000;
	return request;
}

const uint8 *
concord_request_digest(ConcordRequest *request)
{
	if (request->digested == NULL || request->digested != request->body)
		concord_sha256(request->body ? request->body : "", request->body_len,
					   request->digest);
	request->digested = request->body;
	return request->digest;
}

/* concord_request_header adds a header; control characters become spaces. */
void
concord_request_header(ConcordRequest *request, const char *name,
					   const char *value)
{
	Size		name_len = strlen(name) + 1;
	Size		value_len = strlen(value) + 1;
	char	   *mine = MemoryContextAlloc(request->context, name_len + value_len);
	ConcordHeader *header;

	if (request->nheaders == request->maxheaders)
	{
		request->maxheaders += REQ_HEADER_STEP;
		if (request->headers == NULL)
			request->headers = MemoryContextAlloc(request->context,
												  sizeof(ConcordHeader) *
												  request->maxheaders);
		else
			request->headers = repalloc(request->headers,
										sizeof(ConcordHeader) *
										request->maxheaders);
	}
	header = &request->headers[request->nheaders++];
	header->name = memcpy(mine, name, name_len);
	header->value = memcpy(mine + name_len, value, value_len);
	/* a line end in a value would be another header, here or in a batch */
	for (char *p = header->value; *p; p++)
	{
		if (((unsigned char) *p < ' ' && *p != '\t') || *p == 0x7F)
			*p = ' ';
	}
}

bool
concord_request_has_header(const ConcordRequest *request, const char *name)
{
	for (int i = 0; i < request->nheaders; i++)
	{
		if (pg_strcasecmp(request->headers[i].name, name) == 0)
			return true;
	}
	return false;
}

/* concord_request_set_header adds a header unless the request has it. */
void
concord_request_set_header(ConcordRequest *request, const char *name,
						   const char *value)
{
	if (!concord_request_has_header(request, name))
		concord_request_header(request, name, value);
}

/* concord_request_free frees a request that is not in flight. */
void
concord_request_free(ConcordRequest *request)
{
	Assert(request->transfer == NULL);
	if (!request->shared)
		MemoryContextDelete(request->context);
}

/* req_on_socket opens a socket to an address that the policy allows. */
static curl_socket_t
req_on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	ConcordTransferState *transfer = arg;
	const void *bytes = NULL;

	if (concord_address_allowed(&address->addr,
								transfer->request->private_allowed,
								concord_allowed_networks))
	{
		int			fd = socket(address->family,
								address->socktype | SOCK_CLOEXEC,
								address->protocol);

		if (fd < 0)
			return CURL_SOCKET_BAD;
		concord_loop_socket_opened(transfer->http, fd);
		return fd;
	}

	if (address->family == AF_INET)
		bytes = &((struct sockaddr_in *) &address->addr)->sin_addr;
	else if (address->family == AF_INET6)
		bytes = &((struct sockaddr_in6 *) &address->addr)->sin6_addr;
	if (bytes != NULL)
		inet_ntop(address->family, bytes, transfer->refused_address,
				  sizeof(transfer->refused_address));
	transfer->refused = true;
	transfer->refused_always = !concord_address_allowed(&address->addr, true,
														NULL);
	return CURL_SOCKET_BAD;
}

/*
 * req_before_send is called when a connection is ready and the request is
 * about to be sent, also when libcurl is about to send it again.
 */
static int
req_before_send(void *arg, char *primary_ip, char *local_ip, int primary_port,
				int local_port)
{
	ConcordTransferState *transfer = arg;

	if (!concord_address_allowed_text(primary_ip,
									  transfer->request->private_allowed,
									  concord_allowed_networks))
	{
		transfer->refused = true;
		transfer->refused_always = !concord_address_allowed_text(primary_ip, true,
																 NULL);
		strlcpy(transfer->refused_address, primary_ip,
				sizeof(transfer->refused_address));
		return CURL_PREREQFUNC_ABORT;
	}
	if (transfer->begun && strcmp(transfer->request->method, "GET") != 0 &&
		strcmp(transfer->request->method, "HEAD") != 0)
	{
		transfer->lost = true;
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->begun = true;
	return CURL_PREREQFUNC_OK;
}

/* concord_transfer_create makes a handle; NULL where memory is short. */
ConcordTransferState *
concord_transfer_create(ConcordHttp *http)
{
	ConcordTransferState *transfer = calloc(1, sizeof(ConcordTransferState));
	CURL	   *easy;

	if (transfer == NULL)
		return NULL;
	transfer->http = http;
	transfer->easy = easy = curl_easy_init();
	if (easy == NULL)
	{
		free(transfer);
		return NULL;
	}

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION,
					 (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long) REQ_DNS_S);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long) REQ_CONNECTION_S);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, req_on_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, concord_loop_on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, req_before_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, concord_response_on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, concord_response_on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	return transfer;
}

/* concord_transfer_destroy frees a handle; it is in no multi handle. */
void
concord_transfer_destroy(ConcordTransferState *transfer)
{
	curl_easy_cleanup(transfer->easy);
	free(transfer->headers.data);
	free(transfer->body.data);
	curl_url_cleanup(transfer->parsed);
	free(transfer->url);
	free(transfer->ca_file);
	free(transfer->cert_file);
	free(transfer->key_file);
	free(transfer->proxy);
	free(transfer);
}

/* req_same compares texts that may be NULL. */
static bool
req_same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* req_keep replaces a remembered text. */
static void
req_keep(char **kept, const char *value)
{
	free(*kept);
	*kept = value != NULL ? strdup(value) : NULL;
}

/* req_prepare_server sets what belongs to the server, where it differs. */
static void
req_prepare_server(ConcordTransferState *t, const ConcordRequest *r)
{
	CURL	   *easy = t->easy;

	if (t->prepared && t->verify == r->verify && t->http2 == r->http2 &&
		req_same(t->ca_file, r->ca_file) &&
		req_same(t->cert_file, r->cert_file) &&
		req_same(t->key_file, r->key_file) && req_same(t->proxy, r->proxy))
		return;

	/* without TLS never: libcurl 7.88 fails to use such a connection again */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, r->http2 ?
					 (long) CURL_HTTP_VERSION_2TLS :
					 (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, r->verify ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, r->verify ? 2L : 0L);
	if (r->ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, r->ca_file);
	else if (t->ca_file != NULL)
	{
		curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

		curl_easy_setopt(easy, CURLOPT_CAINFO, info->cainfo);
	}
	curl_easy_setopt(easy, CURLOPT_SSLCERT, r->cert_file);
	curl_easy_setopt(easy, CURLOPT_SSLKEY, r->key_file);
	/* "" keeps libcurl from looking into the environment */
	curl_easy_setopt(easy, CURLOPT_PROXY, r->proxy ? r->proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	/* a proxy is told by libcurl; others by our list of headers */
	curl_easy_setopt(easy, CURLOPT_USERAGENT, r->proxy ? REQ_USER_AGENT : NULL);

	t->prepared = true;
	t->verify = r->verify;
	t->http2 = r->http2;
	req_keep(&t->ca_file, r->ca_file);
	req_keep(&t->cert_file, r->cert_file);
	req_keep(&t->key_file, r->key_file);
	req_keep(&t->proxy, r->proxy);
}

/* req_prepare_method sets method and body. */
static void
req_prepare_method(CURL *easy, const ConcordRequest *r)
{
	bool		head = strcmp(r->method, "HEAD") == 0;
	bool		bare = r->body == NULL && strcmp(r->method, "POST") != 0 &&
		strcmp(r->method, "PUT") != 0 && strcmp(r->method, "PATCH") != 0;

	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
	if (head)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else if (bare)
	{
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		if (strcmp(r->method, "GET") != 0)
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	}
	else
	{
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body ? r->body : "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
						 (curl_off_t) (r->body ? r->body_len : 0));
		if (strcmp(r->method, "POST") != 0)
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	}
}

/*
 * req_known says whether libcurl looks for a header by name, to change what it
 * does or to leave out its own.
 */
static bool
req_known(const char *name)
{
	static const char *const known[] = {
		"Accept", "Accept-Encoding", "Authorization", "Connection",
		"Content-Length", "Content-Type", "Cookie", "Date", "Expect", "Host",
		"Proxy-Authorization", "Proxy-Connection", "Range", "Referer", "TE",
		"Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
	};

	char		first = pg_ascii_toupper((unsigned char) name[0]);
	char		second;

	if (first == '\0')
		return false;
	second = pg_ascii_tolower((unsigned char) name[1]);
	for (int i = 0; i < lengthof(known); i++)
	{
		/* most are told apart by two letters */
		if (first == known[i][0] &&
			second == pg_ascii_tolower((unsigned char) known[i][1]) &&
			pg_strcasecmp(name, known[i]) == 0)
			return true;
	}
	return false;
}

/* req_line writes a header and returns the end of what it has written. */
static char *
req_line(char *out, const ConcordHeader *header, const char *separator)
{
	Size		name_len = strlen(header->name);
	Size		value_len = strlen(header->value);
	Size		separator_len = strlen(separator);

	memcpy(out, header->name, name_len);
	memcpy(out + name_len, separator, separator_len);
	out += name_len + separator_len;
	memcpy(out, header->value, value_len + 1);
	return out + value_len;
}

/*
 * req_header_list writes the headers as the list that libcurl reads.  libcurl
 * goes through the list for every header that it knows, and formats every
 * element; headers that it does not know stand in one element, with line ends
 * between them, and are sent as they stand.  So does its User-Agent, which it
 * would format twice, and what it says by itself is left out.
 */
static struct curl_slist *
req_header_list(ConcordRequest *r)
{
	struct curl_slist *nodes;
	char	   *others;
	char	   *out;
	Size		size = sizeof(REQ_AGENT_LINE) + 2;
	bool		has_type = false;
	bool		has_agent = r->proxy != NULL;
	int			n = 0;

	nodes = MemoryContextAlloc(r->context,
							   sizeof(struct curl_slist) * (r->nheaders + 3));
	for (int i = 0; i < r->nheaders; i++)
		size += strlen(r->headers[i].name) + strlen(r->headers[i].value) + 4;
	others = out = MemoryContextAlloc(r->context, size);
	for (int i = 0; i < r->nheaders; i++)
	{
		const ConcordHeader *header = &r->headers[i];
		bool		empty = header->value[0] == '\0';

		if (!empty && !req_known(header->name))
		{
			if (out > others)
			{
				memcpy(out, "\r\n", 2);
				out += 2;
			}
			out = req_line(out, header, ": ");
			continue;
		}
		if (strcmp(header->value, "*/*") == 0 &&
			pg_strcasecmp(header->name, "Accept") == 0)
			continue;			/* libcurl's own */
		nodes[n].data = MemoryContextAlloc(r->context,
										   strlen(header->name) +
										   strlen(header->value) + 3);
		/* a semicolon tells libcurl of a header without a value */
		(void) req_line(nodes[n++].data, header, empty ? ";" : ": ");
		has_type |= pg_strcasecmp(header->name, "Content-Type") == 0;
		has_agent |= pg_strcasecmp(header->name, "User-Agent") == 0;
	}
	if (!has_agent)
	{
		if (out > others)
		{
			memcpy(out, "\r\n", 2);
			out += 2;
		}
		memcpy(out, REQ_AGENT_LINE, sizeof(REQ_AGENT_LINE));
		out += sizeof(REQ_AGENT_LINE) - 1;
	}
	if (out > others)
		nodes[n++].data = others;
	if (r->body != NULL && r->body_len > REQ_EXPECT_SIZE)
		nodes[n++].data = "Expect:";
	if (!has_type)
		nodes[n++].data = "Content-Type:";
	for (int i = 0; i < n; i++)
		nodes[i].next = i + 1 < n ? &nodes[i + 1] : NULL;
	return nodes;
}

/*
 * req_behind_proxy_allowed judges where a proxy is asked to go, as far as the
 * request says so: an address, or the proxy's own host.
 */
static bool
req_behind_proxy_allowed(ConcordTransferState *transfer,
						 const ConcordRequest *r)
{
	CURLU	   *url = curl_url();
	char	   *host = NULL;
	char	   *address;
	Size		len;
	unsigned char bytes[16];
	bool		allowed = true;

	if (url == NULL || curl_url_set(url, CURLUPART_URL, r->url, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
	{
		curl_url_cleanup(url);
		return true;			/* which libcurl will not send */
	}
	address = host;
	len = strlen(host);
	while (len > 0 && host[len - 1] == '.')
		host[--len] = '\0';
	if (*host == '[' && host[len - 1] == ']')
	{
		host[len - 1] = '\0';
		address = host + 1;
	}
	if (pg_strcasecmp(host, "localhost") == 0 ||
		(len > 10 && pg_strcasecmp(host + len - 10, ".localhost") == 0))
		address = "127.0.0.1";
	if (inet_pton(AF_INET, address, bytes) == 1 ||
		inet_pton(AF_INET6, address, bytes) == 1)
		allowed = concord_address_allowed_text(address, r->private_allowed,
											   concord_allowed_networks);
	if (!allowed)
	{
		transfer->refused = true;
		transfer->refused_always = !concord_address_allowed_text(address, true,
																 NULL);
		strlcpy(transfer->refused_address, address,
				sizeof(transfer->refused_address));
	}
	curl_free(host);
	curl_url_cleanup(url);
	return allowed;
}

/*
 * req_prepare_url sets the address.  A text libcurl parses for each transfer and
 * writes out again; of what is parsed it copies the parts.  What cannot be
 * parsed it gets as a text: it says what is wrong.
 */
static bool
req_prepare_url(ConcordTransferState *t, const ConcordRequest *r)
{
	if (req_same(t->url, r->url))
		return true;
	req_keep(&t->url, r->url);
	if (t->url == NULL)
		return false;
	if (t->parsed == NULL)
		t->parsed = curl_url();
	/* what is not whole would be taken as relative to the one before */
	if (t->parsed != NULL && (strncmp(t->url, "http://", 7) == 0 ||
							  strncmp(t->url, "https://", 8) == 0) &&
		curl_url_set(t->parsed, CURLUPART_URL, t->url,
					 CURLU_PATH_AS_IS | CURLU_DISALLOW_USER) == CURLUE_OK)
		return curl_easy_setopt(t->easy, CURLOPT_CURLU, t->parsed) == CURLE_OK;
	return curl_easy_setopt(t->easy, CURLOPT_CURLU, NULL) == CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_URL, t->url) == CURLE_OK;
}

/*
 * concord_transfer_prepare sets a handle up for a request; false where libcurl
 * has no memory, or, with transfer->refused, where a proxy would be asked for
 * an address that the policy refuses.
 */
bool
concord_transfer_prepare(ConcordTransferState *transfer,
						 ConcordRequest *request)
{
	CURL	   *easy = transfer->easy;

	transfer->request = request;
	transfer->headers.len = 0;
	transfer->body.len = 0;
	transfer->error[0] = '\0';
	transfer->begun = false;
	transfer->refused = false;
	transfer->refused_address[0] = '\0';
	transfer->head_ended = false;
	transfer->too_large = false;
	transfer->out_of_memory = false;
	transfer->lost = false;
	transfer->slist = req_header_list(request);
	if (request->proxy != NULL && !req_behind_proxy_allowed(transfer, request))
		return false;

	req_prepare_server(transfer, request);
	req_prepare_method(easy, request);
	/* what a HEAD tells the length of does not come */
	curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
					 strcmp(request->method, "HEAD") == 0 ? (curl_off_t) 0 :
					 (curl_off_t) concord_response_limit(request));
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->slist);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) request->connect_timeout_ms);
	return req_prepare_url(transfer, request);
}

/* req_trim gives a large buffer back. */
static void
req_trim(ConcordBuffer *buffer)
{
	buffer->len = 0;
	if (buffer->size <= REQ_BUFFER_KEEP)
		return;
	free(buffer->data);
	buffer->data = NULL;
	buffer->size = 0;
}

/* concord_transfer_release makes a handle forget its request. */
void
concord_transfer_release(ConcordTransferState *transfer)
{
	transfer->request->transfer = NULL;
	transfer->request = NULL;
	transfer->slist = NULL;
	req_trim(&transfer->headers);
	req_trim(&transfer->body);
}
