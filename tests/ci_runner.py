"""Runs the workflows that `mlops init --ci` writes, step by step, as their services would.

Every `run:` is run by bash in a clean folder and environment. What a service does itself has an
equivalent here, named in `_ACTIONS`: an action that is not in it fails the test.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

_PATIENCE_S = 300
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
#: Never handed to a runner: this program itself, and what the projects must install themselves.
_LEFT_OUT = ("mlops", "__editable__", "_mlops", "lightgbm", "__pycache__")
#: What was installed on which runner: pip takes four seconds to find that all of it is there.
_installed: set[tuple[Path, str]] = set()


def make_runner(folder: Path) -> Path:
    """Make an environment as `actions/setup-python` would leave it, with a warm cache of packages.

    Our own dependencies are linked into it, which takes no time; this program and the packages of a
    project are not, and have to be installed by the workflow.

    Returns:
        The folder with its programs.
    """
    base = _base_runner()
    shutil.copytree(base, folder, symlinks=True)
    for program in (folder / "bin").iterdir():
        content = program.read_bytes()
        if content.startswith(b"#!"):
            program.write_bytes(content.replace(bytes(base), bytes(folder)))
    return folder / "bin"


@functools.cache
def _base_runner() -> Path:
    """Make the environment that runners are copies of, with the pip that is here."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-runner-")) / "base"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    venv.create(folder)
    there = next((folder / "lib").glob("python*")) / "site-packages"
    here = Path(np.__file__).parents[1]
    for item in here.iterdir():
        wanted = not item.name.lower().startswith(_LEFT_OUT) and item.suffix != ".pth"
        if wanted and not (there / item.name).exists():
            (there / item.name).symlink_to(item)
    return folder


