"""`mlops deploy` on this machine: resolve, plan, write the intent, apply, commit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlops.deployment.isolation import isolate
from mlops.deployment.local import check_answers, check_port, running, serve, settled
from mlops.deployment.lost_state import check_nothing_lost
from mlops.deployment.plan import Plan, difference, make_plan
from mlops.deployment.recording import recorded
from mlops.deployment.request import DeployRequest, kept_lines, make_spec
from mlops.deployment.rewarding import settle_reward
from mlops.deployment.runtime_files import Places, changing, is_alive, places, read_server_state
from mlops.errors import ConflictError, MlopsError
from mlops.registry import fetched, open_registry
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import pin
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import Entry, Intent, Ledger
from mlops.registry.transfer import Show
from mlops.registry.trust import check_trusted
from mlops.rewards import reward_called
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec, Revision, check
from mlops.spec.server import Served, ServerState

Say = Callable[[str], None]

# A revision that somebody on another machine wrote and did not settle by then was given up.
_OTHERS_MAY_TAKE_MS = 15 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan together with what it was made from.

    Attributes:
        plan: The change.
        newest: Newest settled revision number in the ledger when it was made, 0 for none.
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


def prepare(settings: Settings, spec: DeploymentSpec, *, dry_run: bool = False) -> Prepared:
    """Compare a spec with what is live, after mending what an interrupted command left.

    Args:
        settings: The project's settings.
        spec: What is wanted.
        dry_run: Mend nothing, write nothing.

    Raises:
        InvalidInputError: The spec cannot be deployed.
        ConflictError: A server runs, and would have to move to another address; or another
            program has the port.
        RemoteError: A server runs and does not answer.
    """
    check(spec)
    if not dry_run:
        mend(settings, spec.name)
    where = places(settings, spec.name)
    state = running(where)
    if state is not None:
        check_answers(state)
    _same_address(settings, state)
    if state is None and not is_alive(where):
        check_port(settings, where)
    ledger = open_ledger(settings, spec.name)
    live = ledger.live()
    not_on_cluster(ledger, spec.name, live)
    if not is_alive(where):
        here = live is not None and live.intent.place is None and live.place == ledger.place
        check_nothing_lost(settings, where, known=here)
    serves = state.launch.served.revision.number if state else 0
    plan = make_plan(
        live.intent.spec if live else None, spec, running=live is not None and serves == live.number
    )
    if live is not None and live.intent.place is not None and plan.kind in ("nothing", "start"):
        # It comes back from a cluster, and that is a revision.
        plan = replace(plan, kind="update")
    return Prepared(plan, newest(ledger), live.number if live else 0)


def apply(
    settings: Settings,
    prepared: Prepared,
    intent: Intent,
    *,
    foreground: bool = False,
    say: Say = lambda _: None,
    show: Show = lambda done, total: None,
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
    files = [model for model in spec.models if not model.endpoint]
    recording = recorded(settings, spec.name)
    with fetched(files, settings, show) as folders, recording, changing(where):
        if intent.action == "deploy":
            # What another command brings back was deployed before.
            check_trusted(settings, files, folders)
        found = iter(folders)
        paths = tuple("" if model.endpoint else str(next(found)) for model in spec.models)
        # Before anything is written: it may take minutes, and fail.
        pythons = isolate(settings, spec, paths, say)
        unchanged(ledger, prepared.newest, spec)
        if prepared.plan.kind in ("nothing", "start"):
            number = prepared.live
        else:
            contents = _contents(spec, paths)
            say("Recording the revision")
            number = ledger.begin(intent, prepared.newest)
            ledger.note_contents(number, contents)
        say("Loading and checking models")
        served = Served(Revision(number, spec), paths, pythons)
        try:
            state, process = _serve(settings, where, served, prepared.plan, foreground)
        except MlopsError as error:
            # A server that was too slow to answer may have taken it; the next command looks again.
            if number != prepared.live and not _took(where, number):
                ledger.abandon(number, error.message)
            raise
        if number != prepared.live:
            names = [arm.name for arm in spec.arms]
            ledger.note_runtimes(number, dict(zip(names, state.runtimes, strict=False)))
            ledger.commit(number, time.time_ns() // 1_000_000)
    return Deployed(prepared.plan, number, state, process)


def _contents(spec: DeploymentSpec, paths: Sequence[str]) -> dict[str, str]:
    """Digest of the files of each arm's model; of those that are here."""
    here = [(arm.name, path) for arm, path in zip(spec.arms, paths, strict=False) if path]
    return {name: read_content(Path(path)).digest for name, path in here}


