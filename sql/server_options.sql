-- Options of servers and user mappings: what is wrong is refused when it is
-- stated, with a hint

-- a server needs a connector and an address
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord;
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'odata');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'oddata', url 'http://erp.example.com/');

-- addresses
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'ftp://erp.example.com/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'file:///etc/passwd');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'erp.example.com');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'https://me:hidden@erp.example.com/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'https://erp.example.com/a b');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'https://erp.example.com/?sap-client=100');

-- names and values
CREATE SERVER server_ok FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url 'https://erp.example.com/odata');
ALTER SERVER server_ok OPTIONS (timeuot '30s');
ALTER SERVER server_ok OPTIONS (ulr 'https://erp.example.com/');
ALTER SERVER server_ok OPTIONS (username 'me');
ALTER SERVER server_ok OPTIONS (quite_something_else 'x');
ALTER SERVER server_ok OPTIONS (timeout '30');
ALTER SERVER server_ok OPTIONS (timeout '0s');
ALTER SERVER server_ok OPTIONS (timeout 'soon');
ALTER SERVER server_ok OPTIONS (concurrency '0');
ALTER SERVER server_ok OPTIONS (concurrency 'many');
ALTER SERVER server_ok OPTIONS (verify 'perhaps');
ALTER SERVER server_ok OPTIONS (service '../other');
ALTER SERVER server_ok OPTIONS (ca_file 'relative.pem');
ALTER SERVER server_ok OPTIONS (key_file '/k.pem');
ALTER SERVER server_ok OPTIONS (headers 'X-Tenant: 7');
ALTER SERVER server_ok OPTIONS (headers '["X-Tenant"]');
ALTER SERVER server_ok OPTIONS (headers '{"X-Tenant": 7}');
ALTER SERVER server_ok OPTIONS (headers '{"X Tenant": "7"}');
ALTER SERVER server_ok OPTIONS (headers '{"Authorization": "Basic x"}');
ALTER SERVER server_ok OPTIONS (headers '{"X-Api-Key": "x"}');
ALTER SERVER server_ok OPTIONS (headers E'{"X-Tenant": "7\\r\\nX-Other: 8"}');

-- what may be called, and how long answers may be used
ALTER SERVER server_ok OPTIONS (cache_max_age '1h');
ALTER SERVER server_ok OPTIONS (SET cache_max_age '3600');
ALTER SERVER server_ok OPTIONS (SET cache_max_age '-1s');
ALTER SERVER server_ok OPTIONS (call_allow 'GET,HEAD **; POST /orders/*/confirm');
ALTER SERVER server_ok OPTIONS (SET call_allow 'get **');
ALTER SERVER server_ok OPTIONS (SET call_allow 'GET, HEAD **');
ALTER SERVER server_ok OPTIONS (SET call_allow 'GET');
ALTER SERVER server_ok OPTIONS (SET call_allow 'GET a?b');
ALTER SERVER server_ok OPTIONS (SET call_allow 'GET a GET b');
ALTER SERVER server_ok OPTIONS (SET call_allow '');
-- known, but of a later version
ALTER SERVER server_ok OPTIONS (impersonate 'true');
ALTER FOREIGN DATA WRAPPER concord OPTIONS (url 'http://x/');

-- what is right
ALTER SERVER server_ok OPTIONS (timeout '30s', connect_timeout '500ms',
  retry_base '2s', retry_cap '5min', outage_limit '1d', retry_limit '7',
  concurrency '8', breaker_failures '3', breaker_cooldown '10s', service 'sales/v1',
  headers '{"X-Tenant": "7"}', environment 'prod', proxy 'http://proxy.example.com:3128');

-- credentials
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (username 'me');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'basik');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'kerberos_v5');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'oauth2_saml');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'oauth2_saml', token_url 'https://a.example/', client_id 'c', private_key_file '/k', issuer 'i');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'oauth2_saml', token_url 'https://a.example/', client_id 'c', saml_assertion_file '/k', issuer 'i');
-- headers that say where a request ends are nobody's to set
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'header', header_name 'Content-Length', token '0');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'header', header_name 'transfer-encoding', token 'chunked');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'header', header_name 'Host', token 'x');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example/', headers '{"Content-Length": "0"}');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example/', headers '{"Accept-Encoding": "gzip"}');
-- what parsers of addresses differ in
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example:0/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example\@b.example/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example\b.example/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url E'http://a.example/\tx');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example:99999/');
CREATE SERVER server_bad FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://a.example/', proxy 'socks5h://localhost/tmp/socket');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'oauth2');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'oauth2', token_url 'ftp://login.example.com/', client_id 'c', client_secret 's');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'oauth2', token_url 'https://login.example.com/', client_id 'c', client_secret 's', client_auth 'digest');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me', password 'x', token 'y');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me', password 'x', password_file '/run/x');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me', password 'x', client_id 'y');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me', pasword 'x');
-- a user name ends at the first colon (RFC 7617), and may be what is before it
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me:too', password 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username E'me\ntoo', password 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'basic', username 'me', password E'not\tshown');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'session', username 'me:too', password 'x');
-- options that are another object's, and what this one's are called
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'sigv4', access_key 'k', secret_key_file '/run/k', region 'eu-central-1', service 'sqs');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok OPTIONS (auth 'none', timeout '1s');
ALTER SERVER server_ok OPTIONS (ADD object 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'header', header_name 'X Key', token 'y');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'hmac', secret 'whsec_not base64!');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'bearer', token '');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (auth 'bearer', token 'y');
ALTER USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (SET auth 'basic');
ALTER USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (SET auth 'hmac', DROP token, secret 'whsec_c2VjcmV0c2VjcmV0c2VjcmV0', previous_secret 'old');

