from importlib.metadata import version
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.training.environment import Difference, differences

PYYAML = version("pyyaml")
MAJOR, MINOR = (int(part) for part in PYYAML.split(".")[:2])


def _differences(path: Path, text: str) -> dict[str, Difference]:
    path.write_text(text)
    return {difference.name: difference for difference in differences(path)}


def test_what_fits_is_not_told(tmp_path: Path) -> None:
    text = f"dependencies: ['pyyaml>={MAJOR}', 'pyyaml=={PYYAML}', pyyaml, pip]"
    assert _differences(tmp_path / "python_env.yaml", text) == {}


def test_severity_is_the_first_part_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "python_env.yaml"
    for pin, severity in (
        (f"=={MAJOR + 1}.0", "major"),
        (f"=={MAJOR}.{MINOR + 1}", "minor"),
        (f"=={MAJOR}.{MINOR}.999", "patch"),
        (f"<{MAJOR}", "major"),
        (f">={MAJOR}.{MINOR + 1},<{MAJOR + 1}", "minor"),
    ):
        found = _differences(path, f"dependencies: ['pyyaml{pin}']")["pyyaml"]
        assert (found.severity, found.present) == (severity, PYYAML), pin


def test_the_worst_comes_first_and_missing_is_worst(tmp_path: Path) -> None:
    path = tmp_path / "python_env.yaml"
    path.write_text(
        f"python: '2.7'\ndependencies: ['pyyaml=={MAJOR}.{MINOR}.999', no-such-package>=1]"
    )
    found = differences(path)
    assert [f.severity for f in found] == ["missing", "major", "patch"]
    assert str(found[0]) == "no-such-package >=1 wanted, is not installed (missing)"


def test_reads_requirements_files_and_markers(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# why\nno-such-package  # because\n-e .\n")
    text = "dependencies: ['-r requirements.txt', 'no-such-other; python_version < \"3\"']"
    assert list(_differences(tmp_path / "python_env.yaml", text)) == ["no-such-package"]


def test_reads_conda_files(tmp_path: Path) -> None:
    text = f"""
channels: [conda-forge]
dependencies:
  - python=2.7
  - pyyaml={MAJOR + 1}.0=py311_0
  - libgcc=12
  - pip:
    - no-such-package
"""
    found = _differences(tmp_path / "conda.yaml", text)
    assert {n: d.severity for n, d in found.items()} == {
        "python": "major",
        "pyyaml": "major",
        "no-such-package": "missing",
    }


def test_no_file_wants_nothing() -> None:
    assert differences(None) == ()


@pytest.mark.parametrize("text", ["[", "dependencies: ['pandas >>> 2']"])
def test_names_the_damaged_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "python_env.yaml"
    with pytest.raises(InvalidInputError, match=r"python_env\.yaml"):
        _differences(path, text)