def _serve(
    settings: Settings, where: Places, served: Served, plan: Plan, foreground: bool
) -> tuple[ServerState, subprocess.Popen[bytes] | None]:
    state = running(where)
    if plan.kind == "nothing" and state is not None:
        return state, None
    return serve(settings, where, served, foreground=foreground)


def live_revision(settings: Settings, name: str, *, dry_run: bool = False) -> Entry | None:
    """Return the live revision of a deployment, after mending what an interrupted command left.

    Args:
        settings: The project's settings.
        name: Deployment.
        dry_run: Mend nothing, write nothing.

    Raises:
        ConflictError: A command is still at work on it.
    """
    if nothing_yet(settings):
        return None
    if not dry_run:
        mend(settings, name)
    return open_ledger(settings, name).live()


def mend(settings: Settings, name: str, *, wait_s: float = 60.0) -> list[Entry]:
    """Finish or give up what killed commands left pending; return what was finished.

    If the server took a revision, the rest of its intent is carried out; if not, nothing but the
    intent was ever done, and it is given up.

    Args:
        settings: The project's settings.
        name: Deployment.
        wait_s: How long to wait for a command that is at work on it.

    Raises:
        ConflictError: It is still at work.
    """
    ledger = open_ledger(settings, name)
    where = places(settings, name)
    if not _pending_here(ledger):
        return []
    finished = []
    with recorded(settings, name), changing(where, wait_s):
        settled(where)
        for entry in _pending_here(ledger):
            if entry.state == "live" or _took(where, entry.number):
                ledger.commit(entry.number, time.time_ns() // 1_000_000)
                finished.append(ledger.entry(entry.number))
            elif not is_others(ledger, entry):
                ledger.abandon(entry.number, "interrupted before the server took it")
    return finished


def _pending_here(ledger: Ledger) -> list[Entry]:
    """Return what is pending on this machine; what is on a cluster is mended from there."""
    return [entry for entry in ledger.pending() if entry.intent.place is None]


def _took(where: Places, number: int) -> bool:
    """Whether the server took a revision, also if it has died since."""
    said = read_server_state(where)
    return said is not None and said.launch.served.revision.number == number


def is_others(ledger: Ledger, entry: Entry) -> bool:
    """Whether somebody elsewhere may still be at work on a pending revision."""
    age_ms = time.time_ns() // 1_000_000 - entry.created_ms
    return entry.place != ledger.place and age_ms < _OTHERS_MAY_TAKE_MS


def newest(ledger: Ledger) -> int:
    """Return the newest revision that is settled, 0 for none."""
    pending = {entry.number for entry in ledger.pending()}
    return max((number for number in ledger.numbers() if number not in pending), default=0)


def _same_address(settings: Settings, state: ServerState | None) -> None:
    """Refuse to move a server that runs: its URL is the one thing that stays."""
    if state is None:
        return
    for key, wanted, has in (
        ("deploy.host", settings.deploy.host, state.launch.host),
        ("deploy.port", settings.deploy.port, state.launch.port),
    ):
        if settings.origins[key] == "command line" and wanted and wanted != has:
            raise ConflictError(
                f"`{state.launch.name}` runs at {state.url} and cannot move to `{wanted}`.",
                hint=f"`mlops stop {state.launch.name}` first.",
            )
    wanted = settings.deploy.grpc_port
    if settings.origins["deploy.grpc_port"] == "command line" and wanted != state.launch.grpc_port:
        now = f"on port {state.launch.grpc_port}" if state.grpc else "nowhere"
        raise ConflictError(
            f"`{state.launch.name}` runs and listens for gRPC {now}, which only a start changes.",
            hint=f"`mlops stop {state.launch.name}` first.",
        )
    _same_doors(settings, state)
    workers, own = settings.deploy.workers, state.launch.workers
    if settings.origins["deploy.workers"] == "command line" and workers != own:
        raise ConflictError(
            f"`{state.launch.name}` runs with {own} worker{'s' * (own > 1)}; how many there are "
            "is settled when it starts.",
            hint=f"`mlops stop {state.launch.name}` first, or leave `--workers` out.",
        )


def _same_doors(settings: Settings, state: ServerState) -> None:
    """Refuse to let other callers in to a server that runs, or in another way."""
    own, tls = settings.deploy, state.launch.tls
    for key, wanted, has in (
        ("tls_cert", own.tls_cert, tls.cert if tls else ""),
        ("tls_key", own.tls_key, tls.key if tls else ""),
        ("tls_client_ca", own.tls_client_ca, tls.client_ca if tls else ""),
        ("insecure_no_auth", own.insecure_no_auth, state.launch.access.unprotected),
    ):
        told = settings.origins[f"deploy.{key}"] == "command line"
        if told and wanted != has:
            raise ConflictError(
                f"`{state.launch.name}` runs; `--{key.replace('_', '-')}` changes it only when it "
                "starts.",
                hint=f"`mlops stop {state.launch.name}` first. New certificates in the same files "
                "need no start.",
            )


def open_ledger(settings: Settings, name: str) -> Ledger:
    """Open the ledger of a deployment."""
    return Ledger(open_registry(settings), settings, name)


def not_on_cluster(ledger: Ledger, name: str, live: Entry | None) -> None:
    """Refuse to serve here what is on a cluster: a name has one place.

    Raises:
        ConflictError: It is there, or somebody is about to put it there.
    """
    pending = [entry for entry in ledger.pending() if entry.intent.place is not None]
    if live is not None and not live.stopped_ms:
        pending.append(live)
    for entry in pending:
        if entry.intent.place is not None:
            raise ConflictError(
                f"`{name}` is in {entry.intent.place} (revision {entry.number}).",
                hint=f"`mlops stop {name}` takes it out of there; or give this another `--name`.",
            )


def check_base(based_on: int | None, live: int, name: str) -> None:
    """Make sure that what is kept is of the live revision: it may not undo somebody's change.

    Args:
        based_on: The revision that options were kept of; None if none was.
        live: The live revision when the plan was made.
        name: Deployment.

    Raises:
        ConflictError: Another revision went live between.
    """
    if based_on is not None and based_on != live:
        raise ConflictError(
            f"Revision {live} of `{name}` went live meanwhile.",
            hint=f"`mlops history {name}` shows it; run the command again to build on it.",
        )


def unchanged(ledger: Ledger, newest: int, spec: DeploymentSpec) -> None:
    """Make sure that nobody wrote a revision since a plan was made.

    Args:
        ledger: Of the deployment.
        newest: The newest settled revision when the plan was made.
        spec: What the plan is about.

    Raises:
        ConflictError: Somebody did; with the difference.
    """
    numbers = ledger.numbers()
    now = numbers[0] if numbers else 0
    if now == newest:
        return
    entry = ledger.entry(now)
    lines = "\n".join(difference(entry.intent.spec, spec))
    does = "is deploying" if entry.state == "pending" else "deployed"
    raise ConflictError(
        f"{entry.author} {does} revision {now} meanwhile. Yours against theirs:\n{lines}",
        hint="Run it again to overwrite their change.",
    )


def deploy(
    settings: Settings,
    request: DeployRequest,
    *,
    foreground: bool = False,
    dry_run: bool = False,
    show_plan: Callable[[Plan], None] = lambda _: None,
    say: Say = lambda _: None,
    show: Show = lambda done, total: None,
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
        show: Told of the progress of a download.

    Raises:
        MlopsError: As `prepare` and `apply`.
    """
    say("Looking the models up")
    spec, notes = settle_reward(_pinned(settings, make_spec(settings, request)))
    spec = replace(spec, paired=_is_pairable(settings, spec))
    prepared = prepare(settings, spec, dry_run=dry_run)
    check_base(request.based_on, prepared.live, spec.name)
    plan = replace(prepared.plan, notes=notes + _sums(spec), kept=kept_lines(request, spec))
    prepared = replace(prepared, plan=plan)
    show_plan(plan)
    if dry_run:
        return plan
    intent = Intent(action="deploy", spec=spec, given=request.given)
    return apply(settings, prepared, intent, foreground=foreground, say=say, show=show)


def _sums(spec: DeploymentSpec) -> tuple[str, ...]:
    """Say what tells two equal outcomes from one that was sent twice."""
    if spec.attribution.repeated != "sum":
        return ()
    text = (
        "Outcomes of one row add up: send each with an `outcome_id`, since one without that equals "
        "the one before is taken for a repetition of it."
    )
    return (text,)


def _is_pairable(settings: Settings, spec: DeploymentSpec) -> bool:
    """Whether every arm can be asked about the rows whose label comes."""
    here = all(arm.model.endpoint is None for arm in spec.arms)
    kept = settings.journal.features == "all"
    # A ratio of sums is of units, which rows are not.
    derived = reward_called(spec.reward).is_derived and not spec.analysis.per
    return settings.report.paired and len(spec.arms) > 1 and here and kept and derived


def _pinned(settings: Settings, spec: DeploymentSpec) -> DeploymentSpec:
    """Note what lies at a URI now: a revision means the same model for ever."""
    arms = tuple(replace(arm, model=pin(arm.model, settings)) for arm in spec.arms)
    shadows = tuple(replace(each, model=pin(each.model, settings)) for each in spec.shadows)
    return replace(spec, arms=arms, shadows=shadows)
