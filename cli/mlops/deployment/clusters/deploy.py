"""`mlops deploy --apply`: plan by the server's dry run, write the intent, apply, wait, commit."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mlops.cluster import Cluster, apply, get
from mlops.cluster.objects import ref_of
from mlops.cluster.waiting import NOT_READY, remove, wait_ready
from mlops.deployment.clusters.changes import prune
from mlops.deployment.clusters.plan import ClusterPlan, Prepared
from mlops.deployment.clusters.prerequisites import make_key
from mlops.deployment.clusters.urls import next_commands, urls
from mlops.deployment.ledgers import open_ledger, unchanged
from mlops.deployment.recording import recorded
from mlops.deployment.runtime_files import changing, note_cluster, places
from mlops.deployment.targets.contract import Say
from mlops.errors import ConflictError, MlopsError
from mlops.registry.ledger import Intent, Ledger
from mlops.settings.needs import RolloutSettings
from mlops.spec.place import ObjectRef

#: Kinds whose controllers add a change to what was there instead of replacing it, as Seldon Core
#: v2 does with the weights of an Experiment (SeldonIO/seldon-core#5181).
_MADE_ANEW = ("Experiment",)


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of a deployment on a cluster.

    Attributes:
        plan: The change that was made.
        revision: Number of the revision that is live.
        ready: Whether the command waited until it was ready.
        urls: Where it answers, as far as the cluster says.
        notes: What the platform will not do or do differently, as the rendering says.
        next_commands: What to do now.
    """

    plan: ClusterPlan
    revision: int
    ready: bool
    urls: tuple[str, ...]
    next_commands: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where it answers; empty if the cluster does not say."""
        return self.urls[0] if self.urls else ""


def apply_prepared(
    settings: RolloutSettings,
    cluster: Cluster,
    prepared: Prepared,
    intent: Intent,
    *,
    wait: bool = True,
    force: bool = False,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
) -> Applied:
    """Carry out a plan.

    Args:
        settings: The project's settings.
        cluster: Where, the one it was made for.
        prepared: The plan.
        intent: What a new revision is to do; its place is filled in.
        wait: Return once it is ready, and remove what it no longer has. Without, nothing is
            removed: the pods of the revision before may still need it.
        force: Take over fields that others set.
        say: Called with each phase.
        on_wait: Called with what is waited for.

    Raises:
        ConflictError: Another command deployed since the plan was made.
        RemoteError: It did not become ready; with the reason.
        MlopsError: The cluster refuses an object.
    """
    plan = prepared.plan
    ledger = open_ledger(settings, plan.after.name)
    where = places(settings, plan.after.name)
    with recorded(settings, plan.after.name), changing(where):
        unchanged(ledger, prepared.newest, plan.after)
        if plan.revision != prepared.live:
            note_cluster(where)
            say("Recording the revision")
            _begin(ledger, replace(intent, place=plan.place), prepared)
        try:
            _carry_out(settings, cluster, prepared, wait, force, say, on_wait)
        except MlopsError as error:
            if plan.revision != prepared.live:
                ledger.abandon(plan.revision, error.message)
            if error.reason == NOT_READY:
                error.hint = _what_now(cluster, prepared)
            raise
        if plan.revision != prepared.live or (plan.kind == "repair"):
            ledger.commit(plan.revision, time.time_ns() // 1_000_000)
        if wait and plan.place.stale:
            say("Removing what is no longer needed")
            _clear_away(cluster, plan)
    return Applied(
        plan=plan,
        revision=plan.revision,
        ready=wait,
        urls=urls(cluster, plan.place),
        next_commands=next_commands(plan.place, plan.after),
    )


def _begin(ledger: Ledger, intent: Intent, prepared: Prepared) -> None:
    number = ledger.begin(intent, prepared.newest)
    if number != prepared.plan.revision:
        ledger.abandon(number, f"it was prepared as revision {prepared.plan.revision}")
        raise ConflictError(
            f"Another command deployed `{prepared.plan.after.name}` in the meantime.",
            hint="Repeat the command.",
        )


def _what_now(cluster: Cluster, prepared: Prepared) -> str:
    """Describe the state after a rollout that failed."""
    name, live = prepared.plan.after.name, prepared.live
    if not live or live == prepared.plan.revision:
        return "Fix the cause and repeat the command."
    try:
        deployment = get(cluster, ObjectRef("apps/v1", "Deployment", name))
    except MlopsError:
        # The reader has to know why it is not ready.
        deployment = None
    answering = (deployment or {}).get("status", {}).get("availableReplicas", 0)
    answers = f", and {answering} of its pods still answer" if answering else ""
    return (
        f"Revision {live} is still the live one in the ledger{answers}. Fix the cause and repeat "
        f"the command; or repeat that of revision {live}, which puts it back."
    )


def _carry_out(
    settings: RolloutSettings,
    cluster: Cluster,
    prepared: Prepared,
    wait: bool,
    force: bool,
    say: Say,
    on_wait: Say,
) -> None:
    plan, manifests = prepared.plan, prepared.manifests
    where = places(settings, plan.after.name)
    make_key(cluster, plan.place.target, plan.after, manifests.options, where)
    if plan.kind == "nothing" and not wait:
        return
    differs = {change.ref for change in plan.objects if change.action in ("create", "update")}
    for number, stage in enumerate(manifests.stages):
        touched = [each for each in stage if ref_of(each) in differs]
        if touched:
            say("Applying the rest" if number else "Applying")
        changed = {}
        for manifest in touched:
            if manifest["kind"] in _MADE_ANEW:
                remove(cluster, ref_of(manifest), settings.cluster.timeout_s)
            applied = apply(cluster, manifest, force=force)
            changed[ref_of(manifest)] = applied["metadata"]["resourceVersion"]
        if wait:
            say("Waiting until it is ready")
            timeout_s = settings.cluster.timeout_s
            wait_ready(
                cluster, [ref_of(each) for each in stage], timeout_s, on_wait, changed=changed
            )


def _clear_away(cluster: Cluster, plan: ClusterPlan) -> None:
    """Remove what the revision no longer has; if that fails it is live nevertheless."""
    try:
        prune(cluster, plan.after.name, plan.place.stale)
    except MlopsError as error:
        said = f"Revision {plan.revision} is live; repeat the command to remove the rest."
        error.hint = f"{said} {error.hint}" if error.hint else said
        raise
