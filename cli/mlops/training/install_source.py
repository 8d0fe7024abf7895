"""Where a CI job installs this program from: where it was installed from here.

After a clone of the repository that is a folder, with a wheel it is a file, and only
from a package index it is `mlops-loop==VERSION`. pip notes which in
`direct_url.json` (PEP 610).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlops.settings.secrets import without_credentials

_DISTRIBUTION = "mlops-loop"
#: Where a wheel goes that has to come along with the project.
WHEELS = "vendor"
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Source:
    """What pip is given.

    Attributes:
        requirement: A requirement, URL or path, without credentials.
        files: Files that go with it, by their path in the project.
        note: What the user should know or do; empty if nothing.
    """

    requirement: str
    files: dict[str, bytes] = field(default_factory=dict)
    note: str = ""


def install_source(direct_url: dict[str, Any] | None = None, version: str = "") -> Source:
    """Return where a job gets this program from.

    Args:
        direct_url: What pip noted; None to look.
        version: Version of this program; empty to look.
    """
    version = version or metadata.version(_DISTRIBUTION)
    noted = _noted() if direct_url is None else direct_url
    url = without_credentials(str(noted.get("url", "")))
    path = Path(unquote(urlsplit(url).path))
    if "vcs_info" in noted:
        info = noted["vcs_info"]
        return Source(f"{info['vcs']}+{url}@{info['commit_id']}")
    if urlsplit(url).scheme in ("http", "https"):
        return Source(url)
    if path.is_file() and path.suffix == ".whl":
        place = f"{WHEELS}/{path.name}"
        note = f"`{place}` was copied into the project: commit it, the job installs it."
        return Source(f"./{place}", {place: path.read_bytes()}, note)
    if "dir_info" in noted and path.is_dir():
        return _of_checkout(path, version)
    if not noted:
        return Source(f"{_DISTRIBUTION}=={version}")
    return _unknown(version)


def _noted() -> dict[str, Any]:
    text = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json")
    noted: dict[str, Any] = json.loads(text) if text else {}
    return noted


def _of_checkout(folder: Path, version: str) -> Source:
    origin = without_credentials(_git(folder, "config", "--get", "remote.origin.url"))
    commit = _git(folder, "rev-parse", "HEAD")
    if origin.startswith("git@"):
        host, _, path = origin.removeprefix("git@").partition(":")
        origin = f"https://{host}/{path}"
    if not commit or urlsplit(origin).scheme not in ("http", "https", "ssh"):
        return _unknown(version)
    pushed = _git(folder, "branch", "--remotes", "--contains", commit)
    note = (
        "" if pushed else f"`{commit[:12]}` of {folder} is not pushed yet: the job cannot get it."
    )
    return Source(f"git+{origin}@{commit}", note=note)


def _unknown(version: str) -> Source:
    return Source(
        f"{_DISTRIBUTION}=={version}",
        note="Nothing says where a job can get mlops from: name a wheel or a git URL with "
        "`--mlops-source`, or in the variable MLOPS_SOURCE.",
    )


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],  # noqa: S607 - as the user's shell finds it
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def default_branch(folder: Path) -> str:
    """Return the default branch of the repository around a folder; `main` where none says so."""
    head = _git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").partition("/")[2]
    return head or _git(folder, "symbolic-ref", "--short", "HEAD") or "main"
