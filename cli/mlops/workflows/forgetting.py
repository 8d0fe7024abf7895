"""`mlops journal forget`: take a unit's features out of all that is stored of a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.deployment.archiving import forget_archived_features, known_units
from mlops.deployment.journals import open_journal
from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.recording import event_now, record
from mlops.deployment.runtime_files import pick_name, places, read_server_state
from mlops.errors import InvalidInputError, MlopsError, NotFoundError
from mlops.journal.sql import SqlJournal
from mlops.journal.terms import is_spec
from mlops.settings import Settings
from mlops.sinks import SINKS, open_sink
from mlops.spec.deployment import from_dict
from mlops.spec.unit import salt_of, unit_hash

_SUBJECT = "features of units"
_STAYS = (
    "predictions and outcomes",
    "callers' own request ids, and the keyed hashes of units",
)
_ALSO_KEPT_IN = (
    "files that were exported or copied by hand, and backups",
    "the training data and the profiles made of it",
)


@dataclass(frozen=True, slots=True)
class InSink:
    """What became of a unit's features in one sink.

    Attributes:
        sink: Its name.
        requests: Requests whose features it had; None where it cannot take any back.
        fault: Why they are still there; empty if they are not.
    """

    sink: str
    requests: int | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten of some units, and what was not.

    Attributes:
        name: Name of the deployment.
        units: How many were asked for.
        not_found: Those of which there is no request, as they were asked for.
        requests: Requests whose features the journal and its archive had.
        sinks: By sink of the request log.
        stays: What is kept of these units all the same.
        not_reached: What may still have their features.
    """

    name: str
    units: int
    not_found: tuple[str, ...]
    requests: int
    sinks: tuple[InSink, ...]
    stays: tuple[str, ...]
    not_reached: tuple[str, ...]


def forget_units(settings: Settings, name: str | None, units: Sequence[str]) -> Forgotten:
    """Forget the features of sticky units, which cannot be undone; every statistic stays.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        units: The units, as callers send them.

    Raises:
        NotFoundError: There is no such deployment, its key is lost, or neither its journal nor a
            sink has a request of any of the units; nothing is changed.
        InvalidInputError: It never had sticky units.
        RemoteError: The journal or its archive cannot be written.
    """
    picked = pick_name(settings, name)
    where = places(settings, picked)
    journal = open_journal(settings, picked, read_server_state(where))
    try:
        if not where.key.exists():
            raise NotFoundError(f"The key of `{picked}`, by which units are known, is not here.")
        by_unit = _hashes(journal, where.key.read_bytes(), picked, units)
        known = known_units(journal, set().union(*by_unit.values()))
        found = {unit: its & known for unit, its in by_unit.items() if its & known}
        # A sink may have requests of a journal that was replaced, or whose archive is gone.
        others = {unit: _texts(its) for unit, its in by_unit.items() if unit not in found}
        spool = where.state.with_name(f"{picked}.spool")
        waiting = sum(1 for each in spool.glob("*.*"))
        count = 0
        if found:
            hashes = set().union(*found.values())
            # In writing before anything is gone; the audit trail has no unit, only how many.
            begun = event_now("forget, begun", _SUBJECT, evidence={"units": len(found)})
            record(settings, picked, begun)
            # Before the sinks, which would get again what the journal still has.
            count += sum(journal.forget_units(hashes))
            count += sum(forget_archived_features(settings, picked, journal, 0, hashes))
        theirs = _texts(set().union(*(by_unit[unit] for unit in found)))
        sinks, in_sinks = _in_sinks(settings, picked, journal, theirs, others)
        not_found = tuple(unit for unit in others if unit not in in_sinks)
        in_doubt = [f"the sink `{each.sink}`: {each.fault}" for each in sinks if each.fault]
        if len(not_found) == len(by_unit):
            looked = [*([_in_spool(waiting, spool)] if waiting else []), *in_doubt]
            raise _no_request(picked, not_found, "; ".join(looked))
        also_kept_in = list(_ALSO_KEPT_IN)
        if not journal.drain_log():
            also_kept_in.append(
                "the journal's write-ahead log, until its server has written a few thousand more "
                "requests, or is stopped"
            )
        if waiting:
            also_kept_in.append(_in_spool(waiting, spool))
        # What only sinks had is known when it is gone, so that this entry alone tells of it.
        units_done = {"units": len(by_unit) - len(not_found)}
        done = event_now("forget", _SUBJECT, after={"requests": count}, evidence=units_done)
        record(settings, picked, done)
    finally:
        journal.close()
    also_kept_in += in_doubt
    return Forgotten(
        picked, len(by_unit), not_found, count, tuple(sinks), _STAYS, tuple(also_kept_in)
    )


