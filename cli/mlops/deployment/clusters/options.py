"""What a revision was rendered with, kept in the ledger such that it can be rendered again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from mlops.deployment.targets import Rendered, RenderOptions, platform_of
from mlops.settings.schema import SECTIONS
from mlops.spec.place import Place

_COMMON = "cluster"
#: Settings of `cluster` that are about the connection, and not about the deployment.
_NOT_KEPT = ("kubeconfig", "context", "timeout_s", "namespace")
_IMAGE = "image"
_ROUTER_IMAGE = "router_image"
_BESIDE = (
    *("postgresql", "journal_max_mb", "features", "tracking_uri", "endpoint_url", "workers"),
    *("sinks", "hashed", "dropped", "watch_changed", "season"),
)
#: Left out where empty, as they were not there before; else every old revision would differ.
_LATER = (
    *("workers", "endpoint_url", "sinks", "hashed", "dropped", "watch_changed", "season"),
    *("cluster.image_pull_secrets", "cluster.node_selector", "cluster.tolerations"),
    "kubernetes.tls_secret",
)


def kept(target: str, options: RenderOptions, rendered: Rendered) -> dict[str, Any]:
    """Return, as JSON data, the options that the manifests of a target depend on.

    The contents of the models' files are not among them: the registry has them.

    Args:
        target: Name of the target.
        options: What was rendered with.
        rendered: The result; another release of mlops may name its images differently.
    """
    found: dict[str, Any] = {name: _plain(getattr(options, name)) for name in _BESIDE}
    found |= {_IMAGE: rendered.image, _ROUTER_IMAGE: rendered.router_image}
    for section in _sections(target, options):
        record = getattr(options, section)
        found |= {
            f"{section}.{item.name}": _plain(getattr(record, item.name))
            for item in fields(record)
            if (section, item.name) not in [(_COMMON, key) for key in _NOT_KEPT]
        }
    return {name: value for name, value in found.items() if value or name not in _LATER}


def restored(place: Place) -> RenderOptions:
    """Return the options that `kept` wrote; what did not exist then has its default."""
    options = place.options
    found = RenderOptions(**{name: _tuples(options[name]) for name in _BESIDE if name in options})
    for section in {full.partition(".")[0] for full in options if "." in full} & set(SECTIONS):
        known = {item.name for item in fields(SECTIONS[section])}
        given = {
            key: _tuples(value)
            for full, value in options.items()
            for name, _, key in [full.partition(".")]
            if name == section and key in known
        }
        found = replace(found, **{section: replace(getattr(found, section), **given)})
    cluster = replace(
        found.cluster,
        namespace=place.namespace,
        image=found.cluster.image or str(options.get(_IMAGE, "")),
        router_image=found.cluster.router_image or str(options.get(_ROUTER_IMAGE, "")),
    )
    # An earlier release raised it where fewer were allowed than asked for.
    most = max(found.kubernetes.replicas, found.kubernetes.max_replicas)
    return replace(found, cluster=cluster, kubernetes=replace(found.kubernetes, max_replicas=most))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the differences in what was kept of two revisions; each line begins with `~`."""
    # What is left out where it is empty may have been something.
    every = dict.fromkeys((*after, *_LATER))
    names = [name for name in every if before.get(name) != after.get(name)]
    return tuple(
        f"~ {name}  {_shown(after.get(name))}  (was {_shown(before.get(name))})" for name in names
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in ("", None) else str(value)


def _sections(target: str, options: RenderOptions) -> tuple[str, ...]:
    """Return the sections that the manifests depend on; others may change freely."""
    server: tuple[str, ...] = ("kubernetes",) if options.cluster.router else ()
    if options.auth.issuer and (server or platform_of(target).own_server):
        server = (*server, "auth")
    monitoring = ("monitoring",) if options.cluster.extras else ()
    return tuple(dict.fromkeys((_COMMON, target, *server, *monitoring)))


def _plain(value: object) -> Any:  # noqa: ANN401 - any setting
    return list(value) if isinstance(value, tuple) else value


def _tuples(value: object) -> Any:  # noqa: ANN401 - any setting
    return tuple(value) if isinstance(value, list) else value
