"""Serve a spec in the place of a revision, rendered as that one was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlops.cluster import Cluster
from mlops.deployment.clusters.deploy import Applied, apply_prepared
from mlops.deployment.clusters.locate import open_place
from mlops.deployment.clusters.options import restored
from mlops.deployment.clusters.plan import ClusterPlan, prepare
from mlops.deployment.deploy import Say
from mlops.deployment.fetchable import read_models
from mlops.errors import ConflictError
from mlops.registry.details import Details, read_details
from mlops.registry.ledger import Entry, Intent
from mlops.settings import Settings
from mlops.spec.place import Place


def serve_there(
    settings: Settings,
    live: Entry,
    like: Entry,
    intent: Intent,
    *,
    anew: bool = False,
    dry_run: bool = False,
    say: Say = lambda _: None,
    on_wait: Say = lambda _: None,
    connected: Callable[[Settings, Place], Cluster] = open_place,
    read: Callable[[str], Details] = read_details,
) -> Applied | ClusterPlan:
    """Put the spec of an intent where the live revision is.

    The same way as `mlops deploy --apply` goes, with the options of a revision in the ledger in the
    place of today's settings: a rollback is to what was, image included.

    Args:
        settings: The project's settings, for how to get there.
        live: The live revision, whose cluster and namespace it is.
        like: The revision it is rendered like.
        intent: What the new revision is to do.
        anew: Make a revision also where nothing but aliases change.
        dry_run: Return the plan and change nothing.
        say: Called with each phase.
        on_wait: Told what is waited for.
        connected: Opens the cluster.
        read: Reads the files of the model at a URI.

    Raises:
        ConflictError: `like` was elsewhere, or somebody deployed meanwhile.
        MlopsError: As `prepare` and `apply_prepared`.
    """
    place = _place(live)
    before = like.intent.place
    if before is None or not before.is_at(place):
        where = "this machine" if before is None else str(before)
        raise ConflictError(
            f"Revision {like.number} was on {where}; `{intent.spec.name}` is in {place} now.",
            hint=f"`mlops stop {intent.spec.name}`, then deploy it where it shall be.",
        )
    cluster = connected(settings, place)
    say("Reading signatures")
    details, _ = read_models(settings, intent.spec, read)
    options = restored(before)
    options = replace(
        options,
        details=details,
        cluster=replace(options.cluster, namespace=cluster.namespace),
        # A volume never gets smaller again, and a server refuses to try.
        kubernetes=replace(
            options.kubernetes,
            volume=place.options.get("kubernetes.volume", options.kubernetes.volume),
        ),
    )
    prepared = prepare(
        settings,
        cluster,
        before.target,
        intent.spec,
        options,
        anew=anew,
        dry_run=dry_run,
        say=say,
    )
    if prepared.live != live.number:
        raise ConflictError(
            f"Revision {prepared.live} of `{intent.spec.name}` went live meanwhile.",
            hint=f"`mlops history {intent.spec.name}`, then decide again.",
        )
    if dry_run:
        return prepared.plan
    return apply_prepared(settings, cluster, prepared, intent, say=say, on_wait=on_wait)


def _place(live: Entry) -> Place:
    assert live.intent.place is not None
    return live.intent.place
