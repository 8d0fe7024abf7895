"""`mlops audit`: read a deployment's audit trail, check it, copy it out."""

from __future__ import annotations

import datetime as dt
import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from mlops.audit import Entry
from mlops.audit.entries import digest_of
from mlops.audit.heads import read_heads
from mlops.audit.sources import SERVER, project_of
from mlops.audit.verifying import Fault, Head, Verification, chain, verify, verify_copy
from mlops.deployment.keeping import resets_of
from mlops.deployment.locate import locate
from mlops.deployment.plan import declared_changes
from mlops.deployment.recording import record, trail_of
from mlops.errors import InvalidInputError, MlopsError, NotFoundError, RemoteError, unreadable
from mlops.registry import open_registry
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import LOCAL, Ledger
from mlops.settings import Settings
from mlops.settings.actor import place_of
from mlops.spec.declared import declared_spec
from mlops.spec.deployment import DeploymentSpec

# A command records what it did within this time.
_AT_ONCE_S = 10.0
_ALONE = (
    "the chain is whole: no entry was changed, removed or inserted. It was not compared with "
    "MLflow, so its end may be cut off: `mlops audit verify NAME --file {}` compares it, and exits "
    "with 0 if it is not"
)
#: Why an entry stands before one with a lower number: it was recorded `late`, in one go `together`
#: with what followed it or soon after, or `clocks` of hosts differ.
Why: TypeAlias = Literal["late", "together", "clocks"]


@dataclass(frozen=True, slots=True)
class Shown:
    """Entries of a trail.

    Attributes:
        name: Deployment.
        entries: Those that were selected, in the order of recording.
        total: How many there are.
        faults: Why the newest changes may be missing, a sentence each.
        arms: Names of the arms of each revision, in their order.
        project: This one, as entries of revisions name theirs.
        changes: Number of the entry of a revision to what that declares and the one before did not.
        kept: Settings of the project file that a deploy keeps of the live revision, to the option
            that resets each.
        each_epoch: Whether policy epochs were asked for, and are shown one by one.
    """

    name: str
    entries: tuple[Entry, ...]
    total: int
    faults: tuple[str, ...]
    arms: Mapping[int, Sequence[str]] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[int, Sequence[str]] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    each_epoch: bool = False


@dataclass(frozen=True, slots=True)
class CopiedTrail:
    """An exported trail.

    Attributes:
        name: Deployment.
        entries: How many entries it has.
        out: Where it is; `-` for standard output.
    """

    name: str
    entries: int
    out: str


def show_trail(
    settings: Settings,
    name: str | None,
    *,
    last: int = 0,
    actions: Sequence[str] = (),
    people: bool = False,
) -> Shown:
    """Bring a trail up to date and return its entries.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        last: Only so many of the newest; 0 for all. Alarms that one consumer raised in a row count
            as one, and so do policy epochs: they must not hide what people did.
        actions: Only entries of these actions; without any, all. Where `policy` is among them,
            each of its epochs counts.
        people: Leave out what the server did by itself.

    Raises:
        NotFoundError: There is no such deployment.
        InvalidInputError: The trail is damaged.
    """
    picked = locate(settings, name).name
    faults = _brought_up(settings, picked)
    entries = trail_of(settings, picked).entries()
    chosen = [each for each in entries if not actions or each.action in actions]
    if people:
        chosen = [each for each in chosen if each.document["by"].get("user") != SERVER["user"]]
    each_epoch = "policy" in actions
    kept = runs(chosen, epochs=not each_epoch)[-last:]
    return Shown(
        name=picked,
        entries=tuple(entry for run in kept for entry in run),
        total=len(entries),
        faults=faults,
        arms=_arms(entries),
        project=project_of(place_of(settings.home)),
        changes=revision_changes(entries),
        kept=resets_of(LOCAL),
        each_epoch=each_epoch,
    )


