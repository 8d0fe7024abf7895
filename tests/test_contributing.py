"""What `CONTRIBUTING.md`, `noxfile.py`, `.ci/run` and `.github` name is there, and is the same."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOX = (ROOT / "noxfile.py").read_text()
CI = (ROOT / ".ci/run").read_text()
SESSIONS = re.findall(r"^@nox\.session.*\ndef (\w+)\(", NOX, re.M)
GUIDES = [
    *(ROOT / name for name in ("CONTRIBUTING.md", "README.md", "SECURITY.md", ".ci/run")),
    *(ROOT / ".github").rglob("*.*"),
    *(ROOT / "docs").rglob("*.md"),
]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_guide_names_is_there(guide: Path) -> None:
    text = guide.read_text()
    for named in re.findall(r"nox -s ((?:\w+ ?)+)", text):
        known = [word for word in named.split() if word in SESSIONS]
        assert known[:1] == named.split()[:1], named
    for matrix in re.findall(r"session: \[(.+)\]", text):
        assert _words(matrix) <= set(SESSIONS)
    for module in re.findall(r"python3? -m (tests\.[\w.]*\w)", text):
        assert find_spec(module), module
    for file in re.findall(r"`(tests/[\w/.-]+|benchmarks/[\w/.-]+|constraints/[\w/.-]+)[`:]", text):
        assert (ROOT / file).exists(), file
    for file, name in re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_who_owns_what_is_said_of_files_that_are_there() -> None:
    owners = (ROOT / ".github/CODEOWNERS").read_text()
    paths = re.findall(r"^(/\S+)", owners, re.M)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path.lstrip("/")).exists()] == []


def test_the_sessions_of_a_plain_nox_are_those_that_contributors_read() -> None:
    default = re.search(r"options\.sessions = \[(.*)\]", NOX)
    told = re.search(r"bin/nox +# (.*)", (ROOT / "CONTRIBUTING.md").read_text())
    assert default
    assert told
    assert _words(default[1]) == _words(told[1]) <= set(SESSIONS)


def test_nox_and_ci_check_the_same_files() -> None:
    code = re.search(r"^_CODE = \((.*)\)", NOX, re.M)
    assert code
    files = " ".join(re.findall(r'"([\w.]+)"', code[1]))
    assert f"ruff check {files}\n" in CI
    assert f"ruff format --check {files}\n" in CI
    for command in (
        ("mypy", "cli/mlops", "tests", "benchmarks", "noxfile.py"),
        ("python", "-m", "tests.docs.site"),
        ("lint-imports",),
    ):
        assert " ".join(command) in CI
        assert f"session.run({', '.join(repr(word) for word in command)})".replace("'", '"') in NOX


def test_what_a_machine_is_said_to_have_is_what_tests_ask_for() -> None:
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    texts = [(ROOT / "CONTRIBUTING.md").read_text(), NOX, CI]
    said = {
        name
        for text in texts
        for names in re.findall(r"MLOPS_REQUIRE[=\": ]+([\w,$-]+)", text)
        for name in names.split(",")
        if not name.startswith("$")
    }
    assert len(said) > 10
    assert [name for name in sorted(said) if f'"{name}"' not in tests] == []
