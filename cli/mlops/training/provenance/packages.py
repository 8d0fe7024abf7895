"""What is installed: one line per distribution, read from the folders' names.

Reading every METADATA file takes 0.1 s and more, which is as long as a quick training; the name of
a `.dist-info` folder has name and version too (PEP 376, PEP 427).
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from mlops.settings.secrets import without_credentials

_INFO = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info")


def environment_lock(path: Iterable[str] | None = None) -> str:
    """Return the packages of this interpreter, as pip takes them, sorted by name.

    Args:
        path: Folders with packages, the first wins; `sys.path` by default.
    """
    found: dict[str, str] = {}
    for folder in sys.path if path is None else path:
        for info in _infos(Path(folder)):
            match = _INFO.fullmatch(info.name)
            if match is not None:
                name = re.sub(r"[-_.]+", "-", match["name"]).lower()
                found.setdefault(name, _line(name, match["version"], info))
    head = f"# Python {platform.python_version()} ({platform.python_implementation()}), "
    lines = [head + platform.platform(), *(found[name] for name in sorted(found))]
    return "\n".join(lines) + "\n"


def _infos(folder: Path) -> list[Path]:
    try:
        return [item for item in folder.iterdir() if item.name.endswith("-info")]
    except OSError:
        # A zip, or a folder that is not there.
        return []


def _line(name: str, version: str, info: Path) -> str:
    """Write one requirement; what came from elsewhere than an index says so (PEP 610)."""
    try:
        direct = json.loads((info / "direct_url.json").read_text(encoding="utf-8"))
        url = without_credentials(str(direct["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return f"{name}=={version}"
    commit = direct.get("vcs_info", {}).get("commit_id")
    if commit:
        return f"{name} @ {direct['vcs_info']['vcs']}+{url}@{commit}"
    if "dir_info" in direct:
        # A folder of this machine has no meaning elsewhere.
        return f"# {name}=={version} from {url}"
    return f"{name} @ {url}"
