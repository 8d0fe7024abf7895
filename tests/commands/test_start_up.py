from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlops

HEAVY = {
    "jinja2",
    "mlflow",
    "numpy",
    "pandas",
    "sklearn",
    "scipy",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}

_PROBE = """
import sys
from mlops.__main__ import run
code = run(sys.argv[1:])
sys.stderr.write("modules " + " ".join(sorted({name.split(".")[0] for name in sys.modules})))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("train", "--help"),
        ("models", "--help"),
        ("models", "list", "--help"),
        ("init", "--help"),
        ("lineage", "--help"),
        ("config", "show"),
        ("status",),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(mlops.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stderr.rpartition("modules ")[2].split())
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)


def test_garbage_is_searched_for_late_and_then_as_usual() -> None:
    probe = """
import gc
usual = gc.get_threshold()
import mlops.__main__
before = gc.get_threshold()
gc.collect()
print(usual == gc.get_threshold(), before[0] > usual[0], mlops.__main__.gc.callbacks)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "[]"]
