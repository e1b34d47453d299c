/*-------------------------------------------------------------------------
 *
 * answer_same.c
 *	  Does an answer hold what we sent?
 *
 * Values are compared as what they mean: numbers by value, times as far as
 * both are given, objects member by member.  False where in doubt.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "utils/builtins.h"

#define SAME_MAX_NUMBER		200 /* digits of a number that is compared */
#define SAME_MAX_NESTING	32	/* of values that are compared */

/* concord_place_is_number says whether a text is a JSON number of a reasonable size. */
bool
concord_place_is_number(const char *p, Size len)
{
	const char *end = p + len;
	int			exponent = 0;

	if (len == 0 || len > SAME_MAX_NUMBER)
		return false;
	if (*p == '-')
		p++;
	if (p == end || *p < '0' || *p > '9')
		return false;
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	if (p < end && *p == '.')
	{
		if (++p == end || *p < '0' || *p > '9')
			return false;
		while (p < end && *p >= '0' && *p <= '9')
			p++;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		for (exponent = 0; p < end && *p >= '0' && *p <= '9'; exponent++)
			p++;
		if (exponent < 1 || exponent > 3)
			return false;
	}
	return p == end;
}

/* concord_place_same_number compares two texts for which concord_place_is_number holds. */
bool
concord_place_same_number(const char *a, Size alen, const char *b, Size blen)
{
	Datum		values[2];
	bool		same;

	for (int i = 0; i < 2; i++)
	{
		char	   *text = i == 0 ? pnstrdup(a, alen) : pnstrdup(b, blen);

		values[i] = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
										ObjectIdGetDatum(InvalidOid),
										Int32GetDatum(-1));
		pfree(text);
	}
	same = DatumGetBool(DirectFunctionCall2(numeric_eq, values[0], values[1]));
	for (int i = 0; i < 2; i++)
		pfree(DatumGetPointer(values[i]));
	return same;
}

/*
 * same_time_length says how much of a text is a time without its zone
 * (2026-11-20T08:15:00.123456); 0 where it is none in UTC.
 */
static Size
same_time_length(const char *text)
{
	static const char form[] = "0000-00-00T00:00:00";
	Size		len = strlen(form);
	Size		zone;

	for (Size i = 0; i < len; i++)
	{
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return 0;
	}
	if (text[len] == '.')
		len += 1 + strspn(text + len + 1, "0123456789");
	zone = strcmp(text + len, "Z") == 0 || strcmp(text + len, "+00:00") == 0;
	return zone ? len : 0;
}

/* same_time says whether two texts are one time as far as both are given. */
static bool
same_time(const char *a, const char *b)
{
	Size		alen = same_time_length(a);
	Size		blen = same_time_length(b);

	return alen > 0 && blen > 0 && memcmp(a, b, Min(alen, blen)) == 0;
}

/* same_string compares the contents of two strings. */
static bool
same_string(const char *a, Size alen, const char *b, Size blen)
{
	char	   *atext;
	char	   *btext;

	if (alen == blen && memcmp(a, b, alen) == 0)
		return true;
	/* what follows cuts what is longer */
	if (alen > CONCORD_PLACE_VALUE || blen > CONCORD_PLACE_VALUE)
		return false;
	atext = concord_place_unescape(a, alen);
	btext = concord_place_unescape(b, blen);
	return strcmp(atext, btext) == 0 || same_time(atext, btext);
}

static bool same_holds(ConcordJsonPlace *theirs, ConcordJsonPlace *ours, int nesting);

/* same_holds_members says whether an object has all members of ours. */
static bool
same_holds_members(ConcordJsonPlace *theirs, ConcordJsonPlace *ours, int nesting)
{
	ours->p++;
	while (concord_place_blank(ours) && *ours->p == '"')
	{
		ConcordJsonPlace member = *theirs;
		const char *name;
		Size		len;

		if (!concord_place_string(ours, &name, &len) || !concord_place_blank(ours))
			return false;
		ours->p++;
		if (!concord_place_member(&member, concord_place_unescape(name, len)) ||
			!same_holds(&member, ours, nesting) || !concord_place_blank(ours))
			return false;
		if (*ours->p == ',')
			ours->p++;
	}
	if (ours->p >= ours->end || *ours->p != '}')
		return false;
	ours->p++;
	return concord_place_value(theirs);
}

/* same_holds_elements says whether two arrays have the same elements. */
static bool
same_holds_elements(ConcordJsonPlace *theirs, ConcordJsonPlace *ours, int nesting)
{
	for (;;)
	{
		/* past the bracket or a comma, which both have here */
		theirs->p++;
		ours->p++;
		if (!concord_place_blank(theirs) || !concord_place_blank(ours))
			return false;
		if (*theirs->p == ']' || *ours->p == ']')
			break;
		if (!same_holds(theirs, ours, nesting) ||
			!concord_place_blank(theirs) || !concord_place_blank(ours))
			return false;
		if (*theirs->p != ',' || *ours->p != ',')
			break;
	}
	if (*theirs->p != ']' || *ours->p != ']')
		return false;
	theirs->p++;
	ours->p++;
	return true;
}

