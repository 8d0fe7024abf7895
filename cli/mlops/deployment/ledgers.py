"""Checks against the ledger that every target makes before it changes a deployment."""

from __future__ import annotations

import time

from mlops.deployment.plan import difference
from mlops.errors import ConflictError
from mlops.registry import open_registry
from mlops.registry.ledger import Entry, Ledger
from mlops.settings.needs import StoreSettings
from mlops.spec.deployment import DeploymentSpec

# A revision that another machine wrote and did not complete by then is abandoned.
_OTHERS_MAY_TAKE_MS = 15 * 60 * 1000


def open_ledger(settings: StoreSettings, name: str) -> Ledger:
    """Open the ledger of a deployment."""
    return Ledger(open_registry(settings), settings, name)


def newest(ledger: Ledger) -> int:
    """Return the newest revision that is settled, 0 for none."""
    pending = {entry.number for entry in ledger.pending()}
    return max((number for number in ledger.numbers() if number not in pending), default=0)


def is_others(ledger: Ledger, entry: Entry) -> bool:
    """Whether a command on another machine may still be working on a pending revision."""
    age_ms = time.time_ns() // 1_000_000 - entry.created_ms
    return entry.place != ledger.place and age_ms < _OTHERS_MAY_TAKE_MS


def check_base(
    based_on: int | None, live: int, before: DeploymentSpec | None, after: DeploymentSpec
) -> None:
    """Check that kept options are of the live revision, and undo no other change.

    Args:
        based_on: The revision that options were kept of; None if none was.
        live: The live revision when the plan was made.
        before: What that serves. Where it is what is asked for, nothing is undone: an interrupted
            command was finished just now.
        after: What is asked for.

    Raises:
        ConflictError: Another revision went live in between.
    """
    if based_on is not None and before != after:
        check_live(based_on, live, after.name, "run the command again to build on it.")


def check_live(expected: int, live: int, name: str, then: str = "then decide again.") -> None:
    """Check that the live revision is the one that a decision was about.

    Args:
        expected: That one.
        live: The live revision when the plan was made.
        name: Deployment.
        then: What to do after a look at the history.

    Raises:
        ConflictError: Another revision went live in between.
    """
    if expected != live:
        raise ConflictError(
            f"Revision {live} of `{name}` went live in the meantime.",
            hint=f"`mlops history {name}` shows it; {then}",
        )


def deployed_meanwhile(ledger: Ledger, newest: int, spec: DeploymentSpec) -> int:
    """Return the revision that another command deployed here since, if it is the same; else 0.

    Args:
        ledger: Of the deployment.
        newest: The newest settled revision when the plan was made.
        spec: What the plan is about.
    """
    numbers = ledger.numbers()
    now = numbers[0] if numbers else 0
    if now == newest:
        return 0
    entry = ledger.entry(now)
    here = entry.state == "live" and entry.intent.place is None and entry.place == ledger.place
    changes = any(line[0] != " " for line in difference(entry.intent.spec, spec))
    return now if here and not changes else 0


def unchanged(ledger: Ledger, newest: int, spec: DeploymentSpec) -> None:
    """Check that no revision was written since a plan was made.

    Args:
        ledger: Of the deployment.
        newest: The newest settled revision when the plan was made.
        spec: What the plan is about.

    Raises:
        ConflictError: There is one; with the difference.
    """
    numbers = ledger.numbers()
    now = numbers[0] if numbers else 0
    if now == newest:
        return
    entry = ledger.entry(now)
    lines = "\n".join(difference(entry.intent.spec, spec))
    does = "is deploying" if entry.state == "pending" else "deployed"
    raise ConflictError(
        f"{entry.author} {does} revision {now} in the meantime. Yours against theirs:\n{lines}",
        hint="Run it again to overwrite their change.",
    )
