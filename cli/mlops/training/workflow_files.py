"""`mlops init --ci`: a workflow that trains, compares with the champion, registers a challenger."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import mlops
from mlops.resources import shipped

Ci = Literal["github", "gitlab"]

#: Where each service looks for its workflow.
PLACES: Mapping[Ci, str] = {
    "github": ".github/workflows/model.yml",
    "gitlab": ".gitlab-ci.yml",
}
_CANDIDATE = "candidate"
_CHALLENGER = "challenger"


def workflow_file(ci: Ci, model: str, parameters: Mapping[str, str]) -> dict[str, bytes]:
    """Return a workflow's path and content.

    Args:
        ci: Which service.
        model: Registered model of the project.
        parameters: Values for the parameters that have no default.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    template = shipped("templates") / "ci" / f"{ci}.yml.j2"
    # YAML; HTML's escapes would spoil it.
    jinja = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    values = {
        "version": mlops.__version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "train": _train(parameters),
        "compare": f"mlops models compare {model}@{_CANDIDATE} --against champion"
        " --max-regression rmse=1% --allow-missing",
        "challenge": f"mlops models alias {model}@{_CANDIDATE} {_CHALLENGER}",
    }
    text = jinja.from_string(template.read_text(encoding="utf-8")).render(values)
    return {PLACES[ci]: text.encode()}


def has_project(folder: Path) -> bool:
    """Whether a folder holds an MLproject already."""
    return folder.is_dir() and any(item.name.lower() == "mlproject" for item in folder.iterdir())


def _train(parameters: Mapping[str, str]) -> str:
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    return shlex.join(["mlops", "train", *given, "--require-clean", "--alias", _CANDIDATE])