def _in_spool(files: int, spool: Path) -> str:
    # Of servers that could not write the journal; who delivers some writes features again.
    return (
        f"requests in {files:,} files of `{spool}`, which are not in the journal; those in "
        "`*.decisions` come when its server can write, run the command again then"
    )


def _no_request(name: str, units: Sequence[str], spooled: str) -> NotFoundError:
    some = f"of the unit `{units[0]}`" if len(units) == 1 else f"of any of {len(units):,} units"
    hint = "A unit is written as callers send it; another key of the deployment knows other units"
    return NotFoundError(
        f"`{name}` has no request {some}: nothing was found, and nothing is changed.",
        hint=f"{hint}. Not looked at: {spooled}." if spooled else f"{hint}.",
    )


def _hashes(
    journal: SqlJournal, key: bytes, name: str, units: Sequence[str]
) -> dict[str, set[bytes]]:
    """Return the hashes of each unit in every experiment of the journal."""
    specs = [from_dict(e.spec) for e in journal.revision_events() if is_spec(e) and e.spec]
    salts = {salt_of(spec.experiment) for spec in specs if spec.sticky_by}
    if not salts:
        raise InvalidInputError(
            f"`{name}` never had sticky units, so no request is known to be of one.",
            hint=f"`mlops journal prune {name} --older-than DAYS` forgets by age.",
        )
    hashes = {unit: [unit_hash(unit, key, salt) for salt in salts] for unit in units}
    return {unit: {each for each in its if each is not None} for unit, its in hashes.items()}


def _texts(hashes: set[bytes]) -> list[str]:
    return sorted(each.hex() for each in hashes)


def _in_sinks(
    settings: Settings,
    name: str,
    journal: SqlJournal,
    units: Sequence[str],
    others: Mapping[str, Sequence[str]],
) -> tuple[list[InSink], set[str]]:
    """Forget hashes of units in every sink, and those of units that the journal does not know.

    Returns:
        What became of them, and which of the units that the journal does not know had requests.
    """
    known = {sink.consumer: sink for sink in log_sinks(settings)}
    found: list[InSink] = []
    had: set[str] = set()
    for sink in known.values():
        try:
            opened = open_sink(sink, name)
            forget = getattr(opened, "forget", None)
            try:
                if forget is None:
                    title = SINKS.load(sink.kind).title
                    found.append(InSink(sink.name, None, f"{title} takes nothing back"))
                else:
                    count = forget(units) if units else 0
                    for unit, hashes in others.items():
                        # One by one, since a sink only says how many requests it had.
                        if hashes and (some := forget(hashes)):
                            had.add(unit)
                            count += some
                    found.append(InSink(sink.name, count))
            finally:
                opened.close()
        except MlopsError as error:
            found.append(InSink(sink.name, None, f"{error.message} Try it again."))
    before = [each.name for each in journal.progress(0) if each.name.startswith("log:")]
    found += [
        InSink(each.removeprefix("log:"), None, "it is not in [log] any more, and got requests")
        for each in before
        if each not in known
    ]
    return found, had
