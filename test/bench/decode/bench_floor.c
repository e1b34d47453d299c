/*-------------------------------------------------------------------------
 *
 * bench_floor.c
 *	  An output plugin that sends nothing: what decoding costs by itself.
 *
 * Reading WAL, the reorder buffer, the snapshot builder and the walsender are
 * the same for every plugin; the time of this one is theirs.  With its option
 * "write" it sends one byte for each transaction: the least that a plugin can
 * do that sends anything at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/* Decoding starts; any option is "write". */
static void
floor_startup(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	ctx->output_plugin_private = ctx->output_plugin_options;
	opt->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
}

/* A transaction's replay begins. */
static void
floor_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

/* A transaction's replay ends. */
static void
floor_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	if (ctx->output_plugin_private == NULL)
		return;
	OutputPluginPrepareWrite(ctx, true);
	appendStringInfoChar(ctx->out, 'x');
	OutputPluginWrite(ctx, true);
}

/* A row was inserted, updated or deleted. */
static void
floor_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
			 ReorderBufferChange *change)
{
}

/* Hand the callbacks to core. */
void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = floor_startup;
	cb->begin_cb = floor_begin;
	cb->change_cb = floor_change;
	cb->commit_cb = floor_commit;
}
