"""The checks that `mlops train` and `mlops deploy` make before anything takes time.

If everything is on this machine they only read two settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.errors import MlopsError
from mlops.registry.stores.base import parse_location
from mlops.registry.tracking_probe import ask_tracking, is_server

if TYPE_CHECKING:
    from mlops.settings import Settings

_REMOTE = ("s3", "gs")


def preflight(settings: Settings, *, write: bool) -> None:
    """Check quickly what would otherwise fail after the work was done.

    Args:
        settings: The project's settings.
        write: Whether artifacts will be written; else they are only read.

    Raises:
        MlopsError: The MLflow server or the artifact store cannot be used; the kind and the hint
            are those of the fault.
    """
    root = settings.artifacts.root
    try:
        if is_server(settings):
            found = ask_tracking(settings)
            root = root or found.artifacts
        if root and parse_location(root).scheme in _REMOTE:
            _try_store(root, settings, write=write)
    except MlopsError as error:
        hint = " ".join(filter(None, [error.hint, "(`--no-preflight` skips this check.)"]))
        raise type(error)(error.message, hint=hint, reason=error.reason) from error


def _try_store(root: str, settings: Settings, *, write: bool) -> None:
    from mlops.registry.stores.probe import probe

    found = probe(root, settings, write=write)
    if found.error is not None:
        raise found.error
