"""What we are installed with: versions against known vulnerabilities, and licences.

`python -m tests.supply_chain` prints what is wrong, and exits with 1 then. With the file of a bill
of materials it adds what is vendored to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints/ci.txt"
ADVISORIES = ROOT / ".ci/advisories.json"
#: Extras that are installed to run, and not to test or to develop.
EXTRAS = ("auth", "fast", "grpc", "kubernetes", "postgres", "ray", "sweep")
ALLOWED = frozenset(
    (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0"),
        *("MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Zlib"),
    )
)
#: Distributions whose metadata names no licence by an expression or a classifier that says which,
#: by their repositories; and what is allowed to an optional extra.
BY_HAND = {
    "huey": "MIT",
    "skops": "MIT",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
}
ALSO_ALLOWED = {"psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
#: What is in the wheel and not ours: CycloneDX components, each with its files and their SHA-256.
_STATIC = ROOT / "cli/mlops/serving/live_page/static"
VENDORED: tuple[tuple[dict[str, Any], Mapping[Path, str]], ...] = (
    (
        {
            "type": "library",
            "bom-ref": "pkg:npm/uplot@1.6.32",
            "name": "uplot",
            "version": "1.6.32",
            "licenses": [{"license": {"id": "MIT"}}],
            "purl": "pkg:npm/uplot@1.6.32",
        },
        {
            _STATIC / "uPlot.iife.min.js": (
                "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
            ),
            _STATIC
            / "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        },
    ),
)
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_SPOKEN = {
    r"apache([ -]license)?[ ,-]*(version )?v?2(\.0)?": "Apache-2.0",
    r"(3-clause )?bsd( license|-3-clause)?|bsd 3-clause license": "BSD-3-Clause",
    r"bsd-2-clause": "BSD-2-Clause",
    r"mit( license)?": "MIT",
    r"mpl-2\.0": "MPL-2.0",
    r"mpl-2\.0 and mit": "MPL-2.0 AND MIT",
    r"psf-2\.0": "PSF-2.0",
    r"isc": "ISC",
}


def closure(name: str = "mlops-loop", extras: Iterable[str] = ()) -> list[metadata.Distribution]:
    """Return a distribution and all that it needs here, in alphabetical order."""
    found: dict[str, tuple[metadata.Distribution, frozenset[str]]] = {}
    todo = [(name, frozenset(extras))]
    while todo:
        wanted, more = todo.pop()
        key = canonicalize_name(wanted)
        had = found[key][1] if key in found else None
        if had is not None and more <= had:
            continue
        try:
            distribution = metadata.distribution(wanted)
        except metadata.PackageNotFoundError:
            # Of an extra that is not installed.
            continue
        found[key] = distribution, more | (had or frozenset())
        for each in map(Requirement, distribution.requires or ()):
            marker = each.marker
            environments = [{"extra": extra} for extra in (*more, "")]
            if marker is None or any(map(marker.evaluate, environments)):
                todo.append((each.name, frozenset(each.extras)))
    return [found[key][0] for key in sorted(found)]


def vulnerabilities(name: str, version: str) -> list[str]:
    """Name the known vulnerabilities of a version."""
    listed = _advisories().get(canonicalize_name(name), ())
    return [
        each["id"]
        for each in listed
        if SpecifierSet(each["affected"]).contains(version, prereleases=True)
    ]


def lower_bounds() -> Iterator[tuple[str, str]]:
    """Yield each requirement of ours, those of the tests too, with its oldest version."""
    for requirement in requirements():
        for bound in requirement.specifier:
            if bound.operator in (">=", "=="):
                yield requirement.name, bound.version


def constrained() -> Iterator[Requirement]:
    """Yield the versions that CI installs; some twice, for different versions of Python."""
    for line in CONSTRAINTS.read_text().splitlines():
        if not line.startswith("#"):
            yield Requirement(line)


def requirements() -> Iterator[Requirement]:
    """Yield each requirement of ours, those of the tests too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for texts in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from map(Requirement, texts)


def licence(distribution: metadata.Distribution) -> str:
    """Return the SPDX expression of a distribution's licence; empty if its metadata has none."""
    about = distribution.metadata
    by_hand = BY_HAND.get(canonicalize_name(distribution.name))
    # One that is missing is None here and a `KeyError` there, by the version of the library.
    expression = (about.get_all("License-Expression") or [""])[0]
    if by_hand or expression:
        return by_hand or str(expression)
    text = str((about.get_all("License") or [""])[0] or "").strip().lower()
    for pattern, expression in _SPOKEN.items():
        if re.fullmatch(pattern, text):
            return expression
    marks = [
        each.split(" :: ")[-1] for each in about.get_all("Classifier", ()) if "License ::" in each
    ]
    known = [_CLASSIFIERS[mark] for mark in marks if mark in _CLASSIFIERS]
    return " OR ".join(known)


def is_allowed(name: str, expression: str) -> bool:
    """Whether a distribution may be what we need: every licence that binds is on the list."""
    allowed = ALLOWED | {ALSO_ALLOWED.get(canonicalize_name(name), "")} - {""}

    def holds(part: str) -> bool:
        return any(each.strip(" ()") in allowed for each in part.split(" OR "))

    return bool(expression) and all(map(holds, expression.split(" AND ")))


def changed() -> list[str]:
    """Name the vendored files that are not what was vendored."""
    return [
        file.name
        for _, files in VENDORED
        for file, digest in files.items()
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest
    ]


def add_vendored(file: Path) -> None:
    """Add what is vendored to a bill of materials."""
    document = json.loads(file.read_text(encoding="utf-8"))
    document.setdefault("components", []).extend(component for component, _ in VENDORED)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _advisories() -> Mapping[str, list[dict[str, str]]]:
    found: Mapping[str, list[dict[str, str]]] = json.loads(ADVISORIES.read_text())["packages"]
    return found


def main() -> int:
    """Print what is wrong with what is installed."""
    if len(sys.argv) == 2:
        add_vendored(Path(sys.argv[1]))
        return 0
    everything = closure(extras=EXTRAS)
    faults = [f"{name}: not the file that was vendored" for name in changed()]
    for each in everything:
        faults += [
            f"{each.name} {each.version}: {i}" for i in vulnerabilities(each.name, each.version)
        ]
        if not is_allowed(each.name, licence(each)):
            faults.append(f"{each.name}: licence `{licence(each)}` is not on the list")
    counts = f"{len(everything)} distributions, {len(VENDORED)} vendored, {len(faults)} faults"
    print(*faults, counts, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
