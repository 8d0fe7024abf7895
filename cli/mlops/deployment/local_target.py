"""This machine as a target: a server process for each deployment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mlops.deployment.runtime_files import (
    is_alive,
    key_print,
    known_names,
    places,
    read_server_state,
)
from mlops.deployment.status import Status, log_lines, status
from mlops.deployment.targets.contract import SERVER, Again, How, OptionGroup, Talk
from mlops.errors import ConflictError, InvalidInputError, UsageError

if TYPE_CHECKING:
    from mlops.deployment.local_revision import Deployed, Prepared
    from mlops.deployment.locate import Found
    from mlops.deployment.plan import Plan
    from mlops.deployment.request import DeployRequest
    from mlops.journal.sql import SqlJournal
    from mlops.registry.ledger import Entry, Intent
    from mlops.settings.needs import RolloutSettings
    from mlops.spec.deployment import DeploymentSpec
    from mlops.spec.server import ServerState


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """A planned change of a server of this machine, with what is needed to apply it.

    Attributes:
        settings: With what is kept of the live revision.
        prepared: The plan, and what it was made from.
        intent: What the revision is to do.
        restart: Why the server has to be restarted, whatever is planned.
    """

    settings: RolloutSettings
    prepared: Prepared
    intent: Intent
    restart: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The change."""
        return self.prepared.plan


@dataclass(frozen=True, slots=True)
class Stopped:
    """A server of this machine that was asked to end.

    Attributes:
        name: Name of the deployment.
        stopped: Whether it ran.
        running: If it did not: the other deployments that run here.
    """

    name: str
    stopped: bool
    running: tuple[str, ...] = ()