@dataclass
class Job:
    """A job of one service on one runner.

    Attributes:
        folder: The checkout.
        programs: The programs of the runner.
        temp: A folder for what the service keeps beside the checkout.
        environ: What the service puts into the environment.
        done: Names of the steps that ran, in order.
        failed: The step that failed, with what it said; empty if none did.
        uploaded: Files that were kept as artifacts.
    """

    folder: Path
    programs: Path
    temp: Path
    environ: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failed: str = ""
    uploaded: list[str] = field(default_factory=list)

    def bash(self, script: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script as GitHub's `shell: bash` and GitLab's runner do."""
        self.temp.mkdir(exist_ok=True)
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={
                "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(self.temp),
                "LANG": "C.UTF-8",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                **self.environ,
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )


class _Context(SimpleNamespace):
    """A context of GitHub's expressions, in which what is not there is empty."""

    def __getattr__(self, name: str) -> Any:
        return ""


def run_github(
    job: Job,
    name: str,
    *,
    event: str,
    number: int = 0,
    action: str = "",
    variables: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Run every step of a job of GitHub's workflow whose condition holds.

    Args:
        job: Where, and what became of it.
        name: Of the job.
        event: `push`, `pull_request`, `workflow_dispatch` or `schedule`.
        number: Of the pull request.
        action: The input of a dispatch.
        variables: Of the repository.

    Returns:
        The step summary and the environment that steps left, as `summary` and `env`.
    """
    document = yaml.safe_load((job.folder / ".github/workflows/model.yml").read_text())
    assert document["defaults"]["run"]["shell"] == "bash"
    events = document[True]  # YAML 1.1 reads the key `on` as a boolean
    assert event in events or event == "schedule"
    assert not action or action in events["workflow_dispatch"]["inputs"]["action"]["options"]
    env: dict[str, str] = {}
    context = {
        "github": _Context(event_name=event, event=_Context(number=number or "")),
        "inputs": _Context(action=action),
        "vars": _Context(**(variables or {})),
        "secrets": _Context(),
        "env": _Context(),
        "format": lambda text, *values: text.format(*values),
        "always": lambda: True,
    }
    described = document["jobs"][name]
    assert evaluate(described["if"], context), f"{name} does not run on {event}"
    for level in (document, described):
        env |= {key: _expanded(str(value), context) for key, value in level["env"].items()}
    context["env"] = _Context(**env)
    files = {key: job.temp / key for key in ("GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
    job.temp.mkdir(exist_ok=True)
    for file in files.values():
        file.write_text("")
    more = {key: str(path) for key, path in files.items()} | {"RUNNER_TEMP": str(job.temp)}
    for step in described["steps"]:
        condition = str(step.get("if", "true")).replace("true", "True")
        if not evaluate(condition, context) or (job.failed and "always()" not in condition):
            continue
        title = step.get("name") or step["uses"].partition("@")[0]
        job.done.append(title)
        if "uses" in step:
            _ACTIONS[step["uses"].partition("@")[0]](job, step.get("with", {}))
            continue
        lines = files["GITHUB_ENV"].read_text().splitlines()
        kept = dict(line.split("=", 1) for line in lines)
        script = _expanded(step["run"], context)
        if (job.programs, script) in _installed:
            continue
        done = job.bash(script, {**env, **more, **kept})
        _note_installed(job, [script])
        if done.returncode:
            job.failed = f"{title}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return {"summary": files["GITHUB_STEP_SUMMARY"].read_text(), **env}


def run_gitlab(job: Job, name: str, variables: Mapping[str, str]) -> None:
    """Run a job of GitLab's pipeline; its rules are left to GitLab's own schema."""
    document = yaml.safe_load((job.folder / ".gitlab-ci.yml").read_text())
    described = document[name]
    parent = document.get(described.get("extends", ""), {})
    described = {**parent, **described}
    env = {**document["variables"], **described.get("variables", {}), **variables}
    env = {key: value.replace("$CI_PROJECT_DIR", str(job.folder)) for key, value in env.items()}
    lines = [*_flat(described["before_script"]), *_flat(described["script"])]
    job.done += lines
    lines = [line for line in lines if (job.programs, line) not in _installed]
    done = job.bash("\n".join(lines), env)
    _note_installed(job, lines)
    if done.returncode:
        job.failed = f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    for path in described.get("artifacts", {}).get("paths", ()):
        job.uploaded += [path] if (job.folder / path).exists() else []


def _note_installed(job: Job, lines: Iterable[str]) -> None:
    """Remember what a next job of this test need not install; one that failed ends the test."""
    _installed.update((job.programs, line) for line in lines if "pip install" in line)


def evaluate(expression: str, context: Mapping[str, Any]) -> Any:
    """Evaluate one of GitHub's expressions."""
    text = expression.replace("&&", " and ").replace("||", " or ")
    return eval(text, {"__builtins__": {}}, dict(context))


def _expanded(text: str, context: Mapping[str, Any]) -> str:
    return _EXPRESSION.sub(lambda match: str(evaluate(match[1].strip(), context)), text)


def _flat(lines: Any) -> list[str]:
    return [text for line in lines for text in (_flat(line) if isinstance(line, list) else [line])]


def _checkout(job: Job, given: Mapping[str, Any]) -> None:
    assert given == {"persist-credentials": False}
    assert (job.folder / ".git").is_dir()


def _setup_python(job: Job, given: Mapping[str, Any]) -> None:
    assert given["cache"] == "pip"
    assert (job.folder / given["cache-dependency-path"]).is_file()
    assert given["python-version"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def _upload(job: Job, given: Mapping[str, Any]) -> None:
    for path in given["path"].split():
        found = job.folder / path
        files = [found] if found.is_file() else [p for p in found.rglob("*") if p.is_file()]
        job.uploaded += [str(file.relative_to(job.folder)) for file in files]


_ACTIONS = {
    "actions/checkout": _checkout,
    "actions/setup-python": _setup_python,
    "actions/upload-artifact": _upload,
}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this program, as somebody who cloned it does."""
    root = Path(__file__).parents[1]
    clean = folder / "source"
    left_out = shutil.ignore_patterns(".git", ".venv", ".mlops", "__pycache__", "*.db")
    shutil.copytree(root, clean, ignore=left_out)
    words = ["pip", "wheel", "--no-deps", "--quiet", "-w", str(folder), str(clean)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    subprocess.run([sys.executable, "-m", *words], check=True, env=environ, timeout=_PATIENCE_S)
    return next(folder.glob("mlops_loop-*.whl"))
