"""A key or a journal that was here and is gone: reported before a new one replaces it.

Without its key a deployment refuses feedback for its earlier predictions as invalid; without its
journal there is no evidence. Either may be on a backup, or in a folder that was moved, and a
new one made silently is noticed when it is too late.
"""

from __future__ import annotations

from pathlib import Path

from mlops.deployment.journals import journal_environment, journal_reference
from mlops.deployment.runtime_files import Places, key_print, read_server_state
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.url import journal_url
from mlops.settings.needs import DeploymentSettings

_SQLITE = "sqlite:///"


def check_nothing_lost(settings: DeploymentSettings, where: Places, *, known: bool) -> None:
    """Refuse to start a server that would start without the key or the journal of its predecessor.

    Args:
        settings: The project's settings; `deploy.new_key` and `deploy.new_journal` allow it.
        where: Files of the deployment.
        known: Whether the ledger knows that it ran here.

    Raises:
        InvalidInputError: One of them is gone.
    """
    said = read_server_state(where)
    if said is None and not known:
        return
    if not settings.deploy.new_key and not where.key.exists():
        raise InvalidInputError(
            f"The key of `{where.name}`, `{where.key}`, is gone. Without it, feedback for all "
            "earlier predictions is refused as invalid.",
            hint=f"Put it back from a backup, or go without it: `mlops deploy --name {where.name} "
            "--new-key`.",
        )
    reference = journal_reference(settings, where.name)
    moved = said is not None and said.launch.journal_url != reference
    if settings.deploy.new_journal or moved:
        return
    if reference.startswith(_SQLITE):
        path = _file(reference)
        if path.exists() and path.stat().st_size:
            return
        what = f"`{path}`, is {'empty' if path.exists() else 'gone'}"
    elif _is_empty(settings, where.name, reference):
        what = "in PostgreSQL, is empty"
    else:
        return
    raise InvalidInputError(
        f"The journal of `{where.name}`, {what}. All evidence of its experiments was in it, and "
        "reports would start from zero.",
        hint=f"Put it back from a backup, or continue without: `mlops deploy --name {where.name} "
        "--new-journal`.",
    )


def check_key_of_journal(settings: DeploymentSettings, where: Places) -> None:
    """Refuse to start a server with another key than that of the journal's request ids.

    The server checks it too, also where the journal cannot be reached now. Here no revision is
    recorded and no key made before.

    Raises:
        ConflictError: It has another, or none yet.
    """
    from mlops.journal.key_print import different_key, stored_key

    url = _url(settings, where.name, journal_reference(settings, where.name))
    if settings.deploy.new_key or (url.startswith(_SQLITE) and not _file(url).exists()):
        return
    try:
        stored = stored_key(url)
    except RemoteError:
        return
    if stored is not None and stored != key_print(where):
        raise different_key(where.name, where.key)


def _file(reference: str) -> Path:
    return Path(reference.removeprefix(_SQLITE).partition("?")[0])


def _url(settings: DeploymentSettings, name: str, reference: str) -> str:
    # By reference where it holds a password, which only the environment of a server gets.
    return journal_url(next(iter(journal_environment(settings, name).values()), reference), name)


def _is_empty(settings: DeploymentSettings, name: str, reference: str) -> bool:
    """Whether a database answers, and has nothing of a deployment that has served."""
    from mlops.journal.engine import has_events

    try:
        return not has_events(_url(settings, name, reference))
    except RemoteError:
        # A server starts without it too, and connects when it is back.
        return False
