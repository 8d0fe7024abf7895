"""A revision on this machine: plan, write the intent, apply, commit; and recovery after a kill."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlops.deployment.isolation import isolate
from mlops.deployment.ledgers import (
    deployed_meanwhile,
    is_others,
    newest,
    open_ledger,
    unchanged,
)
from mlops.deployment.local import (
    check_admission,
    check_answers,
    check_port,
    running,
    serve,
    settled,
)
from mlops.deployment.local_address import check_same_address
from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.lost_state import check_key_of_journal, check_nothing_lost
from mlops.deployment.owners import check_owner
from mlops.deployment.plan import Plan, make_plan
from mlops.deployment.recording import recorded
from mlops.deployment.runtime_files import Places, changing, is_alive, places, read_server_state
from mlops.deployment.targets.contract import Talk
from mlops.errors import ConflictError, MlopsError
from mlops.policies.base import Contextual
from mlops.policies.making import make_policy
from mlops.registry import fetched
from mlops.registry.artifact_digest import read_content
from mlops.registry.fetching import keep_folders
from mlops.registry.ledger import Entry, Intent, Ledger
from mlops.registry.trust import check_trusted
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import DeploymentSpec, Revision, check
from mlops.spec.server import Served, ServerState
from mlops.spec.short_repr import short_repr

_SILENT = Talk()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan together with what it was made from.

    Attributes:
        plan: The change.
        newest: Newest settled revision number in the ledger when it was made, 0 for none.
        live: Live revision number then, 0 for none.
        owned: What the user should know about where the name was before; empty if it was here.
    """

    plan: Plan
    newest: int
    live: int
    owned: str = ""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result of a deployment.

    Attributes:
        plan: The change that was made.
        revision: Number of the revision that is live.
        state: The state of the server.
        process: The server's process, if it was started in the foreground.
        monitoring: Files for a Prometheus and a Grafana that were written.
        contents: Digest of the files of each arm's model, if they were read.
    """

    plan: Plan
    revision: int
    state: ServerState
    process: subprocess.Popen[bytes] | None = None
    monitoring: tuple[str, ...] = ()
    contents: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        arms = [arm.name for arm in self.plan.after.arms]
        name = self.plan.after.name
        return short_repr(self, name=name, revision=self.revision, arms=arms, url=self.url)

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.state.url


def prepare(
    settings: RolloutSettings,
    spec: DeploymentSpec,
    *,
    dry_run: bool = False,
    force: bool = False,
    asked: bool = True,
) -> Prepared:
    """Compare a spec with what is live, after recovering what an interrupted command left.

    Args:
        settings: The project's settings.
        spec: What is wanted.
        dry_run: Recover nothing, write nothing.
        force: Take over a name that another project has.
        asked: Whether its models are asked for, and are not those of the ledger.

    Raises:
        InvalidInputError: The spec cannot be deployed.
        ConflictError: A server runs, and would have to move to another address; or another
            program has the port, or another project the name.
        RemoteError: A server runs and does not answer.
    """
    check(spec)
    if not dry_run:
        mend(settings, spec.name)
    where = places(settings, spec.name)
    ledger = open_ledger(settings, spec.name)
    live = ledger.live()
    owned = check_owner(settings, where, live, force=force, asked=asked)
    state = running(where)
    if state is not None:
        check_answers(state)
        _check_features(state, spec)
    check_same_address(settings, state)
    if state is None and not is_alive(where):
        check_port(settings, where)
        log_sinks(settings)
    not_on_cluster(ledger, spec.name, live)
    if not is_alive(where):
        here = live is not None and live.intent.place is None and live.place == ledger.place
        check_nothing_lost(settings, where, known=here)
        check_key_of_journal(settings, where)
        check_admission(settings, where)
    serves = state.launch.served.revision.number if state else 0
    plan = make_plan(
        live.intent.spec if live else None, spec, running=live is not None and serves == live.number
    )
    moves = live is not None and live.intent.place is not None
    if (moves or (owned and force)) and plan.kind in ("nothing", "start"):
        # It moves back from a cluster, or from another project, which makes a revision.
        plan = replace(plan, kind="update")
    return Prepared(plan, newest(ledger), live.number if live else 0, owned)


def _check_features(state: ServerState, spec: DeploymentSpec) -> None:
    """Refuse a policy that learns from features which the running server does not keep."""
    policy, kept = (
        make_policy(spec.policy, [arm.weight for arm in spec.arms]),
        state.launch.features,
    )
    features = policy.features if isinstance(policy, Contextual) else ()
    missing = [] if kept == "all" else [each for each in features if each not in kept]
    if missing:
        raise ConflictError(
            f"The server of `{spec.name}` was started without keeping `{'`, `'.join(missing)}`, "
            "which the policy learns from.",
            hint=f"`mlops stop {spec.name}`, then deploy again.",
        )


def apply(
    settings: RolloutSettings,
    prepared: Prepared,
    intent: Intent,
    *,
    foreground: bool = False,
    talk: Talk = _SILENT,
) -> Deployed:
    """Carry out a plan.

    The order lets the next command recover from a kill at any point: the ledger knows the
    intent before anything happens, the server's own state says whether it took the revision, and
    the aliases move after it did.

    Raises:
        ConflictError: Another command deployed since the plan was made.
        InvalidInputError: A model cannot be served; what was live continues.
        MlopsError: The server did not start.
    """
    spec = prepared.plan.after
    where = places(settings, spec.name)
    ledger = open_ledger(settings, spec.name)
    talk.say("Fetching models")
    files = [model for model in spec.models if not model.endpoint]
    recording = recorded(settings, spec.name)
    with fetched(files, settings, talk.show) as folders, recording, changing(where):
        if intent.action == "deploy":
            # What another command restores was deployed before.
            check_trusted(settings, files, folders)
        found = iter(folders)
        paths = tuple("" if model.endpoint else str(next(found)) for model in spec.models)
        # Before anything is written: it may take minutes, and fail.
        pythons = isolate(settings, spec, paths, talk.say)
        if intent.action == "deploy" and (
            same := deployed_meanwhile(ledger, prepared.newest, spec)
        ):
            prepared = _nothing_left(prepared, same, where)
        else:
            unchanged(ledger, prepared.newest, spec)
        _check_runs(where, intent)
        if prepared.plan.kind in ("nothing", "start"):
            number = prepared.live
            contents = _noted_contents(ledger, number)
        else:
            contents = _contents(spec, paths)
            talk.say("Recording the revision")
            number = ledger.begin(intent, prepared.newest)
            ledger.note_contents(number, contents)
        talk.say("Loading and checking models")
        served = Served(Revision(number, spec), paths, pythons)
        try:
            state, process = _serve(settings, where, served, prepared.plan, foreground)
        except MlopsError as error:
            # A server that was too slow to answer may have taken it; the next command checks again.
            if number != prepared.live and not _took(where, number):
                ledger.abandon(number, error.message)
            raise
        keep_folders(spec.name, spec.models, settings)
        if number != prepared.live:
            names = [arm.name for arm in spec.arms]
            ledger.note_runtimes(number, dict(zip(names, state.runtimes, strict=False)))
            ledger.commit(number, time.time_ns() // 1_000_000)
    return Deployed(prepared.plan, number, state, process, contents=contents)


def _nothing_left(prepared: Prepared, number: int, where: Places) -> Prepared:
    """Plan for what another command has deployed, the same as this one is to."""
    state = running(where)
    serves = state is not None and state.launch.served.revision.number == number
    its = make_plan(prepared.plan.after, prepared.plan.after, running=serves)
    plan = replace(prepared.plan, kind=its.kind, before=its.before, lines=its.lines)
    return Prepared(plan, number, number, prepared.owned)


def _check_runs(where: Places, intent: Intent) -> None:
    """Refuse to start for a ramp a server that was stopped since the look.

    Raises:
        ConflictError: It does not run.
    """
    if "ramp" in (intent.evidence or {}) and settled(where) is None:
        raise ConflictError(
            f"`{where.name}` was stopped in the meantime, and a ramp does not start it.",
            hint=f"`mlops start {where.name}`, and the ramp continues.",
        )


def _noted_contents(ledger: Ledger, number: int) -> dict[str, str]:
    """Return what the ledger knows of the files; only a reader of the result is told."""
    try:
        return ledger.contents(number)
    except MlopsError:
        return {}


def _contents(spec: DeploymentSpec, paths: Sequence[str]) -> dict[str, str]:
    """Digest of the files of each arm's model; of those that are here."""
    here = [(arm.name, path) for arm, path in zip(spec.arms, paths, strict=False) if path]
    return {name: read_content(Path(path)).digest for name, path in here}


