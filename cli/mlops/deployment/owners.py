"""Whose a name is: several projects may share one ledger, and a name has one place.

A revision notes the host and the folder of the project that deployed it, and the repository that
the folder is a checkout of. A project may move, be copied to another machine, run in a container
whose host name is new each time, or be checked out by a CI job into a new folder; all of these are
the same project. Another one must not replace its models, nor serve them, without being told to.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

from mlops.deployment.runtime_files import Places, is_alive, read_server_state
from mlops.errors import ConflictError, MlopsError
from mlops.spec.deployment import models_digest

if TYPE_CHECKING:
    from mlops.registry.ledger import Entry
    from mlops.settings.needs import DeploymentSettings

There = Literal["running", "stopped", "gone", "unknown"]
_STATE_FOLDER = ".mlops"
_GONE = "where nothing of it is left"
_RUNS: Mapping[There, str] = {
    "running": ", where it runs",
    "stopped": ", where it is stopped",
    "gone": f", {_GONE}",
}
# How long a look at what runs here waits for the ledger.
_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Another place than this one, from which a live revision was deployed.

    Attributes:
        name: Name of the deployment.
        number: The revision.
        author: `user@host` of who deployed it.
        place: The project, as `host:folder`, the folder that of its state.
        there: Whether its server runs there, as far as that can be seen from this machine; `gone`
            if nothing of the deployment is there any more.
        same: Why it is the same project as this one; empty if it is another.
        served: The revision that this project served last, 0 for none.
        anonymous: Whether neither project is known to be a checkout of any repository.
    """

    name: str
    number: int
    author: str
    place: str
    there: There
    same: str
    served: int
    anonymous: bool

    def __str__(self) -> str:
        return (
            f"revision {self.number} of `{self.name}` was deployed by {self.author} from "
            f"{describe_place(self.place)}"
        )


def describe_place(place: str) -> str:
    """Name a project by its folder and host.

    >>> describe_place("vm:/home/ann/credit/.mlops")
    '`/home/ann/credit` on vm'
    """
    host, _, folder = place.partition(":")
    path = Path(folder)
    return f"`{path.parent if path.name == _STATE_FOLDER else path}` on {host}"


def owner_of(
    settings: DeploymentSettings,
    where: Places,
    number: int,
    *,
    author: str,
    place: str,
    repository: str,
    models: str,
) -> Owner | None:
    """Return from where a live revision was deployed; None if that was here.

    Args:
        settings: The project's settings.
        where: Files of the deployment here.
        number: The live revision.
        author: As the ledger has it; so are the rest.
        place: The project that deployed it; empty where an early release did.
        repository: What that was a checkout of.
        models: `models_digest` of the revision; empty where an earlier release made it.
    """
    from mlops.settings.repository import repository_of

    here = f"{socket.gethostname()}:{settings.home}"
    # A ledger that is a file of the project moves with it.
    if not settings.tracking.uri or place in ("", here):
        return None
    there = _look_there(settings, where.name, place)
    if there == "here":
        return None
    said = read_server_state(where)
    last = said.launch.served.revision if said is not None else None
    # A number alone says nothing: every ledger has a revision 1.
    is_that = (
        last is not None and last.number == number and models in ("", models_digest(last.spec))
    )
    if is_that and there != "running":
        return None
    own = repository_of(settings.project_dir)
    same = _same_project(settings, place, there, repository, own)
    served = last.number if last is not None else 0
    return Owner(where.name, number, author, place, there, same, served, not (own or repository))


def _look_there(settings: DeploymentSettings, name: str, place: str) -> There | Literal["here"]:
    host, _, folder = place.partition(":")
    if host != socket.gethostname():
        return "unknown"
    home = Path(folder)
    its = Places(name, home / "run")
    try:
        # By another name of the same folder, as through a link.
        if settings.home.exists() and home.samefile(settings.home):
            return "here"
        if is_alive(its):
            return "running"
        its.state.stat()
    except FileNotFoundError:
        return "gone"
    except OSError:
        # Another user's.
        return "unknown"
    return "stopped"


def _same_project(
    settings: DeploymentSettings, place: str, there: There, repository: str, own: str
) -> str:
    """Say why another place is of the same project; empty if nothing says so."""
    host, _, folder = place.partition(":")
    if own and own == repository:
        return "another checkout of the same repository"
    if there == "gone":
        return _GONE
    # Unrelated projects are in the same folder of their containers, often `/app`.
    is_known = own and repository
    if not is_known and folder == str(settings.home) and host != socket.gethostname():
        return "the same folder of another host"
    return ""


def check_owner(
    settings: DeploymentSettings, where: Places, live: Entry | None, *, force: bool, asked: bool
) -> str:
    """Refuse to replace or to serve here what another project has deployed under this name.

    Args:
        settings: The project's settings.
        where: Files of the deployment here.
        live: The live revision; one on a cluster has its own checks.
        force: Take the name over.
        asked: Whether models are asked for, and not the live revision or one before it again.

    Returns:
        What the user should know about where it was before; empty if nothing.

    Raises:
        ConflictError: It is another project's, or runs elsewhere on this machine.
    """
    if live is None or live.intent.place is not None:
        return ""
    owner = owner_of(
        settings,
        where,
        live.number,
        author=live.author,
        place=live.place,
        repository=live.repository,
        models=models_digest(live.intent.spec),
    )
    if owner is None:
        return ""
    told = f"{str(owner)[0].upper()}{str(owner)[1:]}"
    if force:
        return f"{told}: it is taken over. What runs there keeps serving until it is stopped."
    if asked and owner.anonymous and owner.there == "stopped":
        # As the next release folder or copy of a project, which cannot be told from another one.
        return f"{told}, where it is stopped: it is taken over."
    if not asked and owner.same == _GONE and owner.served:
        # That may have been any project's, and this one has models of its own.
        owner = replace(owner, same="")
    if owner.same and owner.there != "running":
        more = "" if owner.there == "gone" else ". A server that runs there keeps serving that"
        return f"{told}, {owner.same}{more}."
    runs = _RUNS.get(owner.there, "")
    raise ConflictError(
        f"{told}{runs}, and a name has one place.",
        hint=_way_out(owner, asked=asked),
        reason="ledger",
    )


