-- ping(): network troubles are a result, missing rights are errors; where a
-- request may go

-- nobody listens on port 1
CREATE SERVER server_dead FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'http://127.0.0.1:1/odata/', timeout '5s');
SELECT ok, status, elapsed >= '0' AS timed, error ~ '^Failed to connect to 127.0.0.1( port |:)1 ' AS refused
  FROM concord.ping('server_dead');
SELECT * FROM concord.ping('server_nowhere');
SELECT * FROM concord.ping('server_dead', 'server_nobody');

-- a name that cannot be resolved
CREATE SERVER server_unnamed FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://concord.invalid/');
SELECT ok, status, error FROM concord.ping('server_unnamed');

-- metadata services of clouds, in any spelling, are out of reach for everyone
CREATE SERVER server_metadata FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://169.254.169.254/latest/');
SELECT ok, status, error FROM concord.ping('server_metadata');
ALTER SERVER server_metadata OPTIONS (SET url 'http://0xa9fea9fe/');
SELECT ok, status, error FROM concord.ping('server_metadata');
ALTER SERVER server_metadata OPTIONS (SET url 'http://[::ffff:169.254.169.254]/');
SELECT ok, status, error ~ '^address .* is not allowed' AS refused FROM concord.ping('server_metadata');

-- the loopback is for servers of superusers, or by pg_concord.allowed_networks
CREATE ROLE server_pinger;
CREATE ROLE server_stranger;
GRANT USAGE ON SCHEMA concord TO server_pinger, server_stranger;
GRANT EXECUTE ON FUNCTION concord.ping(name, name) TO server_pinger, server_stranger;
GRANT USAGE ON FOREIGN DATA WRAPPER concord TO server_pinger;
SET ROLE server_pinger;
CREATE SERVER server_local FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/');
SELECT ok, status, error FROM concord.ping('server_local');
ALTER SERVER server_local OPTIONS (SET url 'http://localhost:1/');
SELECT ok, status, error ~ '^address (127.0.0.1|::1) is not allowed' AS refused FROM concord.ping('server_local');

-- rights: USAGE on the server, membership of the other role
SELECT * FROM concord.ping('server_dead');
-- 16 and newer say it in other words
\set VERBOSITY sqlstate
SELECT * FROM concord.ping('server_local', 'server_stranger');
\set VERBOSITY default
RESET ROLE;
SELECT * FROM concord.ping('server_local', 'server_stranger');
SET ROLE server_stranger;
SELECT * FROM concord.ping('server_local');
RESET ROLE;
SELECT ok, error ~ 'is not allowed' AS refused FROM concord.ping('server_local', 'server_pinger');

-- a server of another environment is not contacted
ALTER SERVER server_dead OPTIONS (environment 'prod');
SELECT * FROM concord.ping('server_dead');

-- a secret's file that cannot be read
CREATE USER MAPPING FOR CURRENT_USER SERVER server_unnamed
  OPTIONS (auth 'bearer', token_file '/nonexistent/token');
SELECT * FROM concord.ping('server_unnamed');

DROP SERVER server_dead, server_unnamed, server_metadata, server_local CASCADE;
DROP OWNED BY server_pinger, server_stranger;
DROP ROLE server_pinger, server_stranger;
