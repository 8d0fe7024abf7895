"""The intended state of a deployment on a cluster, compared with its actual state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlops.cluster import Cluster
from mlops.cluster.objects import require_kinds
from mlops.deployment.clusters.changes import (
    Change,
    changes,
    removals,
    stale_objects,
)
from mlops.deployment.clusters.connection import here
from mlops.deployment.clusters.manifests import Manifests, parsed
from mlops.deployment.clusters.options import differences, kept
from mlops.deployment.clusters.ownership import check_place, check_strangers
from mlops.deployment.clusters.prerequisites import check_namespace, key_secret, lacking
from mlops.deployment.clusters.recovery import mend
from mlops.deployment.ledgers import newest, open_ledger
from mlops.deployment.manifests import render_checked
from mlops.deployment.owners import check_repository
from mlops.deployment.plan import difference
from mlops.deployment.runtime_files import places
from mlops.deployment.targets import RenderOptions, platform_of
from mlops.deployment.targets.base import option
from mlops.deployment.targets.contract import Say
from mlops.errors import NotFoundError
from mlops.registry.ledger import Entry, Ledger
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.place import Place

Kind = Literal["create", "update", "repair", "nothing"]


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """A planned change of a cluster.

    Attributes:
        kind: `create` a first revision, `update` to a new one, `repair` what is not as the live
            one had it, or `nothing`.
        revision: Number of the revision that is to be live.
        before: What was live; None if nothing was.
        after: What is to be live.
        lines: The difference of the two, each line beginning with `+`, `-`, `~` or a space.
        place: Where.
        objects: What happens to each object.
        kept: Options that stay as they were, without a setting or command line option.
    """

    kind: Kind
    revision: int
    before: DeploymentSpec | None
    after: DeploymentSpec
    lines: tuple[str, ...]
    place: Place
    objects: tuple[Change, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan together with what it was made from.

    Attributes:
        plan: The change.
        manifests: What is to be applied.
        newest: Newest settled revision number in the ledger when it was made, 0 for none.
        live: Live revision number then, 0 for none.
        fault: Why a dry run's plan could not be carried out; None for one that can.
    """

    plan: ClusterPlan
    manifests: Manifests
    newest: int
    live: int
    fault: NotFoundError | None = None


def prepare(
    settings: RolloutSettings,
    cluster: Cluster,
    target: str,
    spec: DeploymentSpec,
    options: RenderOptions,
    *,
    anew: bool = False,
    wait: bool = True,
    force: bool = False,
    dry_run: bool = False,
    say: Say = lambda _: None,
) -> Prepared:
    """Compare the request with what is live, after recovering what a killed command left.

    Args:
        settings: The project's settings.
        cluster: Where, with its namespace.
        target: Name of the target.
        spec: What is wanted.
        options: What to render with, with the details of the models.
        anew: Make a new revision also where nothing changes.
        wait: Whether it will be waited for; else nothing is removed yet.
        force: Take over fields that others set.
        dry_run: Recover nothing, write nothing.
        say: Called with each phase.

    Raises:
        InvalidInputError: The platform cannot do this, or the cluster would refuse an object.
        ConflictError: The name is live elsewhere, or others set fields of the objects.
        NotFoundError: The cluster lacks the namespace or a kind.
        NotAllowedError: The cluster does not allow it.
    """
    if not dry_run:
        mend(settings, spec.name, cluster)
    ledger = open_ledger(settings, spec.name)
    live = ledger.live()
    where = here(cluster, target)
    check_place(settings, ledger, spec.name, live, where)
    check_repository(settings, places(settings, spec.name), live, force=force)
    say("Comparing with the cluster")
    check_namespace(cluster)
    number, lines, manifests = _candidate(ledger, live, where, spec, options, anew)
    require_kinds(cluster, tuple(manifests.final), _groups(target, manifests.options))
    fault = lacking(
        cluster,
        manifests.final.values(),
        key_secret(target, spec, manifests.options),
        (*manifests.rendered.before_apply, *_store_secret(target, cluster, manifests.options)),
    )
    if fault is not None and not dry_run:
        raise fault
    earlier = _since(ledger, live, where)
    if not force:
        check_strangers(cluster, ledger, earlier, manifests.final, where)
    stale = tuple(stale_objects(cluster, spec.name, earlier, manifests.final))
    replaced = [each for _, each in stale]
    found = changes(cluster, manifests, stale=replaced, force=force)
    gone = removals(stale, now=wait)
    place = replace(
        where,
        options=kept(target, manifests.options, manifests.rendered),
        objects=manifests.in_order,
        stale=tuple(change.ref for change in gone if change.action != "keep"),
    )
    plan = ClusterPlan(
        kind=_kind(live, number, (*found, *gone)),
        revision=number,
        before=live.intent.spec if live else None,
        after=spec,
        lines=lines,
        place=place,
        objects=(*found, *gone),
    )
    return Prepared(plan, manifests, newest(ledger), live.number if live else 0, fault)


def _store_secret(target: str, cluster: Cluster, options: RenderOptions) -> Iterator[str]:
    """Yield the command that makes the Secret of the artifact store, where one is named."""
    name = options.cluster.storage_secret
    if name:
        yield (
            f"mlops stores secret --for {target} --name {name} --namespace {cluster.namespace} "
            "--with-values | kubectl apply -f -"
        )


def _candidate(
    ledger: Ledger,
    live: Entry | None,
    where: Place,
    spec: DeploymentSpec,
    options: RenderOptions,
    anew: bool,
) -> tuple[int, tuple[str, ...], Manifests]:
    """Return the number that this revision has or would get, the difference, and its objects."""
    before = live.intent.place if live else None
    lines = difference(live.intent.spec if live else None, spec)
    same = before is not None and before.target == where.target and before.is_at(where)
    if live is not None and before is not None and same and not anew:
        again = _render(where.target, spec, replace(options, revision=live.number))
        now = kept(where.target, again.options, again.rendered)
        others = differences(before.options, now)
        if not others and all(line.startswith(" ") for line in lines):
            return live.number, lines, again
        lines += others
    number = max(ledger.numbers(), default=0) + 1
    return number, lines, _render(where.target, spec, replace(options, revision=number))


def _render(target: str, spec: DeploymentSpec, options: RenderOptions) -> Manifests:
    return parsed(render_checked(target, spec, options), options)


def _groups(target: str, options: RenderOptions) -> dict[str, str]:
    """Return the version of the platform that provides an API group."""
    groups = platform_of(target).groups
    return {group: option(options, setting) for group, setting in groups.items()}


def _since(ledger: Ledger, live: Entry | None, where: Place) -> list[Entry]:
    """Return the live revision and later attempts here, which may have left objects."""
    first = live.number if live else 1
    since = (ledger.entry(number) for number in ledger.numbers() if number >= first)
    return [each for each in since if each.intent.place and each.intent.place.is_at(where)]


def _kind(live: Entry | None, number: int, found: Sequence[Change]) -> Kind:
    if live is None:
        return "create"
    if number != live.number:
        return "update"
    idle = all(each.action in ("same", "keep", "later") for each in found)
    return "nothing" if idle else "repair"
