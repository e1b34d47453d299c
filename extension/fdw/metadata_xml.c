/*-------------------------------------------------------------------------
 *
 * metadata_xml.c
 *	  Elements of an XML document that came from outside, one after the other.
 *
 * libxml2's reader is pulled, so nothing of ours runs below a frame of
 * libxml2 but a handler that notes the first error: errors are raised here,
 * between two elements.  The reader belongs to a memory context, whose end
 * frees it however that comes.
 *
 * Refused: everything that is not UTF-8, and a document type definition, with
 * which entities (of files, of the network, of themselves) would come.
 * libxml2's own bounds stay in force: 256 levels, 10 MB for one text.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata_xml.h"

#include <libxml/xmlreader.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define XML_SAP_SPACE	"http://www.sap.com/Protocols/SAPData"
#define XML_MESSAGE		256
#define XML_ATTRIBUTES	256

struct ConcordXml
{
	xmlTextReaderPtr reader;
	MemoryContext scratch;		/* attributes of the current element */
	MemoryContextCallback callback;
	int			line;			/* of the first error; 0: none */
	char		message[XML_MESSAGE];
};

/* xml_note keeps the first error that ends a document; runs below libxml2. */
static void
xml_note(void *arg, xmlErrorPtr error)
{
	ConcordXml *xml = (ConcordXml *) arg;

	if (error == NULL || error->level != XML_ERR_FATAL || xml->message[0] != '\0')
		return;
	xml->line = error->line;
	strlcpy(xml->message, error->message ? error->message : "unknown error",
			sizeof(xml->message));
}

/* xml_release is the context's callback. */
static void
xml_release(void *arg)
{
	ConcordXml *xml = (ConcordXml *) arg;

	if (xml->reader != NULL)
		xmlFreeTextReader(xml->reader);
	xml->reader = NULL;
}

/* xml_refuse raises for a document that is not what was expected. */
static void
pg_attribute_noreturn()
xml_refuse(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("the document is not OData metadata in XML"),
			 errdetail("%s", detail)));
}

/*
 * xml_past returns where a comment or a processing instruction ends, or NULL
 * where it does not.
 */
static const char *
xml_past(const char *p, const char *end, const char *closing)
{
	size_t		len = strlen(closing);

	for (; p + len <= end; p++)
	{
		if (memcmp(p, closing, len) == 0)
			return p + len;
	}
	return NULL;
}

/* xml_begins says whether a text is there, in any case of its letters. */
static bool
xml_begins(const char *p, const char *end, const char *text)
{
	size_t		len = strlen(text);

	return p + len <= end && pg_strncasecmp(p, text, len) == 0;
}