ALTER USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (SET auth 'hmac', DROP token, secret 'c2VjcmV0c2VjcmV0c2VjcmV0', previous_secret 'c2VjcmV0c2VjcmV0');
ALTER USER MAPPING FOR CURRENT_USER SERVER server_ok
  OPTIONS (SET auth 'hmac', DROP token, secret 'c2VjcmV0c2VjcmV0c2VjcmV0', previous_secret 'whsec_c2VjcmV0c2VjcmV0c2VjcmV0');
CREATE SERVER server_off FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'http://');
CREATE SERVER server_off FOREIGN DATA WRAPPER concord OPTIONS (connector 'rest', url 'https:///api/');
CREATE SERVER server_off FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', retry_base '10s', retry_cap '5s');
CREATE SERVER server_off FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'http://127.0.0.1:1/', retry_cap '5');

-- files are for those who may read the server's files
CREATE ROLE server_plain;
GRANT USAGE ON FOREIGN DATA WRAPPER concord TO server_plain;
SET ROLE server_plain;
CREATE SERVER server_of_plain FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'https://erp.example.com/', ca_file '/etc/ca.pem');
CREATE SERVER server_of_plain FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'rest', url 'https://erp.example.com/');
CREATE USER MAPPING FOR CURRENT_USER SERVER server_of_plain
  OPTIONS (auth 'bearer', token_file '/etc/passwd');
RESET ROLE;
GRANT pg_read_server_files TO server_plain;
SET ROLE server_plain;
CREATE USER MAPPING FOR CURRENT_USER SERVER server_of_plain
  OPTIONS (auth 'bearer', token_file '/etc/passwd');
RESET ROLE;

-- options of foreign tables and their columns
CREATE FOREIGN TABLE server_table (id int OPTIONS (key 'true', name 'ID')) SERVER server_ok OPTIONS (object 'Things');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (objekt 'Things');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (object '../Things');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (object 'Things?$top=1');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (write 'later');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (page_size '0');
CREATE FOREIGN TABLE server_bad (id int) SERVER server_ok OPTIONS (timeout '1s');
CREATE FOREIGN TABLE server_bad (id int OPTIONS (kee 'true')) SERVER server_ok;
CREATE FOREIGN TABLE server_bad (id int OPTIONS (key 'perhaps')) SERVER server_ok;
DROP FOREIGN TABLE server_table;

-- connectors are rows; one that cannot be used is refused
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'soap', '{}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '[]');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"updat": {"method": "PUT"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"update": {"method": "UPSERT"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"update": {"path": "{object}/{id}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"update": {"path": "../{object}"}}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"if_match": "always"}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"outcomes": [{"status": 600, "outcome": "done"}]}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"outcomes": [{"status": "4xx", "outcome": "fine"}]}');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_bad', 'rest', '{"outcomes": [{"match": "(", "outcome": "done"}]}');
INSERT INTO concord.connector (name, protocol, definition) VALUES ('server_bad', 'rest', NULL);
INSERT INTO concord.connector (name, protocol) VALUES ('server_bad', NULL);
INSERT INTO concord.connector (name, protocol) VALUES (NULL, 'rest');
INSERT INTO concord.connector (name, protocol, definition)
  VALUES ('server_own', 'rest', '{"update": {"method": "PUT"}, "remote_id": "assigned",
    "outcomes": [{"name": "busy", "status": 400, "path": "error.code", "match": "^BUSY", "outcome": "retry"}]}');
CREATE SERVER server_own FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'server_own', url 'https://erp.example.com/');

DROP SERVER server_own, server_ok, server_of_plain CASCADE;
DELETE FROM concord.connector WHERE name = 'server_own';
DROP OWNED BY server_plain;
DROP ROLE server_plain;
