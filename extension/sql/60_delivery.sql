/* ---------------------------------------------------------------------
 * 60_delivery.sql: how far each mapping has got, what went wrong, links
 *
 * Written by the courier in its bookkeeping transactions, and by the
 * functions below with the caller's rights checked in C.
 * ------------------------------------------------------------------- */

-- The number of a delivery; one event's way through one mapping.
CREATE SEQUENCE concord.delivery_id AS bigint;

-- One row per mapping that has begun, and share of it where it is divided by
-- key: every event of the share up to cursor is finished, and so is every event
-- in done; nothing beyond sent_up_to was ever sent.  past has the rows of earlier
-- divisions, which say more of events up to past_to.
CREATE TABLE concord.lane (
	mapping			int,
	share			int NOT NULL DEFAULT 0,
	shares			int NOT NULL DEFAULT 1,
	cursor			bigint NOT NULL,
	done			int8multirange NOT NULL DEFAULT '{}',
	sent_up_to		bigint NOT NULL DEFAULT 0,
	past			jsonb,
	past_to			bigint,
	delivered		bigint NOT NULL DEFAULT 0,
	unchanged		bigint NOT NULL DEFAULT 0,
	skipped			bigint NOT NULL DEFAULT 0,
	retried			bigint NOT NULL DEFAULT 0,
	died			bigint NOT NULL DEFAULT 0,
	last_done_at	timestamptz,
	last_error		text,
	last_error_at	timestamptz,
	started_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (mapping, share)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0,
		autovacuum_vacuum_threshold = 2000);

-- A delivery that is not on the straight way: it is tried again later, is
-- held behind an earlier one of its key, or is dead.  It carries its event.
CREATE TABLE concord.exception (
	delivery		bigint PRIMARY KEY DEFAULT pg_catalog.nextval('concord.delivery_id'),
	mapping			int NOT NULL,
	version			int NOT NULL,
	seq				bigint NOT NULL,
	event_id		uuid NOT NULL,
	op				text NOT NULL,
	committed_at	timestamptz NOT NULL,
	ordering_key	text,
	old_key			text,
	key_hash		int NOT NULL DEFAULT 0,	-- whose it is where the mapping is divided
	old_hash		int NOT NULL DEFAULT 0,
	local_key		jsonb,
	unit			bigint,				-- its transaction, where that goes as a whole
	event			bytea NOT NULL,
	state			text NOT NULL CHECK (state IN
						('retry', 'waiting', 'blocked', 'dead', 'superseded', 'discarded')),
	again			bool NOT NULL DEFAULT false,
	attempts		int NOT NULL DEFAULT 0,
	next_try		timestamptz,
	was_unknown		bool NOT NULL DEFAULT false,
	rule			text,
	status			int,
	answer			text,
	error			text,
	request			text,
	superseded_by	bigint,
	why				text,
	created_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	changed_at		timestamptz NOT NULL DEFAULT pg_catalog.now()
);
ALTER SEQUENCE concord.delivery_id OWNED BY concord.exception.delivery;
CREATE INDEX exception_live ON concord.exception (mapping, seq)
	WHERE state IN ('retry', 'waiting', 'blocked');
CREATE INDEX exception_unit ON concord.exception (unit) WHERE unit IS NOT NULL;
CREATE INDEX exception_mapping ON concord.exception (mapping, state, seq);

-- The identity map and what was delivered last.  The row of a deleted record
-- stays for a while (present = false), so that nothing older revives it.
CREATE TABLE concord.link_item (
	mapping			int NOT NULL,
	local_key		jsonb NOT NULL,
	remote_id		text,
	etag			text,
	hash			bytea,
	seq				bigint NOT NULL,
	present			bool NOT NULL,
	changed_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	assigned		bool NOT NULL DEFAULT false,	-- remote_id is one that the system gave
	covered			pg_snapshot,		-- went along with its parent's create: what was seen then
	fields			bytea				-- 8 bytes for each field of that image (patch 'changed')
) WITH (fillfactor = 80);
-- what is stored plainly is compared where it lies, in the index, too; keys are short
ALTER TABLE concord.link_item ALTER local_key SET STORAGE PLAIN;
ALTER TABLE concord.link_item ADD PRIMARY KEY (mapping, local_key);
-- Whose record is it?  Ids of our own making need no answer, and pay nothing.
CREATE INDEX link_item_assigned ON concord.link_item (mapping, remote_id) WHERE assigned;