def runs(entries: Iterable[Entry], *, epochs: bool = True) -> list[list[Entry]]:
    """Return alarms that one consumer raised in a row together, and every other entry alone.

    Args:
        entries: In some order.
        epochs: Whether the policy epochs of a revision in a row are together, too.
    """
    found: list[list[Entry]] = []
    before: tuple[int, str] | None = None
    for entry in entries:
        kind = _raised_by(entry) or (_epoch_of(entry) if epochs else None)
        if kind is not None and kind == before:
            found[-1].append(entry)
        else:
            found.append([entry])
        before = kind
    return found


def _epoch_of(entry: Entry) -> tuple[int, str] | None:
    kind, _, rest = entry.id.partition("/")
    revision = rest.partition("/")[0]
    return (int(revision), kind) if kind == "epoch" and revision.isdigit() else None


def by_time(entries: Iterable[Entry]) -> tuple[list[Entry], dict[int, Why]]:
    """Return entries in the order of their times, and those that the trail has in another place.

    A trail has them in the order of recording: an alarm is recorded when a command looks, which may
    be after a promotion that followed it. By one clock nothing is recorded before what happened
    after that was recorded; where it is so, the clocks of hosts differ.

    Returns:
        The entries; and the number of each that stands before one with a lower number, with why.
    """
    ordered = sorted(entries, key=lambda each: (str(each.document["time"]), each.seq))
    times = [str(each.document["time"]) for each in ordered]
    # The lowest number from each place on.
    lowest = [sys.maxsize]
    for entry in reversed(ordered):
        lowest.append(min(lowest[-1], entry.seq))
    lowest.reverse()
    moved: dict[int, Why] = {}
    for place, entry in enumerate(ordered):
        if entry.seq < lowest[place + 1]:
            continue
        later = bisect_right(times, str(entry.document["recorded"]), lo=place + 1)
        if lowest[later] < entry.seq and _delay_s(entry) <= _AT_ONCE_S:
            moved[entry.seq] = "clocks"
        else:
            moved[entry.seq] = "late" if _delay_s(entry) > _AT_ONCE_S else "together"
    return ordered, moved


def _delay_s(entry: Entry) -> float:
    """Return how long after it happened an entry was recorded; infinite without times."""
    try:
        recorded, time = (
            dt.datetime.fromisoformat(str(entry.document[key])) for key in ("recorded", "time")
        )
        return (recorded - time).total_seconds()
    except (TypeError, ValueError):
        return math.inf


def _raised_by(entry: Entry) -> tuple[int, str] | None:
    evidence = entry.document["evidence"]
    if entry.action != "alarm" or not isinstance(evidence, dict) or "consumer" not in evidence:
        return None
    return int(evidence["revision"]), str(evidence["consumer"])


def _arms(entries: Sequence[Entry]) -> dict[int, list[str]]:
    found = {}
    for entry in entries:
        after = entry.document["after"]
        if isinstance(after, dict) and "arms" in after and "revision" in after:
            found[int(after["revision"])] = [str(arm["name"]) for arm in after["arms"]]
    return found


def revision_changes(entries: Sequence[Entry]) -> dict[int, list[str]]:
    """Say what each revision declares besides its arms, as far as that is not what was before."""
    declared: dict[int, DeploymentSpec] = {}
    found = {}
    for entry in entries:
        after, before = entry.document["after"], entry.document["before"]
        if not isinstance(after, dict) or "declared" not in after:
            continue
        with suppress(InvalidInputError):
            spec = declared_spec(after["declared"])
            declared[int(after["revision"])] = spec
            number = before.get("revision", 0) if isinstance(before, dict) else 0
            # Entries of earlier releases do not say what was declared.
            if number in declared or not number:
                found[entry.seq] = list(_differences(declared.get(number), spec))
    return found


def _differences(before: DeploymentSpec | None, after: DeploymentSpec) -> Iterator[str]:
    usual = before or declared_spec({"reward": after.reward})
    if before is None:
        yield f"reward: {after.reward}"
    for name, value, was in declared_changes(usual, after):
        yield f"{name}: {value}" if before is None else f"{name}: {was} → {value}"
    if usual.costs != after.costs:
        costs = _costs(after)
        yield f"costs: {costs}" if before is None else f"costs: {_costs(before)} → {costs}"
    if after.redraw:
        yield "sticky units that came before are drawn again"


