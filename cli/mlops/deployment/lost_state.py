"""A key or a journal that was here and is gone: reported before a new one replaces it.

Without its key a deployment refuses feedback for its earlier predictions as invalid; without its
journal there is no evidence. Either may be on a backup, or in a folder that was moved, and a
new one made silently is noticed when it is too late.
"""

from __future__ import annotations

from mlops.deployment.journals import journal_environment, journal_reference
from mlops.deployment.runtime_files import Places, key_print, read_server_state
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.url import journal_file, journal_url
from mlops.settings.needs import DeploymentSettings


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
    path = journal_file(reference)
    if path is not None:
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
    from mlops.journal.key_print import different_key

    if settings.deploy.new_key:
        return
    stored = _stored_key(settings, where)
    if stored is not None and stored != key_print(where):
        raise different_key(where.name, where.key)


def asks_for_new_key(settings: DeploymentSettings) -> bool:
    """Whether this command was told `--new-key`: the variable stays set for all commands."""
    return settings.deploy.new_key and settings.origins["deploy.new_key"] == "command line"


def is_to_rotate(settings: DeploymentSettings, where: Places) -> bool:
    """Whether `--new-key` means that the file of the key is replaced when a server starts.

    Not where it has another key than the journal: it was put there to continue with.

    Raises:
        InvalidInputError: The key cannot be read.
    """
    if not asks_for_new_key(settings) or not where.key.exists():
        return False
    return _stored_key(settings, where) in (None, key_print(where))


def _stored_key(settings: DeploymentSettings, where: Places) -> str | None:
    """Return the fingerprint that the journal has; None for none, or where it is away."""
    from mlops.journal.key_print import stored_key

    url = _url(settings, where.name, journal_reference(settings, where.name))
    try:
        return stored_key(url, where.name)
    except RemoteError:
        return None


def _url(settings: DeploymentSettings, name: str, reference: str) -> str:
    # By reference where it holds a password, which only the environment of a server gets.
    return journal_url(next(iter(journal_environment(settings, name).values()), reference), name)


def _is_empty(settings: DeploymentSettings, name: str, reference: str) -> bool:
    """Whether a database answers, and has nothing of a deployment that has served."""
    from mlops.journal.engine import has_events
    from mlops.journal.null import URL as NO_JOURNAL

    if reference == NO_JOURNAL:
        return False
    try:
        return not has_events(_url(settings, name, reference))
    except RemoteError:
        # A server starts without it too, and connects when it is back.
        return False
