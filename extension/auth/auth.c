/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  Credentials of a user mapping: check, load, apply, redact.
 *
 * GetUserMapping() falls back to PUBLIC's mapping and checks no privilege, so
 * it is not used here: a definer acts with its own user mapping or with none,
 * and needs USAGE on the server each time credentials are loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "base/json.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "catalog/server_options.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static const ConcordAuthScheme *const auth_schemes[] = {
	&concord_auth_none,
	&concord_auth_basic,
	&concord_auth_bearer,
	&concord_auth_header,
	&concord_auth_hmac,
	&concord_auth_oauth2,
	&concord_auth_oauth2_refresh,
	&concord_auth_oauth2_jwt,
	&concord_auth_oauth2_saml,
	&concord_auth_oauth1,
	&concord_auth_sigv4,
	&concord_auth_session,
};

/* auth_find returns the scheme of a name; raises where there is none. */
static const ConcordAuthScheme *
auth_find(const char *name)
{
	const char *names[lengthof(auth_schemes)];
	const char *closest;

	for (int i = 0; i < lengthof(auth_schemes); i++)
	{
		if (strcmp(auth_schemes[i]->name, name) == 0)
			return auth_schemes[i];
		names[i] = auth_schemes[i]->name;
	}
	closest = concord_option_closest(name, names, lengthof(auth_schemes));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("auth \"%s\" is not known", name),
			 closest != NULL ?
			 errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("It may be none, basic, bearer, header, hmac, oauth2, oauth2_refresh, oauth2_jwt, oauth2_saml, oauth1, sigv4 or session.")));
	return NULL;				/* keep compiler quiet */
}

/* auth_listed says whether an option is one of the names in a|b|c. */
static bool
auth_listed(const char *list, const char *option)
{
	size_t		len = strlen(option);

	while (list != NULL)
	{
		if (strncmp(list, option, len) == 0 &&
			(list[len] == '|' || list[len] == '\0'))
			return true;
		list = strchr(list, '|');
		if (list != NULL)
			list++;
	}
	return false;
}

/*
 * Options that go with every scheme: a client certificate of the role's own, and
 * what the system signs its messages with.
 */
static const char *const auth_common[] = {
	"cert_file", "key_file", "receive_secret", "receive_secret_file",
	"previous_receive_secret", "previous_receive_secret_file",
};

/* auth_takes says whether a scheme knows an option. */
static bool
auth_takes(const ConcordAuthScheme *scheme, const char *option)
{
	for (int i = 0; i < lengthof(auth_common); i++)
	{
		if (strcmp(auth_common[i], option) == 0)
			return true;
	}
	for (const char *const *p = scheme->required; *p; p++)
	{
		if (auth_listed(*p, option))
			return true;
	}
	for (const char *const *p = scheme->optional; *p; p++)
	{
		if (strcmp(*p, option) == 0)
			return true;
	}
	return false;
}

/* auth_check_required raises unless one and only one of a|b|c is given. */
static void
auth_check_required(const ConcordAuthScheme *scheme, const char *list,
					List *options)
{
	ListCell   *lc;
	const char *given = NULL;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (!auth_listed(list, def->defname))
			continue;
		if (given != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("options \"%s\" and \"%s\" are alternatives",
							given, def->defname)));
		given = def->defname;
	}
	if (given == NULL)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (const char *p = list; *p; p++)
		{
			if (*p == '|')
				appendStringInfoString(&names, "\" or \"");
			else
				appendStringInfoChar(&names, *p);
		}
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("auth \"%s\" needs option \"%s\"", scheme->name,
						names.data)));
	}
}