def _costs(spec: DeploymentSpec) -> str:
    """Write a matrix of costs: what is true, what was said, and what that costs."""
    told = (f"{truth} as {guess} {cost:g}" for truth, guess, cost in spec.costs)
    return ", ".join(told) or "none"


def _brought_up(settings: Settings, name: str) -> tuple[str, ...]:
    """Add what is new; return why that may be incomplete, as on a read-only disk."""
    try:
        return record(settings, name).faults
    except MlopsError as error:
        return (error.message,)


def verify_trail(settings: Settings, name: str | None) -> Verification:
    """Check a trail against itself, the heads in MLflow, and the ledger; nothing is written.

    Raises:
        NotFoundError: There is no such deployment.
    """
    picked = locate(settings, name).name
    lines = trail_of(settings, picked).lines()
    try:
        if nothing_yet(settings):
            raise NotFoundError("There is no MLflow store here yet.")
        ledger = Ledger(open_registry(settings, reading=True), settings, picked)
        heads: list[Head] | None = read_heads(ledger)
        checked = verify(picked, lines, heads, ledger.place)
        changed = _changed_since(ledger, chain(lines)[0])
    except (RemoteError, NotFoundError) as error:
        checked = verify(picked, lines, None)
        note = f"it could not be compared with MLflow: {error.message}"
        return replace(checked, notes=(*checked.notes, note))
    if not changed:
        return checked
    return replace(checked, result="damaged", faults=(*checked.faults, *changed))


def _changed_since(ledger: Ledger, entries: Sequence[Entry]) -> list[Fault]:
    """Compare the documents of revisions with what was recorded of them."""
    told = {}
    for entry in entries:
        after = entry.document["after"]
        if not entry.id.startswith("revision/") or not isinstance(after, dict):
            continue
        if "spec" in after and isinstance(after.get("revision"), int):
            told[after["revision"]] = entry.seq, after["spec"]
    faults = []
    there = {each.number: each for each in ledger.standings()}
    for number, (seq, spec) in told.items():
        if number not in there:
            faults.append(Fault(seq, f"revision {number} is not in the ledger any more"))
        elif digest_of(there[number].read()[1]) != spec:
            faults.append(Fault(seq, f"revision {number} was changed in the ledger since"))
    return faults


def verify_file(settings: Settings | None, path: Path, name: str | None) -> Verification:
    """Check an exported trail: on its own, or against MLflow.

    Args:
        settings: Where MLflow is; None to ask nobody.
        path: The file.
        name: Deployment whose trail it is, to be looked up in MLflow; None to ask nobody.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    lines = data.split(b"\n")
    if settings is None or name is None:
        checked = verify(str(path), lines, None)
        return checked if checked.faults else replace(checked, notes=(_ALONE.format(path),))
    try:
        ledger = Ledger(open_registry(settings, reading=True), settings, name)
        checked = verify_copy(str(path), lines, read_heads(ledger))
        changed = _changed_since(ledger, chain(lines)[0]) if checked.anchored else []
    except (RemoteError, NotFoundError) as error:
        note = f"it could not be compared with MLflow: {error.message}"
        return replace(verify(str(path), lines, None), notes=(note,))
    if not changed:
        return checked
    return replace(checked, result="damaged", faults=(*checked.faults, *changed))


def export_trail(settings: Settings, name: str | None, out: str) -> CopiedTrail:
    """Bring a trail up to date and copy it, line by line as it is.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        out: File to write, or `-` for standard output.

    Raises:
        NotFoundError: There is no such deployment.
        InvalidInputError: The trail is damaged, or the file cannot be written.
    """
    picked = locate(settings, name).name
    _brought_up(settings, picked)
    trail = trail_of(settings, picked)
    entries = trail.entries()
    data = b"".join(line + b"\n" for line in trail.lines()[: len(entries)])
    if out == "-":
        sys.stdout.buffer.write(data)
    else:
        try:
            Path(out).write_bytes(data)
        except OSError as error:
            raise InvalidInputError(f"`{out}` cannot be written: {error.strerror}.") from error
    return CopiedTrail(picked, len(entries), out)
