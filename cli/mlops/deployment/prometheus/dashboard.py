"""The Grafana dashboard of a deployment, as JSON data.

Form: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/.
The data source is a variable, so that the same file works in every Grafana. Rates of requests use
Grafana's own window; feedback is rarer, and has a window the reader chooses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlops.deployment.prometheus import split
from mlops.deployment.prometheus.queries import ARM, SHADOW, Queries
from mlops.spec import metrics as m
from mlops.spec.deployment import DeploymentSpec

Json: TypeAlias = dict[str, Any]

#: Grafana's variable for a window of some scrapes, and this dashboard's for quality.
RATE, WINDOW = "$__rate_interval", "$window"
_WINDOWS = ("5m", "15m", "1h", "6h", "1d", "7d")
_WINDOW = "1h"
# What the types of Grafana 10.1 say; a newer Grafana brings it up to date when it loads it.
_SCHEMA_VERSION = 36
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 7
_BY_ARM = "{{arm}} ({{version}})"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Attributes:
        title: What it shows.
        unit: Grafana's name of the unit.
        lines: PromQL and legend of each group of lines.
        about: What the reader should know, may be empty.
        limit: A value to mark, such as that of an alert.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    about: str = ""
    limit: float | None = None


def dashboard(spec: DeploymentSpec, queries: Queries) -> Json:
    """Return the dashboard of a deployment."""
    rows = [
        ("Requests", _requests(queries)),
        ("Quality", _quality(queries)),
        ("Test", _split(spec, queries)),
        ("Drift", _drift(queries)),
        ("Server", _server(spec, queries)),
    ]
    if spec.shadows:
        rows.append(("Shadows", _shadows(queries)))
    panels: list[Json] = []
    top = 0
    for title, found in rows:
        panels.append(_row(title, top, len(panels) + 1))
        top += 1
        for index, panel in enumerate(found):
            left = index % (_COLUMNS // _WIDTH) * _WIDTH
            if index and not left:
                top += _HEIGHT
            panels.append(_panel(panel, left, top, len(panels) + 1))
        top += _HEIGHT
    return {
        # First, so that the file can be told from a handwritten one.
        "description": "Rendered by `mlops deploy`; rendering again overwrites this file.",
        "title": f"mlops: {queries.deployment}",
        "uid": _uid(queries),
        "tags": ["mlops"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": _SCHEMA_VERSION,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _window()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _requests(queries: Queries) -> tuple[Panel, ...]:
    arm = ("arm", "version")
    return (
        Panel("Requests", "reqps", ((queries.total(m.REQUESTS, arm, RATE), _BY_ARM),)),
        Panel(
            "Errors",
            "percentunit",
            ((queries.errors(RATE), _BY_ARM),),
            "Share of the requests that were answered with 5xx.",
        ),
        Panel(
            "Latency",
            "s",
            tuple((queries.latency(q, RATE), f"p{q * 100:g} {_BY_ARM}") for q in (0.5, 0.95, 0.99)),
            "Estimated from buckets; what is slower than 10 s is shown as 10 s.",
        ),
    )


def _quality(queries: Queries) -> tuple[Panel, ...]:
    about = "Of what arrived within the window; late feedback counts when it comes."
    return (
        Panel("Mean reward", "short", ((queries.mean_reward(WINDOW), _BY_ARM),), about),
        Panel(
            "Mean squared error",
            "short",
            ((queries.per(m.SQUARED_ERROR, m.TRUTHS, WINDOW), _BY_ARM),),
            f"Where truths are numbers. {about}",
        ),
        Panel(
            "Feedback rate",
            "percentunit",
            ((queries.per(m.REWARDS, m.ROWS, WINDOW), _BY_ARM),),
            "Rewards for each row that was asked about.",
        ),
        *_judged(queries),
    )


def _judged(queries: Queries) -> Iterator[Panel]:
    by = f"max by ({', '.join((*ARM, 'measure'))})"
    legend = f"{{{{measure}}}} {_BY_ARM}"
    yield Panel(
        "Against validation",
        "short",
        (
            (f"{by} ({queries.of(m.QUALITY)})", legend),
            (f"{by} ({queries.of(m.QUALITY_LIMIT)})", f"{legend} limit"),
        ),
        "Of the last 500 rows whose truth is known. A value beyond its limit is no alarm yet.",
    )
    yield Panel(
        "Evidence that quality fell",
        "short",
        ((f"log10 ({by} ({queries.of(m.QUALITY_E_VALUE)}))", legend),),
        "Logarithm of the e-value. With 2 measures, 2.3 is an alarm.",
    )


def _split(spec: DeploymentSpec, queries: Queries) -> Iterator[Panel]:
    yield Panel(
        "Share of the traffic",
        "percentunit",
        (
            (queries.share(m.DRAWN, WINDOW), _BY_ARM),
            (queries.share(m.EXPECTED, WINDOW), f"{_BY_ARM} promised"),
        ),
        "Drawn requests against the weights of the revisions that drew them.",
    )
    if split.testable(spec):
        yield Panel(
            "Sample ratio: evidence against the split",
            "short",
            ((split.evidence(queries), "log e-value"),),
            "Valid at every look. Beyond the line the counts do not fit the weights; "
            "`mlops report` tests the whole experiment, and its answer counts.",
            split.LIMIT,
        )
    feedback = queries.total(m.FEEDBACK, ("outcome",), RATE)
    yield Panel("Feedback by outcome", "ops", ((feedback, "{{outcome}}"),))


def _drift(queries: Queries) -> tuple[Panel, ...]:
    by = f"max by ({', '.join((*ARM, 'feature'))})"
    legend = f"{{{{feature}}}} {_BY_ARM}"
    return (
        Panel(
            "Evidence of drift",
            "short",
            ((f"log10 ({by} ({queries.of(m.DRIFT_E_VALUE)}))", legend),),
            "Logarithm of the e-value of each feature, and of the answers as `prediction`. With 12 "
            "of them, 3.1 is an alarm; `mlops monitor drift` says the threshold.",
        ),
        Panel(
            "Size of drift",
            "short",
            ((f"{by} ({queries.of(m.DRIFT_PSI)})", legend),),
            "Population stability index of about the last 3,000 values; no test.",
        ),
        Panel(
            "Outliers",
            "percentunit",
            (
                (
                    f"max by ({', '.join(ARM)}) ({queries.of(m.OUTLIER_SHARE)})",
                    _BY_ARM,
                ),
            ),
            "Share of the last 1,000 rows that is flagged, 1 % of rows as in training; with "
            "`outliers = true` of [watch].",
        ),
        Panel(
            "Alarms of drift",
            "short",
            ((f"{by} ({queries.of(m.DRIFT_ALARM)})", legend),),
            "1 from the first time on that the evidence is an alarm.",
        ),
    )


def _server(spec: DeploymentSpec, queries: Queries) -> Iterator[Panel]:
    yield Panel("Servers", "short", ((f"count ({queries.of(m.REVISION)})", "servers"),))
    yield Panel("Revision", "short", ((f"max ({queries.of(m.REVISION)})", "revision"),))
    yield Panel(
        "Journal",
        "short",
        (
            (queries.now(m.JOURNAL_PENDING), "waiting"),
            (queries.grown(m.JOURNAL_SHED, WINDOW), "shed"),
            (queries.grown(m.JOURNAL_FEATURES, WINDOW), "without features"),
        ),
        "Decisions that wait to be written, and those that were shed, or written without their "
        "features, within the window.",
    )
    if any(model.endpoint for model in spec.models):
        up = f"min by (arm) ({queries.of(m.ENDPOINT_UP)})"
        yield Panel("Endpoints that answer", "short", ((up, "{{arm}}"),))


def _shadows(queries: Queries) -> tuple[Panel, ...]:
    legend = "{{shadow}} ({{version}})"
    slow = queries.latency(0.95, RATE, SHADOW, m.SHADOW_DURATION)
    dropped = queries.total(m.SHADOW_DROPPED, SHADOW, RATE)
    return (
        Panel(
            "Copies answered",
            "reqps",
            (
                (queries.total(m.SHADOW_REQUESTS, SHADOW, RATE), legend),
                (dropped, f"{legend} dropped"),
            ),
        ),
        Panel(
            "Errors of shadows",
            "percentunit",
            ((queries.errors(RATE, SHADOW, m.SHADOW_REQUESTS), legend),),
        ),
        Panel(
            "Latency of shadows",
            "s",
            ((slow, f"p95 {legend}"),),
            "Waiting in the queue is not counted.",
        ),
    )


def _row(title: str, top: int, number: int) -> Json:
    place = {"h": 1, "w": _COLUMNS, "x": 0, "y": top}
    row: Json = {"id": number, "type": "row", "title": title, "collapsed": False}
    return row | {"gridPos": place, "panels": []}


def _panel(panel: Panel, left: int, top: int, number: int) -> Json:
    custom: Json = {"drawStyle": "line", "lineWidth": 1, "showPoints": "never"}
    defaults: Json = {"unit": panel.unit, "custom": custom}
    if panel.limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        "targets": [_target(*line, ref) for line, ref in _named(panel.lines)],
    }


def _named(lines: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], str]]:
    yield from zip(lines, "ABCDEFGH", strict=False)


def _target(query: str, legend: str, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "range": True,
    }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
    }


def _window() -> Json:
    options = [{"text": w, "value": w, "selected": w == _WINDOW} for w in _WINDOWS]
    return {
        "name": "window",
        "label": "Window of quality",
        "type": "custom",
        "query": ",".join(_WINDOWS),
        "options": options,
        "current": {"text": _WINDOW, "value": _WINDOW},
        "hide": 0,
    }


def _uid(queries: Queries) -> str:
    """Grafana takes 40 characters; a name may have more."""
    text = f"{queries.namespace}/{queries.deployment}"
    return f"mlops-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
