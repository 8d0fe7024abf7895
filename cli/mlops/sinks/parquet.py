"""Parquet files in a folder or an artifact store, by the hour.

    TO/DEPLOYMENT/requests/hour=2026-11-29T12/000000000001-000000005000-5f0c1a2b.parquet
    TO/DEPLOYMENT/outcomes/hour=2026-11-29T12/…

A file appears complete or not at all, and is named by the offsets of the first and the last event
in it and by a hash of the first one's id. After a crash the events that were not acknowledged come
again: a file of the hour with nothing but events that are sent again was left by the attempt that
failed, and is replaced. So no event stays in two files, unless two senders run at once. Files of
another journal have the same offsets, and other hashes.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from mlops.errors import NotFoundError
from mlops.registry.stores import STORES, Access, Store, parse_location
from mlops.registry.stores.access import split_source
from mlops.settings.secrets import SecretError, without_secret_parts
from mlops.sinks.base import Event, Option, Refused, SinkKind, SinkPlace, rfc3339
from mlops.sinks.parquet_schema import REQUESTS, Columns

_SCHEMA = "_schema.json"
_SUFFIX = ".parquet"
_NAME = re.compile(r"/(\d+)-(\d+)-([0-9a-f]{8})\.parquet$")
#: Rows that are in memory at once.
_GROUP = 5_000


class Parquet:
    """Writes files.

    Args:
        place: Where to.

    Raises:
        NotAllowedError: There are no credentials where the options say.
    """

    def __init__(self, place: SinkPlace) -> None:
        location = parse_location(place.to)
        options = place.options
        source, name = split_source(options["credentials"])
        access = Access(location.scheme, options["endpoint_url"], options["region"], source, name)
        self._store: Store = STORES.load(location.scheme)(location, access)
        self._base = place.deployment
        self._columns: Columns | None = None

    def send(self, events: Sequence[Event]) -> list[Refused]:
        """See `Sink.send`."""
        requests = [event for event in events if event.kind == "request"]
        if requests:
            self._learn(requests)
        by_hour: dict[str, list[Event]] = {}
        for event in events:
            folder = f"{self._base}/{event.kind}s/hour={rfc3339(event.time_ms)[:13]}"
            by_hour.setdefault(folder, []).append(event)
        for folder, some in by_hour.items():
            self._write(folder, some)
        return []

    def forget(self, units: Collection[str]) -> int:
        """Write the files that have features of some units again, without these."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        chosen, count = pa.array(list(units), pa.string()), 0
        for file in [*self._store.files(f"{self._base}/requests/")]:
            if not file.key.endswith(_SUFFIX):
                continue
            with tempfile.TemporaryDirectory(prefix="mlops-log-") as folder:
                path = Path(folder, "file.parquet")
                self._store.get(file.key, path)
                table = pq.read_table(path)
                theirs = pc.fill_null(pc.is_in(table["unit"], chosen), fill_value=False)
                names = [
                    name for name in table.column_names if name not in REQUESTS or name == "other"
                ]
                if not pc.any(theirs).as_py():
                    continue
                kept = table.filter(theirs)
                count += len(pc.unique(kept["nonce"]))
                for name in names:
                    at, kind = table.column_names.index(name), table.schema.field(name)
                    cells = pc.if_else(theirs, pa.scalar(None, kind.type), table[name])
                    table = table.set_column(at, kind, cells)
                pq.write_table(table, path, compression="zstd")
                self._store.put(path, file.key)
        return count

    def close(self) -> None:
        """See `Sink.close`."""
        self._store.close()

    def _learn(self, requests: Sequence[Event]) -> None:
        """Have a column for each feature, before a file has it."""
        if self._columns is None:
            self._columns = self._known()
        if self._columns.grown(requests) is self._columns:
            return
        # Another project's deployment of this name may have written here since.
        grown = self._known().joined(self._columns).grown(requests)
        with tempfile.TemporaryDirectory(prefix="mlops-log-") as folder:
            path = Path(folder, _SCHEMA)
            path.write_text(grown.to_json(), encoding="utf-8")
            self._store.put(path, f"{self._base}/requests/{_SCHEMA}")
        self._columns = grown

    def _known(self) -> Columns:
        with tempfile.TemporaryDirectory(prefix="mlops-log-") as folder:
            path = Path(folder, _SCHEMA)
            try:
                self._store.get(f"{self._base}/requests/{_SCHEMA}", path)
            except NotFoundError:
                return Columns({})
            return Columns.from_json(path.read_text(encoding="utf-8"))

    def _write(self, folder: str, events: Sequence[Event]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        left = self._left_over(folder, events)
        columns = self._columns or Columns({})
        schema = columns.arrow(events[0].kind)
        lines = (line for event in events for line in columns.lines(event))
        name = f"{events[0].seq:012}-{events[-1].seq:012}-{_tag(events[0])}{_SUFFIX}"
        with tempfile.TemporaryDirectory(prefix="mlops-log-") as drafts:
            path = Path(drafts, name)
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                while some := list(itertools.islice(lines, _GROUP)):
                    writer.write_table(pa.Table.from_pylist(some, schema=schema))
            self._store.put(path, f"{folder}/{name}")
        for key in left:
            if key != f"{folder}/{name}":
                self._store.delete(key)

    def _left_over(self, folder: str, events: Sequence[Event]) -> list[str]:
        """Return files of an attempt that failed: what is sent again has all that is in them."""
        again = {event.seq: event for event in events}
        found = []
        for file in self._store.files(f"{folder}/"):
            if (match := _NAME.search(file.key)) and int(match[2]) <= events[-1].seq:
                first = again.get(int(match[1]))
                if first is not None and _tag(first) == match[3]:
                    found.append(file.key)
        return found


def _tag(event: Event) -> str:
    return hashlib.blake2b(event.id.encode(), digest_size=4).hexdigest()


def _fault_of(to: str) -> str:
    try:
        without_secret_parts(to)
    except SecretError as error:
        return f"`to` {error}"
    scheme = parse_location(to).scheme
    return "" if scheme in STORES else f"`{scheme}` is no store that is known"


KIND = SinkKind(
    title="Parquet in a folder or an artifact store",
    example="s3://bucket/log",
    make=Parquet,
    options={
        "endpoint_url": Option("", "of the store's server, as MinIO's; empty: as [artifacts]"),
        "region": Option("", "of the bucket; empty: as [artifacts]"),
        "credentials": Option("", "where they are, as in [artifacts]; empty: as there"),
        "wait_s": Option(300.0, "seconds after which a file is written though it is small"),
    },
    fault_of=_fault_of,
    at_once=20_000,
    wait_s=300.0,
)