/* xml_prolog looks at what precedes the root, before libxml2 sees it. */
static void
xml_prolog(const char *data, Size len)
{
	const char *p = data;
	const char *end = data + len;

	if (memchr(data, '\0', len) != NULL)
		xml_refuse("It is not in UTF-8.");
	if (len >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
		p += 3;
	for (;;)
	{
		while (p < end && strchr(" \t\r\n", *p) != NULL)
			p++;
		if (p == end)
			xml_refuse(len == 0 ? "It is empty." : "It has no element.");
		if (*p == '{' || *p == '[')
			xml_refuse("It is JSON.");
		if (xml_begins(p, end, "<html") || xml_begins(p, end, "<!doctype html"))
			xml_refuse("It is an HTML page, as a login page would be.");
		if (*p != '<')
			xml_refuse("It does not begin with an element.");
		if (xml_begins(p, end, "<!doctype"))
			xml_refuse("It has a document type definition, which metadata do not have and which is not read.");
		if (xml_begins(p, end, "<?"))
			p = xml_past(p, end, "?>");
		else if (xml_begins(p, end, "<!--"))
			p = xml_past(p, end, "-->");
		else
			return;
		if (p == NULL)
			xml_refuse("It ends within what precedes its first element.");
	}
}

/* concord_xml_open begins to read a document. */
ConcordXml *
concord_xml_open(const char *data, Size len, MemoryContext context)
{
	ConcordXml *xml;

	if (len > INT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the document is too large")));
	xml_prolog(data, len);
	xml = MemoryContextAllocZero(context, sizeof(ConcordXml));
	xml->scratch = AllocSetContextCreate(context, "concord xml element",
										 ALLOCSET_SMALL_SIZES);
	xml->callback.func = xml_release;
	xml->callback.arg = xml;
	MemoryContextRegisterResetCallback(context, &xml->callback);

	/* the encoding is given, so that a declaration cannot choose another */
	xml->reader = xmlReaderForMemory(data, (int) len, NULL, "UTF-8",
									 XML_PARSE_NONET | XML_PARSE_NOERROR |
									 XML_PARSE_NOWARNING | XML_PARSE_COMPACT |
									 XML_PARSE_NOCDATA);
	if (xml->reader == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	xmlTextReaderSetStructuredErrorHandler(xml->reader,
										   (xmlStructuredErrorFunc) xml_note, xml);
	return xml;
}

/* concord_xml_close gives back what a document holds. */
void
concord_xml_close(ConcordXml *xml)
{
	xml_release(xml);
	MemoryContextReset(xml->scratch);
}

/* xml_server gives a text in the database's encoding, in the current context. */
static char *
xml_server(const char *text)
{
	char	   *converted = pg_any_to_server(text, strlen(text), PG_UTF8);

	return converted == text ? pstrdup(text) : converted;
}

/* xml_read goes to the next node; false at the document's end. */
static bool
xml_read(ConcordXml *xml)
{
	int			got;

	CHECK_FOR_INTERRUPTS();
	got = xmlTextReaderRead(xml->reader);
	if (got > 0 && xml->message[0] == '\0')
	{
		if (xmlTextReaderNodeType(xml->reader) == XML_READER_TYPE_DOCUMENT_TYPE)
			xml_refuse("It has a document type definition, which metadata do not have and which is not read.");
		return true;
	}
	if (got == 0 && xml->message[0] == '\0')
		return false;
	for (char *p = xml->message; *p != '\0'; p++)
	{
		if ((unsigned char) *p < ' ' || (unsigned char) *p > '~')
			*p = *(p + 1) == '\0' ? '\0' : '?';
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("the document is not valid XML"),
			 errdetail("Line %d: %s.", xml->line,
					   xml->message[0] ? xml->message : "it ends early")));
}

/* xml_space tells the name space of the attribute that the reader is at. */
static ConcordXmlSpace
xml_space(xmlTextReaderPtr reader)
{
	const char *uri = (const char *) xmlTextReaderConstNamespaceUri(reader);
	const char *prefix = (const char *) xmlTextReaderConstPrefix(reader);

	if (uri == NULL && prefix == NULL)
		return CONCORD_XML_PLAIN;
	if (uri != NULL && strncmp(uri, XML_SAP_SPACE, strlen(XML_SAP_SPACE)) == 0)
		return CONCORD_XML_SAP;
	return CONCORD_XML_OTHER;
}

/* xml_attributes copies the attributes of the current element. */
static void
xml_attributes(ConcordXml *xml, ConcordXmlElement *element)
{
	MemoryContext old;
	int			n = xmlTextReaderAttributeCount(xml->reader);

	MemoryContextReset(xml->scratch);
	element->nattributes = 0;
	element->attributes = NULL;
	if (n <= 0)
		return;
	if (n > XML_ATTRIBUTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an element of the document has %d attributes", n),
				 errdetail("Line %d: at most %d are read.",
						   concord_xml_line(xml), XML_ATTRIBUTES)));
	old = MemoryContextSwitchTo(xml->scratch);
	element->attributes = palloc(n * sizeof(ConcordXmlAttribute));
	while (element->nattributes < n &&
		   xmlTextReaderMoveToNextAttribute(xml->reader) == 1)
	{
		ConcordXmlAttribute *attribute = &element->attributes[element->nattributes];
		const char *name = (const char *) xmlTextReaderConstLocalName(xml->reader);
		const char *value = (const char *) xmlTextReaderConstValue(xml->reader);

		if (xmlTextReaderIsNamespaceDecl(xml->reader) == 1 || name == NULL)
			continue;
		attribute->space = xml_space(xml->reader);
		attribute->name = xml_server(name);
		attribute->value = xml_server(value ? value : "");
		element->nattributes++;
	}
	(void) xmlTextReaderMoveToElement(xml->reader);
	MemoryContextSwitchTo(old);
}

/* xml_element describes the element that the reader is at. */
static void
xml_element(ConcordXml *xml, ConcordXmlElement *element)
{
	const char *name = (const char *) xmlTextReaderConstLocalName(xml->reader);

	strlcpy(element->name, name ? name : "", sizeof(element->name));
	element->depth = xmlTextReaderDepth(xml->reader);
	element->empty = xmlTextReaderIsEmptyElement(xml->reader) == 1;
	xml_attributes(xml, element);
}

/* concord_xml_root reads the outermost element. */
void
concord_xml_root(ConcordXml *xml, ConcordXmlElement *root)
{
	while (xml_read(xml))
	{
		if (xmlTextReaderNodeType(xml->reader) == XML_READER_TYPE_ELEMENT)
		{
			xml_element(xml, root);
			return;
		}
	}
	xml_refuse("It has no element.");
}

/* concord_xml_child reads the next element within parent. */
bool
concord_xml_child(ConcordXml *xml, const ConcordXmlElement *parent,
				  ConcordXmlElement *child)
{
	if (parent->empty)
		return false;
	while (xml_read(xml))
	{
		int			type = xmlTextReaderNodeType(xml->reader);
		int			depth = xmlTextReaderDepth(xml->reader);

		if (type == XML_READER_TYPE_END_ELEMENT && depth == parent->depth)
			return false;
		if (type == XML_READER_TYPE_ELEMENT && depth == parent->depth + 1)
		{
			xml_element(xml, child);
			return true;
		}
	}
	xml_refuse("It ends early.");
}

/* concord_xml_text reads the text of an element to its end. */
char *
concord_xml_text(ConcordXml *xml, const ConcordXmlElement *element)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (element->empty)
		return buf.data;
	while (xml_read(xml))
	{
		int			type = xmlTextReaderNodeType(xml->reader);
		const char *value;

		if (type == XML_READER_TYPE_END_ELEMENT &&
			xmlTextReaderDepth(xml->reader) == element->depth)
			return xml_server(buf.data);
		if (type != XML_READER_TYPE_TEXT && type != XML_READER_TYPE_CDATA &&
			type != XML_READER_TYPE_SIGNIFICANT_WHITESPACE)
			continue;
		value = (const char *) xmlTextReaderConstValue(xml->reader);
		if (value != NULL)
			appendStringInfoString(&buf, value);
	}
	xml_refuse("It ends early.");
}

/* xml_find returns the value of an attribute or NULL. */
static const char *
xml_find(const ConcordXmlElement *element, ConcordXmlSpace space,
		 const char *name)
{
	for (int i = 0; i < element->nattributes; i++)
	{
		if (element->attributes[i].space == space &&
			strcmp(element->attributes[i].name, name) == 0)
			return element->attributes[i].value;
	}
	return NULL;
}

/* concord_xml_attribute returns an attribute without a prefix, or NULL. */
const char *
concord_xml_attribute(const ConcordXmlElement *element, const char *name)
{
	return xml_find(element, CONCORD_XML_PLAIN, name);
}

/* concord_xml_sap returns one of SAP's attributes, or NULL. */
const char *
concord_xml_sap(const ConcordXmlElement *element, const char *name)
{
	return xml_find(element, CONCORD_XML_SAP, name);
}

/* concord_xml_line tells where reading is, for messages. */
int
concord_xml_line(ConcordXml *xml)
{
	return xmlTextReaderGetParserLineNumber(xml->reader);
}
