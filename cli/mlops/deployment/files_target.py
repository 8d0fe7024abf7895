"""Targets that render files, which a user or another program applies.

Nothing here touches what runs, or writes into the ledger. A folder is written only after everything
has been checked, and only over files that an earlier rendering wrote.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from mlops.deployment.fetchable import make_fetchable, read_models
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.manifest_files import RenderedFile, default_folder, files_of, write_files
from mlops.deployment.manifests import render_options
from mlops.deployment.option_rules import STDOUT, check_choices
from mlops.deployment.request import DeployRequest
from mlops.deployment.runtime_files import places, read_key
from mlops.deployment.stale_files import delete_command, stale_files
from mlops.deployment.targets import Rendered, RenderOptions
from mlops.deployment.targets.contract import (
    FILES,
    Again,
    Done,
    How,
    OptionGroup,
    Talk,
    TargetStatus,
    TargetStopped,
)
from mlops.errors import InvalidInputError, UsageError
from mlops.registry.details import Details, read_details
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import DeploymentSpec

if TYPE_CHECKING:
    from mlops.deployment.locate import Found
    from mlops.journal.sql import SqlJournal
    from mlops.registry.ledger import Entry
    from mlops.spec.server import ServerState


@dataclass(frozen=True, slots=True)
class Rendering:
    """What was rendered.

    Attributes:
        name: Name of the deployment.
        target: For which platform.
        files: The files, in the order in which they are to be applied.
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

    @property
    def revision(self) -> int:
        """No revision is written."""
        return 0

    @property
    def url(self) -> str:
        """Nothing answers yet."""
        return ""


@dataclass(frozen=True, slots=True)
class FilesPlan:
    """Files that can be written.

    Attributes:
        rendering: The files, and how each differs from what is in the folder.
        commands: How to apply them once they are written.
        folder: Where they go; None to write none.
    """

    rendering: Rendering
    commands: tuple[str, ...]
    folder: Path | None

    def write(self) -> Rendering:
        """Write the files, if there is a folder for them.

        Raises:
            InvalidInputError: The folder cannot be written.
        """
        if self.folder is None:
            return self.rendering
        write_files(self.rendering.files)
        return replace(self.rendering, written=True, next_commands=self.commands)


class FilesTarget(ABC):
    """Renders a deployment as files; a subclass says which, in `check` and `render`.

    Files must begin with a comment, "# Rendered by `mlops deploy", since only such are overwritten.
    """

    takes: ClassVar[frozenset[OptionGroup]] = frozenset({FILES})
    #: Name of the target.
    name: str
    #: Whether the files hold the revision's number, so that the ledger must be asked for it.
    numbered: bool = False
    #: Whether pods compare the models that they fetch with the digests of the spec.
    pins: bool = False

    def __init__(self, settings: RolloutSettings) -> None:
        self.settings = settings

    @abstractmethod
    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what the platform cannot do, before any model is read.

        Raises:
            InvalidInputError: All reasons at once, and in the hint the alternatives.
        """

    @abstractmethod
    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the files of `spec`. Pure: equal arguments, equal result, byte for byte.

        Raises:
            InvalidInputError: As `check`.
        """

    def commands(
        self, rendered: Rendered, files: Sequence[RenderedFile], folder: str
    ) -> tuple[str, ...]:
        """Return how to apply files that were written.

        Args:
            rendered: What they were made from.
            files: The files.
            folder: Where they are, quoted for a shell.
        """
        told = (*rendered.before_apply, *rendered.after_apply)
        return tuple(command.format(folder=folder) for command in told)

    def plan(self, wanted: DeployRequest | Again, how: How, talk: Talk) -> Any:  # noqa: ANN401 - a `FilesPlan`; a subclass may do more than write it
        """Render what is asked for, and compare it with what is in the folder."""
        if isinstance(wanted, Again):
            self._only_files()
        return plan_files(self, wanted, to=how.to, say=talk.say)

    def apply(self, plan: Any, how: How, talk: Talk) -> Done:  # noqa: ANN401 - as `plan` returns
        """Write the files."""
        written: Rendering = plan.write()
        return written

    def status(self, found: Found) -> TargetStatus:
        """Refuse: what happened to the files is not known."""
        self._only_files()

    def logs(self, found: Found, *, last: int, follow: bool) -> Iterator[str]:
        """Refuse, as `status`."""
        self._only_files()

    def stop(self, found: Found, how: How) -> TargetStopped:
        """Refuse, as `status`."""
        self._only_files()

    def recover(self, found: Found, *, wait_s: float = 60.0) -> list[Entry]:
        """Return nothing: files are written atomically, and no revision is made."""
        return []

    def journal(self, found: Found) -> tuple[SqlJournal, ServerState | None]:
        """Refuse, as `status`."""
        self._only_files()

    def settings_of(self, live: Entry, target: str) -> Mapping[str, Any]:
        """Return nothing: no revision is made here."""
        return {}

    def _only_files(self) -> NoReturn:
        raise UsageError(
            f"`{self.name}` only renders files; what happens to them is not known here.",
            hint="Use the platform's own tools.",
        )


