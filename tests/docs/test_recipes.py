"""The recipes are complete packages that work, one after the other on one project."""

from __future__ import annotations

import importlib
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops import plugins
from mlops.serving import routes
from tests.chance import by_chance
from tests.docs.generated import ROOT
from tests.docs.pages import Block, Reader, blocks
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.requirements import require

_RECIPES = ROOT / "docs" / "recipes"
#: A running server takes these as they come; those at the end start it again.
_IN_ORDER = ("consumer", "reward", "policy", "store", "target", "runtime", "protocol")


class Packager(Reader):
    """Installs packages by writing down what pip would: their name and entry points."""

    def _run(self, line: str) -> None:
        if line.startswith("pip install ./"):
            _install(Path(line.removeprefix("pip install ")))
            _forget()
        else:
            super()._run(line)


def _install(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    importlib.invalidate_caches()


def _forget() -> None:
    plugins._entry_points.cache_clear()
    routes._added.cache_clear()
    routes.find_route.cache_clear()


@pytest.fixture
def packager(
    trained_wine: TrainedWine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Packager]:
    require("curl", shutil.which("curl"), "there is no curl")
    opened: Shop = open_shop(trained_wine, tmp_path / "wine")
    # The packages lie in the project; a folder without any metadata adds nothing yet.
    folders = [opened.folder / block.title.partition("/")[0] for block in _packages()]
    for folder in folders:
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, folders)))
    somebody = Packager(opened.folder, tmp_path)
    yield somebody
    somebody.close()
    _forget()


def _packages() -> Iterator[Block]:
    for name in _IN_ORDER:
        yield next(block for block in blocks(_RECIPES / f"{name}.md") if block.title)


def test_every_recipe_is_tried() -> None:
    assert {path.stem for path in _RECIPES.glob("*.md")} == set(_IN_ORDER)


@by_chance
def test_the_recipes(packager: Packager) -> None:
    for name in _IN_ORDER:
        packager.follow(_RECIPES / f"{name}.md")
