# What happens in the demo: sourced by run.

private_user "$BIN/createdb" -h "$PRIVATE" -U postgres trade || exit 1

title "A trading company keeps customers, products and orders in PostgreSQL"
quiet_sql <<'SQL'
CREATE TABLE customers (
	id text PRIMARY KEY, name text NOT NULL, city text, credit_limit numeric(15,2),
	changed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE products (id text PRIMARY KEY, name text NOT NULL, price numeric(15,2));
CREATE TABLE orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL REFERENCES customers,
	product text NOT NULL REFERENCES products, quantity int NOT NULL,
	ordered_at timestamptz NOT NULL DEFAULT '2026-11-20 09:00Z');
INSERT INTO products VALUES ('P10', 'Paper, A4', 4.95), ('P20', 'Ink, black', 19.90);
SQL
note "Tables: customers, products, orders. Beside them runs an ERP with an OData v4 interface:" \
	"$ERP/odata/v4/sales/"

title "Set-up: the extension, the system, two mappings"
sql <<SQL
CREATE EXTENSION pg_concord;

CREATE SERVER erp FOREIGN DATA WRAPPER concord
  OPTIONS (connector 'odata', url '$ERP/odata/v4/sales/',
           retry_base '300ms', retry_limit '3');
SELECT * FROM concord.ping('erp');
SQL
sql <<'SQL'
SELECT concord.create_mapping('customers', 'customers', 'erp', 'Customers',
  fields => '{"Name": "name", "Town": "upper(city)",
              "CreditLimit": "credit_limit", "ChangedAt": "changed_at"}',
  key    => '{"ID": "id"}');
SELECT concord.create_mapping('orders', 'orders', 'erp', 'Orders',
  fields => '{"Customer": "customer", "Product": "product", "Quantity": "quantity",
              "Total": "quantity * (SELECT p.price FROM products p WHERE p.id = product)"}',
  key    => '{"No": "id"}',
  checks => '{"quantity is positive": "quantity > 0"}');
SQL
skip_requests
note "A field is an SQL expression. The tables were not changed: no trigger, no column."

title "Inserts, updates and deletes arrive, in order, after commit"
sql <<'SQL'
INSERT INTO customers (id, name, city, credit_limit, changed_at) VALUES
  ('C001', 'Ada Lovelace', 'London', 1500.00, '2026-11-20 08:15:00.123456Z'),
  ('C002', 'Zoë & Söhne ☃', 'Köln', NULL, '2026-11-20 08:15:01Z');
INSERT INTO orders (customer, product, quantity) VALUES ('C001', 'P10', 3), ('C002', 'P20', 1);

BEGIN;
UPDATE customers SET city = 'Oxford' WHERE id = 'C001';
ROLLBACK;

UPDATE customers SET credit_limit = 2500.50 WHERE id = 'C001';
DELETE FROM orders WHERE customer = 'C002';
DELETE FROM customers WHERE id = 'C002';
SQL
delivered
requests
holds Customers
holds Orders
note
note "What was rolled back was never sent."

title "What the database says about it"
sql <<'SQL'
SELECT mapping, state, pending, delivered, retried, dead FROM concord.status ORDER BY mapping;
SELECT slot, state, captured FROM concord.capture;
SQL

title "Somebody has the record open in the ERP: the request is retried"
fault '{"match": {"method": "PATCH", "key": "C001"}, "action": {"status": 423, "body": {"error": {"code": "LOCKED", "message": "Customer C001 is being edited by MILLER"}}}, "count": 1}'
sql <<'SQL'
UPDATE customers SET name = 'Ada King' WHERE id = 'C001';
SQL
delivered
requests
note
note "The same Idempotency-Key went along both times, so an ERP that knows it cannot act twice."

title "The ERP refuses a record for good: a dead letter, and the rest goes on"
fault '{"match": {"path": "/odata/v4/sales/Customers", "body": "99999"}, "action": {"status": 400, "body": {"error": {"code": "LIMIT", "message": "CreditLimit is above what the bank allows", "target": "CreditLimit"}}}}'
sql <<'SQL'
INSERT INTO customers (id, name, credit_limit) VALUES ('C003', 'Grace Hopper', 99999);
INSERT INTO customers (id, name, credit_limit) VALUES ('C004', 'Edsger Dijkstra', 800);
INSERT INTO orders (customer, product, quantity) VALUES ('C004', 'P20', 0);
SQL
delivered
skip_requests
sql <<'SQL'
\x on
SELECT mapping, local_key, op, attempts, rule, status, error FROM concord.dead_letter ORDER BY delivery;
SQL
note "One was refused by the ERP, the other by our own check before anything was sent. C004 went through."

title "Corrected, and sent again"
faults_end
sql <<'SQL'
UPDATE customers SET credit_limit = 900 WHERE id = 'C003';
UPDATE orders SET quantity = 2 WHERE quantity = 0;
SQL
delivered
sql <<'SQL'
SQL
delivered
requests
sql <<'SQL'
SELECT concord.retry_dead('customers'), concord.retry_dead('orders');
SQL
delivered
note "The update had gone out already, so the retry of the older letter has nothing left to send."
sql <<'SQL'
SELECT mapping, state, pending, delivered, retried, dead FROM concord.status ORDER BY mapping;
SQL
holds Customers
holds Orders

title "A dry run of a changed mapping"
sql <<'SQL'
BEGIN;
SELECT concord.alter_mapping('customers', fields => '{"Name": "upper(name)", "Town": null}');
SELECT key, method, body FROM concord.preview('customers', max_rows => 2);
ROLLBACK;
SQL
