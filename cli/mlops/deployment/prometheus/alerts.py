"""The alerts of a deployment, as data.

An alert names what went wrong and what to do; which of them a deployment gets depends on what it
has. Thresholds and windows come from the section `[monitoring]` of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mlops.deployment.prometheus import split
from mlops.deployment.prometheus.queries import ARM, SHADOW, Queries
from mlops.settings.platforms import MonitoringSettings
from mlops.spec import metrics as m
from mlops.spec.deployment import DeploymentSpec

Severity: TypeAlias = Literal["critical", "warning"]

_RATE = "5m"
#: A tenth of what the server's queue holds.
_MANY_PENDING = 10_000
_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Condition:
    """A query and what its value must be for an alert.

    Attributes:
        query: PromQL, with a value also if nothing is wrong.
        comparison: `> 0.05` and such; empty if the query has it.
    """

    query: str
    comparison: str

    @property
    def expression(self) -> str:
        """PromQL that has a value only where the condition holds."""
        return f"({self.query})\n{self.comparison}" if self.comparison else self.query


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule.

    Attributes:
        name: Its name.
        conditions: What must hold together, for the same labels if the first has any.
        lasting: How long, as a Prometheus duration.
        severity: How bad.
        summary: What it means; `{{ $labels.arm }}` and `{{ $value }}` are filled in by Prometheus.
        action: What to do.
    """

    name: str
    conditions: tuple[Condition, ...]
    lasting: str
    severity: Severity
    summary: str
    action: str

    @property
    def expression(self) -> str:
        """The rule's PromQL."""
        first, *others = self.conditions
        # Further conditions are of the whole deployment and have no labels.
        return first.expression + "".join(f"\nand on ()\n{each.expression}" for each in others)


def alerts(spec: DeploymentSpec, queries: Queries, options: MonitoringSettings) -> list[Alert]:
    """Return the alerts that apply to a deployment."""
    found = [*_servers(queries), *_answers(queries, options), *_evidence(spec, queries, options)]
    found += [_drift(queries), _quality(queries)]
    if spec.shadows:
        found.append(_shadows(queries))
    if any(model.endpoint for model in spec.models):
        found.append(_endpoints(queries))
    return found


def _servers(queries: Queries) -> Iterator[Alert]:
    revision = queries.of(m.REVISION)
    yield Alert(
        "MlopsServerAbsent",
        (Condition(f"absent({revision})", ""),),
        "5m",
        "critical",
        f"No server of {queries.deployment} is being scraped",
        "Check whether its pods or processes run (`mlops status`), and whether Prometheus reaches "
        "them: the page of targets says why not.",
    )
    yield Alert(
        "MlopsRevisionsDiffer",
        (Condition(f"max ({revision})\n- min ({revision})", "> 0"),),
        "30m",
        "warning",
        f"Servers of {queries.deployment} run different revisions",
        "A rollout does not finish: look at the pods that are not ready.",
    )


def _answers(queries: Queries, options: MonitoringSettings) -> Iterator[Alert]:
    yield Alert(
        "MlopsErrors",
        (Condition(queries.errors(_RATE), f"> {options.max_errors:g}"),),
        "10m",
        "critical",
        "{{ $value | humanizePercentage }} of the requests of arm {{ $labels.arm }} "
        "({{ $labels.version }}) fail",
        "The log says why (`mlops logs`). `mlops rollback` returns to the previous revision.",
    )
    yield Alert(
        "MlopsSlow",
        (Condition(queries.latency(_QUANTILE, _RATE), f"> {options.max_latency_ms / 1000:g}"),),
        "10m",
        "warning",
        f"One in {round(1 / (1 - _QUANTILE))} requests of arm {{{{ $labels.arm }}}} takes "
        "{{ $value | humanizeDuration }} or more",
        "Compare the arms on the dashboard: if all are slow the machine is, else the model.",
    )


