/*-------------------------------------------------------------------------
 *
 * metadata_xml.h
 *	  Elements of an XML document that came from outside, one after the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_METADATA_XML_H
#define CONCORD_FDW_METADATA_XML_H

#include "base/compat.h"

typedef struct ConcordXml ConcordXml;

/* What name space an attribute is of. */
typedef enum ConcordXmlSpace
{
	CONCORD_XML_PLAIN,			/* without a prefix */
	CONCORD_XML_SAP,			/* sap: of SAP Gateway */
	CONCORD_XML_OTHER,
} ConcordXmlSpace;

typedef struct ConcordXmlAttribute
{
	ConcordXmlSpace space;
	const char *name;
	const char *value;
} ConcordXmlAttribute;

/* An element; its attributes are there until the next element is read. */
typedef struct ConcordXmlElement
{
	char		name[64];		/* without prefix; longer ones are cut */
	int			depth;
	bool		empty;
	int			nattributes;
	ConcordXmlAttribute *attributes;
} ConcordXmlElement;

/*
 * concord_xml_open begins to read a document; it ends with the context.
 * Raises ERRCODE_FDW_INVALID_DATA_TYPE where it is not XML, and where it has
 * a document type definition.  The data must stay where they are.
 */
extern ConcordXml *concord_xml_open(const char *data, Size len,
									MemoryContext context);

/* concord_xml_close gives back what a document holds. */
extern void concord_xml_close(ConcordXml *xml);

/* concord_xml_root reads the outermost element. */
extern void concord_xml_root(ConcordXml *xml, ConcordXmlElement *root);

/*
 * concord_xml_child reads the next element within parent, past all that was
 * not read of the one before; false where there is none any more.
 */
extern bool concord_xml_child(ConcordXml *xml, const ConcordXmlElement *parent,
							  ConcordXmlElement *child);

/* concord_xml_text reads the text of an element to its end (palloc'd). */
extern char *concord_xml_text(ConcordXml *xml, const ConcordXmlElement *element);

/* concord_xml_attribute returns an attribute's value or NULL. */
extern const char *concord_xml_attribute(const ConcordXmlElement *element,
										 const char *name);
extern const char *concord_xml_sap(const ConcordXmlElement *element,
								   const char *name);

/* concord_xml_line tells where reading is, for messages. */
extern int	concord_xml_line(ConcordXml *xml);

#endif							/* CONCORD_FDW_METADATA_XML_H */