-- Finished deliveries: a ring of tables, chosen by the clock and truncated
-- once all in it is older than pg_concord.delivery_retention.
CREATE TABLE concord.delivery_log_0 (
	delivery		bigint NOT NULL DEFAULT pg_catalog.nextval('concord.delivery_id'),
	mapping			int NOT NULL,
	version			int NOT NULL,
	seq				bigint NOT NULL,
	op				"char" NOT NULL,
	outcome			"char" NOT NULL,	-- d done, u unchanged, s superseded, k skipped
	attempts		int NOT NULL,
	status			int,
	elapsed_ms		int,				-- from the first request to the last answer
	committed_at	timestamptz NOT NULL,
	finished_at		timestamptz NOT NULL,
	local_key		text,
	payload_hash	bytea				-- of the last body, the first half of its SHA-256
);
CREATE TABLE concord.delivery_log_1 (LIKE concord.delivery_log_0 INCLUDING DEFAULTS);
CREATE TABLE concord.delivery_log_2 (LIKE concord.delivery_log_0 INCLUDING DEFAULTS);
CREATE TABLE concord.delivery_log_3 (LIKE concord.delivery_log_0 INCLUDING DEFAULTS);
CREATE INDEX ON concord.delivery_log_0 USING brin (finished_at, delivery, seq);
CREATE INDEX ON concord.delivery_log_1 USING brin (finished_at, delivery, seq);
CREATE INDEX ON concord.delivery_log_2 USING brin (finished_at, delivery, seq);
CREATE INDEX ON concord.delivery_log_3 USING brin (finished_at, delivery, seq);

CREATE VIEW concord.delivery_log AS
	SELECT * FROM concord.delivery_log_0
	UNION ALL SELECT * FROM concord.delivery_log_1
	UNION ALL SELECT * FROM concord.delivery_log_2
	UNION ALL SELECT * FROM concord.delivery_log_3;
COMMENT ON VIEW concord.delivery_log IS 'deliveries that are finished, as long as pg_concord.delivery_retention keeps them';

-- What a courier knows of a system; written when it changes.
CREATE TABLE concord.system_state (
	serverid		oid NOT NULL,
	courier			int NOT NULL,
	breaker			text NOT NULL,	-- closed, open, half-open
	state			text NOT NULL,	-- ok, down, throttled, environment
	reason			text,
	since			timestamptz NOT NULL,
	until			timestamptz,	-- when it is tried again
	failures		int NOT NULL,
	in_flight		int NOT NULL,
	last_error		text,
	last_error_at	timestamptz,
	last_answer_at	timestamptz,
	PRIMARY KEY (serverid, courier)
) WITH (fillfactor = 20);

-- What was used of quotas, by the age of requests: parts[1] began age_ms
-- before saved_at, the others are part_ms long and older.
CREATE TABLE concord.account_usage (
	serverid		oid NOT NULL,	-- 0: a named account
	account			text NOT NULL,	-- '': a server's own
	saved_at		timestamptz NOT NULL,
	part_ms			bigint NOT NULL,
	age_ms			bigint NOT NULL,
	parts			bigint[] NOT NULL,
	PRIMARY KEY (serverid, account)
) WITH (fillfactor = 20);

-- Systems that a person has paused.
CREATE TABLE concord.system_pause (
	serverid		oid PRIMARY KEY,
	paused_by		name NOT NULL,
	paused_at		timestamptz NOT NULL
);

SELECT pg_catalog.pg_extension_config_dump('concord.exception', 'WHERE state = ''dead''');
SELECT pg_catalog.pg_extension_config_dump('concord.link_item', '');
SELECT pg_catalog.pg_extension_config_dump('concord.delivery_id', '');

-- ---------------------------------------------------------------------
-- functions
-- ---------------------------------------------------------------------

CREATE FUNCTION concord.wait_for_delivery(name text DEFAULT NULL, timeout interval DEFAULT '30s')
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_wait_for_delivery';
COMMENT ON FUNCTION concord.wait_for_delivery(text, interval) IS
	'true once every event committed before the call has ended its way through the mapping (NULL: all mappings)';

