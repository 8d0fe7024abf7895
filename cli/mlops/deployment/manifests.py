"""`mlops deploy` for a cluster without `--apply`: manifests in a folder, or on standard output.

Nothing here touches a cluster or the ledger. A folder is written only after everything has been
checked, and only over files that an earlier rendering wrote.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlops.deployment.deploy import open_ledger
from mlops.deployment.fetchable import make_fetchable, read_models
from mlops.deployment.manifest_files import RenderedFile, apply_command, files_of, write_files
from mlops.deployment.option_rules import STDOUT, check_choices
from mlops.deployment.request import DeployRequest
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions
from mlops.errors import InvalidInputError
from mlops.linting import Context, lint
from mlops.linting.lint import errors
from mlops.registry.details import Details, read_details
from mlops.settings import Settings
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec

#: The file by which `kubectl apply -k` takes the manifests of a folder.
KUSTOMIZATION = "kustomization.yaml"


@dataclass(frozen=True, slots=True)
class Rendering:
    """What was rendered.

    Attributes:
        name: Name of the deployment.
        target: For which platform.
        files: The manifests, in the order in which they are to be applied.
        notes: What the reader should know about them.
        written: Whether they are in a folder now.
        next_commands: How to apply them; empty for a dry run.
    """

    name: str
    target: str
    files: tuple[RenderedFile, ...]
    notes: tuple[str, ...]
    written: bool
    next_commands: tuple[str, ...]

    @property
    def stream(self) -> str:
        """All manifests as one YAML stream."""
        return "---\n".join(file.text for file in self.files if file.manifest)


def render(
    settings: Settings,
    request: DeployRequest,
    target: str,
    *,
    to: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
    read: Callable[[str], Details] = read_details,
) -> Rendering:
    """Turn what is wanted into manifests of a platform.

    Args:
        settings: The project's settings.
        request: What is wanted.
        target: Name of the target, one that `renders`.
        to: Folder; `-` writes none; None means `deploy/NAME` of the project.
        dry_run: Write nothing.
        say: Called with each phase.
        read: Reads the files of the model at a URI.

    Raises:
        UsageError: Both our server and the platform are to split.
        NotFoundError: A model does not exist, or its files are gone.
        InvalidInputError: The platform cannot do this, or the folder cannot be written.
        ConflictError: A file in the folder was not rendered by us.
    """
    check_choices(settings, target)
    say("Looking the models up")
    spec, copies = make_fetchable(settings, request)
    options = render_options(settings)
    platform = TARGETS.load(target)()
    platform.check(spec, options)
    say("Reading signatures")
    details, unread = read_models(settings, spec, read)
    options = replace(options, details=details)
    if platform.numbered or options.cluster.router:
        options = replace(options, revision=_revision(settings, spec))
        unread.append(
            f"It is rendered as revision {options.revision}, the next of the ledger; rendering "
            "writes nothing into it."
        )
    rendered = render_checked(target, spec, options, versions(target, options))
    return write(settings, spec, target, rendered, [*copies, *unread], to=to, dry_run=dry_run)


def render_checked(
    target: str, spec: DeploymentSpec, options: RenderOptions, known: Mapping[str, str]
) -> Rendered:
    """Render a spec and check what came out.

    Args:
        target: Name of the target.
        spec: What is wanted.
        options: With the details of the models and the number of the revision.
        known: As `versions` says.

    Raises:
        InvalidInputError: The platform cannot do this.
    """
    rendered = TARGETS.load(target)().render(spec, options)
    check_manifests(rendered.files, known)
    for name, text in rendered.beside.items():
        if name.endswith(".yaml"):
            # Applied later, over what the others made.
            check_manifests({name: text}, known)
    return rendered


def write(
    settings: Settings,
    spec: DeploymentSpec,
    target: str,
    rendered: Rendered,
    unread: Sequence[str],
    *,
    to: str | None,
    dry_run: bool,
) -> Rendering:
    """Write manifests into their folder, and say what they are.

    Args:
        settings: The project's settings.
        spec: What they are made of.
        target: Name of their target.
        rendered: The manifests.
        unread: What could not be read of the models, sentences.
        to: Folder; `-` writes none; None means `deploy/NAME` of the project.
        dry_run: Write nothing.

    Raises:
        InvalidInputError: The folder cannot be written.
        ConflictError: A file in the folder was not rendered by us.
    """
    folder = _folder(settings, spec, to)
    files = tuple(files_of(rendered, folder))
    written = folder is not None and not dry_run
    if written:
        write_files(files)
    return Rendering(
        name=spec.name,
        target=target,
        files=files,
        notes=(*_chosen(spec), *unread, *rendered.notes),
        written=written,
        next_commands=_commands(rendered, files, folder) if written else (),
    )


def render_options(settings: Settings) -> RenderOptions:
    """Return what the settings say about manifests."""
    tracking = settings.tracking_uri
    return RenderOptions(
        postgresql=bool(settings.kubernetes.journal_secret)
        # A reference is there for the sake of a password, which SQLite has none.
        or settings.journal.url.startswith(("postgres", "env:", "file:")),
        journal_max_mb=settings.journal.max_mb,
        client_ids=settings.feedback.client_ids,
        workers=settings.deploy.workers,
        features=settings.journal.features,
        # One with credentials in it has no place in a manifest.
        tracking_uri=tracking
        if tracking.startswith("http") and tracking == without_credentials(tracking)
        else "",
        endpoint_url=settings.artifacts.endpoint_url,
        cluster=settings.cluster,
        auth=settings.auth,
        monitoring=settings.monitoring,
        kubernetes=settings.kubernetes,
        kserve=settings.kserve,
        seldon=settings.seldon,
        seldon2=settings.seldon2,
    )


def versions(target: str, options: RenderOptions) -> dict[str, str]:
    """Return the versions of platforms that a target's manifests are for."""
    return {
        "kserve": options.kserve.version,
        "gateway-api": options.kserve.gateway_api if target == "kserve" else "",
        "seldon": options.seldon.version,
        "seldon2": options.seldon2.version,
    }


#: A person may write them in a manifest of theirs, which is a warning; a rendered one has none.
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


def _revision(settings: Settings, spec: DeploymentSpec) -> int:
    """Return the number that this spec has in the ledger, or would get next."""
    ledger = open_ledger(settings, spec.name)
    live = ledger.live()
    if live is not None and live.intent.spec == spec:
        return live.number
    return max(ledger.numbers(), default=0) + 1


def _chosen(spec: DeploymentSpec) -> Iterator[str]:
    for model in spec.models:
        if model.chosen_by:
            yield f"`{model.ref}` means {model.label}: {model.chosen_by}."


def _folder(settings: Settings, spec: DeploymentSpec, to: str | None) -> Path | None:
    if to == STDOUT:
        return None
    return default_folder(settings, spec) if to is None else Path(to)


def default_folder(settings: Settings, spec: DeploymentSpec) -> Path:
    """Return the folder of a deployment's manifests, as short as it can be written here."""
    folder = settings.project_dir / "deploy" / spec.name
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _commands(
    rendered: Rendered, files: tuple[RenderedFile, ...], folder: Path | None
) -> tuple[str, ...]:
    where = shlex.quote(str(folder))
    before = (command.format(folder=where) for command in rendered.before_apply)
    if KUSTOMIZATION in rendered.beside:
        apply = f"kubectl apply -k {where}"
    else:
        apply = apply_command(files)
    after = (command.format(folder=where) for command in rendered.after_apply)
    return (*before, apply, *after)
