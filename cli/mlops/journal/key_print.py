"""Which key the request ids of a journal are made with: its fingerprint, never the key.

Servers that share a journal have to share the key. With keys of their own each refuses the feedback
for the other's predictions as forged, and draws other arms for the same sticky units.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from mlops.errors import ConflictError
from mlops.journal.base import JournalUnavailableError, Memory
from mlops.journal.engine import has, reading
from mlops.journal.memory import remembered
from mlops.journal.null import URL as NO_JOURNAL
from mlops.journal.schema import consumer_state
from mlops.journal.url import journal_file

# As the state of a consumer, which older versions keep as it is.
_CONSUMER = "request ids"


def is_key_of(journal: Memory, name: str, own: str, *, adopt: bool, now_ms: int) -> bool:
    """Whether the request ids of a journal are made with a key; record it if it has none yet.

    Args:
        journal: That the server writes.
        name: Of the deployment: others may write the same file.
        own: Fingerprint of its key.
        adopt: Whether to record it in place of another.
        now_ms: Now, milliseconds since 1970 in UTC.

    Raises:
        RemoteError: The journal cannot be read; or not be written, where another is recorded.
    """
    part = _part(name)
    stored = journal.remembered(_CONSUMER, [part]).get(part)
    if stored is None:
        # Where there is no space for it the next start tries again.
        with contextlib.suppress(JournalUnavailableError):
            stored = journal.settle(_CONSUMER, part, own, now_ms)
    if adopt and stored not in (None, own):
        journal.remember(_CONSUMER, {part: own}, now_ms)
    return adopt or stored in (None, own)


def stored_key(url: str, name: str) -> str | None:
    """Return the fingerprint that the journal behind `url` has, None for none; create nothing.

    Args:
        url: Of the journal, with its password.
        name: Of the deployment.

    Raises:
        InvalidInputError: The URL is not a database URL, or its driver is not installed.
        RemoteError: The database cannot be reached.
    """
    file = journal_file(url)
    if url == NO_JOURNAL or (file is not None and not file.exists()):
        return None
    part = _part(name)
    with reading(url) as connection:
        if not has(connection, consumer_state):
            return None
        found: str | None = remembered(connection, _CONSUMER, [part]).get(part)
        return found


def _part(name: str) -> str:
    return f"key/{name}"


def different_key(name: str, path: Path) -> ConflictError:
    """Say that a server must not start with a key, and what to do.

    Args:
        name: Of the deployment.
        path: File of the server's key; it need not be there.
    """
    what = f"is not the key of the request ids in the journal of `{name}`"
    if not path.exists():
        what = f"is not there, and the journal of `{name}` has request ids of a server with a key"
    return ConflictError(
        f"`{path}` {what}. With different keys, servers refuse feedback for each other's "
        "predictions as forged.",
        hint=f"Copy `.mlops/run/{name}.key` of the other server, or `request-id-key` of the Secret "
        f"`{name}-mlops`, to this file. To continue with another key instead, and refuse feedback "
        f"for earlier predictions: `mlops deploy --name {name} --new-key`, or in a pod "
        "`MLOPS_DEPLOY_NEW_KEY=true`.",
    )
