/*-------------------------------------------------------------------------
 *
 * documents.c
 *	  What is refused of options that join several events or tables into one
 *	  record.
 *
 * Called when a definition is stated, after its form and its expressions have
 * been checked.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

/* doc_coalesce refuses to coalesce what has no newest image. */
static void
doc_coalesce(const ConcordMapping *mapping)
{
	if (!mapping->options.coalesce)
		return;
	if (mapping->options.ordering == CONCORD_ORDER_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"coalesce\" needs an order"),
				 errdetail("Of events that keep no order none is the newest."),
				 errhint("Leave out option \"ordering\", or set it to \"key\".")));
	if (mapping->options.replay_events)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"coalesce\" needs \"replay\": \"state\""),
				 errdetail("A mapping that delivers events leaves none of them out."),
				 errhint("Set option \"replay\" to \"state\" where only the newest image of a key is wanted there.")));
}

/* doc_patch refuses to send parts of what is not a record. */
static void
doc_patch(const ConcordMapping *mapping)
{
	if (mapping->options.patch_changed && mapping->options.replay_events)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"patch\" needs \"replay\": \"state\""),
				 errdetail("An event is whole: there is no record that it changes a part of.")));
}

/* concord_documents_check refuses options that cannot work together. */
void
concord_documents_check(ConcordMapping *mapping)
{
	if (concord_mapping_defaults_hook != NULL)
		concord_mapping_defaults_hook(mapping);
	doc_coalesce(mapping);
	doc_patch(mapping);
	concord_depends_check(mapping);
}
