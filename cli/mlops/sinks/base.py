"""The contract of a sink, and the record that describes a kind of sink."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from mlops.errors import InvalidInputError, did_you_mean
from mlops.settings.secrets import carries_a_secret, is_reference, look_up, names_a_secret
from mlops.spec.request_log import COMMON, LogSink


@dataclass(frozen=True, slots=True)
class Event:
    """One request with its answer, or one outcome.

    Attributes:
        kind: `request` or `outcome`.
        id: Identity; the same however often it is sent. Of a request its request id.
        seq: Its offset in the journal, among those of its kind.
        time_ms: When the arm was drawn, or the outcome arrived; milliseconds since 1970 in UTC.
        key: What keeps events of one unit together: the unit's hash, else the id.
        arm: Name of the arm.
        names: Names of the columns of `rows`; None where the request had none.
        rows: Features that the sink gets; None where it gets none.
        fields: Everything else, as JSON data.
    """

    kind: Literal["request", "outcome"]
    id: str
    seq: int
    time_ms: int
    key: str
    arm: str
    names: list[str] | None
    rows: list[Any] | None
    fields: dict[str, Any]

    @property
    def time(self) -> str:
        """Its time as RFC 3339."""
        return rfc3339(self.time_ms)

    def document(self) -> dict[str, Any]:
        """Return all of it as one JSON object, `features` with an object for each row."""
        if self.rows is None:
            return self.fields
        return {**self.fields, "features": self.named_rows()}

    def named_rows(self) -> list[Any]:
        """Return the rows as objects; as they are where they have no names."""
        if self.names is None:
            return self.rows or []
        return [dict(zip(self.names, row, strict=True)) for row in self.rows or []]


class Refused(NamedTuple):
    """An event that a sink will never accept, however often it is sent."""

    id: str
    reason: str


class Sink(Protocol):
    """Takes events. Used by one thread.

    One that can take back the features of sticky units has a method `forget` beside these, with the
    hexadecimal hashes of the units; it returns how many requests had any.
    """

    def send(self, events: Sequence[Event]) -> list[Refused]:
        """Send events; return once the sink has them, or has refused them for good.

        Args:
            events: At least one, in the order of the journal. The same may come again.

        Raises:
            MlopsError: The sink does not take events now; they come again after a pause.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


@dataclass(frozen=True, slots=True)
class SinkPlace:
    """What a sink is made from.

    Attributes:
        deployment: Name of the deployment whose log it gets.
        name: Its own name.
        to: Where it is.
        options: Every option of its kind.
    """

    deployment: str
    name: str
    to: str
    options: Mapping[str, Any]

    def named(self, template: str, **more: str) -> str:
        """Fill `{deployment}` and the like into the name of a topic or an index."""
        for key, value in {"deployment": self.deployment, **more}.items():
            template = template.replace(f"{{{key}}}", value)
        return template

    def secret(self, option: str) -> str:
        """Return the value that an option refers to; empty where it is not set.

        Raises:
            InvalidInputError: It is not there.
        """
        reference = str(self.options.get(option) or "")
        return look_up(reference) if reference else ""

    def table(self, option: str) -> dict[str, str]:
        """Return a table of texts with the values that it refers to.

        Raises:
            InvalidInputError: One is not there.
        """
        return {key: look_up(str(value)) for key, value in self.options[option].items()}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a kind of sink; its default says its type.

    Attributes:
        default: Value where it is not set.
        meaning: What it is for.
        choices: The only values there are; empty for any.
        secret: Whether it may only refer to its value.
    """

    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    secret: bool = False


def _any_place(_: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class SinkKind:
    """All that is known about a kind of sink.

    Attributes:
        title: For people.
        example: Of `to`.
        make: Makes a sink.
        options: By name.
        fault_of: Says what is wrong with a `to`; empty if nothing is.
        at_once: Most events in one call of `send`.
        wait_s: How long events may wait for others to be sent together with.
    """

    title: str
    example: str
    make: Callable[[SinkPlace], Sink]
    options: Mapping[str, Option] = field(default_factory=dict)
    fault_of: Callable[[str], str] = _any_place
    at_once: int = 500
    wait_s: float = 0.0


def checked(sink: LogSink, kind: SinkKind) -> LogSink:
    """Return a sink with every option of its kind.

    Raises:
        InvalidInputError: All that is wrong with it; a value that may be a secret is not repeated.
    """
    faults = [fault] if (fault := kind.fault_of(sink.to)) else []
    for name, value in sink.options.items():
        if name not in kind.options:
            known = did_you_mean(name, [*COMMON, *kind.options])
            more = f" ({known})" if known else f"; `{sink.kind}` has {', '.join(kind.options)}"
            faults.append(f"there is no option `{name}`{more}")
        else:
            faults += _faults(name, value, kind.options[name])
    if faults:
        raise InvalidInputError(f"[log.sinks.{sink.name}]: {'; '.join(faults)}.")
    defaults = {name: option.default for name, option in kind.options.items()}
    return replace(sink, options={**defaults, **sink.options})


def _faults(name: str, value: Any, option: Option) -> list[str]:  # noqa: ANN401 - a TOML value
    if isinstance(option.default, dict):
        if not isinstance(value, Mapping):
            return [f"`{name}` must be a table"]
        hidden = [key for key in value if _is_secret(key) and not is_reference(str(value[key]))]
        return [f"`{name}.{key}` {_REFER}" for key in hidden]
    if option.secret:
        return [] if isinstance(value, str) and is_reference(value) else [f"`{name}` {_REFER}"]
    kind = type(option.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        return [f"`{name}` must be {words[kind]}"]
    if kind in (int, float) and not value > 0:
        return [f"`{name}` must be above 0"]
    if option.choices and value not in option.choices:
        return [f"`{name}` must be one of {', '.join(option.choices)}, not `{value}`"]
    return []


_REFER = "must say where the secret is, as `env:VARIABLE` or `file:PATH`"
# Settings of Kafka's client that hold credentials under another name.
_SETTINGS = ("sasl.oauthbearer.config", "ssl.key.pem")


def _is_secret(key: str) -> bool:
    # A setting has dots in its name, a header has none.
    if "." in key:
        return names_a_secret(key) or key.lower() in _SETTINGS
    return carries_a_secret(key)


def rfc3339(time_ms: int) -> str:
    """Write a time with milliseconds.

    >>> rfc3339(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
