"""`mlops journal export` to a sink of the request log: the whole journal, at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from mlops.consumers.base import Batch, Context
from mlops.deployment.journals import open_journal
from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.runtime_files import pick_name, places, read_server_state
from mlops.errors import UsageError, did_you_mean, one_of
from mlops.registry.stores import parse_location
from mlops.settings import Settings
from mlops.spec.request_log import LogSink, sink_to_dict
from mlops.workflows.evidence import unanswered
from mlops.workflows.outliers import detector_of
from mlops.workflows.tagged_log import Detectors, TaggedLog


@dataclass(frozen=True, slots=True)
class LogExported:
    """What was sent.

    Attributes:
        name: Name of the deployment.
        to: Where to.
        requests: How many requests were read.
        outcomes: How many outcomes.
        dropped: Events that were filtered out, or refused by the sink.
        warning: What it refused, and why; empty if nothing.
    """

    name: str
    to: str
    requests: int
    outcomes: int
    dropped: int
    warning: str


def is_folder(out: str) -> bool:
    """Whether an output is a folder, here or in a store, and not a file.

    >>> is_folder("log/"), is_folder("s3://bucket/log"), is_folder("wine.csv"), is_folder("-")
    (True, True, False, False)
    """
    return out.endswith("/") or len(urlsplit(out).scheme) > 1 or Path(out).is_dir()


def export_log(
    settings: Settings,
    name: str | None,
    sink: str,
    out: str,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LogExported:
    """Send everything in the journal of a deployment to a sink.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        sink: Name of a sink of `[log]`; empty for Parquet in `out`.
        out: A folder, here or in a store.
        on_progress: Called with the events read and their number.

    Raises:
        NotFoundError: There is no such deployment, or it has answered no request yet.
        UsageError: There is no such sink.
        RemoteError: The sink does not take them.
    """
    picked = pick_name(settings, name)
    spec = _apart(_sink(settings, sink, out))
    where = places(settings, picked)
    journal = open_journal(settings, picked, read_server_state(where))
    key = where.key.read_bytes() if where.key.exists() else b""
    try:
        end = journal.end()
        if not end.decisions:
            raise unanswered(picked)
        tagging = _stored(settings) if settings.watch.outliers else None
        log = TaggedLog(Context(picked, journal, sink_to_dict(spec), key), tagging)
        requests = outcomes = dropped = after = seen = 0
        warning = ""
        try:
            while after < end.decisions or seen < end.outcomes:
                decisions = journal.decisions(after, end.decisions, log.at_once)
                some, seen = journal.outcomes(seen, end.outcomes, log.at_once)
                after = int(decisions.seqs[-1]) if len(decisions) else end.decisions
                consumed = log.consume(Batch(decisions, some))
                requests, outcomes = requests + len(decisions), outcomes + len(some)
                dropped, warning = dropped + consumed.dropped, consumed.warning
                on_progress(after + seen, end.decisions + end.outcomes)
        finally:
            log.close()
    finally:
        journal.close()
    return LogExported(picked, spec.to, requests, outcomes, dropped, warning)


def _stored(settings: Settings) -> Detectors:
    """Return what gives the detectors that are stored with the models, each read once."""
    by_arm = lru_cache(maxsize=None)(partial(detector_of, settings))
    return lambda arm, _revision, _asked_ms: by_arm(arm)


def _apart(sink: LogSink) -> LogSink:
    """Return a sink with a folder for this export alone, if it has files.

    The journal may hold less by now, as pruned features: nothing of before is replaced.
    """
    if sink.kind != "parquet":
        return sink
    now = dt.datetime.now(dt.UTC)
    return dataclasses.replace(sink, to=f"{sink.to.rstrip('/')}/export-{now:%Y-%m-%dT%H%M%SZ}")


def _sink(settings: Settings, name: str, out: str) -> LogSink:
    if not name:
        # A folder that is typed is one of the working directory, not of the project.
        location = parse_location(out)
        to = location.prefix if location.scheme == "file" else out
        table = json.dumps({"kind": "parquet", "to": to})
        log = dataclasses.replace(settings.log, sinks=(("export", table),))
        (spec,) = log_sinks(dataclasses.replace(settings, log=log))
        return spec
    known = {sink.name: sink for sink in log_sinks(settings)}
    if name not in known:
        hint = did_you_mean(name, known) or (f"Use {one_of(list(known))}." if known else "")
        raise UsageError(f"[log] has no sink called `{name}`.", hint=hint or "docs/request-log.md")
    return known[name]
