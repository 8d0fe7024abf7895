"""Patterns fit the same files in a store as in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import NotFoundError
from mlops.registry.stores import Store, open_store
from mlops.scoring import find_inputs
from mlops.settings import load_settings

FILES = (
    "rows/a.csv", "rows/b.csv", "rows/scored/part-00000-0000000.csv", "rows/scored/more.csv",
    "rows/2024/deep/c.csv", "rows/part-00001-0000000.csv",
)  # fmt: skip
PART = "rows/part-00001-0000000.csv"
SCORED = "rows/scored/part-00000-0000000.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n1\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["folder", "store"])
@pytest.mark.parametrize(
    ("pattern", "out", "expected"),
    [
        ("rows/*.csv", "", {"rows/a.csv", "rows/b.csv", PART}),
        ("rows/[ab].csv", "rows/scored", {"rows/a.csv", "rows/b.csv"}),
        ("rows/*/*.csv", "", {SCORED, "rows/scored/more.csv"}),
        ("rows/**/*.csv", "", set(FILES)),
        ("rows/**/*.csv", "rows/scored/", set(FILES) - {SCORED}),
        ("rows/*.csv", "rows", {"rows/a.csv", "rows/b.csv"}),
        ("ro*/?.csv", "", {"rows/a.csv", "rows/b.csv"}),
        (SCORED, "other", {SCORED}),
    ],
)
def test_a_star_is_of_one_folder_and_parts_are_not_read_again(
    folder: Path, kind: str, pattern: str, out: str, expected: set[str]
) -> None:
    settings = load_settings(folder, environ={})

    def opened(uri: str) -> Store:
        # The keys of a bucket, kept in a folder.
        return open_store(str(folder / uri.removeprefix("s3://b").strip("/")), settings)

    root = f"{folder}" if kind == "folder" else "s3://b"
    found = find_inputs([f"{root}/{pattern}"], opened, out and f"{root}/{out}")
    assert {file.name.removeprefix(f"{root}/") for file in found.files} == expected


def test_parts_alone_are_no_input(folder: Path) -> None:
    settings = load_settings(folder, environ={})
    with pytest.raises(NotFoundError, match="No file fits"):
        find_inputs(
            [f"{folder}/rows/part-*"], lambda uri: open_store(uri, settings), f"{folder}/rows"
        )
