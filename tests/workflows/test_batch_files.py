"""Which files `mlops batch` reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import UsageError
from mlops.settings import Settings, load_settings
from mlops.workflows.batch import Options, batch


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path, environ={})


@pytest.mark.parametrize("out", ["rows.csv", "folder/../rows.csv", "symbolic.csv", "hard.csv"])
def test_the_output_never_replaces_an_input(settings: Settings, tmp_path: Path, out: str) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "symbolic.csv").symlink_to(rows)
    (tmp_path / "hard.csv").hardlink_to(rows)
    with pytest.raises(UsageError, match="one of the files to score"):
        batch(settings, "no-model", [f"{tmp_path}/r*.csv"], f"{tmp_path}/{out}", Options())