class Local:
    """This machine. Imports what a verb needs when it is called: a status must be quick."""

    takes: ClassVar[frozenset[OptionGroup]] = frozenset({SERVER})

    def __init__(self, settings: RolloutSettings) -> None:
        self._settings = settings

    def plan(self, wanted: DeployRequest | Again, how: How, talk: Talk) -> LocalPlan:
        """Compare what is asked for with what the server has loaded."""
        if isinstance(wanted, Again):
            return self._again(wanted, how, talk)
        settings = self._settings
        from mlops.deployment.hidden_inputs import notes_on_hidden
        from mlops.deployment.ledgers import check_base
        from mlops.deployment.local_monitoring import check_watching
        from mlops.deployment.local_revision import prepare
        from mlops.deployment.rewarding import settle_reward
        from mlops.deployment.spec_making import check_columns, kept_lines, make_spec
        from mlops.registry.artifact_manifest import pin
        from mlops.registry.ledger import Intent

        if _watched(settings):
            check_watching(settings)
        talk.say("Looking up the models")
        # A revision means the same model forever, whatever is at its URI or path later.
        made = make_spec(settings, wanted, lambda model: pin(model, settings))
        check_columns(made)
        spec, notes = settle_reward(made)
        spec = replace(spec, paired=_is_pairable(settings, spec))
        prepared = prepare(settings, spec, dry_run=how.dry_run, force=how.force)
        plan = prepared.plan
        check_base(wanted.based_on, prepared.live, plan.before, spec)
        _check_stopped(settings, spec.name)
        restart = _to_restart(settings, spec.name)
        notes += _sums(spec) + restart + _choice_of_key(settings, spec.name)
        notes += notes_on_hidden(settings, spec)
        notes = (prepared.owned, *notes) if prepared.owned else notes
        plan = replace(plan, notes=notes, kept=kept_lines(wanted, spec))
        intent = Intent(action="deploy", spec=spec, given=wanted.given)
        return LocalPlan(settings, replace(prepared, plan=plan), intent, restart)

    def apply(self, plan: LocalPlan, how: How, talk: Talk) -> Deployed:
        """Load the models into the server, which is started if it does not run."""
        from mlops.deployment.local_monitoring import write_watching
        from mlops.deployment.local_revision import apply

        deployed = apply(
            plan.settings, plan.prepared, plan.intent, foreground=how.foreground, talk=talk
        )
        if not _watched(plan.settings):
            return deployed
        files = write_watching(plan.settings, plan.intent.spec, deployed.state)
        return replace(deployed, monitoring=tuple(file.path for file in files))

    def status(self, found: Found) -> Status:
        """Ask the server."""
        return status(places(self._settings, found.name))

    def logs(self, found: Found, *, last: int, follow: bool) -> Iterator[str]:
        """Yield lines of the server's log file."""
        return log_lines(places(self._settings, found.name), last=last, follow=follow)

    def stop(self, found: Found, how: How) -> Stopped:
        """Ask the server to end.

        Raises:
            UsageError: The journal is to be deleted, which is a file of the project here.
        """
        settings, name = self._settings, found.name
        if how.with_journal or how.forget:
            option = "--delete-journal" if how.with_journal else "--forget"
            raise UsageError(
                f"`{name}` is on this machine, and `{option}` is about a cluster.",
                hint=f"Leave `{option}` out.",
            )
        ran = is_alive(places(settings, name)) if how.dry_run else _stop(settings, name)
        others = [] if ran else [each for each in known_names(settings) if each != name]
        running = tuple(each for each in others if is_alive(places(settings, each)))
        return Stopped(name, ran, running)

    def recover(self, found: Found, *, wait_s: float = 60.0) -> list[Entry]:
        """Complete what the server took, abandon what it did not."""
        from mlops.deployment.local_revision import mend

        return mend(self._settings, found.name, wait_s=wait_s)

    def journal(self, found: Found) -> tuple[SqlJournal, ServerState | None]:
        """Open the journal that the server writes, or wrote last."""
        from mlops.deployment.journals import open_journal

        state = read_server_state(places(self._settings, found.name))
        return open_journal(self._settings, found.name, state), state

    def settings_of(self, live: Entry, target: str) -> Mapping[str, Any]:
        """Return what the server was started with."""
        state = read_server_state(places(self._settings, live.intent.spec.name))
        return _launched(state) if state is not None else {}

    def _again(self, again: Again, how: How, talk: Talk) -> LocalPlan:
        from mlops.deployment.keeping import keep
        from mlops.deployment.ledgers import check_live
        from mlops.deployment.local import running
        from mlops.deployment.local_revision import prepare

        name, spec = again.intent.spec.name, again.intent.spec
        state = running(places(self._settings, name)) if how.foreground else None
        if state is not None:
            raise ConflictError(
                f"`{name}` runs in the background already (process {state.pid}).",
                hint=f"`mlops stop {name}` first; `mlops logs --follow {name}` shows what it logs.",
            )
        if again.like.intent.place is not None:
            # Its models may be out of reach here.
            raise ConflictError(
                f"Revision {again.like.number} was in {again.like.intent.place}; `{name}` is on "
                "this machine now.",
                hint=f"`mlops stop {name}`, then deploy it there with `--apply`.",
            )
        has = self.settings_of(again.live, again.live.intent.target)
        settings = keep(self._settings, again.live, again.live.intent.target, has).settings
        prepared = prepare(settings, spec, dry_run=how.dry_run, force=how.force, asked=False)
        check_live(again.live.number, prepared.live, name)
        if prepared.owned:
            noted = replace(prepared.plan, notes=(prepared.owned,))
            prepared = replace(prepared, plan=noted)
        if how.anew and prepared.plan.kind in ("nothing", "start"):
            # Only names move; that too is a revision, or it would be missing in the history.
            prepared = replace(prepared, plan=replace(prepared.plan, kind="update"))
        return LocalPlan(settings, prepared, again.intent)


def _to_restart(settings: RolloutSettings, name: str) -> tuple[str, ...]:
    """Say what a server that runs has read when it started, and has changed since."""
    from mlops.deployment.start_settings import changed_since_start, describe_changed

    key, changed = _of_new_key(settings, name), changed_since_start(settings, name)
    texts = [key] if key else []
    if changed:
        how = f"`mlops stop {name}`, then `mlops start {name}`"
        texts.append(f"{describe_changed(name, changed)}: {how}.")
    return tuple(texts)


