"""Everything that must be green before a change is handed in: `nox`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "imports", "docs", "tests", "wheel"]
nox.options.reuse_existing_virtualenvs = True

_EXTRAS = ("auth", "fast", "grpc", "kafka", "kubernetes", "postgres", "sweep")
_TEST_TOOLS = (
    *("bayesian-testing", "check-jsonschema", "hypothesis", "jsonschema", "pytest"),
    *("setuptools", "ville"),
)
_SMOKE = (
    *("tests/test_errors.py", "tests/spec", "tests/protocols", "tests/tables", "tests/settings"),
    *("tests/rewards", "tests/stats", "tests/runtimes", "tests/commands/test_train.py"),
    # Its oracle, tritonclient, wants newer packages than the oldest.
    "--ignore=tests/protocols/test_binary_tensors.py",
)
_CONSTRAINTS = Path("constraints/ci.txt")
_ABOUT_CONSTRAINTS = """\
# The versions that CI installs: pip install -e '.[test]' -c constraints/ci.txt
# Made by `nox -s constraints`; bounds are those of pyproject.toml.
"""
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
def brokers(session: nox.Session) -> None:
    """Sinks of the request log against Kafka and OpenSearch, which Maven gets."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.java_servers")
    required = {"MLOPS_REQUIRE": "kafka,opensearch"}
    session.run("pytest", "tests/conformance/test_sinks.py", "tests/sinks", env=required)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite against an installed wheel."""
    session.install(".[test]")
    session.run("pytest", *(session.posargs or ("-n", "logical", "--dist", "loadfile")))


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines of the package the suite executes in its own processes; servers do not count."""
    session.install("-e", ".[test]", "pytest-cov>=6")
    tests = session.posargs or ("-n", "logical", "--dist", "loadfile")
    session.run("pytest", "--cov=mlops", "--cov-branch", "--cov-report=term:skip-covered", *tests)


@nox.session
def policies(session: nox.Session) -> None:
    """Rendered manifests against public policy checkers, which are large; needs Go."""
    session.install(".[test]")
    session.run("python", "-m", "tests.policy_checkers")
    session.env["MLOPS_REQUIRE"] = "kube-score,checkov"
    session.run("pytest", "tests/deployment/test_policies.py")


@nox.session
def lowest(session: nox.Session) -> None:
    """A part of the suite with the oldest versions that our bounds let in."""
    session.install("uv")
    extras = ",".join(_EXTRAS)
    pip = ("uv", "pip", "install")
    session.run(*pip, "--resolution", "lowest-direct", "--editable", f".[{extras}]")
    # Of what only tests need, the newest will do.
    session.run(*pip, *_TEST_TOOLS)
    session.run("pytest", *(session.posargs or _SMOKE))


@nox.session
def constraints(session: nox.Session) -> None:
    """Choose the versions that CI installs anew, for every Python that we support."""
    session.install("uv")
    extras = ("--extra", "test", "--extra", "dev")
    form = ("--universal", "--python-version", "3.11", "--no-annotate", "--no-header", "--upgrade")
    what = ("-o", str(_CONSTRAINTS), "pyproject.toml")
    session.run("uv", "pip", "compile", "--quiet", *extras, *form, *what)
    _CONSTRAINTS.write_text(_ABOUT_CONSTRAINTS + _CONSTRAINTS.read_text())


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities and licences of what is installed; `-- --online` asks PyPI too."""
    session.install(f".[{','.join(_EXTRAS)}]", "packaging")
    session.run("python", "-m", "tests.supply_chain")
    if "--online" in session.posargs:
        session.install("pip-audit")
        session.run("pip-audit", "--local", "--skip-editable")


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist, in `dist`."""
    session.install("build")
    session.run("python", "-m", "build")


@nox.session
def sbom(session: nox.Session) -> None:
    """A CycloneDX bill of materials of the wheel with all it needs; `-- FILE` of an image.

    FILE is the `requirements.txt` that `mlops deploy --target kubernetes` writes for the image.
    """
    session.install("cyclonedx-bom>=7")
    target = Path(session.create_tmp()) / "installed"
    session.run("python", "-m", "venv", "--clear", str(target))
    python = str(target / "bin" / "python")
    what = ("--requirement", *session.posargs) if session.posargs else (".",)
    session.run(python, "-m", "pip", "install", "--quiet", *what, external=True)
    session.run(python, "-m", "pip", "uninstall", "--yes", "--quiet", "pip", external=True)
    Path("dist").mkdir(exist_ok=True)
    name = "dist/image.cdx.json" if session.posargs else "dist/mlops-loop.cdx.json"
    options = ("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible")
    session.run("cyclonedx-py", "environment", *options, "--output-file", name, python)
    if not session.posargs:
        # What is in the wheel itself, which no installer knows of.
        session.install("packaging")
        session.run("python", "-m", "tests.supply_chain", name)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, without any extra, used outside the checkout."""
    session.install(".")
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("mlops", "--version")
        # The files of the live page, with the licence of those that are not ours.
        session.run("python", "-c", "from mlops.serving.live_page.assets import version; version()")
        session.run("mlops", "init", "--template", "wine")
        session.run("mlops", "train", "-P", "alpha=0.5")
        session.run("mlops", "models", "list", "--json")
        assert not (Path(folder) / "mlruns").exists()


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in `build/site`; a broken link or a request elsewhere fails it."""
    session.install("-e", ".[docs]")
    session.run("python", "-m", "tests.docs.site")
