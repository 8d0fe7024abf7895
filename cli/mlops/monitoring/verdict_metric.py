"""Metrics for rollout controllers, valid at every look.

Argo Rollouts and Flagger ask repeatedly, and act on each answer. A number here is one of

    1    continue: the ramp's step is over, or the verdict is for the arm
    0    not decided
    -1   stop: the canary is worse

and is ever wrong with probability at most alpha, however often it is read. It is what is known now:
if it is not acted on, 1 or -1 may become 0 again as more traffic comes. Once one arm is live alone,
`finished` names it, and the number is final, whatever is deployed after it: 1 if the first that was
is a candidate, else -1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlops.errors import ConflictError
from mlops.journal.base import Journal
from mlops.monitoring.experiment import Finished
from mlops.monitoring.guardrails import GuardrailReport
from mlops.monitoring.json_records import finite
from mlops.monitoring.ramp import Decision as RampDecision
from mlops.monitoring.ramp import RampLook, look_at_ramp
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.monitoring.same_rows import Ask
from mlops.monitoring.verdict import Decision

SCHEMA_VERSION = 1
_OF_VERDICT: dict[Decision, int] = {"promote": 1, "equal": 1, "not-worse": 1, "keep": -1}
_OF_RAMP: dict[RampDecision, int] = {"advance": 1, "finish": 1, "done": 1, "roll back": -1}


def verdict_json(
    journal: Journal, *, alpha: float, baseline: str, live: bool, ask: Ask | None = None
) -> str:
    """Write the verdict in numbers, of the ramp where one is live; see `serving.report.Page`."""
    try:
        return json.dumps(of_ramp(look_at_ramp(journal)))
    except ConflictError:
        return json.dumps(of_report(make_report(journal, ReportOptions(alpha, baseline), ask=ask)))


def of_report(report: Report) -> dict[str, Any]:
    """Return what a report says, in numbers."""
    guardrails = _of_candidates(report)
    result = -1 if guardrails < 0 else _OF_VERDICT.get(report.verdict.decision, 0)
    finished = report.finished
    if finished is not None:
        # Who waits for more evidence would wait forever.
        result = 1 if _is_candidate(report, finished) else -1
    return {
        "schema_version": SCHEMA_VERSION,
        "name": report.name,
        "revision": max(report.revisions),
        "result": result,
        "guardrails": guardrails,
        "decision": report.verdict.decision,
        "winner": report.verdict.winner,
        "reason": report.verdict.reason,
        "finished": asdict(finished) if finished else None,
        "ramp": None,
    }


def _is_candidate(report: Report, live: Finished) -> bool:
    """Whether the experiment ended with one of its arms, and not with its baseline."""
    return live.ended_with in [arm.name for arm in report.arms[1:]]


def of_ramp(look: RampLook) -> dict[str, Any]:
    """Return what a look at a ramp says, in numbers, with its basis."""
    result = _OF_RAMP.get(look.decision, 0)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": look.name,
        "revision": look.revision,
        "result": result,
        "guardrails": -1 if result < 0 else max(_kept(look.guardrails), 0),
        "decision": look.decision,
        "winner": None,
        "reason": look.reason,
        "finished": None,
        "ramp": finite(asdict(look)),
    }


def _of_candidates(report: Report) -> int:
    """Guardrails of the winner; before there is one, of all arms that have not broken theirs."""
    arms = {each.arm for each in report.guardrails}
    kept = {arm: _kept([g for g in report.guardrails if g.arm == arm]) for arm in arms}
    if report.verdict.winner in kept:
        return kept[report.verdict.winner]
    if not kept:
        return _kept(())
    return min((each for each in kept.values() if each >= 0), default=-1)


def _kept(guardrails: Sequence[GuardrailReport]) -> int:
    """1 where all are shown to be kept, -1 where one is shown to be broken."""
    states = {each.state for each in guardrails}
    if "fails" in states:
        return -1
    return int(states == {"passes"})
