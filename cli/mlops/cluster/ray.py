"""The gateway to a Ray cluster, one that is there or one on this machine (extra `ray`)."""

from __future__ import annotations

import contextlib
import signal
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, RemoteError
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from types import ModuleType


def import_ray() -> ModuleType:
    """Return the module `ray`.

    Raises:
        InvalidInputError: It is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            "`--backend ray` needs `ray`, which is not installed.",
            hint="pip install 'mlops-loop[ray]'",
        ) from error
    module: ModuleType = ray
    return module


def connect_ray(ray: ModuleType, address: str) -> None:
    """Connect to a cluster; `ray.shutdown()` ends it.

    Args:
        ray: The module.
        address: Of the cluster; empty for one that is started on this machine.

    Raises:
        RemoteError: It cannot be reached.
    """
    hide_token(Path.home(), is_made=not address)
    # Ray handles SIGTERM itself, and a command that is asked to stop would not clean up.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:
        # Ray raises a bare Exception where its processes do not start in time.
        raise RemoteError(
            f"The Ray cluster `{without_credentials(address) or 'of this machine'}` cannot be "
            f"reached: {without_credentials(str(error))}",
            # A cluster with a token does not answer a client without one, and Ray's error does not
            # say so.
            hint="`ray status` tells whether it runs. Where `ray start` made a token, set "
            "RAY_AUTH_MODE=token here too.",
        ) from error
    else:
        hide_token(Path.home(), is_made=not address)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def hide_token(home: Path, *, is_made: bool) -> None:
    """Let only its owner read the token of a cluster, which Ray lets everybody read.

    Who has it runs code in the cluster, and a Ray of this machine listens on all its addresses. The
    folder is closed before Ray writes a token into it: a `umask` would be that of Ray's workers,
    too, and of what they write.

    Args:
        home: Of the user.
        is_made: Whether Ray may make a token.
    """
    folder = home / ".ray"
    with contextlib.suppress(OSError):
        if is_made:
            folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
            _close(folder)
        _close(folder / "auth_token")


def _close(path: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
