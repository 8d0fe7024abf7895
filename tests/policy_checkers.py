"""Public policy checkers of manifests, as programs of the tests: kube-score and checkov.

`python -m tests.policy_checkers` builds kube-score with Go and installs checkov into an environment
of its own, both into a cache outside the checkout; names as arguments take only those.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")
_KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
_CHECKOV = "checkov==3.3.30"
_ENOUGH_S = 120.0
#: kube-score's grade of a check that found nothing.
_PERFECT = 10
HOW = "`python -m tests.policy_checkers` installs it"


def find(name: str) -> Path | None:
    """Return `kube-score` or `checkov`, from PATH or the cache."""
    on_path = shutil.which(name)
    places = [Path(on_path)] if on_path else []
    places += [_CACHE / "bin" / name, _CACHE / name / "bin" / name]
    return next((place for place in places if place.is_file()), None)


def kube_score(program: Path, files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield check and object of each finding of the default checks.

    Args:
        program: The program.
        files: Manifests that are applied together.
    """
    said = _run(program, "score", "--output-format", "json", *map(str, files))
    for scored in json.loads(said) or ():
        for check in scored["checks"] or ():
            if not check["skipped"] and check["grade"] < _PERFECT:
                yield check["check"]["id"], scored["object_name"]


def checkov(program: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield check and object of each finding of the default checks in a folder."""
    options = ("--framework", "kubernetes", "--compact", "--quiet", "--skip-download")
    said = _run(program, "--directory", str(folder), *options, "--output", "json")
    for finding in json.loads(said)["results"]["failed_checks"]:
        yield finding["check_id"], f"{finding['file_path']}: {finding['resource']}"


def _run(program: Path, *arguments: str) -> str:
    said = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=_ENOUGH_S
    )
    # 1 means findings.
    assert said.returncode in (0, 1), said.stderr
    return said.stdout


def install(name: str) -> Path:
    """Build or install a checker into the cache unless it is there, and return it."""
    there = find(name)
    if there is not None:
        return there
    folder = _CACHE / ("bin" if name == "kube-score" else name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # An installation that is interrupted leaves no program that looks like one.
    part = _CACHE / f".part-{name}-{os.getpid()}"
    if name == "kube-score":
        environment = os.environ | {"GOBIN": str(part), "CGO_ENABLED": "0"}
        subprocess.run(["go", "install", _KUBE_SCORE], env=environment, check=True)
        folder.mkdir(exist_ok=True)
        (part / name).rename(folder / name)
        part.rmdir()
        return folder / name
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, _CHECKOV], check=True)
    return folder / "bin" / name


if __name__ == "__main__":
    for each in sys.argv[1:] or ("kube-score", "checkov"):
        print(install(each))
