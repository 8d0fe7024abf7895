"""Where a deployment's request log goes: its sinks, as the user wrote them.

A sink is a table `[log.sinks.NAME]` of the settings. What every sink has is read here; the options
of its kind are for the kind to read (`mlops.sinks`). A value that is a secret is never written,
only where it is: `env:VARIABLE` or `file:PATH`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from mlops.errors import InvalidInputError, one_of

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Option of the consumer that feeds a sink: the server's state file, where requests are tagged as
#: outliers.
OUTLIERS_STATE = "outliers_state_file"
_STARTS = ("beginning", "now")


@dataclass(frozen=True, slots=True)
class LogSink:
    """One place that gets the request log.

    Attributes:
        name: Its name in `mlops status` and in metrics.
        kind: A name of `mlops.sinks.SINKS`.
        to: Where it is: a URL, brokers, the URI of a store.
        features: `all`, `none`, or the names of the features that it gets.
        hash: Names of features that it gets as keyed hashes only.
        drop: Names of features that it never gets.
        sample: Share of the units, or of the requests where they have none, in (0, 1].
        outcomes: Whether it also gets rewards and labels.
        start: Whether a new sink gets what the journal holds already, or what comes from `now` on.
        options: Those of its kind.
    """

    name: str
    kind: str
    to: str
    features: str | tuple[str, ...] = "all"
    hash: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    sample: float = 1.0
    outcomes: bool = True
    start: Literal["beginning", "now"] = "beginning"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def consumer(self) -> str:
        """Name of the journal's consumer that feeds it."""
        return f"log:{self.name}"


#: Keys that every sink has.
COMMON = tuple(item.name for item in fields(LogSink) if item.name not in ("name", "options"))


def sink_from(name: str, table: Mapping[str, Any]) -> LogSink:
    """Read one sink.

    Args:
        name: Its name.
        table: Its keys; those that not every sink has are left for its kind.

    Raises:
        InvalidInputError: All that is wrong with it.
    """
    faults = [] if _NAME.fullmatch(name) else ["its name needs lower-case letters, digits and `-`"]
    faults += [f"`{key}` is missing" for key in ("kind", "to") if not table.get(key)]
    given = {key: table[key] for key in COMMON if key in table}
    for key in ("kind", "to"):
        if not isinstance(given.get(key, ""), str):
            faults.append(f"`{key}` must be text")
    features = given.get("features", "all")
    if isinstance(features, str) and features not in ("all", "none"):
        faults.append('`features` must be "all", "none" or a list of names')
    for key in ("features", "hash", "drop"):
        if key in given and not (key == "features" and isinstance(given[key], str)):
            if not _is_names(given[key]):
                faults.append(f"`{key}` must be a list of names")
            else:
                given[key] = tuple(given[key])
    sample = given.get("sample", 1.0)
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 1:
        faults.append(f"`sample` must be above 0 and at most 1, not `{sample}`")
    if not isinstance(given.get("outcomes", True), bool):
        faults.append("`outcomes` must be true or false")
    if given.get("start", "beginning") not in _STARTS:
        faults.append(f"`start` must be {one_of(_STARTS)}")
    if faults:
        raise InvalidInputError(f"[log.sinks.{name}]: {'; '.join(faults)}.")
    options = {key: value for key, value in table.items() if key not in COMMON}
    return LogSink(name=name, **given, options=options)


def sink_to_dict(sink: LogSink) -> dict[str, Any]:
    """Write a sink as plain JSON data."""
    return asdict(sink)


def sink_from_dict(document: Mapping[str, Any]) -> LogSink:
    """Read what `sink_to_dict` has written."""
    table = {key: value for key, value in document.items() if key not in ("name", "options")}
    return sink_from(str(document["name"]), {**table, **document["options"]})


def _is_names(value: Any) -> bool:  # noqa: ANN401 - a TOML value
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(isinstance(name, str) for name in value)