/* concord_auth_check checks a user mapping's options as a whole. */
void
concord_auth_check(List *options)
{
	const char *name = concord_option_get(options, "auth");
	const ConcordAuthScheme *scheme = auth_find(name ? name : "none");
	const char *const *p;
	const char *secrets[] = {"secret", "previous_secret"};
	ListCell   *lc;

	if (name == NULL && options != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is missing", "auth"),
				 errhint("Say how to authenticate: auth 'basic', 'bearer', 'header', 'hmac', 'oauth2', 'oauth2_refresh', 'oauth2_jwt', 'oauth2_saml', 'oauth1', 'sigv4', 'session' or 'none'.")));

	for (p = scheme->required; *p; p++)
		auth_check_required(scheme, *p, options);
	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, "auth") != 0 &&
			!auth_takes(scheme, def->defname))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("auth \"%s\" does not take option \"%s\"",
							scheme->name, def->defname)));
	}
	if (concord_option_get(options, "key_file") != NULL &&
		concord_option_get(options, "cert_file") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" needs option \"%s\"", "key_file",
						"cert_file")));
	if (scheme->check != NULL)
		scheme->check(options);
	for (int i = 0; scheme == &concord_auth_hmac && i < lengthof(secrets); i++)
	{
		const char *secret = concord_option_get(options, secrets[i]);
		int			len;

		if (secret != NULL &&
			concord_hmac_key(secret, strlen(secret), &len) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", secrets[i]),
					 errhint("A secret is base64 of at least 16 bytes, better 24, with or without \"whsec_\" in front.")));
	}
}

/* auth_user_options reads the options of one role's own user mapping. */
static List *
auth_user_options(Oid serverid, Oid roleid)
{
	HeapTuple	tup;
	Datum		datum;
	bool		isnull;
	List	   *options = NIL;

	tup = SearchSysCache2(USERMAPPINGUSERSERVER,
						  ObjectIdGetDatum(roleid), ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tup))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tup,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tup);
	return options;
}

/* Options that hold a secret, each also as option_file. */
static const char *const auth_secrets[] = {
	"password", "token", "secret", "previous_secret", "client_secret",
	"refresh_token", "private_key", "consumer_secret", "token_secret",
	"secret_key", "session_token", "certificate", "saml_assertion",
	"receive_secret", "previous_receive_secret",
};

/* auth_take copies the options that are not secret. */
static void
auth_take(ConcordAuth *auth, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		ConcordHeader *option = &auth->options[auth->noptions];

		if (concord_option_secret(CONCORD_OPTION_USER, def->defname))
			continue;
		if (auth->noptions == CONCORD_AUTH_OPTIONS)
			elog(ERROR, "too many options in a user mapping");
		option->name = MemoryContextStrdup(auth->context, def->defname);
		option->value = MemoryContextStrdup(auth->context, defGetString(def));
		auth->noptions++;
	}
}

/* concord_auth_option returns an option that is not secret, or NULL. */
const char *
concord_auth_option(const ConcordAuth *auth, const char *name)
{
	for (int i = 0; i < auth->noptions; i++)
	{
		if (strcmp(auth->options[i].name, name) == 0)
			return auth->options[i].value;
	}
	return NULL;
}

/* auth_reset wipes secrets when their context goes away. */
static void
auth_reset(void *arg)
{
	ConcordAuth *auth = arg;

	for (int i = 0; i < auth->nsecrets; i++)
	{
		if (auth->secrets[i].value != NULL)
			explicit_bzero(auth->secrets[i].value, auth->secrets[i].len);
	}
	concord_grant_wipe(auth);
}

