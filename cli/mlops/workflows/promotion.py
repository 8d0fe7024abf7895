"""`mlops promote`: registry, endpoint and history move together to the winner."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

from mlops.client.remote_endpoint import RemoteServer
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.locate import Found, locate_to_change
from mlops.deployment.targets.contract import Say
from mlops.errors import ConflictError, MlopsError, UsageError, WithheldError
from mlops.monitoring.json_records import finite
from mlops.monitoring.kept_pairs import keep_pairs
from mlops.monitoring.paired import PairedReport
from mlops.monitoring.report import Report
from mlops.monitoring.verdict import Decision
from mlops.registry import open_registry
from mlops.registry.ledger import Entry, Intent
from mlops.settings import Settings
from mlops.workflows.evidence import open_evidence, report_of
from mlops.workflows.revision_change import (
    Moved,
    champion_moves,
    interrupted_change,
    live_entry,
    move,
)


@dataclass(frozen=True, slots=True)
class NotMoved:
    """Why `mlops promote --auto` has changed nothing.

    Attributes:
        name: Name of the deployment.
        decision: The verdict.
        finished: Whether the experiment is over and one model is live alone.
        reason: Why, as a sentence.
    """

    name: str
    decision: Decision
    finished: bool
    reason: str


def promote(
    settings: Settings,
    name: str | None,
    *,
    arm: str = "",
    force: str = "",
    dry_run: bool = False,
    remote: RemoteServer | None = None,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
) -> Moved:
    """Give all traffic and the alias `champion` to the winner.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        arm: The arm to promote; empty for the verdict's winner.
        force: Why to promote `arm` although the verdict does not say so; empty for not at all.
        dry_run: Say what would be done, and do nothing.
        remote: The deployment's server, to be asked for the report; None to read the journal.
        say: Called with each phase.
        on_wait: Called with what is waited for, on a cluster.

    Raises:
        ConflictError: The verdict names no winner, or another one, and `force` is empty.
        UsageError: `force` without `arm`.
    """
    if force and not arm:
        raise UsageError("`--force REASON` needs `--arm NAME`: which arm?")
    found = locate_to_change(settings, name)
    interrupted = None if dry_run else interrupted_change(settings, found, "promote")
    if interrupted is not None:
        return interrupted
    say("Reading the evidence")
    report = _report(settings, found, remote, say if force else None)
    winner = arm or (report.verdict.winner if report else None)
    if report and (winner is None or (winner != report.verdict.winner and not force)):
        raise _refusal(report, arm)
    assert winner is not None
    return _give_all(settings, found, winner, report, force, dry_run, say, on_wait)


def promote_by_verdict(
    settings: Settings,
    name: str | None,
    *,
    dry_run: bool = False,
    remote: RemoteServer | None = None,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
) -> Moved | NotMoved:
    """Promote if that is the verdict, and else change nothing: for a scheduler, which tries again.

    The arguments are those of `promote`.
    """
    found = locate_to_change(settings, name)
    interrupted = None if dry_run else interrupted_change(settings, found, "promote")
    if interrupted is not None:
        return interrupted
    say("Reading the evidence")
    report = report_of(settings, found, remote)
    verdict, over = report.verdict, report.finished is not None
    if over or verdict.decision != "promote" or verdict.winner is None:
        return NotMoved(report.name, verdict.decision, over, verdict.reason)
    return _give_all(settings, found, verdict.winner, report, "", dry_run, say, on_wait)


def _give_all(
    settings: Settings,
    found: Found,
    winner: str,
    report: Report | None,
    force: str,
    dry_run: bool,
    say: Say,
    on_wait: Say,
) -> Moved:
    """Give all traffic and the alias to an arm."""
    ledger = open_ledger(settings, found.name)
    live = live_entry(ledger.live(), found.name)
    _still_there(live, winner, report)
    if not force:
        _require_about(report, live)
    spec = live.intent.spec.only(winner)
    say("Looking at the registry")
    moves = champion_moves(open_registry(settings), settings, live.intent.spec, winner)
    intent = Intent(
        action="promote",
        spec=spec,
        reason=force or (report.verdict.reason if report else ""),
        evidence=_evidence(report) if report else None,
        aliases=moves,
    )
    if report and report.paired and not report.finished and not dry_run:
        # Before the arms go: afterwards they cannot be asked, and no later command could tell.
        _keep_pairs(settings, found, max(report.revisions), report.paired)
    return move(settings, live, live, intent, dry_run, say, on_wait)


def _keep_pairs(settings: Settings, found: Found, revision: int, paired: PairedReport) -> None:
    """Keep the comparison on the same rows in the journal, where that is within reach."""
    with contextlib.suppress(MlopsError):
        journal, _ = open_evidence(settings, found)
        with contextlib.closing(journal):
            keep_pairs(journal, revision, paired, now_ms=time.time_ns() // 1_000_000)


def _still_there(live: Entry, winner: str, report: Report | None) -> None:
    """Refuse to promote an arm of an experiment that has ended without it.

    Raises:
        ConflictError: Another arm is live alone.
    """
    arms = [arm.name for arm in live.intent.spec.arms]
    if report is None or report.finished is None or winner in arms:
        return
    tested = [number for number in report.revisions if number < live.number]
    back = f"`mlops rollback {report.name} --to {tested[-1]}` resumes the test; " if tested else ""
    raise ConflictError(
        f"This experiment is over: revision {live.number} serves `{arms[0]}` alone, and `{winner}` "
        "is no arm of it.",
        hint=f"{back}`mlops deploy --model REF` serves another model.",
    )


def _require_about(report: Report | None, live: Entry) -> None:
    """Refuse to act on a report about a revision that another command has replaced.

    Raises:
        ConflictError: The live revision is none of those that it is about.
    """
    if report is None:
        return
    over = (report.finished.revision,) if report.finished else ()
    if live.number not in (*report.revisions, *over):
        raise ConflictError(
            f"Revision {live.number} of `{report.name}` went live in the meantime; the evidence is "
            f"of revision {max(report.revisions, default=0)}.",
            hint=f"`mlops report {report.name}`, then decide again.",
        )


def _report(
    settings: Settings, found: Found, remote: RemoteServer | None, say: Say | None
) -> Report | None:
    """Return the report; None where it cannot be made and the promotion is forced.

    Args:
        settings: The project's settings.
        found: The deployment.
        remote: Its server, to be asked for the report.
        say: Called with why there is none, and given only if the promotion is forced: that works
            also if statistics fail on the journal.
    """
    try:
        return report_of(settings, found, remote)
    except Exception as error:
        if say is None or (isinstance(error, MlopsError) and remote is not None):
            raise
        reason = error.message if isinstance(error, MlopsError) else f"{type(error).__name__}."
        say(f"Going on without the report. {reason}")
        return None


def _refusal(report: Report, arm: str) -> MlopsError:
    names = [each.name for each in report.arms]
    if arm and arm not in names:
        return ConflictError(
            f"`{report.name}` has no arm `{arm}`.", hint=f"Arms: {', '.join(names)}."
        )
    example = arm or _most_promising(report)
    if report.verdict.decision in ("withheld", "invalid"):
        force = f'`mlops promote {report.name} --arm {example} --force "why"`'
        hints = (*report.verdict.hints, f"Or take the responsibility: {force}")
        return WithheldError(report.verdict.reason, hint=" ".join(hints))
    return ConflictError(
        f"The verdict does not say to promote {f'`{arm}`' if arm else 'anything'}: "
        f"{report.verdict.reason}",
        hint="Collect more feedback, or decide yourself: "
        f'`mlops promote {report.name} --arm {example} --force "why"`',
    )


def _most_promising(report: Report) -> str:
    """Name the arm with the best estimate; a placeholder where none is better than the baseline."""
    better = [c for c in report.comparisons if math.isfinite(c.estimate) and c.estimate > 0]
    return max(better, key=lambda c: c.estimate).arm if better else "NAME"


def _evidence(report: Report) -> dict[str, Any]:
    """Keep what the decision rests on, small enough for the ledger."""
    document: dict[str, Any] = {
        "verdict": dataclasses.asdict(report.verdict),
        "comparisons": [dataclasses.asdict(c) for c in report.comparisons],
        "paired": dataclasses.asdict(report.paired) if report.paired else None,
        "revisions": list(report.revisions),
        "arms": [
            {"name": a.name, "version": a.version, "requests": a.requests, "n": a.n, "mean": a.mean}
            for a in report.arms
        ],
        "notes": list(report.notes),
    }
    kept: dict[str, Any] = finite(document)
    return kept
