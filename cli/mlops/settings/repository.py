"""Which git repository a folder is a checkout of."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mlops.settings.secrets import without_credentials

_TIMEOUT_S = 5
# `git@host:group/project`, as git writes SSH.
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)")
_URL = re.compile(r"[a-z+]+://(?P<host>[^/:]+)(?::\d+)?/(?P<path>.+)")


def repository_of(folder: Path) -> str:
    """Return the address of a folder's `origin`, and the folder's path in it; empty without one.

    It is the same in every clone, as a CI job makes one, and whether that came by HTTPS or SSH.

    Args:
        folder: The project's.
    """
    origin = _git(folder, "config", "--get", "remote.origin.url")
    if not origin:
        return ""
    path = _git(folder, "rev-parse", "--show-prefix").strip("/")
    return address_of(origin) + (f"#{path}" if path else "")


def address_of(origin: str) -> str:
    """Return the address of a repository without how it is reached.

    >>> address_of("https://ci:secret@git.example/shop/credit.git")
    'git.example/shop/credit'
    >>> address_of("git@git.example:shop/credit.git")
    'git.example/shop/credit'
    >>> address_of("/srv/git/credit.git")
    '/srv/git/credit'
    """
    plain = without_credentials(origin.strip()).rstrip("/").removesuffix(".git")
    found = _URL.fullmatch(plain) or _SCP.fullmatch(plain)
    return f"{found['host'].lower()}/{found['path']}" if found else plain


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],  # noqa: S607 - as the user's shell finds it
            cwd=folder,
            env=_trusting(os.environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        # Without git it is in no checkout that could be recognised.
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _trusting(environ: Mapping[str, str]) -> dict[str, str]:
    """Let git read a checkout of another user, as a volume of a container often is.

    What is asked here runs nothing that the checkout's own settings name.

    >>> _trusting({})
    {'GIT_CONFIG_COUNT': '1', 'GIT_CONFIG_KEY_0': 'safe.directory', 'GIT_CONFIG_VALUE_0': '*'}
    """
    given = environ.get("GIT_CONFIG_COUNT", "")
    n = int(given) if given.isdecimal() else 0
    return {
        **environ,
        "GIT_CONFIG_COUNT": str(n + 1),
        f"GIT_CONFIG_KEY_{n}": "safe.directory",
        f"GIT_CONFIG_VALUE_{n}": "*",
    }
