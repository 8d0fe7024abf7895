"""Whether a trail is complete: its chain, and its heads in MLflow.

Write access to the file alone is not enough to change it unseen: MLflow has the hash of its end.
With write access to both, a second trail can be begun, which is not detected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlops.audit.entries import NONE, Entry, read_entry


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a trail that MLflow has from one time.

    Attributes:
        trail: Id of the trail.
        place: Project that wrote it, as `host:folder`.
        seq: Number of its last entry then.
        hash: Hash of that entry.
        where: Where the tag is, human-readable.
    """

    trail: str
    place: str
    seq: int
    hash: str
    where: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A difference to what was written.

    Attributes:
        seq: The entry, or the first that is missing; 0 where it is not a single one.
        message: What is wrong with it.
    """

    seq: int
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check.

    Attributes:
        name: Deployment, or the file.
        result: `whole`; `damaged` where there are faults; `unknown` where the chain holds and
            nothing says that its end is not cut off.
        entries: How many entries hold, up to the first that does not.
        trail: Id of the trail.
        head: Hash of the last entry that holds.
        anchored: Number of the last entry that MLflow confirms; 0 for none.
        faults: What is wrong, the first bad entry first.
        notes: What else a reader should know.
    """

    name: str
    result: str
    entries: int
    trail: str
    head: str
    anchored: int
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def chain(lines: Sequence[bytes]) -> tuple[list[Entry], Fault | None]:
    """Follow a chain of lines as far as it holds.

    Args:
        lines: Without newlines; the last is empty unless it was cut off.

    Returns:
        The entries up to the first that does not hold, and what is wrong with that; None if all
        hold.
    """
    entries: list[Entry] = []
    previous, trail = NONE, None
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = read_entry(line)
        except ValueError as error:
            return entries, Fault(number, str(error))
        if entry.seq != number:
            return entries, Fault(number, f"it says that it is entry {entry.seq}")
        if entry.previous != previous:
            return entries, Fault(number, f"it does not follow entry {number - 1}")
        trail = entry.document.get("trail") if trail is None else trail
        if entry.document.get("trail") != trail:
            return entries, Fault(number, "it belongs to another trail")
        entries.append(entry)
        previous = entry.hash
    if lines and lines[-1]:
        return entries, Fault(len(lines), "its line is cut off")
    return entries, None


def compare(entries: Sequence[Entry], heads: Sequence[Head], place: str) -> list[Fault]:
    """Compare a valid chain with its heads in MLflow.

    Args:
        entries: Of the chain.
        heads: All that MLflow has of trails of this deployment.
        place: This project, as `host:folder`; what others wrote is not here.
    """
    trail = entries[0].document["trail"] if entries else ""
    faults = []
    for head in heads:
        if head.place != place:
            continue
        if head.trail != trail:
            told = f"{head.where} knows a trail {head.trail} of {head.seq} entries"
            faults.append(Fault(0, f"{told}, which is not here any more"))
        elif head.seq > len(entries):
            missing = head.seq - len(entries)
            told = f"{head.where} knows {head.seq} entries: {missing} are missing at the end"
            faults.append(Fault(len(entries) + 1, told))
        elif entries[head.seq - 1].hash != head.hash:
            told = f"{head.where} knows another hash of it: the trail was rewritten"
            faults.append(Fault(head.seq, told))
    return sorted(set(faults), key=lambda fault: (fault.seq, fault.message))


def verify(
    name: str, lines: Sequence[bytes], heads: Sequence[Head] | None, place: str = ""
) -> Verification:
    """Check a trail.

    Args:
        name: Deployment, or the file.
        lines: Its lines without newlines; the last is empty unless it was cut off.
        heads: Its heads in MLflow; None if not known.
        place: Project whose trail it is, as `host:folder`.
    """
    entries, broken = chain(lines)
    faults = [broken] if broken else []
    # Where the chain is broken, missing entries at the end are part of the same damage.
    if heads is not None and not broken:
        faults += compare(entries, heads, place)
    trail = str(entries[0].document["trail"]) if entries else ""
    known = [h for h in heads or () if h.trail == trail and h.place == place]
    anchored = max((h.seq for h in known if _confirms(h, entries)), default=0)
    notes = []
    if heads is not None and entries and not faults and anchored < len(entries):
        later = len(entries) - anchored
        notes.append(f"{later} entries are newer than what MLflow knows; the next command tags it")
    certain = heads is not None and (anchored or not entries)
    return Verification(
        name=name,
        result="damaged" if faults else "whole" if certain else "unknown",
        entries=len(entries),
        trail=trail,
        head=entries[-1].hash if entries else "",
        anchored=anchored,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def verify_copy(name: str, lines: Sequence[bytes], heads: Sequence[Head]) -> Verification:
    """Check a copy of a trail against what MLflow knows of it, whatever project it is of.

    A copy that ends before what MLflow knows may be older, or may have been cut off.

    Args:
        name: The file.
        lines: As `verify`.
        heads: All heads of trails of the deployment.
    """
    entries, _ = chain(lines)
    trail = str(entries[0].document["trail"]) if entries else ""
    own = [head for head in heads if head.trail == trail]
    if not own:
        text = "MLflow knows no trail of this id under that name: its end may be cut off"
        return replace(verify(name, lines, None), notes=(text,))
    newest = max(own, key=lambda head: head.seq)
    within = [head for head in own if head.seq <= len(entries)]
    checked = verify(name, lines, within, newest.place)
    missing = newest.seq - len(entries)
    if missing <= 0 or checked.faults:
        return checked
    text = (
        f"MLflow knows {newest.seq:,} entries: the last {missing:,} were recorded after this copy, "
        "or were cut off; export it again"
    )
    return replace(checked, result="unknown", notes=(*checked.notes, text))


def _confirms(head: Head, entries: Sequence[Entry]) -> bool:
    return head.seq <= len(entries) and entries[head.seq - 1].hash == head.hash
