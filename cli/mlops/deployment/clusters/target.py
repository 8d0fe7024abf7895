"""A platform on Kubernetes as a target: manifests are rendered, applied, watched and deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mlops.cluster import Cluster, connect
from mlops.deployment.clusters.connection import open_place, place_of
from mlops.deployment.clusters.deploy import Applied, apply_prepared
from mlops.deployment.clusters.evidence import check_journal
from mlops.deployment.clusters.logs import pod_logs
from mlops.deployment.clusters.options import restored
from mlops.deployment.clusters.plan import ClusterPlan, Prepared, prepare
from mlops.deployment.clusters.recovery import mend
from mlops.deployment.clusters.status import ClusterStatus, cluster_status
from mlops.deployment.clusters.stop import StoppedInCluster, forget, stop_in_cluster
from mlops.deployment.fetchable import read_models
from mlops.deployment.files_target import (
    FilesPlan,
    FilesTarget,
    Rendering,
    gather,
    plan_files,
    to_write,
)
from mlops.deployment.journals import open_journal
from mlops.deployment.keeping import keys_of
from mlops.deployment.ledgers import check_base, check_live, open_ledger
from mlops.deployment.locate import Found
from mlops.deployment.manifest_files import RenderedFile, apply_command
from mlops.deployment.manifests import render_checked, render_options
from mlops.deployment.request import DeployRequest
from mlops.deployment.spec_making import kept_lines
from mlops.deployment.targets import Rendered, RenderOptions, RenderTarget, platform_of
from mlops.deployment.targets.contract import CLUSTER, FILES, Again, How, OptionGroup, Talk
from mlops.deployment.targets.secrets import of_keys
from mlops.errors import ConflictError
from mlops.registry.ledger import Entry, Intent
from mlops.settings.needs import RolloutSettings

if TYPE_CHECKING:
    from mlops.journal.sql import SqlJournal
    from mlops.spec.deployment import DeploymentSpec
    from mlops.spec.server import ServerState

#: The file by which `kubectl apply -k` takes the manifests of a folder.
KUSTOMIZATION = "kustomization.yaml"


@dataclass(frozen=True, slots=True)
class ToApply:
    """A planned change of a cluster, with what is needed to apply it.

    Attributes:
        cluster: Where.
        prepared: The plan, and what it was made from.
        intent: What the revision is to do; its place is filled in.
        files: The manifests as files; None where they are those of an earlier revision.
    """

    cluster: Cluster
    prepared: Prepared
    intent: Intent
    files: FilesPlan | None = None

    @property
    def plan(self) -> ClusterPlan:
        """The change."""
        return self.prepared.plan

    @property
    def notes(self) -> tuple[str, ...]:
        """What the platform will not do or do differently."""
        return self.files.rendering.notes if self.files else ()


class ClusterTarget(FilesTarget):
    """All platforms on Kubernetes; they differ in what renders their manifests.

    Args:
        settings: The project's settings.
        name: Name of the target.
        renderer: Renders its manifests.
    """

    takes: ClassVar[frozenset[OptionGroup]] = frozenset({FILES, CLUSTER})

    def __init__(self, settings: RolloutSettings, name: str, renderer: RenderTarget) -> None:
        super().__init__(settings)
        self.name = name
        self.numbered = renderer.numbered
        self.pins = getattr(renderer, "pins", False)
        self._renderer = renderer

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what the platform cannot do."""
        self._renderer.check(spec, options)

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return manifests that the platform's rules allow."""
        return render_checked(self.name, spec, options)

    def commands(
        self, rendered: Rendered, files: Sequence[RenderedFile], folder: str
    ) -> tuple[str, ...]:
        """Return how to apply manifests that were written."""
        before = (command.format(folder=folder) for command in rendered.before_apply)
        after = (command.format(folder=folder) for command in rendered.after_apply)
        whole = KUSTOMIZATION in rendered.beside
        apply = f"kubectl apply -k {folder}" if whole else apply_command(tuple(files))
        return (*before, apply, *after)

    def plan(self, wanted: DeployRequest | Again, how: How, talk: Talk) -> FilesPlan | ToApply:
        """Render, and if it is to be applied, compare with the cluster by a dry run."""
        if isinstance(wanted, Again):
            return self._again(wanted, how, talk)
        if not how.apply:
            return plan_files(self, wanted, to=how.to, say=talk.say)
        settings, own = self.settings, self.settings.cluster
        cluster = connect(own.kubeconfig, own.context, own.namespace)
        options = _in_namespace(render_options(settings), cluster)
        spec, options, notes = gather(self, wanted, options, talk.say)
        if platform_of(self.name).own_server or options.cluster.router:
            # Applying makes the Secret of the request ids, and leaves that of the keys as it is.
            notes += [
                f"Keys of `mlops keys create` count in the pods once this has run: `{command}`"
                for command in of_keys(spec, options)
            ]
        prepared = prepare(
            *(settings, cluster, self.name, spec, options),
            wait=how.wait,
            force=how.force,
            dry_run=how.dry_run,
            say=talk.say,
        )
        plan = prepared.plan
        check_base(wanted.based_on, prepared.live, plan.before, spec)
        prepared = replace(prepared, plan=replace(plan, kept=kept_lines(wanted, spec)))
        rendered = prepared.manifests.rendered
        files = to_write(self, spec, rendered, notes, how.to)
        intent = Intent(action="deploy", spec=spec, given=wanted.given)
        return ToApply(cluster, prepared, intent, files)

    def apply(self, plan: FilesPlan | ToApply, how: How, talk: Talk) -> Rendering | Applied:
        """Write the manifests, and apply them if they were planned against a cluster."""
        if isinstance(plan, FilesPlan):
            return plan.write()
        if plan.files is not None:
            plan.files.write()
        applied = apply_prepared(
            *(self.settings, plan.cluster, plan.prepared, plan.intent),
            wait=how.wait,
            force=how.force,
            say=talk.say,
            on_wait=talk.on_wait,
        )
        return replace(applied, notes=plan.notes)

    def status(self, found: Found) -> ClusterStatus:
        """Read objects and pods of the revision from the cluster."""
        return cluster_status(self.settings, self._there(found))

    def logs(self, found: Found, *, last: int, follow: bool) -> Iterator[str]:
        """Yield lines of all its pods."""
        place = place_of(self._there(found))
        cluster = open_place(self.settings.cluster, place)
        return pod_logs(cluster, place, last=last, follow=follow)

    def stop(self, found: Found, how: How) -> StoppedInCluster:
        """Delete its objects; the volume of its journal stays."""
        entry = self._there(found)
        if how.forget:
            return forget(self.settings, entry, dry_run=how.dry_run)
        return stop_in_cluster(
            self.settings, entry, with_journal=how.with_journal, dry_run=how.dry_run
        )

    def recover(self, found: Found, *, wait_s: float = 60.0) -> list[Entry]:
        """Complete what is ready, abandon what is not."""
        cluster = open_place(self.settings.cluster, place_of(self._there(found)))
        return mend(self.settings, found.name, cluster, wait_s=wait_s)

    def journal(self, found: Found) -> tuple[SqlJournal, ServerState | None]:
        """Open the journal where it is in PostgreSQL."""
        check_journal(self.settings.journal, found.name, place_of(self._there(found)))
        return open_journal(self.settings, found.name, None), None

    def settings_of(self, live: Entry, target: str) -> Mapping[str, Any]:
        """Return what its manifests were rendered with; another platform's do not apply here."""
        place = place_of(live)
        if place.target != target:
            return {}
        options = {key: place.options[key] for key in keys_of(target) if key in place.options}
        found = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
        found |= {"cluster.namespace": place.namespace}
        found |= {"deploy.workers": place.options.get("workers", 0)}
        return found | ({"cluster.context": place.context} if place.context else {})

    def _again(self, again: Again, how: How, talk: Talk) -> ToApply:
        """Plan the spec of an intent, rendered as an earlier revision was.

        A rollback restores the image too: the options are the ledger's, not the settings'.
        """
        place, before, spec = place_of(again.live), again.like.intent.place, again.intent.spec
        if before is None or not before.is_at(place):
            where = "this machine" if before is None else str(before)
            raise ConflictError(
                f"Revision {again.like.number} was on {where}; `{spec.name}` is in {place} now.",
                hint=f"`mlops stop {spec.name}`, then deploy it where it should be.",
            )
        cluster = open_place(self.settings.cluster, place)
        talk.say("Reading signatures")
        details, _ = read_models(self.settings, spec)
        options = _in_namespace(replace(restored(before), details=details), cluster)
        # A volume cannot shrink, and the server refuses to try.
        volume = place.options.get("kubernetes.volume", options.kubernetes.volume)
        options = replace(options, kubernetes=replace(options.kubernetes, volume=volume))
        prepared = prepare(
            *(self.settings, cluster, before.target, spec, options),
            anew=how.anew,
            dry_run=how.dry_run,
            say=talk.say,
        )
        check_live(again.live.number, prepared.live, spec.name)
        return ToApply(cluster, prepared, again.intent)

    def _there(self, found: Found) -> Entry:
        """Return the revision that is in a cluster, or was applied there last."""
        if found.entry is not None:
            return found.entry
        history = open_ledger(self.settings, found.name).history()
        return next(each for each in history if each.intent.place)


def _in_namespace(options: RenderOptions, cluster: Cluster) -> RenderOptions:
    return replace(options, cluster=replace(options.cluster, namespace=cluster.namespace))
