"""Who runs this command: what a record of changes says of its author."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Variable that names the job, by service; the first that is set.
_JOBS = ("CI_JOB_URL", "BUILD_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL")
_PEOPLE = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "BUILDKITE_BUILD_AUTHOR")


@dataclass(frozen=True, slots=True)
class Actor:
    """A user or job that changes something.

    Attributes:
        user: Account of the process.
        host: Its machine.
        job: The CI job it is part of, and for whom that runs; empty outside of CI.
    """

    user: str
    host: str
    job: str = ""

    @property
    def name(self) -> str:
        """`user@host`."""
        return f"{self.user}@{self.host}"


def current_actor(environ: Mapping[str, str] | None = None) -> Actor:
    """Return who runs this process.

    Args:
        environ: The environment, which says what CI job it is; `os.environ` by default.
    """
    return Actor(_user(), socket.gethostname(), ci_job(os.environ if environ is None else environ))


def place_of(folder: Path) -> str:
    """Name a server by its host and the folder with its files, in which its lock is."""
    return f"{socket.gethostname()}:{folder}"


def ci_job(environ: Mapping[str, str]) -> str:
    """Return the CI job that an environment belongs to, with who set it off; empty outside of CI.

    >>> ci_job({"CI_JOB_URL": "https://git.example/j/7", "GITLAB_USER_LOGIN": "ann"})
    'https://git.example/j/7 for ann'
    """
    if environ.get("GITHUB_ACTIONS") and environ.get("GITHUB_RUN_ID"):
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        repository = environ.get("GITHUB_REPOSITORY", "")
        job = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    else:
        job = next((environ[name] for name in _JOBS if environ.get(name)), "")
    person = next((environ[name] for name in _PEOPLE if environ.get(name)), "")
    return f"{job} for {person}" if job and person else job


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that no account has.
        return str(os.getuid())