def _evidence(
    spec: DeploymentSpec, queries: Queries, options: MonitoringSettings
) -> Iterator[Alert]:
    within = options.feedback_within
    # Requests of the span before the last one had their feedback in either.
    rewards = queries.grown(m.REWARDS, twice(within))
    answered = queries.grown(m.REQUESTS, within, within, code="2..")
    yield Alert(
        "MlopsNoFeedback",
        (Condition(rewards, "== 0"), Condition(answered, "> 0")),
        "15m",
        "warning",
        f"No reward for {queries.deployment} in {twice(within)}, though there were requests "
        f"{within} ago",
        "Look at what sends feedback; `mlops_feedback_total` by outcome says whether any arrives "
        "and is refused. Without feedback the test comes to no verdict.",
    )
    if split.testable(spec):
        yield Alert(
            "MlopsSampleRatio",
            (
                Condition(split.evidence(queries), f"> {split.LIMIT:g}"),
                Condition(split.least_expected(queries), f">= {split.FEWEST}"),
            ),
            "10m",
            "critical",
            f"The arms of {queries.deployment} do not get their share of the traffic",
            "No comparison of the arms can be trusted: something loses or repeats requests of one "
            "arm. This is a large-sample test on what the servers counted since they started, "
            f"with a false alarm in about {split.ALPHA:.0%} of their lives however often it is "
            "evaluated; `mlops report` tests the whole experiment, and its answer counts.",
        )
    yield Alert(
        "MlopsJournalShedding",
        (Condition(queries.grown(m.JOURNAL_SHED, "10m"), "> 0"),),
        "1m",
        "warning",
        f"{queries.deployment} answers faster than its journal can be written",
        "Decisions are missing from the journal; feedback still counts. Look at the database's "
        "disk, or add servers.",
    )
    yield Alert(
        "MlopsJournalBehind",
        (Condition(f"max ({queries.of(m.JOURNAL_PENDING)})", f"> {_MANY_PENDING}"),),
        "5m",
        "critical",
        f"{{{{ $value }}}} decisions of {queries.deployment} wait for the journal",
        "The database does not accept them: check that it is up and its disk has space.",
    )


def twice(duration: str) -> str:
    """Return a duration that is twice as long.

    >>> twice("90m")
    '180m'
    """
    return f"{int(duration[:-1]) * 2}{duration[-1]}"


def _drift(queries: Queries) -> Alert:
    # Every replica reports the same; without a consumer there is no series.
    by = ", ".join((*ARM, "feature"))
    return Alert(
        "MlopsDrift",
        (Condition(f"max by ({by}) ({queries.of(m.DRIFT_ALARM)})", "> 0"),),
        "1m",
        "warning",
        "{{ $labels.feature }} of arm {{ $labels.arm }} ({{ $labels.version }}) has drifted",
        "`mlops monitor drift` says since when and how far. Find out what changed at the source; "
        "if it stays, train on newer data. The alarm is over when another model is live.",
    )


def _quality(queries: Queries) -> Alert:
    by = ", ".join((*ARM, "measure"))
    return Alert(
        "MlopsQuality",
        (Condition(f"max by ({by}) ({queries.of(m.QUALITY_ALARM)})", "> 0"),),
        "1m",
        "critical",
        "Answers of arm {{ $labels.arm }} ({{ $labels.version }}) are worse than in validation: "
        "{{ $labels.measure }}",
        "`mlops monitor quality` says since when and how much, `mlops monitor drift` whether the "
        "requests changed. `mlops rollback` brings the revision before back, if that was better.",
    )


def _shadows(queries: Queries) -> Alert:
    dropped = queries.total(m.SHADOW_DROPPED, SHADOW, _RATE)
    answered = queries.total(m.SHADOW_REQUESTS, SHADOW, _RATE)
    return Alert(
        "MlopsShadowDropping",
        (Condition(f"{dropped}\n/ ({dropped} + {answered})", "> 0.5"),),
        "15m",
        "warning",
        "Shadow {{ $labels.shadow }} misses {{ $value | humanizePercentage }} of its copies",
        "It is slower than the traffic. Give it a smaller share.",
    )


def _endpoints(queries: Queries) -> Alert:
    return Alert(
        "MlopsEndpointDown",
        (Condition(f"min by (arm) ({queries.of(m.ENDPOINT_UP)})", "== 0"),),
        "2m",
        "critical",
        "The endpoint of {{ $labels.arm }} does not answer its probe",
        "Its requests are answered 502 or 503 and go to no other arm. Look at that server.",
    )