def plan_files(
    target: FilesTarget,
    request: DeployRequest,
    *,
    to: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    read: Callable[[str], Details] = read_details,
) -> FilesPlan:
    """Render what is asked for.

    Args:
        target: What renders it.
        request: What is asked for.
        to: Folder; `-` for none; None means `deploy/NAME` of the project.
        say: Called with each phase.
        read: Reads the files of the model at a URI.

    Raises:
        UsageError: Both the bundled server and the platform are to split.
        NotFoundError: A model does not exist, or its files are gone.
        InvalidInputError: The platform cannot do this.
        ConflictError: A file in the folder was not rendered by mlops.
    """
    settings = target.settings
    spec, options, notes = gather(target, request, render_options(settings), say, read)
    if target.numbered or options.cluster.router or spec.policy != "weighted":
        options = replace(options, revision=_revision(settings, spec), in_ledger=False)
        notes.append(
            f"It is rendered as revision {options.revision}, the next of the ledger; rendering "
            "writes nothing into it. Where the journal of the pods has another revision "
            f"{options.revision}, they serve it under the next number there."
        )
    return to_write(target, spec, target.render(spec, options), notes, to)


def gather(
    target: FilesTarget,
    request: DeployRequest,
    options: RenderOptions,
    say: Callable[[str], None],
    read: Callable[[str], Details] = read_details,
) -> tuple[DeploymentSpec, RenderOptions, list[str]]:
    """Look up models and read their files, for a target that can do what is asked for.

    Returns:
        The spec, the options with what the files say, and notes about both.

    Raises:
        MlopsError: As `plan_files`.
    """
    settings = target.settings
    check_choices(settings, target.name)
    say("Looking up the models")
    spec, notes = make_fetchable(settings, request, pins=target.pins)
    target.check(spec, options)
    say("Reading signatures")
    details, unread = read_models(settings, spec, read)
    where = places(settings, spec.name)
    key = ""
    try:
        key = str(where.key) if read_key(where) is not None else ""
    except InvalidInputError as error:
        unread = [
            *unread,
            f"{error.message} A Secret that a printed command makes gets another key.",
        ]
    keys = str(where.keys) if where.keys.exists() else ""
    found = replace(options, details=details, key_file=key, keys_file=keys)
    return spec, found, [*notes, *unread]


def to_write(
    target: FilesTarget,
    spec: DeploymentSpec,
    rendered: Rendered,
    notes: Sequence[str],
    to: str | None,
) -> FilesPlan:
    """Compare what was rendered with what is in its folder.

    Args:
        target: What rendered it.
        spec: What it was rendered from.
        rendered: The files.
        notes: What the reader should know about them.
        to: As `plan_files`.

    Raises:
        ConflictError: A file in the folder was not rendered by mlops.
    """
    folder = None
    if to != STDOUT:
        folder = default_folder(target.settings.project_dir, spec.name) if to is None else Path(to)
    files = tuple(files_of(rendered, folder))
    if folder is not None:
        files += stale_files(folder, spec.name, files)
    rendering = Rendering(
        name=spec.name,
        target=target.name,
        files=files,
        notes=(*_chosen(spec), *notes, *rendered.notes),
        written=False,
        next_commands=(),
    )
    commands = target.commands(rendered, files, shlex.quote(str(folder))) if folder else ()
    gone = delete_command(files, target.settings.cluster.namespace)
    commands += (gone,) if gone else ()
    return FilesPlan(rendering, commands, folder)


def _revision(settings: RolloutSettings, spec: DeploymentSpec) -> int:
    """Return the number that this spec has in the ledger, or would get next."""
    ledger = open_ledger(settings, spec.name)
    live = ledger.live()
    if live is not None and _unpinned(live.intent.spec) == _unpinned(spec):
        return live.number
    return max(ledger.numbers(), default=0) + 1


def _unpinned(spec: DeploymentSpec) -> DeploymentSpec:
    """Return a spec whose models differ from another's only where they are other models."""
    arms = tuple(replace(each, model=each.model.unpinned) for each in spec.arms)
    shadows = tuple(replace(each, model=each.model.unpinned) for each in spec.shadows)
    return replace(spec, arms=arms, shadows=shadows)


def _chosen(spec: DeploymentSpec) -> Iterator[str]:
    for model in spec.models:
        if model.chosen_by:
            yield f"`{model.ref}` means {model.label}: {model.chosen_by}."
