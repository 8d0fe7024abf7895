"""Everything that must be green before a change is handed in: `nox`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "imports", "tests", "wheel"]
nox.options.reuse_existing_virtualenvs = True

_CODE = ("cli", "tests", "benchmarks", "wine_example", "noxfile.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and form."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", *_CODE)
    session.run("ruff", "format", "--check", *_CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy strict over package, tests and this file."""
    session.install(".[dev]")
    session.run("mypy", "cli/mlops", "tests", "benchmarks", "noxfile.py")


@nox.session
def imports(session: nox.Session) -> None:
    """The layers of the house."""
    session.install("-e", ".[dev]")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite against an installed wheel."""
    session.install(".[test]")
    session.run("pytest", *(session.posargs or ("-n", "logical", "--dist", "loadfile")))


@nox.session
def policies(session: nox.Session) -> None:
    """Rendered manifests against public policy checkers, which are large; needs Go."""
    session.install(".[test]")
    session.run("python", "-m", "tests.policy_checkers")
    session.env["MLOPS_REQUIRE"] = "kube-score,checkov"
    session.run("pytest", "tests/deployment/test_policies.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, without any extra, used outside the checkout."""
    session.install(".")
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("mlops", "--version")
        session.run("mlops", "init", "--template", "wine")
        session.run("mlops", "train", "-P", "alpha=0.5")
        session.run("mlops", "models", "list", "--json")
        assert not (Path(folder) / "mlruns").exists()
