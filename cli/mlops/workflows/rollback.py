"""`mlops rollback`: an earlier revision serves again; and `mlops history`, which names them."""

from __future__ import annotations

import contextlib
import dataclasses

from mlops.deployment.deploy import open_target
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.locate import Found, locate, locate_to_change
from mlops.deployment.targets.contract import Say
from mlops.errors import ConflictError, NotFoundError
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import LOCAL, AliasMove, Entry, Intent
from mlops.settings import Settings
from mlops.workflows.revision_change import (
    Moved,
    interrupted_change,
    live_entry,
    move,
    was_live,
)


def rollback(
    settings: Settings,
    name: str | None,
    *,
    to: int | None = None,
    reason: str = "",
    dry_run: bool = False,
    force: bool = False,
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
        force: Take over a name that another project deployed.
        say: Called with each phase.
        on_wait: Called with what is waited for, on a cluster.

    Raises:
        NotFoundError: There is no earlier revision, or none of that number that ever was live.
    """
    found = locate_to_change(settings, name)
    interrupted = None if dry_run else interrupted_change(settings, found, "rollback")
    if interrupted is not None:
        return interrupted
    say("Reading the history")
    ledger = open_ledger(settings, found.name)
    entries = ledger.history()
    live = live_entry(next((e for e in entries if e.state == "live"), None), found.name)
    target = _target(entries, live, to)
    undone = [e for e in entries if target.number < e.number <= live.number and was_live(e)]
    # With its ramp a scheduler, or `--auto`, would promote again what a user has just taken back.
    spec = dataclasses.replace(target.intent.spec, ramp=None)
    without = " without its ramp" if target.intent.spec.ramp else ""
    intent = Intent(
        action="rollback",
        spec=spec,
        reason=reason or f"back to revision {target.number}{without}",
        aliases=_undo(undone),
    )
    return move(settings, live, target, intent, dry_run, say, on_wait, force=force)


def _target(entries: list[Entry], live: Entry, to: int | None) -> Entry:
    earlier = [e for e in entries if e.number < live.number and was_live(e)]
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
        for change in entry.intent.aliases:
            key = (change.model, change.alias)
            now = moves[key].before if key in moves else change.version
            moves[key] = AliasMove(change.model, change.alias, change.before, now)
    return tuple(moves.values())


def history(settings: Settings, name: str | None) -> list[Entry]:
    """Return every revision of a deployment, newest first.

    Raises:
        NotFoundError: There is no such deployment.
    """
    deployment = name or locate(settings, name).name
    if nothing_yet(settings):
        raise NotFoundError(
            "Nothing is deployed here yet.", hint="`mlops deploy --ab modelA modelB`"
        )
    # A running command is shown as pending, not waited for.
    with contextlib.suppress(ConflictError):
        open_target(settings, LOCAL).recover(Found(deployment, None), wait_s=0.0)
    entries = open_ledger(settings, deployment).history()
    if not entries:
        raise NotFoundError(f"There is no deployment `{deployment}`.", hint="`mlops status`")
    return entries
