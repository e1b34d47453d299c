/*-------------------------------------------------------------------------
 *
 * receive_verify.c
 *	  Whose message is it, and was it sent by that system?
 *
 * The secret is of the mapping's definer, in his user mapping.  Where he has
 * none, nobody but he, and who may act as he, can hand messages over: then the
 * front vouches for them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <time.h>

#include "auth/auth.h"
#include "catalog/server_options.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "inbound/receive.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* vfy_receiver makes a receiver of a mapping. */
static ConcordReceiver *
vfy_receiver(ConcordMapping *mapping)
{
	ConcordReceiver *receiver = palloc0(sizeof(ConcordReceiver));
	ConcordServer *server = concord_server_load(mapping->serverid,
												CurrentMemoryContext);

	receiver->mapping = mapping;
	receiver->receiving =
		concord_receiving_of(server->connector, mapping->options.receive,
							 &receiver->object);
	return receiver;
}

/* vfy_of_server gives the mappings of a server that receive. */
static List *
vfy_of_server(Oid serverid)
{
	List	   *receivers = NIL;
	ListCell   *lc;
	ConcordCatalogScope scope;
	List	   *mappings;
	MemoryContext context = CurrentMemoryContext;

	concord_catalog_enter(&scope);
	mappings = concord_mapping_load(context);
	concord_catalog_leave(&scope);
	foreach(lc, mappings)
	{
		ConcordMapping *mapping = lfirst(lc);

		if (mapping->serverid == serverid && mapping->options.receive != NULL)
			receivers = lappend(receivers, vfy_receiver(mapping));
	}
	return receivers;
}

/* concord_receivers gives the mappings that a name stands for. */
List *
concord_receivers(const char *name)
{
	ConcordMapping *mapping = concord_mapping_find(name, CurrentMemoryContext);
	ForeignServer *server;
	List	   *receivers = NIL;

	if (mapping != NULL && mapping->options.receive != NULL)
		return list_make1(vfy_receiver(mapping));
	server = mapping != NULL ? NULL : GetForeignServerByName(name, true);
	if (mapping == NULL && server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is neither a mapping nor a server \"%s\"", name)));
	if (server != NULL)
		receivers = vfy_of_server(server->serverid);
	if (receivers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 server == NULL ?
				 errmsg("mapping \"%s\" does not receive messages", name) :
				 errmsg("no mapping of server \"%s\" receives messages", name),
				 errhint("Give a mapping option receive, as in concord.alter_mapping(name, options => '{\"receive\": {}}').")));
	return receivers;
}

/* vfy_refuse raises, without saying more than a stranger should know. */
static void
vfy_refuse(const char *name, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("the message for \"%s\" was refused: %s", name, why)));
}

/* vfy_fresh refuses a message that is too old, or of the future. */
static void
vfy_fresh(const ConcordReceiving *receiving, const char *name,
		  const ConcordIncoming *message)
{
	char	   *text = concord_message_value(message, &receiving->timestamp, NULL, 0);
	char	   *end;
	long long	at;

	if (receiving->timestamp.where == CONCORD_IN_NOTHING)
		return;
	at = text == NULL ? 0 : strtoll(text, &end, 10);
	if (text == NULL || end == text || *end != '\0')
		vfy_refuse(name, "it does not say when it was sent");
	if (llabs((long long) time(NULL) - at) > receiving->tolerance)
		vfy_refuse(name, psprintf("it was sent more than %d seconds ago, or will be",
								  receiving->tolerance));
}

/* vfy_signed says whether a message was signed as a receiver's has to be. */
static bool
vfy_signed(const ConcordReceiver *receiver, const ConcordAuth *auth,
		   const ConcordIncoming *message)
{
	const ConcordReceiving *receiving = receiver->receiving;
	ConcordSigned given = {
		.prefix = receiving->prefix,.separator = receiving->separator,
		.token = receiving->token,.hex = receiving->hex,
		.base64_secret = receiving->base64_secret,
	};
	List	   *notices;
	ListCell   *lc;

	if (receiving->signature.where != CONCORD_IN_ITEM)
	{
		given.signature = concord_message_value(message, &receiving->signature,
												NULL, 0);
		if (!given.token)
			given.bytes = concord_message_signed(receiving, message, &given.len);
		return concord_auth_signed(auth, &given);
	}
	notices = concord_message_notices(receiving, message);
	foreach(lc, notices)
	{
		given.signature = ((ConcordNotice *) lfirst(lc))->signature;
		if (!concord_auth_signed(auth, &given))
			return false;
	}
	return notices != NIL;
}

/* vfy_accepts says whether a message may be taken for a receiver. */
static bool
vfy_accepts(const ConcordReceiver *receiver, const char *name,
			const ConcordIncoming *message, const char **why)
{
	const ConcordMapping *mapping = receiver->mapping;
	ConcordAuth *auth = concord_auth_load(mapping->serverid, mapping->definer,
										  CurrentMemoryContext);

	if (!concord_auth_receives(auth))
	{
		*why = "there is no secret to check it with, and you may not vouch for it";
		return has_privs_of_role(GetUserId(), mapping->definer);
	}
	*why = "its signature is wrong or missing";
	if (receiver->receiving->signature.where == CONCORD_IN_NOTHING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the connector of server \"%s\" does not say where messages have a signature",
						mapping->server),
				 errhint("Say it in the mapping's option receive: {\"signature\": \"header:...\"}, or take receive_secret from the user mapping.")));
	if (!vfy_signed(receiver, auth, message))
		return false;
	vfy_fresh(receiver->receiving, name, message);
	return true;
}

/* concord_receive_verify gives the receivers that a message is for. */
List *
concord_receive_verify(List *receivers, const char *name,
					   const ConcordIncoming *message)
{
	List	   *accepted = NIL;
	const char *why = NULL;
	ListCell   *lc;

	foreach(lc, receivers)
	{
		if (vfy_accepts(lfirst(lc), name, message, &why))
			accepted = lappend(accepted, lfirst(lc));
	}
	if (accepted == NIL)
		vfy_refuse(name, why);
	return accepted;
}