def _of_new_key(settings: RolloutSettings, name: str) -> str:
    """Say that a server that runs has another key than its file now; empty if it has not."""
    from mlops.deployment.local import running

    where = places(settings, name)
    state = running(where)
    if state is None or not state.launch.key_print:
        return ""
    try:
        now = key_print(where)
    except InvalidInputError as error:
        return f"{error.message} The server that runs has it; it will not start again without."
    if now == state.launch.key_print:
        return ""
    if not now:
        return (
            f"The file of the key, `{where.key}`, is gone. The server of `{name}` that runs still "
            "has the key: put the file back from a backup before a restart, which fails without."
        )
    return (
        f"The server of `{name}` has read another key than is in `{where.key}` now, and keeps "
        f"using the previous key until it is restarted: `mlops stop {name}`, then "
        f"`mlops start {name}`."
    )


def _check_stopped(settings: RolloutSettings, name: str) -> None:
    """Refuse another key where a server runs, which would not read it.

    Raises:
        ConflictError: It runs.
    """
    from mlops.deployment.lost_state import asks_for_new_key

    if asks_for_new_key(settings) and is_alive(places(settings, name)):
        raise ConflictError(
            f"The server of `{name}` runs, and reads its key when it starts.",
            hint=f"`mlops stop {name}`, then the same with `--new-key`.",
        )


def _choice_of_key(settings: RolloutSettings, name: str) -> tuple[str, ...]:
    """Say which key `--new-key` means, where there is one."""
    from mlops.deployment.lost_state import is_to_rotate

    where = places(settings, name)
    if not settings.deploy.new_key or is_alive(where) or not where.key.exists():
        return ()
    if is_to_rotate(settings, where):
        text = (
            f"A new key is made; the one before stays in the folder as `{where.key.name}.until-…`. "
            "Feedback for predictions from before is refused."
        )
    else:
        text = (
            f"The key in `{where.key}` is kept, as the journal has the fingerprint of another. "
            "Feedback for predictions with that one is refused."
        )
    return (text,)


def _watched(settings: RolloutSettings) -> bool:
    """Whether this command asks for files about monitoring; a setting is about clusters."""
    return bool(settings.cluster.extras) and settings.origins["cluster.extras"] == "command line"


def _stop(settings: RolloutSettings, name: str) -> bool:
    """Stop a server of this machine; return whether it ran."""
    from mlops.deployment import local
    from mlops.deployment.recording import event_now, recorded
    from mlops.deployment.runtime_files import changing

    where = places(settings, name)
    asked = [event_now("stop", "server, asked by a command")] if is_alive(where) else []
    # Not while another command, such as the ramp's, is about to start what ends here; none is on a
    # read-only disk.
    held = changing(where) if asked and os.access(where.folder, os.W_OK) else nullcontext()
    with recorded(settings, name, *asked, ask_mlflow=False), held:
        return local.stop(where)


def _launched(state: ServerState) -> dict[str, Any]:
    launch = state.launch
    found: dict[str, Any] = {
        "deploy.host": launch.host,
        "deploy.port": launch.port,
        "deploy.grpc_port": launch.grpc_port,
        "deploy.workers": launch.workers,
        "deploy.insecure_no_auth": launch.access.unprotected,
    }
    if launch.tls is not None:
        found |= {
            "deploy.tls_cert": launch.tls.cert,
            "deploy.tls_key": launch.tls.key,
            "deploy.tls_client_ca": launch.tls.client_ca,
            "deploy.tls_client_crl": launch.tls.client_crl,
        }
    return found


def _sums(spec: DeploymentSpec) -> tuple[str, ...]:
    """Say what distinguishes two equal outcomes from one that was sent twice."""
    if spec.attribution.repeated != "sum":
        return ()
    text = (
        "Outcomes of one row add up: send each with an `outcome_id`, since one without "
        "that equals the one before is counted as its duplicate."
    )
    return (text,)


def _is_pairable(settings: RolloutSettings, spec: DeploymentSpec) -> bool:
    """Whether every arm can be asked about the rows whose label comes."""
    from mlops.rewards import reward_called

    here = all(arm.model.endpoint is None for arm in spec.arms)
    journal = settings.journal
    kept = journal.features == "all" and not journal.hash and not journal.drop
    # A ratio of sums is of units, which rows are not.
    derived = reward_called(spec.reward).is_derived and not spec.analysis.per
    return settings.report.paired and len(spec.arms) > 1 and here and kept and derived
