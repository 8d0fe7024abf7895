"""Which differences between training and serving call for an environment of its own."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from mlops.runtimes.requirements import conflicts, differences


def _bumped(name: str, part: int) -> str:
    release = [*Version(version(name)).release, 0, 0][:3]
    release[part] += 1
    return ".".join(map(str, release))


@pytest.mark.parametrize(
    ("line", "size", "conflicts_"),
    [
        (f"scikit-learn=={_bumped('scikit-learn', 0)}", "major", True),
        (f"scikit-learn=={_bumped('scikit-learn', 1)}", "minor", True),
        (f"scikit-learn=={_bumped('scikit-learn', 2)}", "patch", False),
        (f"numpy=={_bumped('numpy', 0)}", "major", True),
        # NumPy and pandas read what another minor version of theirs has written.
        (f"numpy=={_bumped('numpy', 1)}", "minor", False),
        (f"pandas=={_bumped('pandas', 1)}", "minor", False),
        # Before 1.0, a minor version is what a major one is later.
        (f"uvicorn=={_bumped('uvicorn', 1)}", "minor", True),
        (f"mlflow=={_bumped('mlflow', 0)}", "major", False),
        ("no-such-package==1.0", "missing", True),
        ("no-such-package==1.0; python_version < '3'", None, False),
        ("no-such-package>=1.0", None, False),
        (f"numpy=={version('numpy')}  # the same", None, False),
        ("-r other.txt", None, False),
    ],
)
def test_the_rule(tmp_path: Path, line: str, size: str | None, conflicts_: bool) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    found = differences(tmp_path, {})
    assert [each.size for each in found] == ([size] if size else [])
    assert bool(conflicts(found)) == conflicts_


def test_another_python_is_a_difference_and_no_conflict(tmp_path: Path) -> None:
    found = differences(tmp_path, {"flavors": {"python_function": {"python_version": "3.7.1"}}})
    assert str(found[0]).startswith("minor: python trained with 3.7.1, serving with 3.")
    assert conflicts(found) == ()


def test_what_another_package_only_tries_to_import_is_no_difference(tmp_path: Path) -> None:
    lines = [f"pytest=={_bumped('pytest', 0)}", f"scikit-learn=={version('scikit-learn')}"]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    assert differences(tmp_path, {}) == []
    # Without the other it is the model's own.
    (tmp_path / "requirements.txt").write_text(lines[0])
    assert [each.name for each in differences(tmp_path, {})] == ["pytest"]
