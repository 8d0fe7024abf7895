"""`mlops deploy` on this machine: resolve, plan, write the intent, apply, commit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlops.deployment.local import running, serve
from mlops.deployment.places import Places, changing, places
from mlops.deployment.plan import Plan, difference, make_plan
from mlops.deployment.request import DeployRequest, make_spec
from mlops.errors import ConflictError, MlopsError
from mlops.registry import fetch, open_registry
from mlops.registry.ledger import Intent, Ledger
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec, Revision, check
from mlops.spec.server import Served, ServerState

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan together with what it was made from.

    Attributes:
        plan: The change.
        newest: Newest revision number in the ledger when it was made, 0 for none.
        live: Live revision number then, 0 for none.
    """

    plan: Plan
    newest: int
    live: int


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment has become.

    Attributes:
        plan: The change that was made.
        revision: Number of the revision that is live.
        state: What the server says of itself.
        process: The server's process, if it was started in the foreground.
    """

    plan: Plan
    revision: int
    state: ServerState
    process: subprocess.Popen[bytes] | None = None


def prepare(settings: Settings, spec: DeploymentSpec) -> Prepared:
    """Compare a spec with what is live, after mending what an interrupted command left.

    Raises:
        InvalidInputError: The spec cannot be deployed.
    """
    check(spec)
    where = places(settings, spec.name)
    ledger = open_ledger(settings, spec.name)
    with changing(where):
        reconcile(ledger, where)
    live = ledger.live()
    plan = make_plan(live.intent.spec if live else None, spec, running=running(where) is not None)
    numbers = ledger.numbers()
    return Prepared(plan, numbers[0] if numbers else 0, live.number if live else 0)


def apply(
    settings: Settings,
    prepared: Prepared,
    intent: Intent,
    *,
    foreground: bool = False,
    say: Say = lambda _: None,
) -> Deployed:
    """Make a plan come true.

    The order lets a kill at any point be mended by the next command: the ledger knows the
    intent before anything happens, the server's own state says whether it took the revision, and
    the aliases move after it did.

    Raises:
        ConflictError: Somebody else deployed since the plan was made.
        InvalidInputError: A model cannot be served; what was live goes on.
        MlopsError: The server did not start.
    """
    spec = prepared.plan.after
    where = places(settings, spec.name)
    ledger = open_ledger(settings, spec.name)
    say("Fetching models")
    paths = tuple(str(fetch(arm.model, settings)) for arm in spec.arms)
    with changing(where):
        _unchanged(ledger, prepared)
        if prepared.plan.kind in ("nothing", "start"):
            number = prepared.live
        else:
            say("Writing the intent into the ledger")
            number = ledger.begin(intent, prepared.newest)
        say("Loading and checking models")
        served = Served(Revision(number, spec), paths)
        try:
            state, process = _serve(settings, where, served, prepared.plan, foreground)
        except MlopsError as error:
            if number != prepared.live:
                ledger.abandon(number, error.message)
            raise
        if number != prepared.live:
            ledger.commit(number, time.time_ns() // 1_000_000)
    return Deployed(prepared.plan, number, state, process)


def _serve(
    settings: Settings, where: Places, served: Served, plan: Plan, foreground: bool
) -> tuple[ServerState, subprocess.Popen[bytes] | None]:
    state = running(where)
    if plan.kind == "nothing" and state is not None:
        return state, None
    return serve(settings, where, served, foreground=foreground)


def reconcile(ledger: Ledger, where: Places) -> None:
    """Finish or give up what an interrupted command left pending.

    If the server took the revision, the rest of its intent is carried out; if not, nothing but
    the intent was ever done, and it is given up. The caller holds the right to change.
    """
    entry = ledger.pending()
    if entry is None:
        return
    state = running(where)
    if state is not None and state.launch.served.revision.number == entry.number:
        ledger.commit(entry.number, time.time_ns() // 1_000_000)
    else:
        ledger.abandon(entry.number, "interrupted before the server took it")


def open_ledger(settings: Settings, name: str) -> Ledger:
    """Open the ledger of a deployment."""
    return Ledger(open_registry(settings), settings, name)


def _unchanged(ledger: Ledger, prepared: Prepared) -> None:
    numbers = ledger.numbers()
    newest = numbers[0] if numbers else 0
    if newest == prepared.newest:
        return
    entry = ledger.entry(newest)
    lines = "\n".join(difference(entry.intent.spec, prepared.plan.after))
    raise ConflictError(
        f"{entry.author} deployed revision {newest} meanwhile. Yours against theirs:\n{lines}",
        hint="Repeat the command if yours shall replace theirs.",
    )


def deploy(
    settings: Settings,
    request: DeployRequest,
    *,
    foreground: bool = False,
    dry_run: bool = False,
    show_plan: Callable[[Plan], None] = lambda _: None,
    say: Say = lambda _: None,
) -> Deployed | Plan:
    """Make a deployment what the request wants, and return what it has become.

    The same request twice changes nothing the second time.

    Args:
        settings: The project's settings.
        request: What is wanted.
        foreground: Let a server that has to be started write to this terminal.
        dry_run: Stop at the plan and return it; nothing is written anywhere.
        show_plan: Called with the plan before anything is done.
        say: Called with each phase.

    Raises:
        MlopsError: As `prepare` and `apply`.
    """
    say("Looking the models up")
    spec = make_spec(settings, request)
    prepared = prepare(settings, spec)
    show_plan(prepared.plan)
    if dry_run:
        return prepared.plan
    intent = Intent(action="deploy", spec=spec)
    return apply(settings, prepared, intent, foreground=foreground, say=say)
