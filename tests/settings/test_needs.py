"""Below commands, workflows and the Python API no part takes the whole settings, but for these."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mlops

ROOT = Path(mlops.__file__).parent
#: Who may have all of it.
_EDGE = ("__main__.py", "api.py", "commands", "settings", "workflows")
#: May only get shorter: say what a part needs (`mlops.settings.needs`), or pass the values.
STILL = [
    "audit.sources",
    "deployment.access",
    "deployment.clusters.deploy",
    "deployment.clusters.plan",
    "deployment.clusters.recovery",
    "deployment.clusters.stop",
    "deployment.clusters.target",
    "deployment.deploy",
    "deployment.deploy_options",
    "deployment.fetchable",
    "deployment.files_target",
    "deployment.keeping",
    "deployment.keys",
    "deployment.local",
    "deployment.local_monitoring",
    "deployment.local_revision",
    "deployment.local_target",
    "deployment.manifests",
    "deployment.pruning",
    "deployment.recording",
    "deployment.request",
    "deployment.store_secret",
    "registry.gate",
    "training.databricks",
    "training.execution",
    "training.gate_metric",
    "training.provenance.record",
    "training.remote_plan",
    "training.runner.factory",
    "training.runner.ray",
    "training.sweep.sweeping",
    "training.train",
]


def test_the_list_of_those_who_take_all_settings_only_gets_shorter() -> None:
    assert sorted(_takers()) == STILL


def _takers() -> Iterator[str]:
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in _EDGE and _imports_settings(path):
            yield ".".join(relative.with_suffix("").parts)


def _imports_settings(path: Path) -> bool:
    imports = (
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    )
    return any(
        node.module in ("mlops.settings", "mlops.settings.schema")
        and any(name.name == "Settings" for name in node.names)
        for node in imports
    )
