-- decoder: what the output plugin has counted, for every slot of the server

CREATE FUNCTION concord.decoder_counters(OUT slot name, OUT format text,
	OUT starts bigint, OUT started_at timestamptz, OUT last_lsn pg_lsn,
	OUT last_time timestamptz, OUT stats_reset timestamptz,
	OUT inserts bigint, OUT updates bigint, OUT deletes bigint,
	OUT truncates bigint, OUT messages bigint,
	OUT sent bigint, OUT skipped bigint, OUT streamed bigint,
	OUT stream_aborted bigint, OUT prepared bigint,
	OUT bytes bigint, OUT writes bigint,
	OUT filtered_relation bigint, OUT filtered_row bigint,
	OUT filtered_message bigint, OUT filtered_origin bigint,
	OUT unchanged_values bigint, OUT oversize_values bigint,
	OUT failed_values bigint, OUT encode_ns bigint, OUT write_ns bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_stats_counters' LANGUAGE C VOLATILE
	SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION concord.decoder_counters() IS
'counters of slots of concord_decoder that were made or read since the server started';

CREATE VIEW concord.decoder AS
	SELECT r.slot_name AS slot, r.database, r.active_pid AS pid, c.format,
		c.inserts, c.updates, c.deletes, c.truncates, c.messages,
		c.sent, c.skipped, c.streamed, c.stream_aborted, c.prepared,
		c.bytes, c.writes,
		c.filtered_relation, c.filtered_row, c.filtered_message, c.filtered_origin,
		c.unchanged_values, c.oversize_values, c.failed_values,
		c.encode_ns / 1e6::double precision AS encode_ms,
		c.write_ns / 1e6::double precision AS write_ms,
		c.last_lsn, c.last_time, c.starts, c.started_at, c.stats_reset
	FROM pg_catalog.pg_replication_slots AS r
	LEFT JOIN concord.decoder_counters() AS c ON c.slot = r.slot_name
	WHERE r.plugin = 'concord_decoder';
COMMENT ON VIEW concord.decoder IS
'what concord_decoder has sent and left out, for each slot of the server; times are sampled';

CREATE FUNCTION concord.reset_decoder_stats(slot name DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'concord_stats_reset' LANGUAGE C VOLATILE
	SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION concord.reset_decoder_stats(name) IS
'counters of a slot of this database begin anew; without a name those of all its slots';
