"""The end of a run's output says where each test failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_CONFTEST = "from tests.failures import pytest_terminal_summary\n"
_TESTS = """
import pytest

def earlier(said):
    return said["a"]["b"]

@pytest.fixture
def broken():
    raise ValueError("no fixture")

def test_frames():
    print("a lot of output\\\\n" * 500)
    assert earlier({"a": None})

def test_message():
    assert 1 == 2, "\\\\n".join(["the report", "x" * 100, "its end"])

def between():
    earlier({"a": None})

def test_deep():
    between()

def test_setup(broken):
    pass

def test_cause():
    try:
        earlier({})
    except KeyError as error:
        raise AssertionError("on line 3") from error
""".replace("\\\\", "\\")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "side by side"])
def test_the_last_lines_say_where(workers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_shop.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *workers]
    done = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", tmp_path, "-o", f"pythonpath={_ROOT}", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    _, _, end = done.stdout.partition("where it failed")
    assert len(end.splitlines()) < 50
    for line in (
        "test_shop.py::test_setup (setup)",
        'test_shop.py:9: raise ValueError("no fixture")',
        "test_shop.py::test_frames (call)",
        'test_shop.py:13: assert earlier({"a": None})',
        'test_shop.py:5: return said["a"]["b"]',
        "TypeError: 'NoneType' object is not subscriptable",
        "its end",
        "test_shop.py:22: between()",
        "test_shop.py:19: earlier({",
        "test_shop.py:29: earlier({})",
        "KeyError: 'a'",
        "AssertionError: on line 3",
    ):
        assert line in end, end
