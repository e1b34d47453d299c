"""A random workload: sessions that interleave, over tables of every type.

Schemas: w and w2 hold tables whose changes are all published, n those whose
UPDATEs and DELETEs no publication could carry, because they have no replica
identity.  Tables of schema s keep their definition (not their identity): their
rows are rebuilt from the events alone.

A statement may fail: on a constraint, a lock that another session holds, a
table that is gone.  Then its savepoint or its transaction is rolled back, which
is a part of the workload.
"""

import values
from pg import PgError, ident, quote

SESSIONS = 4

# what a column may become, by a cast that every value survives
WIDER = {
    "int2": ["int4", "int8", "numeric", "text"], "int4": ["int8", "numeric", "text", "float8"],
    "int8": ["numeric", "text"], "float4": ["float8", "text"], "varchar(60)": ["text", "varchar"],
    "date": ["timestamp", "text"], "timestamp": ["text"], "bool": ["text"], "uuid": ["text"],
    "json": ["text"], "mood": ["text"],
}

DEFAULTS = {
    "int4": ["7", "(random() * 100)::int4", "length(current_setting('server_version'))"],
    "text": ["'a \"default\"'", "md5(random()::text)", "repeat('long default ', 300)"],
    "timestamptz": ["now()", "clock_timestamp()", "'infinity'"],
    "numeric": ["1.50", "'NaN'"], "int4[]": ["'{1,2}'"], "jsonb": ["'{\"a\": null}'"],
    "pair": ["'(1,x)'"], "bool": ["false"],
}


class Table:
    def __init__(self, schema, name, fixed=False):
        self.schema = schema
        self.name = name
        self.fixed = fixed  # its columns stay as they are
        self.children = []
        self.partitioned = False

    @property
    def sql(self):
        return "%s.%s" % (ident(self.schema), ident(self.name))


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.savepoints = 0
        self.changed = False  # a definition, in the open transaction
        self.origin = False


