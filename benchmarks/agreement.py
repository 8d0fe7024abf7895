"""Whether ledger, aliases and server agree, read without any code of ours: SQL, JSON and HTTP."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_ENDS_S = 20.0
_TAGS = """
    select v.version, t.key, t.value from model_versions v
    left join model_version_tags t on t.name = v.name and t.version = v.version
    where v.name = ? and v.current_stage != 'Deleted_Internal'
"""
_ALIASES = "select name, alias, version from registered_model_aliases"
_VERSIONS = "select name, version from model_versions where current_stage != 'Deleted_Internal'"


def disagreements(project: Path, name: str = "wine", *, settled: bool = True) -> Iterator[str]:
    """Say where the records of a deployment contradict each other.

    Args:
        project: Its folder, with the registry in SQLite.
        name: The deployment.
        settled: Whether a command has gone through since the last fault.
    """
    database = project / ".mlops" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as registry:
        check = registry.execute("pragma integrity_check").fetchone()[0]
        if check != "ok":
            yield f"the registry is damaged: {check}"
            return
        tags: dict[int, dict[str, str]] = {}
        for version, key, value in registry.execute(_TAGS, (f"mlops.deployment.{name}",)):
            tags.setdefault(version, {})[key] = value
        aliases = {(model, alias): version for model, alias, version in registry.execute(_ALIASES)}
        versions = set(registry.execute(_VERSIONS))
    for (model, alias), version in aliases.items():
        if (model, version) not in versions:
            yield f"alias {alias} of {model} leads to version {version}, which there is not"
    live = aliases.get((f"mlops.deployment.{name}", "live"))
    states = {version: own.get("mlops.state", "") for version, own in tags.items()}
    if settled and "pending" in states.values():
        yield f"a revision is still pending: {states}"
    state_file = project / ".mlops" / "run" / f"{name}.json"
    if not state_file.is_file():
        return
    said = json.loads(state_file.read_text())
    launch = said["launch"]
    serves = launch["served"]["number"]
    if settled and live != serves:
        yield f"the ledger calls revision {live} live, the server has {serves}"
    fault = _answers(launch["port"])
    # A command that was killed may have told it to end, and the next one starts it.
    deadline = time.monotonic() + _ENDS_S
    while fault and not settled and time.monotonic() < deadline:
        if not _is_locked(state_file.with_suffix(".lock")):
            return
        time.sleep(0.2)
        fault = _answers(launch["port"])
    if fault:
        yield fault


def _is_locked(path: Path) -> bool:
    """Whether a process holds a lock on a file; asked of the kernel, to disturb no process."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return False
    held = Path("/proc/locks").read_text().splitlines()
    return any(f":{inode} " in line for line in held)


def _answers(port: int) -> str:
    """Say why a server is not ready; nothing if it is."""
    url = f"http://127.0.0.1:{port}/v2/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return "" if answer.status == 200 else f"the server answers {answer.status}"
    except (OSError, urllib.error.URLError) as error:
        return f"the server does not answer: {error}"


def outcomes(project: Path, name: str = "wine") -> dict[bytes, int]:
    """Return how many outcomes the journal has of each decision, by the nonce of its id."""
    database = project / ".mlops" / "journal" / f"{name}.db"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as journal:
        check = journal.execute("pragma integrity_check").fetchone()[0]
        if check != "ok":
            raise SystemExit(f"the journal is damaged: {check}")
        return dict(journal.execute("select nonce, count(*) from outcomes group by nonce"))