def _serve(
    settings: RolloutSettings, where: Places, served: Served, plan: Plan, foreground: bool
) -> tuple[ServerState, subprocess.Popen[bytes] | None]:
    state = running(where)
    if plan.kind == "nothing" and state is not None:
        return state, None
    return serve(settings, where, served, foreground=foreground)


def mend(settings: RolloutSettings, name: str, *, wait_s: float = 60.0) -> list[Entry]:
    """Complete or abandon what killed commands left pending; return what was completed.

    If the server took a revision, the rest of its intent is carried out; if not, nothing but the
    intent was recorded, and it is abandoned.

    Args:
        settings: The project's settings.
        name: Deployment.
        wait_s: How long to wait for a command that is changing it.

    Raises:
        ConflictError: It is still running.
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
    """Return what is pending on this machine; clusters have their own recovery."""
    return [entry for entry in ledger.pending() if entry.intent.place is None]


def _took(where: Places, number: int) -> bool:
    """Whether the server took a revision, also if it has died since."""
    said = read_server_state(where)
    return said is not None and said.launch.served.revision.number == number


def not_on_cluster(ledger: Ledger, name: str, live: Entry | None) -> None:
    """Refuse to serve here what is on a cluster: a name has one place.

    Raises:
        ConflictError: It is there, or a command is about to put it there.
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
