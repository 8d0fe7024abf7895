"""The journal's tables, the same for SQLite and PostgreSQL.

Most predictions and truths are one number; those go into a numeric column, which spares a fold
the parsing, and everything else goes beside it as JSON text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

#: Version of these tables, stored in `journal_meta`; see `mlops.journal.migration`.
VERSION = 8

metadata = MetaData()

# SQLite makes only a column declared INTEGER the row's own id.
_SEQ = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "journal_meta",
    metadata,
    Column("version", Integer, primary_key=True),
    # Counts up whenever features are forgotten: what was read for an archive before is void.
    Column("forgotten", BigInteger, nullable=False, server_default="0"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("nonce", LargeBinary(12), nullable=False, unique=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("arm", SmallInteger, nullable=False),
    Column("propensity", Float(53), nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("client_id", Text),
    Column("unit", LargeBinary(8)),
    Column("features", Text),
    Column("prediction", Float(53)),
    Column("predictions", Text),
    # Policy epoch of the revision whose probabilities were in force.
    Column("epoch", Integer, nullable=False, server_default="0"),
    # Names of the columns of `features`; null before version 4, where they are in `features`.
    Column("columns_id", Integer),
    # Id of the API key, or of the token's client, that the caller sent; null if none was sent.
    Column("key_id", Text),
)
Index(
    "decisions_client_id",
    decisions.c.client_id,
    sqlite_where=decisions.c.client_id.is_not(None),
    postgresql_where=decisions.c.client_id.is_not(None),
)

# Only in PostgreSQL, see `mlops.journal.partitions`: which offset the decision of a nonce has, also
# of one that is archived.
decision_keys = Table(
    "decision_keys",
    metadata,
    Column("nonce", LargeBinary(12), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    info={"only": "postgresql"},
)

# Each list of column names that requests had, once; `names` is JSON, `null` for no names.
feature_columns = Table(
    "feature_columns",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    # PostgreSQL indexes 2,704 bytes, and the names of a wide table are longer.
    Column("digest", LargeBinary(16), nullable=False, unique=True),
    Column("names", Text, nullable=False),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("nonce", LargeBinary(12), nullable=False),
    Column("row", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("arm", SmallInteger, nullable=False),
    Column("propensity", Float(53), nullable=False),
    Column("reward", Float(53)),
    Column("truth", Float(53)),
    Column("truth_json", Text),
    # 0 for the first outcome of a row; corrections and additions count on.
    Column("ordinal", Integer, nullable=False, server_default="0"),
    # The sender's own id of this outcome, by which a retry is known.
    Column("outcome_id", Text),
    # As of `decisions`.
    Column("key_id", Text),
    UniqueConstraint("nonce", "row", "ordinal"),
)

# Outcomes that no longer count. The outcome itself stays as it was, for audits.
voids = Table(
    "voids",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("outcome", _SEQ, nullable=False, unique=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
)

# Apart from the decisions, so that no count of an arm can include them.
shadow_decisions = Table(
    "shadow_decisions",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("nonce", LargeBinary(12), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("shadow", SmallInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("prediction", Float(53)),
    Column("predictions", Text),
    UniqueConstraint("nonce", "revision", "shadow"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("revision", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("spec", Text),
)

# Which probabilities were in force from when on. Revisions from before version 4 have none here;
# they have the weights of their spec.
epochs = Table(
    "epochs",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("revision", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("probabilities", Text, nullable=False),
    Column("parameters", Text),
    UniqueConstraint("revision", "epoch"),
)

# The offset of each consumer of the log, and who holds its lease until when.
consumers = Table(
    "consumers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("outcomes", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("fault", Text, nullable=False),
    Column("warning", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# State of a consumer, JSON, in named parts: a fold of the log up to some offset.
consumer_state = Table(
    "consumer_state",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Text, primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("details", Text, nullable=False),
    # When it was sent; null until then.
    Column("sent_ms", BigInteger),
)

losses = Table(
    "losses",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("n", Integer, nullable=False),
)

# Parts of the log that are in an artifact store, see `mlops.journal.archived`. Their rows are gone
# here, or about to be deleted, see `mlops.journal.archive_cleanup`.
archives = Table(
    "archives",
    metadata,
    Column("part", Integer, primary_key=True, autoincrement=False),
    # Offsets of decisions: the part has those behind `after`, up to `upto`.
    Column("after", BigInteger, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("requests", Integer, nullable=False),
    # Outcomes that are there and not here, and the ends of their offsets.
    Column("outcomes", Integer, nullable=False),
    Column("first_outcome", BigInteger, nullable=False),
    Column("last_outcome", BigInteger, nullable=False),
    # Root of the store, and as JSON its files: name to key, size and digest.
    Column("location", Text, nullable=False),
    Column("files", Text, nullable=False),
    # Sums of its decisions by revision and arm, as JSON.
    Column("traffic", Text, nullable=False),
    # Keys of files that are to be deleted, as JSON.
    Column("doomed", Text, nullable=False),
    # Outcomes of it that are still here too; commits that deleted rows of it; whether all are gone.
    Column("outcomes_left", Integer, nullable=False, server_default="0"),
    Column("step", Integer, nullable=False, server_default="0"),
    Column("cleared", SmallInteger, nullable=False, server_default="1"),
)

# Which part has which decision: a retry of it is no new one, and feedback may come for it.
archived_requests = Table(
    "archived_requests",
    metadata,
    Column("nonce", LargeBinary(12), primary_key=True),
    Column("part", Integer, nullable=False),
    Column("client_id", Text),
    sqlite_with_rowid=False,
)
Index(
    "archived_requests_client_id",
    archived_requests.c.client_id,
    sqlite_where=archived_requests.c.client_id.is_not(None),
    postgresql_where=archived_requests.c.client_id.is_not(None),
)