class Workload:
    def __init__(self, random, connect, report):
        self.r = random
        self.report = report
        self.sessions = [Session(connect()) for _ in range(SESSIONS)]
        self.control = connect()
        self.version = int(self.control.query("SHOW server_version_num")[0][0])
        self.tables = []
        self.columns = {}
        self.types = dict(values.TYPES)
        self.number = 0
        self.prepared = []
        self.count = {}
        self.failures = {}

    # ---- set-up

    def setup(self):
        self.control.query("CREATE SCHEMA w; CREATE SCHEMA w2; CREATE SCHEMA n; CREATE SCHEMA s")
        self.control.query("SET search_path = public; " + values.SETUP)
        for name in values.EXTENSIONS:
            try:
                self.control.query("CREATE EXTENSION %s" % name)
                self.types.update(values.OF_EXTENSIONS[name])
            except PgError:
                self.report("without extension %s" % name)
        # PostgreSQL 17 knows infinite intervals, 15 does not: none is made
        for session in self.sessions + [self.control]:
            session = getattr(session, "connection", session)
            session.query("SET search_path = public; SET lock_timeout = '15ms'")
        self.control.query(
            "CREATE PUBLICATION leaf FOR TABLES IN SCHEMA w, w2, s;"
            "CREATE PUBLICATION root FOR TABLES IN SCHEMA w, w2, s WITH (publish_via_partition_root);"
            "CREATE PUBLICATION inserts FOR TABLES IN SCHEMA n"
            " WITH (publish = 'insert, truncate', publish_via_partition_root)")
        self.create_all_types("w", "every", "PRIMARY KEY")
        for name, key, identity in (
                ("s_default", "PRIMARY KEY", "DEFAULT"), ("s_full", "", "FULL"),
                ("s_full_key", "PRIMARY KEY", "FULL"), ("s_index", "NOT NULL UNIQUE", "USING INDEX s_index_id_key")):
            self.create_all_types("s", name, key, identity)
            self.tables[-1].fixed = True
        self.create_all_types("n", "s_nothing", "PRIMARY KEY", "NOTHING")
        self.tables[-1].fixed = True
        self.create_toast()
        self.create_filtered()
        for _ in range(4):
            self.create_partitioned(self.sessions[0])
        for _ in range(6):
            self.create_table(self.sessions[0])

    def create_all_types(self, schema, name, key, identity=None):
        table = Table(schema, name)
        columns = ["%s %s" % (ident("c %d" % i if i % 7 == 0 else "c_%d" % i), t)
                   for i, t in enumerate(self.types)]
        # 18 refuses UPDATE where the identity has a generated column that is not published
        if identity != "FULL" or self.version < 180000:
            columns.append("gen text GENERATED ALWAYS AS (id || '!') STORED")
        self.control.query("CREATE TABLE %s (id int %s, %s)" % (
            table.sql, key, ", ".join(c + (" DEFAULT 1" if c.endswith(" deeper") else "") for c in columns)))
        if identity:
            self.control.query("ALTER TABLE %s REPLICA IDENTITY %s" % (table.sql, identity))
        self.tables.append(table)

    def create_toast(self):
        for schema, name, identity in (("w", "toast", "DEFAULT"), ("w", "toast_full", "FULL"),
                                       ("s", "s_toast", "DEFAULT"), ("s", "s_toast_full", "FULL"),
                                       ("w", "toast_key", "USING INDEX toast_key_i")):
            table = Table(schema, name, fixed=schema == "s")
            self.control.query(
                "CREATE TABLE %s (id int %s, n int, long1 text, long2 text NOT NULL DEFAULT '', j jsonb, b bytea, list text[])" % (
                    table.sql, "PRIMARY KEY" if name != "toast_key" else "NOT NULL")
                + "; ALTER TABLE %s ALTER long2 SET STORAGE EXTERNAL" % table.sql)
            if name == "toast_key":
                self.control.query("CREATE UNIQUE INDEX toast_key_i ON w.toast_key (id, long2)")
            self.control.query("ALTER TABLE %s REPLICA IDENTITY %s" % (table.sql, identity))
            self.tables.append(table)

    def create_filtered(self):
        """Publications that restrict rows and columns, of tables whose definition stays."""
        listed = ["id"] + [n for (n,) in self.control.query(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 's.s_default'::regclass AND attnum % 5 = 2 AND attnum > 1")]
        table = Table("w", "tree", fixed=True)
        self.control.query(
            "CREATE TABLE w.tree (id int PRIMARY KEY, v text, w int, j jsonb) PARTITION BY RANGE (id);"
            "CREATE TABLE w.tree_1 PARTITION OF w.tree FOR VALUES FROM (0) TO (60);"
            "CREATE TABLE w.tree_2 (j jsonb, gone int, w int, v text, id int NOT NULL);"
            "ALTER TABLE w.tree_2 DROP gone; ALTER TABLE w.tree ATTACH PARTITION w.tree_2 FOR VALUES FROM (60) TO (200);"
            "ALTER TABLE w.tree REPLICA IDENTITY FULL; ALTER TABLE w.tree_1 REPLICA IDENTITY FULL; ALTER TABLE w.tree_2 REPLICA IDENTITY FULL")
        table.children = [(Table("w", "tree_1"), None), (Table("w", "tree_2"), None)]
        self.tables.append(table)
        names = {t: n for n, t in self.control.query(
            "SELECT quote_ident(attname), format_type(atttypid, -1) FROM pg_attribute"
            " WHERE attrelid = 's.s_full'::regclass AND attnum > 0")}
        self.control.query(
            "CREATE PUBLICATION filtered FOR TABLE s.s_full WHERE (id % 2 = 0 OR {integer} > 0), s.s_default ({listed}) WHERE (id > 60),"
            " s.s_index WHERE (id IS NOT NULL AND id % 3 > 0), s.s_toast_full WHERE (length(long1) > 2000 OR n IS NULL),"
            " s.s_toast (long2, id, n), w.every ({listed}), w.tree_1 WHERE (w > 0), w.tree_2;"
            "CREATE PUBLICATION filtered_too FOR TABLE s.s_full WHERE ({numeric} > 0 OR {text} < 'k'), s.s_full_key WHERE ({boolean});"
            "CREATE PUBLICATION filtered_root FOR TABLE w.tree WHERE (length(v) > 5) WITH (publish_via_partition_root)".format(
                listed=", ".join(listed), integer=names["integer"], numeric=names["numeric"],
                text=names["text"], boolean=names["boolean"]))

    def fresh(self, prefix):
        self.number += 1
        return self.r.choice(["%s%d", "%s %d", "%s_Ä%d", '%s"%d']) % (prefix, self.number)

    def random_columns(self, most):
        return ["%s %s" % (ident(self.fresh("c")), t)
                for t in self.r.sample(sorted(self.types), self.r.randrange(most)) if t != "deeper"]

    def create_table(self, session):
        table = Table(self.r.choice(["w", "w", "w2", "n"]), self.fresh("t"))
        key = self.r.choice(["id int PRIMARY KEY", "id int NOT NULL UNIQUE", "id int",
                             "id int, k text NOT NULL DEFAULT 'k', PRIMARY KEY (k, id)"])
        self.run(session, "create", "CREATE TABLE %s (%s)" % (
            table.sql, ", ".join([key] + self.random_columns(8))))
        if table.schema != "n" and "PRIMARY" not in key:
            self.run(session, "identity", "ALTER TABLE %s REPLICA IDENTITY FULL" % table.sql)
        self.tables.append(table)
        session.changed = True

    def create_partitioned(self, session):
        """A tree: ranges of id; partitions with columns in another order."""
        table = Table(self.r.choice(["w", "w", "n"]), self.fresh("p"))
        table.partitioned = True
        columns = ["v text", "w int"] + self.random_columns(4)
        self.run(session, "create", "CREATE TABLE %s (id int PRIMARY KEY, %s) PARTITION BY RANGE (id)" % (
            table.sql, ", ".join(columns)))
        for i in range(3):
            child = Table(self.r.choice(["w", "w2"]) if table.schema != "n" else "n", self.fresh("p"))
            bounds = "FROM (%d) TO (%d)" % (i * 40, i * 40 + 40)
            if i == 0:
                self.run(session, "create", "CREATE TABLE %s PARTITION OF %s FOR VALUES %s PARTITION BY HASH (id)" % (
                    child.sql, table.sql, bounds))
                for n in range(2):
                    leaf = Table(child.schema, self.fresh("p"))
                    self.run(session, "create", "CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS 2, REMAINDER %d)" % (
                        leaf.sql, child.sql, n))
                    table.children.append((leaf, None))
            else:
                self.r.shuffle(columns)
                self.run(session, "create", "CREATE TABLE %s (gone int, %s, id int NOT NULL)" % (
                    child.sql, ", ".join(columns)))
                self.run(session, "alter", "ALTER TABLE %s DROP gone" % child.sql)
                self.run(session, "attach", "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s" % (
                    table.sql, child.sql, bounds))
                table.children.append((child, bounds))
        self.tables.append(table)

    # ---- running

    def run(self, session, what, sql, copy_data=None):
        """Run a statement; on failure roll back what has to be."""
        self.count[what] = self.count.get(what, 0) + 1
        try:
            return session.connection.query(sql, copy_data)
        except PgError as error:
            key = "%s: %s %s" % (what, error.sqlstate, error.message[:60])
            self.failures[key] = self.failures.get(key, 0) + 1
            if session.connection.status == b"E":
                if session.savepoints and self.r.random() < 0.8:
                    session.connection.query("ROLLBACK TO SAVEPOINT s%d" % session.savepoints)
                else:
                    self.end(session, "ROLLBACK")
            return None

    def end(self, session, sql):
        session.connection.query(sql)
        session.savepoints = 0
        if session.changed:
            self.columns.clear()
        session.changed = False

    def table_columns(self, session, table):
        """(name, type, key, generated) of each column, as the session sees it."""
        key = (table.schema, table.name)
        if key not in self.columns or session.changed:
            rows = self.run(session, "look", (
                "SELECT attname, format_type(atttypid, atttypmod), attgenerated <> '' FROM pg_attribute a JOIN pg_class c"
                " ON attrelid = c.oid JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"
                " AND attnum > 0 AND NOT attisdropped ORDER BY attnum") % (quote(table.schema), quote(table.name)))
            if not rows:
                return []
            if session.changed:
                return rows
            self.columns[key] = rows
        return self.columns[key]

    LONG = {
        "smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4", "double precision": "float8",
        "boolean": "bool", "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
        "time without time zone": "time", "time with time zone": "timetz", "character varying": "varchar",
        "character varying(60)": "varchar(60)", "character(50)": "char(50)", "bit varying": "varbit",
        "bit(13)": "bit(13)", "timestamp(0) without time zone": "timestamp(0)", "time(3) without time zone": "time(3)",
    }

    def generator(self, type_name):
        base, suffix = (type_name[:-2], "[]") if type_name.endswith("[]") else (type_name, "")
        name = self.LONG.get(base, base) + suffix
        if name == "character(20)[]":
            name = "char(20)[]"
        return self.types.get(name)

    def value(self, name, type_name, long=False):
        """A random value as text, or None."""
        if name == "id":
            return str(self.r.randrange(1, 121))
        if self.r.random() < 0.08:
            return None
        if name.startswith("long") or (type_name == "text" and self.r.random() < 0.03):
            return values.long_text(self.r)
        if name in ("j", "b", "list") and self.r.random() < 0.5:
            text = values.long_text(self.r)
            return {"j": lambda: '{"a": %s}' % values.json.dumps(text), "b": lambda: "\\x" + text.encode().hex(),
                    "list": lambda: '{"%s"}' % text.replace("\\", "\\\\").replace('"', '\\"')}[name]()
        generate = self.generator(type_name)
        return generate(self.r) if generate else None

    def literal(self, value):
        return "NULL" if value is None else quote(value)

    # ---- changes

    def insert(self, session, table, rows=1):
        columns = [c for c in self.table_columns(session, table) if c[2] == "f"]
        if not columns:
            return
        most = 12 if len(columns) > 20 and self.r.random() < 0.8 else len(columns)
        chosen = [c for c in columns if c[0] == "id"] + self.r.sample(
            [c for c in columns if c[0] != "id"], self.r.randrange(min(most, len(columns))))
        if self.r.random() < 0.15:
            data = "".join(
                "\t".join(self.copied(self.value(*c[:2])) for c in chosen) + "\n" for _ in range(max(rows, self.r.randrange(1, 9))))
            self.run(session, "copy", "COPY %s (%s) FROM STDIN" % (
                table.sql, ", ".join(ident(c[0]) for c in chosen)), data)
            return
        lists = ", ".join("(%s)" % ", ".join(self.literal(self.value(*c[:2])) for c in chosen) for _ in range(rows))
        sql = "INSERT INTO %s (%s) VALUES %s" % (table.sql, ", ".join(ident(c[0]) for c in chosen), lists)
        kind = self.r.random()
        if kind < 0.6:
            sql += " ON CONFLICT DO NOTHING"
        elif kind < 0.7 and len(chosen) > 1 and rows == 1:
            sql += " ON CONFLICT (id) DO UPDATE SET %s = EXCLUDED.%s" % ((ident(chosen[1][0]),) * 2)
        self.run(session, "insert", sql)

    @staticmethod
    def copied(value):
        if value is None:
            return "\\N"
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")

    def where(self):
        kind = self.r.random()
        if kind < 0.35:
            return "id = %d" % self.r.randrange(1, 121)
        if kind < 0.9:
            low = self.r.randrange(1, 121)
            return "id BETWEEN %d AND %d" % (low, low + self.r.randrange(1, 10))
        return "id %% 17 = %d" % self.r.randrange(17)

    def update(self, session, table):
        columns = [c for c in self.table_columns(session, table) if c[2] == "f" and c[0] != "id"]
        where = self.where()
        if not columns or self.r.random() < 0.1:
            self.run(session, "update key", "UPDATE %s SET id = id + %d WHERE %s" % (
                table.sql, self.r.randrange(-20, 20), where))
            return
        sets = ["%s = %s" % (ident(name), self.r.choice([ident(name)] + [self.literal(self.value(name, type_name))] * 9))
                for name, type_name, _ in self.r.sample(columns, self.r.randrange(1, min(5, len(columns)) + 1))]
        self.run(session, "update", "UPDATE %s SET %s WHERE %s" % (table.sql, ", ".join(sets), where))

    def delete(self, session, table):
        self.run(session, "delete", "DELETE FROM %s WHERE %s" % (table.sql, self.where()))

    def truncate(self, session, table):
        names = [table.sql]
        if self.r.random() < 0.3:
            names.append(self.r.choice(self.tables).sql)
        if table.children and self.r.random() < 0.5:
            names = [self.r.choice(table.children)[0].sql]
        self.run(session, "truncate", "TRUNCATE %s %s %s" % (
            ", ".join(names), self.r.choice(["", "RESTART IDENTITY"]), self.r.choice(["", "CASCADE"])))

    def both(self, session, table):
        """Several kinds of change by one statement."""
        other = self.r.choice([t for t in self.tables if t.name.startswith("s_")])
        self.run(session, "with", (
            "WITH d AS (DELETE FROM %s WHERE %s RETURNING id), i AS (INSERT INTO %s (id) SELECT id FROM d"
            " ON CONFLICT DO NOTHING RETURNING id) UPDATE w.toast SET n = id WHERE id IN (SELECT id FROM i)") % (
                table.sql, self.where(), other.sql))

    def merge(self, session, table):
        self.run(session, "merge", (
            "MERGE INTO %s t USING generate_series(%d, %d) g ON t.id = g WHEN MATCHED AND g %% 3 = 0 THEN DELETE"
            " WHEN MATCHED THEN UPDATE SET id = t.id WHEN NOT MATCHED THEN INSERT (id) VALUES (g)") % (
                table.sql, *sorted((self.r.randrange(1, 60), self.r.randrange(1, 60)))))

    def many(self, session, table):
        """More than the reorder buffer keeps in memory."""
        self.run(session, "many", "INSERT INTO w.toast (id, n, long1, long2) SELECT g, g, repeat(md5(g::text), %d), md5(random()::text)"
                 " FROM generate_series(%d, %d) g ON CONFLICT (id) DO UPDATE SET n = excluded.n + 1" % (
                     self.r.randrange(1, 20), *sorted((self.r.randrange(1, 400), self.r.randrange(1, 400)))))

    def message(self, session, table):
        content = self.r.choice([
            lambda: quote(values.text(self.r)), lambda: "'\\x%s'::bytea" % self.r.randbytes(self.r.randrange(30)).hex()])()
        self.run(session, "message", "SELECT pg_logical_emit_message(%s, %s, %s)" % (
            self.r.choice(["true", "true", "false"]), quote(values.text(self.r, 10)), content))

    # ---- definitions

    def alter(self, session, table):
        if table.fixed and table.schema != "n" or table.name == "every":
            return
        session.changed = True
        self.columns.clear()
        columns = [c for c in self.table_columns(session, table) if c[0] not in ("id", "k", "long2")]
        name, type_name = (self.r.choice(columns)[:2] if columns else (None, None))
        short = self.LONG.get(type_name, type_name)
        kinds = [self.add_column, self.add_column, self.identity, self.identity, self.rewrite, self.rename_table, self.index]
        if name:
            kinds += [self.drop_column, self.rename_column, self.rename_column, self.storage]
            if short in WIDER:
                kinds += [self.change_type] * 3
        if table.partitioned:
            kinds += [self.partition] * 6
        self.r.choice(kinds)(session, table, name, short)

    def add_column(self, session, table, name, short):
        new = self.r.choice(sorted(self.types))
        default = ""
        if self.r.random() < 0.6:
            new = self.r.choice(sorted(DEFAULTS))
            default = " DEFAULT " + self.r.choice(DEFAULTS[new])
        if new == "deeper":
            new = "positive"
        self.run(session, "add column", "ALTER TABLE %s ADD %s %s%s" % (table.sql, ident(self.fresh("c")), new, default))

    def drop_column(self, session, table, name, short):
        if not table.fixed:
            self.run(session, "drop column", "ALTER TABLE %s DROP %s" % (table.sql, ident(name)))

    def rename_column(self, session, table, name, short):
        if not table.fixed and not name.startswith(("long", "n")):
            self.run(session, "rename column", "ALTER TABLE %s RENAME %s TO %s" % (table.sql, ident(name), ident(self.fresh("c"))))

    def change_type(self, session, table, name, short):
        if not table.fixed:
            self.run(session, "change type", "ALTER TABLE %s ALTER %s TYPE %s" % (
                table.sql, ident(name), self.r.choice(WIDER[short])))

    def storage(self, session, table, name, short):
        self.run(session, "storage", "ALTER TABLE %s ALTER %s SET STORAGE %s" % (
            table.sql, ident(name), self.r.choice(["EXTERNAL", "MAIN", "EXTENDED", "PLAIN"])))

    def identity(self, session, table, name, short):
        target = self.r.choice([table] + [c for c, _ in table.children])
        choices = ["FULL", "DEFAULT", "NOTHING"] if target.schema == "n" else ["FULL", "FULL", "DEFAULT"]
        if self.r.random() < 0.3:
            index = self.fresh("i")
            if self.run(session, "index", "CREATE UNIQUE INDEX %s ON %s (id)" % (ident(index), target.sql)) is not None:
                choices = ["USING INDEX " + ident(index)]
        self.run(session, "identity", "ALTER TABLE %s REPLICA IDENTITY %s" % (target.sql, self.r.choice(choices)))

    def index(self, session, table, name, short):
        self.run(session, "index", "CREATE INDEX ON %s (id)" % table.sql)

    def rewrite(self, session, table, name, short):
        if session.connection.in_transaction:
            self.run(session, "rewrite", self.r.choice([
                "ALTER TABLE %s SET UNLOGGED; ALTER TABLE %s SET LOGGED" % (table.sql, table.sql),
                "ALTER TABLE %s ALTER id TYPE int USING id" % table.sql,
                "TRUNCATE %s; INSERT INTO %s (id) VALUES (5)" % (table.sql, table.sql)]))
        else:
            self.run(session, "rewrite", "VACUUM FULL %s" % table.sql)

    def rename_table(self, session, table, name, short):
        if table.name.startswith(("s_", "toast")) or session.connection.in_transaction:
            return
        if self.r.random() < 0.5:
            new = Table(table.schema, self.fresh("t"))
            done = self.run(session, "rename table", "ALTER TABLE %s RENAME TO %s" % (table.sql, ident(new.name)))
        else:
            new = Table({"w": "w2", "w2": "w", "n": "n"}[table.schema], table.name)
            done = self.run(session, "set schema", "ALTER TABLE %s SET SCHEMA %s" % (table.sql, new.schema))
        if done is not None:
            table.schema, table.name = new.schema, new.name

    def partition(self, session, table, name, short):
        child, bounds = self.r.choice(table.children)
        if bounds is None:
            return
        # detached or attached: whichever of them is possible
        if self.run(session, "detach", "ALTER TABLE %s DETACH PARTITION %s" % (table.sql, child.sql)) is not None:
            self.run(session, "insert", "INSERT INTO %s (id) VALUES (%d) ON CONFLICT DO NOTHING" % (
                child.sql, self.r.randrange(int(bounds.split("(")[1].split(")")[0]), int(bounds.split("(")[2].split(")")[0]))))
            if self.r.random() < 0.3:
                return
        self.run(session, "attach", "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s" % (table.sql, child.sql, bounds))

    def replace_table(self, session, table):
        """Drop a table, or make one; of what a type has, add to it."""
        kind = self.r.random()
        if kind < 0.3 and len(self.tables) > 18:
            if table.name.startswith(("s_", "toast", "every", "tree")) or table.partitioned or session.connection.in_transaction:
                return
            if self.run(session, "drop table", "DROP TABLE %s" % table.sql) is not None:
                self.tables.remove(table)
        elif kind < 0.6 and not session.connection.in_transaction:
            if len(self.tables) < 40:
                (self.create_table if self.r.random() < 0.8 else self.create_partitioned)(session)
        elif kind < 0.8 and not session.connection.in_transaction:
            self.run(session, "type", "ALTER TYPE mood ADD VALUE IF NOT EXISTS %s" % quote(self.fresh("m")))
        else:
            self.run(session, "vacuum", self.r.choice(["ANALYZE %s", "VACUUM %s"]) % table.sql)

    # ---- transactions

    WEIGHTS = [("insert", 34), ("update", 26), ("delete", 9), ("truncate", 0.6), ("both", 2), ("merge", 1.5), ("many", 1.2),
               ("message", 4), ("alter", 2.5)]

    def change(self, session):
        table = self.r.choice(self.tables)
        if self.r.random() < 0.3:
            table = self.r.choice([t for t in self.tables if t.name.startswith(("s_", "toast", "every", "tree"))])
        what = self.r.choices([w for w, _ in self.WEIGHTS], [n for _, n in self.WEIGHTS])[0]
        if what == "insert":
            self.insert(session, table, self.r.choice([1, 1, 1, 2, 5]))
        else:
            getattr(self, what)(session, table)

    def savepoint(self, session):
        kind = self.r.random()
        if session.savepoints and kind < 0.3:
            n = self.r.randrange(1, session.savepoints + 1)
            self.run(session, "rollback to", "ROLLBACK TO SAVEPOINT s%d" % n)
            session.savepoints = n
            if session.changed:
                self.columns.clear()
        elif session.savepoints and kind < 0.4:
            n = self.r.randrange(1, session.savepoints + 1)
            self.run(session, "release", "RELEASE SAVEPOINT s%d" % n)
            session.savepoints = n - 1
        else:
            session.savepoints += 1
            self.run(session, "savepoint", "SAVEPOINT s%d" % session.savepoints)

    def finish_transaction(self, session):
        kind = self.r.random()
        if kind < 0.12:
            self.end(session, "ROLLBACK")
        elif kind < 0.2 and not session.changed and len(self.prepared) < 6:
            gid = self.fresh("gid")
            self.run(session, "prepare", "PREPARE TRANSACTION %s" % quote(gid))
            session.savepoints = 0
            rows = self.control.query("SELECT 1 FROM pg_prepared_xacts WHERE gid = %s" % quote(gid))
            if rows:
                self.prepared.append((gid, session))
        else:
            self.end(session, "COMMIT")

    def finish_prepared(self):
        # by the session that made it, so its origin is the same at both
        gid, session = self.r.choice(self.prepared)
        if not session.connection.in_transaction:
            self.prepared.remove((gid, session))
            session.connection.query("%s PREPARED %s" % (self.r.choice(["COMMIT", "COMMIT", "ROLLBACK"]), quote(gid)))

    def origin(self, session):
        """Changes of this session get an origin, or lose it."""
        if any(owner is session for _, owner in self.prepared):
            return
        if session.origin:
            session.connection.query("SELECT pg_replication_origin_session_reset()")
            session.origin = False
        elif not any(s.origin for s in self.sessions):
            session.connection.query(
                "SELECT pg_replication_origin_create('else\"where') WHERE NOT EXISTS (SELECT FROM pg_replication_origin);"
                "SELECT pg_replication_origin_session_setup('else\"where')")
            session.origin = True

    def step(self, session):
        """One statement of a session; True where a transaction has ended."""
        if not session.connection.in_transaction:
            kind = self.r.random()
            if self.prepared and self.r.random() < 0.1:
                self.finish_prepared()
            if kind < 0.03:
                self.origin(session)
            if kind < 0.25:
                self.change(session)
                return True
            if kind < 0.28:
                self.alter(session, self.r.choice(self.tables))
                session.changed = False
                self.columns.clear()
                return True
            if kind < 0.30:
                self.replace_table(session, self.r.choice(self.tables))
                session.changed = False
                self.columns.clear()
                return True
            session.connection.query("BEGIN")
            return False
        if self.r.random() < 0.22:
            self.finish_transaction(session)
            return True
        if self.r.random() < 0.2:
            self.savepoint(session)
        else:
            self.change(session)
        return not session.connection.in_transaction

    def run_all(self, transactions):
        done = 0
        while done < transactions:
            if self.step(self.r.choice(self.sessions)):
                done += 1
        for session in self.sessions:
            if session.connection.in_transaction:
                self.end(session, "COMMIT")
        while self.prepared:
            self.finish_prepared()
        # whatever was truncated, the tables that are rebuilt have rows
        for table in self.tables:
            if table.schema == "s":
                for _ in range(5):
                    self.insert(self.sessions[0], table, 3)
                    self.update(self.sessions[0], table)
        # more than fits into memory, some of it rolled back
        for _ in range(6):
            self.control.query("BEGIN; UPDATE s.s_toast SET long1 = repeat(md5(random()::text), 300); SAVEPOINT a;"
                               "INSERT INTO s.s_toast_full (id, long1) SELECT 1000 + g, repeat('abc', g * 10) FROM generate_series(1, 60) g;"
                               "SAVEPOINT b; UPDATE s.s_toast SET n = 1 - coalesce(n % 9, 0); ROLLBACK TO a;"
                               "UPDATE s.s_toast SET n = 2 - coalesce(n % 9, 0); COMMIT")
        # rows move in and out of each kind of filter, and some have no identity
        self.control.query(
            "INSERT INTO s.s_full (id) SELECT g FROM generate_series(1, 9) g; UPDATE s.s_full SET id = id + 1;"
            "INSERT INTO s.s_default (id) VALUES (100001), (100003), (-100004); UPDATE s.s_default SET id = id + 1 WHERE id = 100001;"
            "UPDATE s.s_default SET id = -id WHERE abs(id) IN (100003, 100004);"
            "INSERT INTO w.tree VALUES (130, 'short'), (131, 'long enough') ON CONFLICT DO NOTHING;"
            "UPDATE w.tree SET v = CASE WHEN length(v) > 5 THEN '' ELSE 'long enough' END, w = -(w % 1000);"
            "INSERT INTO n.s_nothing (id) VALUES (130) ON CONFLICT DO NOTHING;"
            "UPDATE n.s_nothing SET id = -id; DELETE FROM n.s_nothing WHERE id % 2 = 0")
