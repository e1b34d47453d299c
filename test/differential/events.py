"""What every reader makes of its stream, so that streams can be compared."""


class Unchanged:
    def __repr__(self):
        return "UNCHANGED"


# a TOASTed value that a change left alone and that WAL does not have
UNCHANGED = Unchanged()


class Column:
    def __init__(self, name, typid, typmod, identity=False, primary=False, generated=False):
        self.name = name
        self.typid = typid
        self.typmod = typmod
        self.identity = identity
        self.primary = primary
        self.generated = generated

    def __repr__(self):
        return "%s:%s:%s%s" % (
            self.name, self.typid, self.typmod, "!" if self.identity else "")


class Relation:
    def __init__(self, relid, schema, table, replident, columns):
        self.relid = relid
        self.schema = schema
        self.table = table
        self.replident = replident
        self.columns = columns

    @property
    def name(self):
        return "%s.%s" % (self.schema, self.table)


class Change:
    """An event in a transaction; which members count depends on op."""

    def __init__(self, op, relation):
        self.op = op
        self.relation = relation
        self.lsn = None
        self.old = None
        self.old_is_key = False
        self.new = None
        self.no_identity = False
        self.cascade = False
        self.restart = False
        self.partition = False
        self.transactional = True
        self.prefix = None
        self.content = None
        self.xid = None  # of the subtransaction, where streamed
        self.changes = None  # a message outside transactions is an item, too

    def __repr__(self):
        if self.op == "message":
            return "message %r %r" % (self.prefix, self.content[:40])
        return "%s %s old=%s%s new=%s" % (
            self.op, self.relation.name, "key " if self.old_is_key else "",
            brief(self.old), brief(self.new))


def brief(image):
    """An image, with long values cut."""
    if image is None:
        return None
    return {
        k: v if not isinstance(v, str) or len(v) < 60 else "%s...(%d)" % (v[:60], len(v))
        for k, v in image.items()
    }


class Transaction:
    def __init__(self, xid, end_lsn=None, time=None):
        self.xid = xid
        self.end_lsn = end_lsn
        self.time = time
        self.origin = None
        self.gid = None  # of a PREPARE
        self.changes = []

    def __repr__(self):
        return "transaction %d, %d changes" % (self.xid, len(self.changes))


class Prepared:
    """COMMIT PREPARED or ROLLBACK PREPARED."""

    def __init__(self, what, xid, gid, end_lsn):
        self.what = what
        self.xid = xid
        self.gid = gid
        self.end_lsn = end_lsn
        self.changes = None

    def __repr__(self):
        return "%s prepared %s" % (self.what, self.gid)


class Streams:
    """Transactions that are sent before their end, in blocks."""

    def __init__(self):
        self.open = {}
        self.blocks = 0
        self.aborts = 0

    def start(self, xid, first):
        if first != (xid not in self.open):
            raise ValueError("block of %d: first is %s" % (xid, first))
        if first:
            self.open[xid] = Transaction(xid)
        self.blocks += 1

    def block(self, xid):
        return self.open[xid]

    def add(self, xid, subxid, change):
        change.xid = subxid
        self.open[xid].changes.append(change)

    def abort(self, xid, subxid):
        self.aborts += 1
        if xid == subxid:
            del self.open[xid]
        else:
            changes = self.open[xid].changes
            self.open[xid].changes = [c for c in changes if c.xid != subxid]

    def end(self, xid, end_lsn, time):
        transaction = self.open.pop(xid)
        transaction.end_lsn = end_lsn
        transaction.time = time
        return transaction


class Items(list):
    """What a reader gives, with how much of it came in blocks."""

    def __init__(self, items, streams):
        super().__init__(items)
        if streams.open:
            raise ValueError("neither end nor abort of %s" % sorted(streams.open))
        self.blocks = streams.blocks
        self.aborts = streams.aborts
