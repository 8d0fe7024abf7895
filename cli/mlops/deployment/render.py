"""`mlops deploy` for a cluster without `--apply`: manifests in a folder, or on standard output.

Nothing here touches a cluster or the ledger. A folder is written only after everything has been
checked, and only over files that an earlier rendering wrote.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops.deployment.deploy import open_ledger
from mlops.deployment.prometheus.files import MONITORING
from mlops.deployment.request import DeployRequest, make_spec
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions
from mlops.deployment.targets.names import models_of
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    RemoteError,
    UsageError,
    did_you_mean,
    one_of,
)
from mlops.linting import Context, lint
from mlops.linting.lint import errors
from mlops.registry.details import Details, read_details
from mlops.settings import Settings
from mlops.settings.schema import SECTIONS, keys
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec

#: The target that is this machine, which renders nothing.
LOCAL = "local"
#: What `--with` and `extras` of `[cluster]` may name.
EXTRAS = (MONITORING,)
#: In place of a folder: standard output.
STDOUT = "-"
#: The file by which `kubectl apply -k` takes the manifests of a folder.
KUSTOMIZATION = "kustomization.yaml"

# Targets whose model servers our server can be in front of.
_ROUTED = ("kserve", "seldon", "seldon2")
_FLAGS = {"version": "--platform-version", "mode": "--mode", "split": "--traffic-by"}
# How texts begin that we have written; JSON has no comments.
_MARKS = (b"# Rendered by `mlops ", b'{\n  "description": "Rendered by `mlops ')

Change = Literal["create", "update", "same"]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One manifest.

    Attributes:
        path: Where it is, or would be; only its name if it is not written anywhere.
        text: Its content.
        change: Whether it is new, or differs from what was rendered there before.
        manifest: Whether it is to be applied; a Dockerfile is not.
    """

    path: str
    text: str
    change: Change
    manifest: bool = True


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


def renders(
    target: str, only_local: Mapping[str, object], only_cluster: Mapping[str, object]
) -> bool:
    """Whether a target is one that renders; False for this machine.

    Args:
        target: Name of the target.
        only_local: Options that only this machine understands, with what was given; a false value
            was not.
        only_cluster: Options that only a cluster understands, likewise.

    Raises:
        UsageError: There is no such target, or an option does not go with it.
    """
    if target != LOCAL and target not in TARGETS:
        known = (LOCAL, *TARGETS)
        raise UsageError(
            f"There is no target called `{target}`.",
            hint=did_you_mean(target, known) or f"Use {one_of(known)}.",
        )
    wrong = only_cluster if target == LOCAL else only_local
    given = [option for option, value in wrong.items() if value]
    if not given:
        return target != LOCAL
    if target == LOCAL:
        raise UsageError(
            f"{one_of(given)} is about manifests, and `--target local` has none.",
            hint=f"Add `--target {'|'.join(TARGETS)}`.",
        )
    raise UsageError(
        f"{one_of(given)} goes with `--target local` only, not with `{target}`.",
        hint=f"Leave {one_of(given)} out.",
    )


def applies(apply: bool, only_applied: Mapping[str, object], to: str | None) -> bool:
    """Whether manifests are to be applied too.

    Args:
        apply: Whether somebody said so.
        only_applied: Options that nothing else understands, with what was given.
        to: Folder for the manifests, `-` for standard output.

    Raises:
        UsageError: An option does not go with it.
    """
    given = [option for option, value in only_applied.items() if value]
    if given and not apply:
        raise UsageError(
            f"{one_of(given)} is about a cluster, and none is touched without `--apply`.",
            hint=f"Add `--apply`, or leave {one_of(given)} out.",
        )
    if apply and to == STDOUT:
        raise UsageError(
            "`--render -` prints manifests, and `--apply` prints what became of them.",
            hint="Leave one of them out, or render to a folder.",
        )
    return apply


def of_platform(target: str, *, router: bool = False, **given: str | None) -> dict[str, str]:
    """Turn options about a platform into the settings of the target they are given with.

    Args:
        target: Name of the target.
        router: Whether our server is to be in front of the platform's.
        given: Key of a setting (`version`, `mode`, `split`) to what was given for it.

    Returns:
        `section.key` to value, for those that were given.

    Raises:
        UsageError: The target has no such setting, or no model servers to be in front of.
    """
    if router and target not in _ROUTED:
        raise UsageError(
            f"`--router` does not go with `--target {target}`.",
            hint=f"There our server is the router already; {one_of(_ROUTED)} have model servers "
            "for it to be in front of.",
        )
    wanted = {key: value for key, value in given.items() if value is not None}
    for key in wanted:
        if target not in SECTIONS or key not in keys(target):
            having = [each for each in TARGETS if each in SECTIONS and key in keys(each)]
            raise UsageError(
                f"`{_FLAGS[key]}` does not go with `--target {target}`.",
                hint=f"It goes with {one_of(having)}.",
            )
    return {f"{target}.{key}": value for key, value in wanted.items()}


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
    spec = make_spec(settings, request)
    options = render_options(settings)
    platform = TARGETS.load(target)()
    platform.check(spec, options)
    say("Reading signatures")
    details, unread = read_models(spec, read)
    options = replace(options, details=details)
    if platform.numbered or options.cluster.router:
        options = replace(options, revision=_revision(settings, spec))
        unread.append(
            f"It is rendered as revision {options.revision}, the next of the ledger; rendering "
            "writes nothing into it."
        )
    rendered = render_checked(target, spec, options, versions(target, options))
    return write(settings, spec, target, rendered, unread, to=to, dry_run=dry_run)


