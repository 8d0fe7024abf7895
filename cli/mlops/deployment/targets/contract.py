"""The contract of a target: where a deployment can run, and the same five verbs for each.

`plan` compares what is asked for with what is there and changes nothing; `apply` carries a plan
out; `status`, `logs` and `stop` are about what it deployed. Nothing outside of a target asks which
one it is: commands and workflows find it by the name that the ledger has (`Intent.target`).

A target that only writes files extends `mlops.deployment.files_target.FilesTarget`. A class that
only renders manifests of Kubernetes (`RenderTarget`) is one already: what applies them, watches
them and deletes them is the same for all of them (`mlops.deployment.clusters.target`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from mlops.deployment.locate import Found
    from mlops.deployment.request import DeployRequest
    from mlops.journal.sql import SqlJournal
    from mlops.registry.ledger import Entry, Intent
    from mlops.spec.server import ServerState

Say = Callable[[str], None]
#: Options of `mlops deploy` that a target may understand: of a server that it starts, of files
#: that it renders, of a cluster that it applies them to.
OptionGroup = Literal["server", "files", "cluster"]
SERVER: OptionGroup = "server"
FILES: OptionGroup = "files"
CLUSTER: OptionGroup = "cluster"


@dataclass(frozen=True, slots=True)
class How:
    """How one command deploys or stops, beside the settings.

    Attributes:
        apply: Touch the cluster, and do not only render files.
        to: Folder for rendered files; `-` writes none; None means `deploy/NAME` of the project.
        dry_run: Change nothing, not even what an interrupted command left.
        wait: Return once it is ready.
        force: Take over a name that another project has, or fields that others set.
        foreground: Let a server that has to be started write to this terminal.
        anew: Make a revision also where nothing but aliases change.
        with_journal: On a stop, delete the volume with its journal too.
        forget: On a stop, ask nothing of the cluster, which is gone.
    """

    apply: bool = False
    to: str | None = None
    dry_run: bool = False
    wait: bool = True
    force: bool = False
    foreground: bool = False
    anew: bool = False
    with_journal: bool = False
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Talk:
    """Receives the messages of a target.

    Attributes:
        say: Called with each phase.
        on_wait: Called with what is waited for.
        show: Called with the progress of a download, in bytes done and in total.
        show_plan: Called with the plan before anything is done.
    """

    say: Say = lambda _: None
    on_wait: Say = lambda _: None
    show: Callable[[int, int], None] = lambda done, total: None
    show_plan: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Again:
    """Another revision of what is live: by `start`, `promote` and `rollback`.

    Attributes:
        live: The live revision.
        like: The revision whose options the new one has; `live` or an earlier one.
        intent: What it is to do.
    """

    live: Entry
    like: Entry
    intent: Intent


class Done(Protocol):
    """The result of a deployment; a frozen record, which `--json` prints."""

    @property
    def revision(self) -> int:
        """Number of the revision that is live; 0 where only files were written."""
        ...

    @property
    def url(self) -> str:
        """Where it answers; empty if not known."""
        ...


class TargetStatus(Protocol):
    """The status of a deployment; a frozen record, which `--json` prints."""

    @property
    def name(self) -> str:
        """Name of the deployment."""
        ...

    @property
    def revision(self) -> int:
        """The live revision, or the one that was live last; 0 if that is not known."""
        ...

    @property
    def state(self) -> str:
        """One word, such as `running` or `ready`."""
        ...

    @property
    def url(self) -> str:
        """Where it answers; empty if not known."""
        ...


class TargetStopped(Protocol):
    """What was stopped; a frozen record, which `--json` prints."""

    @property
    def name(self) -> str:
        """Name of the deployment."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether there was anything to stop."""
        ...


P = TypeVar("P")
D_co = TypeVar("D_co", bound=Done, covariant=True)


class Target(Protocol[P, D_co]):
    """Where a deployment can run. Has no state of its own: the ledger and the place have it.

    Made with the project's settings (`Target(settings)`), for one command.

    Besides the verbs there are three questions about what it deployed. All methods raise an
    `MlopsError` with what to do about it.
    """

    #: The options that it understands; others are refused.
    takes: ClassVar[frozenset[OptionGroup]]

    def plan(self, wanted: DeployRequest | Again, how: How, talk: Talk) -> P:
        """Compare what is asked for with what is there; the plan has all that `apply` needs.

        What an interrupted command left is completed or abandoned first, except for a dry run.

        Raises:
            InvalidInputError: The target cannot do this.
            ConflictError: The deployment lives elsewhere, or another command changes it.
        """
        ...

    def apply(self, plan: P, how: How, talk: Talk) -> D_co:
        """Carry out a plan: record the revision in the ledger, apply it, mark it as live.

        Raises:
            ConflictError: Another revision was written since the plan was made.
            MlopsError: It did not become ready; the former revision stays live.
        """
        ...

    def status(self, found: Found) -> TargetStatus:
        """Return the status of a deployment; not answering is a state, not an error."""
        ...

    def logs(self, found: Found, *, last: int, follow: bool) -> Iterator[str]:
        """Yield the last lines of its log, and then, with `follow`, each new one."""
        ...

    def stop(self, found: Found, how: How) -> TargetStopped:
        """Stop it; ledger and evidence stay."""
        ...

    def recover(self, found: Found, *, wait_s: float = 60.0) -> list[Entry]:
        """Complete or abandon what interrupted commands left; return what was finished.

        Args:
            found: Deployment.
            wait_s: How long to wait for a command that is changing it.

        Raises:
            ConflictError: It is still running.
        """
        ...

    def journal(self, found: Found) -> tuple[SqlJournal, ServerState | None]:
        """Open its journal for reading, and name the server of this machine that writes it.

        Raises:
            ConflictError: The target keeps no evidence.
            NotFoundError: The journal cannot be read from here.
        """
        ...

    def settings_of(self, live: Entry, target: str) -> Mapping[str, Any]:
        """Return the settings a live revision runs with, by key, as far as they apply.

        Args:
            live: The revision.
            target: The target that it is to be deployed to next.
        """
        ...
