"""What we are installed with is safe as far as is known, and free to be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.supply_chain import (
    EXTRAS,
    VENDORED,
    add_vendored,
    changed,
    closure,
    constrained,
    is_allowed,
    licence,
    lower_bounds,
    requirements,
    vulnerabilities,
)

INSTALLED = closure(extras=EXTRAS)


def test_no_lower_bound_lets_a_vulnerable_version_in() -> None:
    bounds = list(lower_bounds())
    assert len(bounds) > 40
    assert [(n, v) for n, v in bounds if vulnerabilities(n, v)] == []


def test_nothing_vulnerable_is_installed() -> None:
    assert len(INSTALLED) > 100
    assert [str(d.name) for d in INSTALLED if vulnerabilities(d.name, d.version)] == []


def test_what_ci_installs_is_pinned_within_the_bounds_and_not_vulnerable() -> None:
    pins: dict[str, list[str]] = {}
    for pin in constrained():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        pins.setdefault(canonicalize_name(pin.name), []).append(exact.version)
    assert [(n, v) for n, versions in pins.items() for v in versions if vulnerabilities(n, v)] == []
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name not in ("mlops-loop", "mkdocstrings-python", "zensical"):  # the docs' own are exact
            assert pins[name], requirement
            assert all(requirement.specifier.contains(v) for v in pins[name]), requirement


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("Jinja2", "3.1.5", ["CVE-2025-27516"]),
        ("jinja2", "3.1.6", []),
        ("protobuf", "6.30.0", ["CVE-2025-4565"]),
        ("protobuf", "4.25.8", []),
        ("starlette", "1.0.0", ["CVE-2026-48710"]),
    ],
)
def test_a_vulnerable_version_is_named(name: str, version: str, found: list[str]) -> None:
    assert vulnerabilities(name, version) == found


def test_every_licence_is_allowed() -> None:
    licences = {d.name: licence(d) for d in INSTALLED}
    assert {n: text for n, text in licences.items() if not is_allowed(n, text)} == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("BUSL-1.1", False),
        ("LGPL-3.0-only", False),
        ("", False),
    ],
)
def test_what_binds_must_be_on_the_list(expression: str, allowed: bool) -> None:
    assert is_allowed("some-package", expression) is allowed


def test_what_everybody_installs_is_not_copyleft() -> None:
    names = {distribution.name for distribution in closure()}
    assert "psycopg" not in names
    assert is_allowed("psycopg", "LGPL-3.0-only")


def test_what_is_vendored_is_unchanged_and_named_with_its_licence(tmp_path: Path) -> None:
    assert changed() == []
    for component, files in VENDORED:
        (its,) = component["licenses"]
        assert is_allowed(component["name"], its["license"]["id"])
        assert all(list(file.parent.glob(f"{file.name.split('.')[0]}.LICENSE*")) for file in files)
    bill = tmp_path / "bill.json"
    bill.write_text('{"bomFormat": "CycloneDX", "components": [{"name": "numpy"}]}')
    add_vendored(bill)
    names = [each["name"] for each in json.loads(bill.read_text())["components"]]
    assert names == ["numpy", "uplot"]