/* concord_auth_load loads a role's credentials for a server. */
ConcordAuth *
concord_auth_load(Oid serverid, Oid roleid, MemoryContext context)
{
	MemoryContext secrets;
	MemoryContextCallback *callback;
	ConcordAuth *auth;
	List	   *options;
	const char *name;
	const char *url;
	const char *service;
	const char *headers;

	if (concord_server_aclcheck(serverid, roleid) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" has no permission for foreign server %s",
						GetUserNameFromId(roleid, false),
						quote_identifier(GetForeignServer(serverid)->servername)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER.")));

	options = auth_user_options(serverid, roleid);
	name = concord_option_get(options, "auth");

	secrets = AllocSetContextCreate(context, "concord credentials",
									ALLOCSET_SMALL_SIZES);
	auth = MemoryContextAllocZero(secrets, sizeof(ConcordAuth));
	auth->context = secrets;
	auth->mapped = options != NIL;
	auth->scheme = auth_find(name ? name : "none");
	callback = MemoryContextAllocZero(secrets, sizeof(MemoryContextCallback));
	callback->func = auth_reset;
	callback->arg = auth;
	MemoryContextRegisterResetCallback(secrets, callback);

	auth_take(auth, options);
	auth->username = unconstify(char *, concord_auth_option(auth, "username"));
	auth->cert_file = unconstify(char *, concord_auth_option(auth, "cert_file"));
	auth->key_file = unconstify(char *, concord_auth_option(auth, "key_file"));
	auth->header_name = unconstify(char *, concord_auth_option(auth, "header_name"));
	for (int i = 0; i < lengthof(auth_secrets); i++)
		concord_secret_load(auth, options, auth_secrets[i]);
	if (auth->scheme->fetch == NULL)
		return auth;

	url = concord_option_get(GetForeignServer(serverid)->options, "url");
	auth->server_url = MemoryContextStrdup(secrets, url ? url : "");
	service = concord_option_get(GetForeignServer(serverid)->options, "service");
	if (service != NULL)
		auth->server_service = MemoryContextStrdup(secrets, service);
	headers = concord_option_get(GetForeignServer(serverid)->options, "headers");
	if (headers != NULL)
		auth->server_headers = MemoryContextStrdup(secrets, headers);
	auth->super = superuser_arg(roleid);
	auth->key.dboid = MyDatabaseId;
	auth->key.serverid = serverid;
	auth->key.roleid = roleid;
	return auth;
}

/* concord_auth_review looks again at what the role may do. */
void
concord_auth_review(ConcordAuth *auth)
{
	if (auth->scheme->fetch != NULL)
		auth->super = superuser_arg(auth->key.roleid);
}

/* concord_auth_eager makes the next request try in spite of failures. */
void
concord_auth_eager(ConcordAuth *auth)
{
	auth->eager = true;
}

/* concord_auth_given says whether the role has a user mapping with options. */
bool
concord_auth_given(const ConcordAuth *auth)
{
	return auth->mapped;
}

/* concord_auth_apply adds what the scheme needs to a complete request. */
void
concord_auth_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(request->context);

	if (auth->cert_file != NULL)
	{
		/* the role's own, and none of the server's key with it */
		request->cert_file = auth->cert_file;
		request->key_file = auth->key_file;
	}
	/* a cache of files and tokens, not a change of what auth is */
	if (auth->scheme->apply != NULL)
		concord_grant_attach((ConcordAuth *) auth, request);
	MemoryContextSwitchTo(old);
}

/* auth_bare gives a secret without the prefix that only marks what it is. */
static const char *
auth_bare(const char *secret)
{
	return strncmp(secret, CONCORD_AUTH_WHSEC, strlen(CONCORD_AUTH_WHSEC)) == 0 ?
		secret + strlen(CONCORD_AUTH_WHSEC) : secret;
}

/* auth_hide hides a secret as it is, as JSON has it, and as an address has it. */
static char *
auth_hide(char *text, const char *secret)
{
	StringInfoData form;

	text = concord_encode_hide(text, secret);
	initStringInfo(&form);
	/* as it is: what is no text of this database must not be an error here */
	concord_json_quote(&form, secret, strlen(secret));
	form.data[form.len - 1] = '\0';
	if (strcmp(form.data + 1, secret) != 0)
		text = concord_encode_hide(text, form.data + 1);
	explicit_bzero(form.data, form.len);
	resetStringInfo(&form);
	concord_encode_percent(&form, secret);
	if (strcmp(form.data, secret) != 0)
		text = concord_encode_hide(text, form.data);
	explicit_bzero(form.data, form.len);
	pfree(form.data);
	return text;
}

/*
 * concord_auth_redact hides secrets as they are, also within JSON and
 * addresses, without the prefix of Standard Webhooks, and as basic
 * authentication sends them.
 */
char *
concord_auth_redact(const ConcordAuth *auth, const char *text)
{
	char	   *result = pstrdup(text);

	if (auth == NULL)
		return result;
	for (int i = 0; i < auth->nsecrets; i++)
		result = auth_hide(result, auth_bare(auth->secrets[i].value));
	if (auth->scheme == &concord_auth_basic)
		result = concord_encode_hide(result,
									 concord_encode_basic(auth->username,
														  concord_secret_text(auth, "password")));
	return concord_grant_redact(auth, result);
}