/*
 * same_holds says whether a value holds ours, and goes behind both.  Numbers
 * may be written differently, and as strings: many systems quote decimals.
 */
static bool
same_holds(ConcordJsonPlace *theirs, ConcordJsonPlace *ours, int nesting)
{
	const char *a;
	const char *b;
	Size		alen;
	Size		blen;
	bool		astring;
	bool		bstring;

	if (nesting >= SAME_MAX_NESTING || !concord_place_blank(theirs) || !concord_place_blank(ours))
		return false;
	if (*theirs->p == '{' && *ours->p == '{')
		return same_holds_members(theirs, ours, nesting + 1);
	if (*theirs->p == '[' && *ours->p == '[')
		return same_holds_elements(theirs, ours, nesting + 1);

	a = theirs->p;
	b = ours->p;
	astring = concord_place_string(theirs, &a, &alen);
	bstring = concord_place_string(ours, &b, &blen);
	if (!astring)
	{
		if (!concord_place_value(theirs))
			return false;
		alen = theirs->p - a;
	}
	if (!bstring)
	{
		if (!concord_place_value(ours))
			return false;
		blen = ours->p - b;
	}
	if (astring && bstring)
		return same_string(a, alen, b, blen);
	if (concord_place_is_number(a, alen) && concord_place_is_number(b, blen))
		return concord_place_same_number(a, alen, b, blen);
	return astring == bstring && alen == blen && memcmp(a, b, alen) == 0;
}

/*
 * concord_answer_holds says whether an answer is an object that has all
 * members of ours, a JSON object, with equal values.  Objects inside are
 * compared likewise, arrays element by element.  False where in doubt.
 */
bool
concord_answer_holds(const ConcordResponse *response, const char *json, Size len)
{
	ConcordJsonPlace theirs = {response->body, response->body + response->body_len};
	ConcordJsonPlace ours = {json, json + len};

	return response->body != NULL && concord_place_blank(&theirs) && *theirs.p == '{' &&
		same_holds(&theirs, &ours, 0);
}

/*
 * same_upper gives a JSON text whose strings have the letters of ASCII and
 * Latin-1 in upper case, and is as long as before; escapes are left alone.
 */
static char *
same_upper(const char *json, Size len)
{
	char	   *copy = pnstrdup(json, len);
	bool		within = false;

	for (char *p = copy; *p != '\0'; p++)
	{
		if (*p == '"')
			within = !within;
		else if (!within)
			continue;
		else if (*p == '\\' && p[1] != '\0')
			p += p[1] == 'u' ? Min(strlen(p) - 1, 5) : 1;
		else if ((unsigned char) *p == 0xC3 && (unsigned char) p[1] >= 0xA0 &&
				 (unsigned char) p[1] <= 0xBE && (unsigned char) p[1] != 0xB7)
			*++p -= 0x20;
		else if (*p >= 'a' && *p <= 'z')
			*p -= 'a' - 'A';
	}
	return copy;
}

/*
 * concord_answer_key compares the key of a record in an answer with that of an
 * exchange's record.  Systems differ in what they find for a key: some fold
 * case, some take parts of it for an operator or a list.
 */
ConcordKeyFound
concord_answer_key(const ConcordExchange *exchange, const char *record,
				   Size len)
{
	const ConcordMapping *mapping = exchange->mapping;
	ConcordResponse found = {.body = unconstify(char *, record),.body_len = len};
	StringInfoData ours;
	bool		same;

	if (len == 0 || *record != '{' || exchange->mapped->keys == NULL ||
		exchange->mapped->omit_keys != NULL || mapping->key == NIL)
		return CONCORD_KEY_ABSENT;
	for (int i = 0; i < list_length(mapping->key); i++)
	{
		const char *name = ((ConcordField *) list_nth(mapping->key, i))->name;
		ConcordJsonPlace at = {record, record + len};

		if (!concord_place_member(&at, pnstrdup(name, strcspn(name, "/"))))
			return CONCORD_KEY_ABSENT;
	}
	initStringInfo(&ours);
	concord_body_write(mapping, exchange->mapped,
					   CONCORD_BODY_KEY | CONCORD_BODY_NO_FIELDS, &ours);
	if (exchange->server->connector->key_folds)
	{
		found.body = same_upper(record, len);
		(void) memcpy(ours.data, same_upper(ours.data, ours.len), ours.len);
	}
	same = concord_answer_holds(&found, ours.data, ours.len);
	pfree(ours.data);
	return same ? CONCORD_KEY_SAME : CONCORD_KEY_OTHER;
}
