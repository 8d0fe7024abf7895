"""Whether ledger, aliases and server agree, read without any code of ours: SQL, JSON and HTTP."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{launch['port']}/v2/health/ready", timeout=10
        ) as answer:
            if answer.status != 200:
                yield f"the server answers {answer.status}"
    except (OSError, urllib.error.URLError) as error:
        yield f"the server does not answer: {error}"


def outcomes(project: Path, name: str = "wine") -> dict[bytes, int]:
    """Return how many outcomes the journal has of each decision, by the nonce of its id."""
    database = project / ".mlops" / "journal" / f"{name}.db"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as journal:
        check = journal.execute("pragma integrity_check").fetchone()[0]
        if check != "ok":
            raise SystemExit(f"the journal is damaged: {check}")
        return dict(journal.execute("select nonce, count(*) from outcomes group by nonce"))
