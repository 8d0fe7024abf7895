"""Sinks of the request log: where a copy of requests, answers and outcomes goes.

The journal's consumer `mlops.consumers.request_log` makes `Event`s and hands them to a sink, at
least once and in order. A sink that is away delays no request: the consumer retries, and lags.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlops.errors import InvalidInputError
from mlops.plugins import Plugins
from mlops.sinks.base import Event, Option, Refused, Sink, SinkKind, SinkPlace, checked
from mlops.spec.request_log import LogSink

#: Kinds of sinks by name; other packages add theirs as entry points.
SINKS: Plugins[SinkKind] = Plugins(
    "kind of sink",
    {
        "cloudevents": "mlops.sinks.cloudevents:KIND",
        "elasticsearch": "mlops.sinks.elasticsearch:KIND",
        "kafka": "mlops.sinks.kafka:KIND [kafka]",
        "parquet": "mlops.sinks.parquet:KIND",
    },
    group="mlops.sinks",
    needs=("title", "example", "options", "make"),
)


def checked_sinks(sinks: Iterable[LogSink]) -> tuple[LogSink, ...]:
    """Return sinks with the defaults of their kinds filled in.

    Raises:
        InvalidInputError: Everything that is wrong with them.
    """
    found, faults = [], []
    for sink in sinks:
        try:
            SINKS.check(sink.kind)
            found.append(checked(sink, SINKS.load(sink.kind)))
        except InvalidInputError as error:
            hint = f" {error.hint}" if error.hint else ""
            text = error.message if "[log." in error.message else f"{error.message}{hint}"
            faults.append(text if "[log." in text else f"[log.sinks.{sink.name}]: {text}")
    if faults:
        raise InvalidInputError("\n".join(faults), hint="docs/request-log.md has an example each.")
    return tuple(found)


def open_sink(sink: LogSink, deployment: str) -> Sink:
    """Return a sink that is ready; nothing is sent yet.

    Args:
        sink: As `checked_sinks` returns it.
        deployment: Name of the deployment whose log it gets.

    Raises:
        InvalidInputError: A secret is not where its option says, or a library is missing.
    """
    return SINKS.load(sink.kind).make(SinkPlace(deployment, sink.name, sink.to, sink.options))


__all__ = [
    "SINKS",
    "Event",
    "Option",
    "Refused",
    "Sink",
    "SinkKind",
    "SinkPlace",
    "checked_sinks",
    "open_sink",
]
