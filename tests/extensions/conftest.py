"""Packages that add to mlops, built and installed where a test puts them on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops import plugins
from mlops.serving import routes

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder in which each package is installed, by its name here."""
    return {
        name: _install(name, tmp_path_factory.mktemp(f"package-{name}"))
        for name in ("acme", "broken")
    }


def _install(name: str, folder: Path) -> Path:
    # A build writes into its sources.
    sources, target = folder / "sources", folder / "target"
    shutil.copytree(_HERE / name, sources)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    more = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*command, *more, str(sources)], check=True, timeout=300)
    return target


@pytest.fixture
def installed(
    packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Puts packages on the path of this process, and of those that it starts."""

    def put(*names: str) -> None:
        folders = [str(packages[name]) for name in names]
        for folder in folders:
            monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", ":".join(folders))
        _forget()

    yield put
    _forget()
    for module in ("acme_mlops", "acme_strategies", "acme_targets", "broken_mlops"):
        sys.modules.pop(module, None)


def _forget() -> None:
    plugins._entry_points.cache_clear()
    routes._added.cache_clear()
    routes.find_route.cache_clear()
