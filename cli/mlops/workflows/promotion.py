"""`mlops promote` and `mlops rollback`: registry, endpoint and history move together."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.client.remote_endpoint import RemoteServer
from mlops.deployment.deploy import deploy_again, open_target
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.locate import Found, locate, locate_to_change
from mlops.deployment.targets.contract import How, Say, Talk
from mlops.errors import ConflictError, MlopsError, NotFoundError, UsageError, WithheldError
from mlops.monitoring.report import Report
from mlops.monitoring.report_json import finite
from mlops.monitoring.verdict import Decision
from mlops.registry import mlflow_errors, open_registry
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import LOCAL, AliasMove, Entry, Intent
from mlops.registry.refs import CHAMPION, look_up_model
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from mlops.workflows.evidence import report_from, report_of

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True)
class Moved:
    """What a promotion or rollback did.

    Attributes:
        name: Name of the deployment.
        action: `promote` or `rollback`.
        revision: Revision that is live now.
        replaced: Revision that was live before.
        spec: What is served now.
        aliases: Aliases that moved.
        reason: Why.
        changed: False for a dry run, or if everything was as requested.
        url: Where it is served; empty for a dry run, and if not known.
        place: The cluster and namespace; empty for this machine.
    """

    name: str
    action: str
    revision: int
    replaced: int
    spec: DeploymentSpec
    aliases: tuple[AliasMove, ...]
    reason: str
    changed: bool
    url: str
    place: str = ""


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


def report_on(settings: Settings, name: str | None, remote: RemoteServer | None = None) -> Report:
    """Report on a deployment, running or not.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        remote: Its server, to be asked for the report; None to read the journal.

    Raises:
        NotFoundError: There is no such deployment, or nothing to read its evidence from.
    """
    if remote is not None and name is None:
        return report_from(settings, remote)
    found = locate(settings, name)
    return report_of(settings, found, remote)


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
    interrupted = None if dry_run else _interrupted(settings, found, "promote")
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
    interrupted = None if dry_run else _interrupted(settings, found, "promote")
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
    live = _live(ledger.live(), found.name)
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
    return move(settings, live, live, intent, dry_run, say, on_wait)


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


def rollback(
    settings: Settings,
    name: str | None,
    *,
    to: int | None = None,
    reason: str = "",
    dry_run: bool = False,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
) -> Moved:
    """Serve an earlier revision again, as a new one, and restore the aliases of that time.

    A ramp that it had is left out, so that nothing changes the user's choice.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        to: Revision to return to; None for the one before the live one.
        reason: Why, for the history.
        dry_run: Say what would be done, and do nothing.
        say: Called with each phase.
        on_wait: Called with what is waited for, on a cluster.

    Raises:
        NotFoundError: There is no earlier revision, or none of that number that ever was live.
    """
    found = locate_to_change(settings, name)
    interrupted = None if dry_run else _interrupted(settings, found, "rollback")
    if interrupted is not None:
        return interrupted
    say("Reading the history")
    ledger = open_ledger(settings, found.name)
    entries = ledger.history()
    live = _live(next((e for e in entries if e.state == "live"), None), found.name)
    target = _target(entries, live, to)
    undone = [e for e in entries if target.number < e.number <= live.number and _was_live(e)]
    # With its ramp a scheduler, or `--auto`, would promote again what a user has just taken back.
    spec = dataclasses.replace(target.intent.spec, ramp=None)
    without = " without its ramp" if target.intent.spec.ramp else ""
    intent = Intent(
        action="rollback",
        spec=spec,
        reason=reason or f"back to revision {target.number}{without}",
        aliases=_undo(undone),
    )
    return move(settings, live, target, intent, dry_run, say, on_wait)


def champion_moves(
    client: MlflowClient, settings: Settings, spec: DeploymentSpec, winner: str
) -> tuple[AliasMove, ...]:
    """Say how the alias `champion` moves when an arm wins.

    Arms that are versions of one model: it moves to the winner's version. Different models: the
    winner gains it and the others lose it. Models outside the registry have no aliases.
    """
    best = spec.arms[spec.index_of(winner)].model
    moves = []
    with mlflow_errors(settings):
        if best.name:
            before = _champion(client, best.name)
            moves.append(AliasMove(best.name, CHAMPION, best.version, before))
        for model in sorted({arm.model.name for arm in spec.arms} - {best.name, ""}):
            before = _champion(client, model)
            if before:
                moves.append(AliasMove(model, CHAMPION, 0, before))
    return tuple(moves)


def _was_live(entry: Entry) -> bool:
    return entry.state in ("live", "replaced")


def mend_first(settings: Settings, found: Found) -> list[Entry]:
    """Complete or abandon what killed commands left, wherever it is; return what was finished."""
    return open_target(settings, found.target).recover(found)


def _interrupted(settings: Settings, found: Found, action: str) -> Moved | None:
    """Complete what was killed, and return it if it equals the present request."""
    name, target = found.name, open_target(settings, found.target)
    for entry in mend_first(settings, found):
        if entry.intent.action == action:
            earlier = (e for e in open_ledger(settings, name).history() if e.state == "replaced")
            return Moved(
                name=name,
                action=action,
                revision=entry.number,
                replaced=next((e.number for e in earlier), 0),
                spec=entry.intent.spec,
                aliases=_real(entry.intent.aliases),
                reason=entry.intent.reason,
                changed=True,
                url=target.status(Found(name, entry)).url,
                place=str(entry.intent.place or ""),
            )
    return None


def _real(moves: tuple[AliasMove, ...]) -> tuple[AliasMove, ...]:
    return tuple(move for move in moves if move.version != move.before)


def _champion(client: MlflowClient, model: str) -> int:
    found = look_up_model(client, model)
    return int(found.aliases.get(CHAMPION, 0)) if found else 0


def move(
    settings: Settings,
    live: Entry,
    like: Entry,
    intent: Intent,
    dry_run: bool,
    say: Say,
    on_wait: Say,
) -> Moved:
    """Make an intent the live revision, where the deployment is, in the ledger and in its trail.

    Args:
        settings: The project's settings.
        live: The live revision.
        like: The revision whose options it has, on a cluster.
        intent: What the new one is to do.
        dry_run: Say what would be done, and do nothing.
        say: Called with each phase.
        on_wait: Called with what is waited for.
    """
    spec = intent.spec
    changed = _real(intent.aliases)
    result = Moved(
        name=spec.name,
        action=intent.action,
        revision=live.number,
        replaced=live.number,
        spec=spec,
        aliases=changed,
        reason=intent.reason,
        changed=False,
        url="",
        place=str(live.intent.place or ""),
    )
    how = How(anew=bool(changed), dry_run=dry_run)
    done = deploy_again(settings, live, like, intent, how, Talk(say=say, on_wait=on_wait))
    if dry_run:
        return result
    moved = done.revision != live.number
    return dataclasses.replace(result, revision=done.revision, changed=moved, url=done.url)


def _target(entries: list[Entry], live: Entry, to: int | None) -> Entry:
    earlier = [e for e in entries if e.number < live.number and _was_live(e)]
    if to is None:
        if not earlier:
            raise NotFoundError(
                f"`{live.intent.spec.name}` has no revision before {live.number} to return to."
            )
        return earlier[0]
    for entry in earlier:
        if entry.number == to:
            return entry
    known = ", ".join(str(e.number) for e in earlier) or "none"
    raise NotFoundError(
        f"Revision {to} of `{live.intent.spec.name}` cannot be returned to.",
        hint=f"Revisions that were live before {live.number}: {known}.",
    )


def _undo(undone: list[Entry]) -> tuple[AliasMove, ...]:
    """Restore every alias that these entries moved to its state before the oldest of them."""
    moves: dict[tuple[str, str], AliasMove] = {}
    for entry in undone:  # newest first, so the oldest is decisive
        for move in entry.intent.aliases:
            key = (move.model, move.alias)
            now = moves[key].before if key in moves else move.version
            moves[key] = AliasMove(move.model, move.alias, move.before, now)
    return tuple(moves.values())


def _live(entry: Entry | None, name: str) -> Entry:
    if entry is None:
        raise NotFoundError(
            f"No revision of `{name}` is live.", hint="`mlops deploy --ab modelA modelB`"
        )
    return entry


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
        "revisions": list(report.revisions),
        "arms": [
            {"name": a.name, "version": a.version, "requests": a.requests, "n": a.n, "mean": a.mean}
            for a in report.arms
        ],
        "notes": list(report.notes),
    }
    kept: dict[str, Any] = finite(document)
    return kept


def history(settings: Settings, name: str | None) -> list[Entry]:
    """Return every revision of a deployment, newest first.

    Raises:
        NotFoundError: There is no such deployment.
    """
    wanted = name or locate(settings, name).name
    if nothing_yet(settings):
        raise NotFoundError(
            "Nothing is deployed here yet.", hint="`mlops deploy --ab modelA modelB`"
        )
    # A running command is shown as pending, not waited for.
    with contextlib.suppress(ConflictError):
        open_target(settings, LOCAL).recover(Found(wanted, None), wait_s=0.0)
    entries = open_ledger(settings, wanted).history()
    if not entries:
        raise NotFoundError(f"There is no deployment `{wanted}`.", hint="`mlops status`")
    return entries