CREATE FUNCTION concord.retry_dead(name text, delivery bigint DEFAULT NULL, filter text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_retry_dead';
COMMENT ON FUNCTION concord.retry_dead(text, bigint, text) IS
	'dead letters again: one, those that a condition over concord.dead_letter chooses, or all of the mapping';

CREATE FUNCTION concord.discard_dead(name text, delivery bigint, why text)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_discard_dead';
COMMENT ON FUNCTION concord.discard_dead(text, bigint, text) IS
	'gives up dead letters for good: one, or with NULL all of the mapping';

CREATE FUNCTION concord.replay(name text, from_time timestamptz DEFAULT NULL,
							   to_time timestamptz DEFAULT NULL, keys jsonb DEFAULT NULL,
							   from_seq bigint DEFAULT NULL, to_seq bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_replay';
COMMENT ON FUNCTION concord.replay(text, timestamptz, timestamptz, jsonb, bigint, bigint) IS
	'events of a span of times or positions, or of an array of local keys, again from the outbox';

CREATE FUNCTION concord.resync(name text, filter text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_resync';
COMMENT ON FUNCTION concord.resync(text, text) IS
	'rows of the table again, all or those that a condition chooses, though nothing has changed';

CREATE FUNCTION concord.pause_system(server name)
RETURNS void LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_pause_system';
CREATE FUNCTION concord.resume_system(server name)
RETURNS void LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_resume_system';

-- Events of a mapping that no courier has finished, read from the outbox.
CREATE FUNCTION concord.pending_events(mapping int, max_events int,
	OUT seq bigint, OUT event_id uuid, OUT op text, OUT committed_at timestamptz)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_pending_events';

-- How many they are, and since when; counted up to a bound.
CREATE FUNCTION concord.pending_summary(mapping int, OUT pending bigint, OUT oldest timestamptz)
RETURNS record LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_pending_summary';

-- About how many bytes of the outbox lie after a position.
CREATE FUNCTION concord.outbox_bytes_after(cursor bigint)
RETURNS bigint LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_outbox_bytes_after';

-- Limits and breaker of a server's account as they are in shared memory.
CREATE FUNCTION concord.account_state(serverid oid,
	OUT account text, OUT state text, OUT breaker text, OUT reason text, OUT since timestamptz,
	OUT until timestamptz, OUT failures int, OUT in_flight int, OUT concurrency int, OUT rate text,
	OUT budget_left bigint, OUT throttled_until timestamptz, OUT note text)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'concord_account_state';

-- ---------------------------------------------------------------------
-- views
-- ---------------------------------------------------------------------

-- The kind of an event as people read it.
CREATE FUNCTION concord.op_name(op "char") RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE op WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete'
		WHEN 'T' THEN 'truncate' WHEN 'M' THEN 'emit' WHEN 'R' THEN 'resync' ELSE op::text END;

-- When the first token or session kept for a server is over, of roles whose
-- rights the caller has; to members of pg_read_all_stats, of all roles.
CREATE FUNCTION concord.token_expiry(server oid)
RETURNS timestamptz LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'concord_token_expiry';

CREATE VIEW concord.system AS
	SELECT s.srvname AS server,
		   CASE WHEN p.serverid IS NOT NULL THEN 'paused'
				WHEN NOT pg_catalog.current_setting('pg_concord.delivery', true)::bool THEN 'delivery off'
				WHEN c.state = 'held' THEN c.state
				ELSE coalesce(a.state, c.state, 'idle') END AS state,
		   coalesce(a.breaker, 'closed') AS breaker,
		   coalesce(a.in_flight, 0) AS in_flight,
		   CASE WHEN c.state = 'held' THEN c.reason ELSE a.reason END AS reason,
		   coalesce(a.since, c.since) AS since,
		   a.until,
		   coalesce(a.failures, 0) AS failures,
		   a.budget_left,
		   a.account,
		   a.rate,
		   a.concurrency,
		   a.throttled_until,
		   concord.token_expiry(s.oid) AS token_expiry,
		   c.last_error,
		   c.last_error_at,
		   c.last_answer_at,
		   p.paused_by,
		   CASE WHEN p.serverid IS NOT NULL THEN 'concord.resume_system() lets it go on.'
				WHEN NOT pg_catalog.current_setting('pg_concord.delivery', true)::bool
					THEN 'Set pg_concord.delivery = on and reload.'
				WHEN c.state = 'held' AND c.reason LIKE '%pg_concord.environment%'
					THEN 'Where this database may write to that system, set pg_concord.environment to the server''s option environment and reload.'
				WHEN a.state = 'throttled' AND a.throttled_until IS NULL
					THEN 'The budget is used up; it goes on by itself (see until).'
				WHEN a.state = 'throttled' THEN 'The system asks for time; it goes on by itself.'
				WHEN a.state = 'down' AND a.reason ~ '^HTTP status 401' AND n.role IS NOT NULL
					THEN 'There are no credentials for role ' || n.role || ', as which a mapping is delivered (CREATE USER MAPPING FOR '
						 || n.role || ' SERVER ' || pg_catalog.quote_ident(s.srvname) || ' ...); that has it tried at once.'
				WHEN a.state = 'down' AND a.reason ~ '^HTTP status (401|407)'
					THEN 'Correct the credentials (ALTER USER MAPPING); that has it tried at once.'
				WHEN a.state = 'down' AND a.reason ~* 'certificate'
					THEN 'Correct ca_file, cert_file or url (ALTER SERVER); that has it tried at once.'
				WHEN a.state = 'down'
					THEN 'It is tried again by itself (see until); concord.ping() asks once, and ALTER SERVER has it tried at once.'
				ELSE a.note
		   END AS hint
	FROM pg_catalog.pg_foreign_server s
	JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'concord'
	LEFT JOIN concord.system_pause p ON p.serverid = s.oid
	LEFT JOIN LATERAL (
		SELECT (pg_catalog.array_agg(t.state ORDER BY t.state = 'held' DESC, t.since DESC))[1] AS state,
			   (pg_catalog.array_agg(t.reason ORDER BY t.state = 'held' DESC, t.since DESC))[1] AS reason,
			   pg_catalog.max(t.since) AS since,
			   (pg_catalog.array_agg(t.last_error ORDER BY t.last_error_at DESC NULLS LAST))[1] AS last_error,
			   pg_catalog.max(t.last_error_at) AS last_error_at,
			   pg_catalog.max(t.last_answer_at) AS last_answer_at
		FROM concord.system_state t WHERE t.serverid = s.oid) c ON true
	CROSS JOIN LATERAL concord.account_state(s.oid) a
	LEFT JOIN LATERAL (
		SELECT pg_catalog.quote_ident(pg_catalog.min(m.definer)) AS role
		FROM concord.mapping m
		WHERE a.state = 'down' AND m.serverid = s.oid AND NOT EXISTS (
			SELECT FROM pg_catalog.pg_user_mappings u WHERE u.srvid = s.oid AND u.umuser = m.definer_oid)) n ON true;
COMMENT ON VIEW concord.system IS 'each server: state, breaker, limits of its account, what is in flight, last error, what to do';

CREATE VIEW concord.status AS
	SELECT m.name AS mapping,
		   CASE WHEN m.home OPERATOR(pg_catalog.=) concord.home() THEN m.state ELSE 'restored' END AS state,
		   CASE WHEN m.home OPERATOR(pg_catalog.=) concord.home() THEN m.state_reason
				ELSE 'the mapping comes from another database; concord.activate() makes it this one''s' END AS state_reason,
		   m.server,
		   m.version,
		   p.pending + coalesce(x.live, 0) AS pending,
		   pg_catalog.now() - least(p.oldest, x.oldest) AS lag,
		   coalesce(l.delivered, 0) AS delivered,
		   coalesce(l.unchanged, 0) AS unchanged,
		   coalesce(l.skipped, 0) AS skipped,
		   coalesce(l.retried, 0) AS retried,
		   coalesce(x.retrying, 0) AS retrying,
		   coalesce(x.waiting, 0) AS waiting,
		   coalesce(x.dead, 0) AS dead,
		   l.last_done_at,
		   l.last_error,
		   l.last_error_at,
		   l.cursor,
		   coalesce(a.breaker, 'closed') AS breaker,
		   CASE WHEN a.breaker <> 'closed' THEN a.reason END AS breaker_reason,
		   CASE WHEN a.breaker <> 'closed' THEN a.until END AS breaker_until
	FROM concord.mapping m
	LEFT JOIN LATERAL (
		SELECT pg_catalog.sum(n.delivered)::bigint AS delivered, pg_catalog.sum(n.unchanged)::bigint AS unchanged,
			   pg_catalog.sum(n.skipped)::bigint AS skipped, pg_catalog.sum(n.retried)::bigint AS retried,
			   pg_catalog.max(n.last_done_at) AS last_done_at,
			   (pg_catalog.array_agg(n.last_error ORDER BY n.last_error_at DESC NULLS LAST))[1] AS last_error,
			   pg_catalog.max(n.last_error_at) AS last_error_at, pg_catalog.min(n.cursor) AS cursor
		FROM concord.lane n WHERE n.mapping = m.id) l ON true
	CROSS JOIN LATERAL concord.pending_summary(m.id) p
	LEFT JOIN LATERAL (
		SELECT pg_catalog.count(*) FILTER (WHERE e.state IN ('retry', 'waiting', 'blocked')) AS live,
			   pg_catalog.count(*) FILTER (WHERE e.state = 'retry') AS retrying,
			   pg_catalog.count(*) FILTER (WHERE e.state IN ('waiting', 'blocked')) AS waiting,
			   pg_catalog.count(*) FILTER (WHERE e.state = 'dead') AS dead,
			   pg_catalog.min(e.committed_at) FILTER (WHERE e.state IN ('retry', 'waiting', 'blocked')) AS oldest
		FROM concord.exception e
		WHERE e.mapping = m.id AND e.state IN ('retry', 'waiting', 'blocked', 'dead')) x ON true
	LEFT JOIN LATERAL concord.account_state(m.serverid) a ON true;
COMMENT ON VIEW concord.status IS 'each mapping: state, pending, lag, delivered, retried, dead, last error, breaker of its system';

CREATE VIEW concord.dead_letter AS
	SELECT e.delivery, m.name AS mapping, e.version, m.server, e.local_key, e.op,
		   e.committed_at, e.attempts, e.rule, e.status, e.answer, e.request, e.error,
		   e.superseded_by
	FROM concord.exception e
	JOIN concord.mapping m ON m.id = e.mapping
	WHERE e.state = 'dead';
COMMENT ON VIEW concord.dead_letter IS 'events that were refused or failed a check, with rule and answer';

CREATE VIEW concord.link AS
	SELECT m.name AS mapping, k.local_key, k.remote_id, k.etag, k.seq, k.changed_at
	FROM concord.link_item k
	JOIN concord.mapping m ON m.id = k.mapping
	WHERE k.present;
COMMENT ON VIEW concord.link IS 'key of a row and id of its record in the system, with the ETag';

CREATE VIEW concord.delivery AS
	SELECT g.delivery, m.name AS mapping, g.version, m.server, g.seq,
		   g.local_key::jsonb AS local_key, concord.op_name(g.op) AS op,
		   CASE g.outcome WHEN 'd' THEN 'done' WHEN 'u' THEN 'unchanged'
			   WHEN 's' THEN 'superseded' WHEN 'k' THEN 'skipped' END AS state,
		   g.attempts, g.status, NULL::text AS rule, NULL::text AS error,
		   g.committed_at, g.finished_at AS changed_at, NULL::timestamptz AS next_try,
		   g.elapsed_ms, pg_catalog.encode(g.payload_hash, 'hex') AS payload_hash
	FROM concord.delivery_log g
	JOIN concord.mapping m ON m.id = g.mapping
	UNION ALL
	SELECT e.delivery, m.name, e.version, m.server, e.seq, e.local_key, e.op, e.state,
		   e.attempts, e.status, e.rule, e.error, e.committed_at, e.changed_at, e.next_try, NULL, NULL
	FROM concord.exception e
	JOIN concord.mapping m ON m.id = e.mapping
	UNION ALL
	SELECT NULL, m.name, m.version, m.server, p.seq, NULL, concord.op_name(p.op::"char"), 'pending',
		   0, NULL, NULL, NULL, p.committed_at, p.committed_at, NULL, NULL, NULL
	FROM concord.mapping m
	CROSS JOIN LATERAL concord.pending_events(m.id, 10000) p;
COMMENT ON VIEW concord.delivery IS 'what became of each event in each mapping';
