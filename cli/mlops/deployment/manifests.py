"""Manifests of Kubernetes: their settings, and whether a cluster accepts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace

from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions, addresses, platform_of
from mlops.deployment.targets.base import option
from mlops.errors import InvalidInputError
from mlops.linting import Context, lint
from mlops.linting.lint import errors
from mlops.registry.stores.access import access_for
from mlops.registry.stores.base import parse_location
from mlops.settings.needs import RolloutSettings
from mlops.settings.schema import SECTIONS, watched
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.request_log import sink_to_dict
from mlops.spec.server import WATCHED

#: Sections of the settings that manifests depend on, of each platform too.
_SECTIONS = tuple(item.name for item in fields(RenderOptions) if item.name in SECTIONS)


def render_checked(target: str, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
    """Render a spec and check what came out.

    Args:
        target: Name of a target that renders manifests of Kubernetes.
        spec: What is asked for.
        options: With the details of the models and the number of the revision.

    Raises:
        InvalidInputError: The platform cannot do this.
    """
    rendered: Rendered = TARGETS.load(target)().render(spec, options)
    known = versions(target, options)
    check_manifests(rendered.files, known)
    for name, text in rendered.beside.items():
        if name.endswith(".yaml"):
            # Applied later, over what the others made.
            check_manifests({name: text}, known)
    bundled = platform_of(target).own_server or options.cluster.router
    itself = addresses.notes(spec, options, bundled=bundled)
    return replace(rendered, notes=(*dict.fromkeys(itself), *rendered.notes))


def render_options(settings: RolloutSettings) -> RenderOptions:
    """Return what the settings say about manifests."""
    tracking = settings.tracking_uri
    return RenderOptions(
        postgresql=bool(settings.kubernetes.journal_secret)
        # A reference is for a password, which SQLite does not have.
        or settings.journal.url.startswith(("postgres", "env:", "file:")),
        journal_max_mb=settings.journal.max_mb,
        client_ids=settings.feedback.client_ids,
        workers=settings.deploy.workers,
        features=settings.journal.features,
        sinks=tuple(json.dumps(sink_to_dict(sink)) for sink in log_sinks(settings, here=False)),
        hashed=settings.journal.hash,
        dropped=settings.journal.drop,
        watch_changed=tuple(sorted({*WATCHED} ^ {*watched(settings.watch)})),
        season="" if settings.watch.season == "none" else settings.watch.season,
        # One with credentials must not be in a manifest.
        tracking_uri=tracking
        if tracking.startswith("http") and tracking == without_credentials(tracking)
        else "",
        journal_url=without_credentials(settings.journal.url),
        endpoint_url=settings.artifacts.endpoint_url or _endpoint_of_s3(settings),
        **{name: getattr(settings, name) for name in _SECTIONS},
    )


def _endpoint_of_s3(settings: RolloutSettings) -> str:
    """Return the server of S3 that this machine reaches, where the project's root is a folder.

    The settings read its variable only where the root is in S3; models may be there anyway.
    """
    is_folder = parse_location(settings.artifact_root).scheme == "file"
    return access_for("s3", settings).endpoint if is_folder else ""


def versions(target: str, options: RenderOptions) -> dict[str, str]:
    """Return the versions of the platform that a target's manifests are for."""
    named = platform_of(target).versions
    return {name: option(options, setting) for name, setting in named.items()}


#: In a manifest written by hand they are a warning; a rendered one has none.
_NEVER_RENDERED = ("secret-value", "local-path")


def check_manifests(files: Mapping[str, str], versions: Mapping[str, str]) -> None:
    """Refuse manifests that a platform would refuse, prune or ignore.

    Args:
        files: File name to text; they are applied together.
        versions: Platform to version.

    Raises:
        InvalidInputError: Something is wrong with them.
    """
    found = lint(files, Context(versions=versions))
    findings = errors(found) + [each for each in found if each.rule in _NEVER_RENDERED]
    if findings:
        raise InvalidInputError(
            "The rendered manifests break the platform's rules: "
            + "; ".join(f"{f.file}:{f.line}: {f.path}: {f.message}" for f in findings)
            + ".",
            hint="If you did not change a template, please report this.",
        )