def check_choices(settings: Settings, target: str) -> None:
    """Refuse what cannot be chosen together.

    Raises:
        UsageError: There is no such extra, or both our server and the platform are to split.
    """
    check_extras(settings)
    if settings.cluster.router and settings.origins.get(f"{target}.split") == "command line":
        raise UsageError(
            "`--traffic-by` does not go with `--router`: our server splits, or the platform does.",
            hint="Leave one of them out; `router` of `[cluster]` counts as `--router`.",
        )


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
    files = tuple(_files(rendered, folder))
    written = folder is not None and not dry_run
    if written:
        _write(files)
    return Rendering(
        name=spec.name,
        target=target,
        files=files,
        notes=(*_chosen(spec), *unread, *rendered.notes),
        written=written,
        next_commands=_commands(rendered, files, folder) if written else (),
    )


def check_extras(settings: Settings) -> None:
    """Refuse extras that are none.

    Raises:
        UsageError: There is no such extra.
    """
    for extra in settings.cluster.extras:
        if extra not in EXTRAS:
            hint = did_you_mean(extra, EXTRAS) or f"Use {one_of(EXTRAS)}."
            raise UsageError(f"There is no extra called `{extra}`.", hint=hint)


def render_options(settings: Settings) -> RenderOptions:
    """Return what the settings say about manifests."""
    tracking = settings.tracking_uri
    return RenderOptions(
        postgresql=bool(settings.kubernetes.journal_secret)
        # A reference is there for the sake of a password, which SQLite has none.
        or settings.journal.url.startswith(("postgres", "env:", "file:")),
        journal_max_mb=settings.journal.max_mb,
        features=settings.journal.features,
        # One with credentials in it has no place in a manifest.
        tracking_uri=tracking
        if tracking.startswith("http") and tracking == without_credentials(tracking)
        else "",
        cluster=settings.cluster,
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


def check_manifests(files: Mapping[str, str], versions: Mapping[str, str]) -> None:
    """Refuse manifests that a platform would refuse, prune or ignore.

    Args:
        files: File name to text; they are applied together.
        versions: Platform to version.

    Raises:
        InvalidInputError: Something is wrong with them.
    """
    findings = errors(lint(files, Context(versions=versions)))
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


def read_models(
    spec: DeploymentSpec, read: Callable[[str], Details]
) -> tuple[dict[str, Details], list[str]]:
    """Read the files of models that MLflow knows, and say which could not be read.

    A bare URI is taken at its word, and whoever renders need not have access to the artifact
    store: the cluster must.
    """
    found, unread = {}, []
    for name, model in models_of(spec).items():
        if model.name or model.run_id:
            try:
                found[name] = read(model.source)
            except (RemoteError, NotAllowedError) as error:
                unread.append(error.message)
    return found, unread


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


def _files(rendered: Rendered, folder: Path | None) -> Iterator[RenderedFile]:
    for texts, manifest in ((rendered.files, True), (rendered.beside, False)):
        for name, text in texts.items():
            if folder is None:
                yield RenderedFile(name, text, "create", manifest)
            else:
                path = folder / name
                yield RenderedFile(str(path), text, _change(path, text), manifest)


def _change(path: Path, text: str) -> Change:
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return "create"
    except OSError as error:
        raise _unwritable(path, error) from error
    if before == text.encode():
        return "same"
    if not before.startswith(_MARKS):
        raise ConflictError(
            f"`{path}` was not rendered by mlops; it would be overwritten.",
            hint="Move it away, or render elsewhere with `--render DIR`.",
        )
    return "update"


def _write(files: tuple[RenderedFile, ...]) -> None:
    for file in files:
        if file.change == "same":
            continue
        path = Path(file.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, file.text)
        except OSError as error:
            raise _unwritable(path, error) from error


def _replace(path: Path, text: str) -> None:
    """Write a file such that it is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
        new = Path(part) / path.name
        new.write_text(text, encoding="utf-8", newline="\n")
        new.replace(path)


def _unwritable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"`{path}` cannot be written: {os.strerror(error.errno or 0)}.",
        hint="Render elsewhere with `--render DIR`.",
    )


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


def put_files(texts: Mapping[str, str], folder: Path | None) -> tuple[RenderedFile, ...]:
    """Write manifests that begin as all of ours do.

    Args:
        texts: Manifests by the names of their files.
        folder: Where they go; None writes none.

    Raises:
        InvalidInputError: The folder cannot be written.
        ConflictError: A file in the folder was not rendered by us.
    """
    if folder is None:
        return tuple(RenderedFile(name, text, "create") for name, text in texts.items())
    files = tuple(
        RenderedFile(str(folder / name), text, _change(folder / name, text))
        for name, text in texts.items()
    )
    _write(files)
    return files


def apply_command(files: tuple[RenderedFile, ...]) -> str:
    """Return the command that applies manifests."""
    # Each file by name: the folder may hold what another target or revision left there.
    named = (word for file in files if file.manifest for word in ("-f", file.path))
    return shlex.join(["kubectl", "apply", *named])
