/*
 * Matching: which rows and records are the same.
 */

-- Mappings that were created with initial => 'match'.
CREATE TABLE concord.match_state (
	mapping			int PRIMARY KEY,
	state			text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'done')),
	resumes			bool NOT NULL,		-- it is active afterwards
	asked_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	started_at		timestamptz,
	finished_at		timestamptz,
	next_at			timestamptz,
	local			bigint,				-- rows, and records
	remote			bigint,
	matched			bigint,
	linked			bigint,				-- before
	ambiguous		bigint,
	duplicates		bigint,
	local_only		bigint,
	remote_only		bigint,
	unusable		bigint,
	sent			bigint,
	failures		int NOT NULL DEFAULT 0,
	last_error		text,
	last_error_at	timestamptz
);
SELECT pg_catalog.pg_extension_config_dump('concord.match_state', '');

CREATE VIEW concord.matching AS
	SELECT m.name AS mapping, m.server,
		   CASE WHEN s.state OPERATOR(pg_catalog.=) 'done' THEN 'done'
				WHEN s.failures OPERATOR(pg_catalog.>) 0 THEN 'failing'
				WHEN s.started_at IS NOT NULL THEN 'running' ELSE 'due' END AS state,
		   s.local, s.remote, s.matched, s.linked, s.ambiguous, s.duplicates, s.local_only,
		   s.remote_only, s.unusable, s.sent, s.asked_at, s.started_at, s.finished_at, s.next_at,
		   s.failures, s.last_error, s.last_error_at
	FROM concord.match_state s
	JOIN concord.mapping m ON m.id OPERATOR(pg_catalog.=) s.mapping;
COMMENT ON VIEW concord.matching IS 'initial => ''match'' of mappings: how far it is, and what was found';

CREATE FUNCTION concord.match(name text, apply bool = false,
							  OUT local_key jsonb, OUT remote_id text, OUT rule text, OUT verdict text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_match' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION concord.match IS
	'which rows and which records of a mapping are the same; apply: link those of which there is no doubt';
