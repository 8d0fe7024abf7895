from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mlops.training.provenance.packages import environment_lock


def test_the_lock_agrees_with_what_python_itself_knows() -> None:
    """`importlib.metadata` reads every METADATA file; we read the folders' names."""
    program = (
        "import json, sys; from importlib.metadata import distributions\n"
        "print(json.dumps([sys.path, {d.name: d.version for d in distributions()}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    # Not our own path: Ray, once imported, adds packages of its own to it.
    path, found = json.loads(done.stdout)
    known = {name.replace("_", "-").replace(".", "-").lower(): v for name, v in found.items()}
    lines = environment_lock(path).splitlines()
    assert lines[0].startswith(f"# Python {sys.version.split()[0]} (")
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    locked = {item.name: str(item.specifier).removeprefix("==") for item in pinned if not item.url}
    assert locked["numpy"] == known["numpy"]
    different = {n for n in locked if known.get(n) != locked[n]}
    assert not different
    assert len(known) - len(locked) <= sum(line.startswith("# ") for line in lines)


@pytest.mark.parametrize(
    ("direct", "line"),
    [
        (None, "my-package==1.0rc1"),
        (
            {"url": "https://u:pw@host/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "my-package @ git+https://host/r.git@abc",
        ),
        ({"url": "file:///here", "dir_info": {}}, "# my-package==1.0rc1 from file:///here"),
        ({"url": "https://host/p.whl", "archive_info": {}}, "my-package @ https://host/p.whl"),
    ],
)
def test_what_came_from_elsewhere_than_an_index_says_so(
    tmp_path: Path, direct: object, line: str
) -> None:
    info = tmp_path / "My_Package-1.0rc1.dist-info"
    info.mkdir()
    if direct is not None:
        (info / "direct_url.json").write_text(json.dumps(direct))
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "my.package-0.9.dist-info").mkdir()
    path = [str(tmp_path), str(tmp_path / "second"), str(tmp_path / "missing")]
    assert environment_lock(path).splitlines()[1:] == [line]