def check_repository(
    settings: DeploymentSettings, where: Places, live: Entry | None, *, force: bool
) -> None:
    """Refuse to put into a cluster what another project has deployed under this name.

    Any folder may deploy to a cluster, as CI jobs do; another project is one whose checkout is of
    another repository. Nor may its server still run on this machine.

    Args:
        settings: The project's settings.
        where: Files of the deployment here.
        live: The live revision, wherever it is.
        force: Take the name over.

    Raises:
        ConflictError: It is another project's.
    """
    from mlops.settings.repository import repository_of

    here = f"{socket.gethostname()}:{settings.home}"
    if live is None or force or live.stopped_ms or live.place in ("", here):
        return
    if not settings.tracking.uri:
        return
    own = repository_of(settings.project_dir) if live.repository else ""
    is_local = live.intent.place is None
    if is_local and _look_there(settings, where.name, live.place) == "running":
        why = "where it runs"
    elif own and own != live.repository:
        why = f"a checkout of {live.repository} and not of {own}"
    else:
        return
    raise ConflictError(
        f"Revision {live.number} of `{where.name}` was deployed by {live.author} from "
        f"{describe_place(live.place)}, {why}; a name has one place.",
        hint=f"Give this another `--name`; `mlops deploy --force-conflicts`, or `mlops rollback "
        f"{where.name} --to N --force-conflicts`, takes it over, as where the repository moved.",
        reason="ledger",
    )


def _way_out(owner: Owner, *, asked: bool) -> str:
    name = owner.name
    if owner.same and owner.there != "running":
        return f"`mlops history {name}` shows all; `mlops rollback {name} --to N` goes back to one."
    if owner.same:
        return f"`mlops stop {name}` there first; `--force-conflicts` takes it over as it is."
    if asked:
        return "Give this another `--name`; `--force-conflicts` takes it over."
    texts = ["`mlops deploy --name OTHER --model REF` goes on under another name;"]
    # One of the same number is another ledger's.
    if owner.served not in (0, owner.number):
        texts.append(
            f"`mlops rollback {name} --to {owner.served} --force-conflicts` takes this one back."
        )
    else:
        texts.append(f"`mlops deploy --name {name} --force-conflicts --model REF` takes it over.")
    return " ".join(texts)


def ahead(settings: DeploymentSettings, where: Places) -> tuple[str, str]:
    """Say that the ledger is ahead of this project by what another place deployed.

    As `all_ahead`, of one deployment.

    Args:
        settings: The project's settings.
        where: Files of the deployment here.

    Returns:
        What is so, and what to do about it; empty texts if nothing is.
    """
    return all_ahead(settings, [where]).get(where.name, ("", ""))


def all_ahead(
    settings: DeploymentSettings, wheres: Sequence[Places]
) -> Mapping[str, tuple[str, str]]:
    """Say of which deployments the ledger is ahead by what another place deployed.

    A look at what runs here must not need MLflow. It is asked without importing it, not at all
    where that is impossible, and for a short time for all deployments together; it is silent where
    there is no answer.

    Args:
        settings: The project's settings.
        wheres: Files of the deployments here.

    Returns:
        Name of a deployment to what is so, and what to do about it.
    """
    if not settings.tracking.uri or not wheres:
        return {}
    found: dict[str, tuple[str, str]] = {}

    def look() -> None:
        for where in wheres:
            try:
                found[where.name] = _ahead(settings, where)
            except (MlopsError, OSError, LookupError, ValueError):
                # No answer, or one of another form. The others would be waited for as long.
                return

    # A thread, as nothing else bounds the lookup of a host name; it does not keep a command alive.
    thread = Thread(target=look, daemon=True)
    thread.start()
    thread.join(_LOOK_S)
    return {name: said for name, said in found.copy().items() if said[0]}


def _ahead(settings: DeploymentSettings, where: Places) -> tuple[str, str]:
    from mlops.registry.ledger import LOCAL
    from mlops.registry.live_tags import live_tags

    number, tags = live_tags(settings, where.name)
    owner = owner_of(
        settings,
        where,
        number,
        author=tags.get("mlops.author", ""),
        place=tags.get("mlops.place", ""),
        repository=tags.get("mlops.repository", ""),
        models=tags.get("mlops.models", ""),
    )
    if owner is None:
        return "", ""
    if (target := tags.get("mlops.target", LOCAL)) != LOCAL:
        return (
            f"The ledger is ahead: {owner}, to the target {target}.",
            "`mlops deploy --name OTHER --model REF` goes on here under another name.",
        )
    whose = f", {owner.same}" if owner.same else ", another project"
    is_told = owner.served not in (0, owner.number)
    mine = f"; this project served revision {owner.served} last" if is_told else ""
    return f"The ledger is ahead: {owner}{whose}{mine}.", _way_out(owner, asked=False)
