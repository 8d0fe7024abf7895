"""`mlops ramp`: one look at a canary's ramp, and the move that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from mlops.client.remote_endpoint import RemoteServer
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.locate import Found, locate_to_change
from mlops.deployment.runtime_files import is_alive, places
from mlops.deployment.targets.contract import Say
from mlops.errors import ConflictError, NotFoundError
from mlops.monitoring.json_records import finite
from mlops.monitoring.ramp import Decision, RampLook, look_at_ramp
from mlops.monitoring.split_words import ramp_again
from mlops.registry import open_registry
from mlops.registry.ledger import Entry, Intent, Ledger
from mlops.settings import Settings
from mlops.workflows.evidence import open_evidence, ramp_from_server
from mlops.workflows.revision_change import Moved, champion_moves, complete_interrupted, move

#: The outcome of a look at a ramp.
Outcome: TypeAlias = Literal["moved", "waiting", "rolled back", "finished", "withheld"]
#: The program's exit code for each; those of a report where they mean the same.
EXIT_CODES: dict[Outcome, int] = {
    "moved": 0,
    "rolled back": 10,
    "waiting": 11,
    "withheld": 13,
    "finished": 16,
}
_OUTCOMES: dict[Decision, Outcome] = {
    "advance": "moved",
    "finish": "finished",
    "roll back": "rolled back",
    "wait": "waiting",
    "withhold": "withheld",
    "done": "finished",
}


@dataclass(frozen=True, slots=True)
class Ramped:
    """A look at a ramp, and what followed.

    Attributes:
        name: Name of the deployment.
        outcome: The outcome for the ramp.
        reason: Why, as a sentence.
        revision: Revision that is live now.
        look: What was seen; None where the ramp had ended before, or nothing runs.
        moved: The change that was made, or would be; None for none.
        again: Where it is withheld, the commands that begin it again once the split is mended.
    """

    name: str
    outcome: Outcome
    reason: str
    revision: int
    look: RampLook | None
    moved: Moved | None
    again: tuple[str, ...] = ()


def ramp(
    settings: Settings,
    name: str | None,
    *,
    dry_run: bool = False,
    remote: RemoteServer | None = None,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
) -> Ramped:
    """Look at the ramp of a deployment once, and move it if that is what the look says.

    A ramp that has ended reports that again, so that a scheduler may keep asking.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        dry_run: Look, and move nothing.
        remote: The deployment's server, to be asked; None to read the journal.
        say: Called with each phase.
        on_wait: Called with what is waited for, on a cluster.

    Raises:
        ConflictError: The deployment has no ramp, or another command changed it in the meantime.
        NotFoundError: There is no such deployment.
    """
    found = locate_to_change(settings, name)
    if not dry_run:
        complete_interrupted(settings, found)
    say("Reading the ledger")
    ledger = open_ledger(settings, found.name)
    live = ledger.live()
    if live is None:
        raise NotFoundError(
            f"No revision of `{found.name}` is live.",
            hint="`mlops deploy --model REF --canary REF=5 --ramp 5,25,50,100`",
        )
    ended = _ended(live, ledger)
    if ended is not None:
        return ended
    if _is_stopped(settings, live):
        text = "It does not run, so nothing is moved until it is started again."
        return Ramped(found.name, "waiting", text, live.number, look=None, moved=None)
    say("Looking at the guardrails")
    look = _look(settings, found, live, remote)
    result = Ramped(look.name, _OUTCOMES[look.decision], look.reason, live.number, look, moved=None)
    if look.decision == "withhold" and live.intent.spec.ramp is not None:
        return replace(result, again=ramp_again(live.intent.spec, live.intent.spec.ramp))
    intent = _intent(settings, look, live)
    if intent is None:
        return result
    moved = move(settings, live, live, intent, dry_run, say, on_wait)
    return replace(result, revision=moved.revision, moved=moved)


def _is_stopped(settings: Settings, live: Entry) -> bool:
    """Whether it was stopped or crashed: a scheduler must not start it again."""
    if live.intent.place is not None:
        return bool(live.stopped_ms)
    return not is_alive(places(settings, live.intent.spec.name))


def _look(settings: Settings, found: Found, live: Entry, remote: RemoteServer | None) -> RampLook:
    if remote is not None:
        look = ramp_from_server(remote)
    else:
        try:
            journal, _ = open_evidence(settings, found)
        except NotFoundError as error:
            # It suggests to ask the server for the report; the look is asked for in the same way.
            hint = (error.hint or "").replace("mlops report ", "mlops ramp ")
            raise NotFoundError(error.message, hint=hint or None) from error
        try:
            look = look_at_ramp(journal)
        finally:
            journal.close()
    if (look.name, look.revision) != (found.name, live.number):
        raise ConflictError(
            f"The journal is of revision {look.revision} of `{look.name}`; by the ledger revision "
            f"{live.number} of `{found.name}` is live.",
            hint=f"`mlops status {found.name}`, then look again.",
        )
    return look


def _intent(settings: Settings, look: RampLook, live: Entry) -> Intent | None:
    """The change that follows from a look; None for none."""
    spec = live.intent.spec
    evidence = {"ramp": finite(asdict(look))}
    base, canary = look.baseline, look.canary
    if look.decision == "advance" and look.next_percent is not None:
        text = f"ramp: {look.percent:g} % to {look.next_percent:g} %. {look.reason}"
        return Intent("ramp", spec.with_share(look.next_percent / 100), text, evidence)
    if look.decision == "finish":
        moves = champion_moves(open_registry(settings), settings, spec, canary)
        text = f"ramp: {look.percent:g} % to 100 %. {look.reason}"
        return Intent("promote", spec.only(canary), text, evidence, moves)
    if look.decision == "roll back":
        text = f"ramp: back to `{base}`. {look.reason}"
        return Intent("rollback", spec.only(base), text, evidence)
    return None


def _ended(live: Entry, ledger: Ledger) -> Ramped | None:
    """The outcome of a ramp that has ended with the live revision.

    Raises:
        ConflictError: The live revision has nothing to do with a ramp.
    """
    intent = live.intent
    if intent.spec.ramp is not None:
        return None
    look: dict[str, Any] = (intent.evidence or {}).get("ramp") or {}
    decision: Decision | None = look.get("decision") or _chosen(live, ledger)
    if decision not in ("finish", "roll back"):
        raise ConflictError(
            f"Revision {live.number} of `{intent.spec.name}` has no ramp.",
            hint="`mlops deploy --model REF --canary REF=5 --ramp 5,25,50,100` begins one.",
        )
    return Ramped(
        intent.spec.name, _OUTCOMES[decision], intent.reason, live.number, look=None, moved=None
    )


def _chosen(live: Entry, ledger: Ledger) -> Decision | None:
    """The outcome of a ramp that a user or the verdict ended by giving an arm all traffic."""
    arms = live.intent.spec.arms
    before = next((e for e in ledger.history() if e.state == "replaced"), None)
    if len(arms) > 1 or before is None or before.intent.spec.ramp is None:
        return None
    models = [arm.model.identity for arm in before.intent.spec.arms]
    if arms[0].model.identity not in models:
        return None
    return "roll back" if models.index(arms[0].model.identity) == 0 else "finish"
