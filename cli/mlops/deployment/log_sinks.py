"""The request log's sinks, as the settings name them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mlops.errors import InvalidInputError, MlopsError
from mlops.registry.stores import access_for, parse_location
from mlops.settings.needs import LogSettings
from mlops.sinks import checked_sinks, open_sink
from mlops.spec.request_log import LogSink, sink_from


def log_sinks(settings: LogSettings, *, here: bool = True) -> tuple[LogSink, ...]:
    """Return the sinks of `[log.sinks]`, checked.

    A store is reached as `[artifacts]` says, unless the sink says otherwise; a folder is one of the
    project.

    Args:
        settings: The project's settings.
        here: Whether the server runs on this machine, so that each sink can be opened to try it.

    Raises:
        InvalidInputError: Everything that is wrong with them.
    """
    sinks, faults = [], []
    for name, table in settings.log.sinks:
        try:
            (sink,) = checked_sinks([sink_from(name, json.loads(table))])
            sinks.append(_placed(sink, settings))
            if here:
                # The server would find the same fault, and could only log it.
                open_sink(sinks[-1], "").close()
        except MlopsError as error:
            text = error.message
            faults.append(text if "[log." in text else f"[log.sinks.{name}]: {text}")
    if faults:
        raise InvalidInputError("\n".join(faults), hint="docs/request-log.md has an example each.")
    return tuple(sinks)


def _placed(sink: LogSink, settings: LogSettings) -> LogSink:
    """Return a sink that does not depend on where a process runs, or on `[artifacts]`."""
    if not {"endpoint_url", "region", "credentials"} <= sink.options.keys():
        return sink
    location = parse_location(sink.to)
    if location.scheme == "file":
        path = sink.to if "://" in sink.to else settings.project_dir / Path(sink.to).expanduser()
        return replace(sink, to=parse_location(str(path)).prefix)
    access = access_for(location.scheme, settings)
    known = {
        "endpoint_url": access.endpoint,
        "region": access.region,
        "credentials": ""
        if access.source == "default"
        else f"{access.source}:{access.name}".rstrip(":"),
    }
    own = {name: value for name, value in sink.options.items() if value}
    return replace(sink, options={**sink.options, **known, **own})
