"""What an entry of an audit trail says, in lines."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.audit import Entry
    from mlops.workflows.auditing import Shown

# Longest text of a before or after that is shown in full.
_SHORT = 60
# And of anything else; `--json` has the whole.
_LONG = 500
#: How the names of times end, which are in milliseconds since 1970.
_TIME = "_ms"
#: Between 1973 and 5138; a smaller number is how long something took.
_TIMES = (1e11, 1e14)
# Actions whose entries say how many, and of what.
_COUNTED = ("archive", "forget")
#: The state that is what the project file says.
_FILE = "state/settings"
_COUNTS = ("outcomes", "requests", "units")


def entry_lines(entry: Entry, found: Shown) -> Iterator[str]:
    """Say what changed, and why, in as few words as that takes."""
    said = entry.document
    yield from (f"{name} {said['by'][name]}" for name in ("key", "job") if name in said["by"])
    before, after = said["before"], said["after"]
    evidence = said["evidence"] or {}
    if entry.id.startswith("epoch/"):
        yield shares(_arms(entry, found), before, after)
    elif isinstance(after, dict) and "serves" in after:
        yield after["serves"]
        if rule := after.get("decision_rule"):
            yield f"decision rule: {rule}"
        yield from found.changes.get(entry.seq, ())
        project = after.get("project") or found.project
        if project != found.project:
            yield f"project {project['folder']} on {project['host']}"
    elif entry.action.partition(",")[0] in _COUNTED:
        counts = {**evidence, **(after if isinstance(after, dict) else {})}
        yield from _values(counts)
    elif entry.id.startswith("state/"):
        yield from _state(entry.id, before, after, found.kept)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _changed(before, after)
    elif before is not None:
        yield f"{short(before)} → {short(after)}"
    yield from (str(evidence[key]) for key in ("reason", "error") if evidence.get(key))


def run_lines(first: Entry, more: Sequence[Entry], found: Shown) -> Iterator[str]:
    """Say what is shown as one: alarms of one consumer, or policy epochs, in a row."""
    if not first.id.startswith("epoch/"):
        yield from entry_lines(first, found)
        yield f"and {len(more):,} more alarms, `--json` has each"
        return
    last = more[-1]
    yield shares(_arms(first, found), first.document["before"], last.document["after"])
    number = last.id.rpartition("/")[2]
    yield (
        f"and {len(more):,} more epochs, to {number} at {last.document['time'][:19]}Z; "
        "`--action policy` shows each"
    )


def _arms(entry: Entry, found: Shown) -> Sequence[str]:
    return found.arms.get(int(entry.id.split("/")[1]), ())


def _state(
    name: str,
    before: object,
    after: object,
    kept: Mapping[str, str],
) -> Iterator[str]:
    """Say what a state is, or what of it changed."""
    if name == _FILE and isinstance(before, dict):
        after = after or {}
    if not isinstance(after, dict):
        if isinstance(before, dict) and "name" in before:
            yield "it is not in the file of keys any more"
        elif before is not None:
            yield f"{short(before)} → {short(after)}"
        return
    if not isinstance(before, dict):
        yield from _values(after)
        return
    if name == _FILE:
        # What the file does not say is not what the setting is: a deploy keeps much of it.
        gone = sorted(before.keys() - after.keys())
        yield from _changed({k: v for k, v in before.items() if k in after}, after)
        for key in gone:
            stays = f"; a deploy keeps it, `--reset {kept[key]}` does not" if key in kept else ""
            yield f"{key}: {short(before[key])} → not in the file any more{stays}"
        return
    yield from _changed(before, after)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was != now:
            name = key.removesuffix(_TIME)
            yield f"{name}: {_value(key, was)} → {_value(key, now)}"


def _values(values: Mapping[str, Any]) -> Iterator[str]:
    """Write each value that there is."""
    for key, value in sorted(values.items()):
        if value not in (None, "", [], {}):
            yield f"{key.removesuffix(_TIME)}: {_value(key, value)}"


def _value(key: str, value: object) -> str:
    """Write a value, and a time as a date.

    >>> _value("created_ms", 1_796_013_892_849), _value("rate", ""), _value("outcomes", 1_200)
    ('2026-11-30T04:44:52Z', 'none', '1,200')
    >>> _value("latency_ms", 50), _value("latency_ms", 1e30)
    ('50 ms', '1e+30 ms')
    """
    if value is None or value in ("", [], {}):
        return "none"
    if key.endswith(_TIME) and isinstance(value, int | float) and not isinstance(value, bool):
        if not _TIMES[0] <= value < _TIMES[1]:
            return f"{short(value)} ms"
        time = dt.datetime.fromtimestamp(value // 1000, dt.UTC).replace(tzinfo=None)
        return f"{time.isoformat()}Z"
    if isinstance(value, int) and not isinstance(value, bool) and key in _COUNTS:
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return short(", ".join(value))
    return short(value)


def shares(names: Sequence[str], before: Sequence[float] | None, after: Sequence[float]) -> str:
    """Write the shares of a policy epoch in per cent, and those before where they differ.

    >>> shares(["old", "new"], [0.5, 0.5], [0.05, 0.9500000000000001])
    'old 50 → 5 %, new 50 → 95 %'
    >>> shares(["old", "new"], [0.05, 0.95], [0.05, 0.9500000000000001])
    'old 5 %, new 95 %, as before'
    """
    new = [f"{100 * share:.4g}" for share in after]
    old = new if before is None else [f"{100 * share:.4g}" for share in before]
    is_same = before is not None and old == new
    if len(names) != len(new):
        names = [f"arm {number}" for number in range(1, len(new) + 1)]
    if len(old) != len(new):
        old = new
    texts = [
        f"{name} {now} %" if was == now else f"{name} {was} → {now} %"
        for name, was, now in zip(names, old, new, strict=True)
    ]
    return ", ".join([*texts, *(["as before"] if is_same else [])])


def one_line(text: str) -> str:
    """Write a text on one line, and cut it where it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def short(value: object) -> str:
    """Write JSON data in few words."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
