"""Archived parts as columns, and what is late for them, in the order of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from mlops.journal.archived import Archive, ArchivedPart, parts_of
from mlops.journal.columns import (
    OutcomeColumns,
    RequestColumns,
    joined,
    no_requests,
    of_revisions,
    picked,
)
from mlops.journal.schema import voids

if TYPE_CHECKING:
    import pyarrow as pa

_REQUEST = ("time_ms", "revision", "arm", "epoch", "status", "unit", "propensity")
_DECISION = (
    "nonce", "seq", "time_ms", "revision", "arm", "propensity", "epoch", "n_rows", "prediction",
    "predictions", "unit",
)  # fmt: skip
_OUTCOME = (
    "seq", "nonce", "row", "time_ms", "revision", "arm", "propensity", "reward", "truth",
    "truth_json",
)  # fmt: skip


def request_columns(
    archive: Archive, parts: Iterable[ArchivedPart], revisions: Sequence[int]
) -> Iterator[RequestColumns]:
    """Read the drawn requests of archived parts; see `Evidence.request_columns`."""
    for part in parts:
        with archive.file(part, "decisions") as file:
            read = _read(file, _REQUEST)
        found = replace(
            no_requests(),
            times_ms=_numbers(read["time_ms"]),
            revisions=_numbers(read["revision"]),
            arms=_numbers(read["arm"]),
            epochs=_numbers(read["epoch"]),
            statuses=_numbers(read["status"]),
            sticky=_is_there(read["unit"]),
        )
        drawn = picked(found, _floats(read["propensity"]) > 0)
        yield of_revisions(drawn, revisions)


def outcome_columns(
    archive: Archive,
    journal: Connection,
    parts: Sequence[ArchivedPart],
    revisions: Sequence[int],
    live: Iterable[OutcomeColumns],
) -> Iterator[OutcomeColumns]:
    """Read outcomes of archived parts and of the journal; see `Evidence.outcome_columns`.

    Args:
        archive: Has the parts.
        journal: What is void is looked up there.
        parts: All of them.
        revisions: Only outcomes of these.
        live: Outcomes that are in the journal.
    """
    cache: dict[int, _Decisions] = {}
    of_parts = _of_parts(archive, journal, parts, revisions)
    late = (_completed(archive, journal, parts, cache, some) for some in live)
    yield from _merged([of_parts, late])


def _of_parts(
    archive: Archive, journal: Connection, parts: Sequence[ArchivedPart], revisions: Sequence[int]
) -> Iterator[OutcomeColumns]:
    """Yield outcomes of all parts; feedback for one part may come after that for the next."""
    voided = np.array(list(journal.execute(select(voids.c.outcome)).scalars()), dtype=np.int64)
    waiting: list[OutcomeColumns] = []
    having = [part for part in parts if "outcomes" in part.files]
    for at, part in enumerate(having):
        found = of_revisions(_outcomes_of(archive, part, voided), revisions)
        here = joined([*waiting, found])
        here = picked(here, np.argsort(here.seqs, kind="stable"))
        bound = min((each.first_outcome for each in having[at + 1 :]), default=None)
        ready = np.full(here.seqs.size, bound is None) if bound is None else here.seqs < bound
        yield picked(here, ready)
        waiting = [picked(here, ~ready)]


def _outcomes_of(archive: Archive, part: ArchivedPart, voided: NDArray[np.int64]) -> OutcomeColumns:
    with archive.file(part, "outcomes") as file:
        read = _read(file, _OUTCOME)
    with archive.file(part, "decisions") as file:
        decisions = _Decisions(_read(file, _DECISION))
    size = len(read["seq"])
    found = OutcomeColumns(
        seqs=_numbers(read["seq"]),
        nonces=read["nonce"].to_pylist(),
        rows=_numbers(read["row"]),
        times_ms=_numbers(read["time_ms"]),
        revisions=_numbers(read["revision"]),
        arms=_numbers(read["arm"]),
        propensities=_floats(read["propensity"]),
        rewards=_floats(read["reward"]),
        truths=_floats(read["truth"]),
        truth_texts=read["truth_json"].to_pylist(),
        requests=np.zeros(size, dtype=np.int64),
        request_times_ms=np.zeros(size, dtype=np.int64),
        request_revisions=np.zeros(size, dtype=np.int64),
        request_arms=np.zeros(size, dtype=np.int64),
        request_propensities=np.full(size, np.nan),
        request_epochs=np.zeros(size, dtype=np.int64),
        predictions=np.full(size, np.nan),
        prediction_texts=[None] * size,
        sticky=np.zeros(size, dtype=np.bool_),
    )
    found = decisions.joined(found, np.arange(size))
    return picked(found, (found.propensities > 0) & ~np.isin(found.seqs, voided))


class _Decisions:
    """The decisions of a part, found by nonce.

    Args:
        read: Columns of its file.
    """

    def __init__(self, read: dict[str, Any]) -> None:
        self._read = read
        # All are 12 bytes, so that zeros at the end, which numpy forgets, tell nothing.
        nonces = np.array(read["nonce"].to_pylist(), dtype="S12")
        self._order = np.argsort(nonces, kind="stable")
        self._nonces = nonces[self._order]
        self._numbers = {
            name: _numbers(read[name])
            for name in ("seq", "time_ms", "revision", "arm", "epoch", "n_rows")
        }

    def joined(self, found: OutcomeColumns, at: NDArray[np.int64]) -> OutcomeColumns:
        """Join some outcomes, all of decisions of this part; one of a row too many is left out."""
        wanted = np.array([found.nonces[each] for each in at.tolist()], dtype="S12")
        where = self._order[np.searchsorted(self._nonces, wanted)]
        texts = list(found.prediction_texts)
        predictions = self._read["predictions"].take(where).to_pylist()
        for each, text in zip(at.tolist(), predictions, strict=True):
            texts[each] = text
        numbers = {name: values[where] for name, values in self._numbers.items()}
        filled = replace(
            found,
            requests=_put(found.requests, at, numbers["seq"]),
            request_times_ms=_put(found.request_times_ms, at, numbers["time_ms"]),
            request_revisions=_put(found.request_revisions, at, numbers["revision"]),
            request_arms=_put(found.request_arms, at, numbers["arm"]),
            request_epochs=_put(found.request_epochs, at, numbers["epoch"]),
            request_propensities=_put(
                found.request_propensities, at, _floats(self._read["propensity"])[where]
            ),
            predictions=_put(found.predictions, at, _floats(self._read["prediction"])[where]),
            prediction_texts=texts,
            sticky=_put(found.sticky, at, _is_there(self._read["unit"])[where]),
        )
        beyond = np.zeros(found.seqs.size, dtype=np.bool_)
        beyond[at] = filled.matched[at] & (filled.rows[at] >= numbers["n_rows"])
        return picked(filled, ~beyond) if beyond.any() else filled


def _completed(
    archive: Archive,
    journal: Connection,
    parts: Sequence[ArchivedPart],
    cache: dict[int, _Decisions],
    found: OutcomeColumns,
) -> OutcomeColumns:
    """Join outcomes that came after their decision had been archived."""
    alone = np.flatnonzero(found.requests == 0).tolist()
    where = parts_of(journal, {found.nonces[at] for at in alone}) if alone else {}
    by_part: dict[int, list[int]] = defaultdict(list)
    for at in alone:
        number = where.get(bytes(found.nonces[at]))
        if number is not None:
            by_part[number].append(int(found.seqs[at]))
    for number, seqs in by_part.items():
        if number not in cache:
            (part,) = (each for each in parts if each.part == number)
            with archive.file(part, "decisions") as file:
                cache.clear()
                cache[number] = _Decisions(_read(file, _DECISION))
        # Rows may have been left out, and positions with them.
        found = cache[number].joined(found, np.flatnonzero(np.isin(found.seqs, seqs)))
    return found


def _merged(streams: Sequence[Iterator[OutcomeColumns]]) -> Iterator[OutcomeColumns]:
    """Merge streams, each in the order of the log; of an offset in several, one row is taken."""
    rests = [(stream, _next(stream)) for stream in streams]
    while waiting := [(stream, head) for stream, head in rests if head is not None]:
        bound = min(int(head.seqs[-1]) for _, head in waiting)
        ready = joined(picked(head, head.seqs <= bound) for _, head in waiting)
        # In both where rows of a part are still to be deleted.
        _, once = np.unique(ready.seqs, return_index=True)
        yield picked(ready, once)
        rests = []
        for stream, head in waiting:
            left = picked(head, head.seqs > bound)
            rests.append((stream, left if left.seqs.size else _next(stream)))


def _next(stream: Iterator[OutcomeColumns]) -> OutcomeColumns | None:
    return next((each for each in stream if each.seqs.size), None)


def _put(values: NDArray[Any], at: NDArray[np.int64], new: NDArray[Any]) -> NDArray[Any]:
    copied = values.copy()
    copied[at] = new
    return copied


def _read(file: Path, columns: Sequence[str]) -> dict[str, Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        table = opened.read(columns=list(columns), use_threads=False).combine_chunks()
    return {name: table.column(name) for name in columns}


def _numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _is_there(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)
