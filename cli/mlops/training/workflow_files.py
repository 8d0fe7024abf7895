"""`mlops init --ci`: a workflow that trains, compares with the champion, registers a challenger."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.resources import shipped

Ci = Literal["github", "gitlab"]

#: Where each service looks for its workflow.
PLACES: Mapping[Ci, str] = {
    "github": ".github/workflows/model.yml",
    "gitlab": ".gitlab-ci.yml",
}
_CHALLENGER = "challenger"
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Workflow:
    """What a workflow depends on.

    Attributes:
        model: Registered model of the project.
        parameters: Values for the parameters that have no default.
        limit: How much worse a candidate may be, as `--max-regression` reads it.
        source: What pip installs mlops from.
        branch: The branch whose changes count.
        python: Version of Python, such as `3.11`.
        environment_file: File with the project's packages, relative to it; empty for none.
        data: File whose rows the models are compared on; empty for what their runs logged.
    """

    model: str
    parameters: Mapping[str, str]
    limit: str
    source: str
    branch: str
    python: str
    environment_file: str
    data: str


def workflow_file(ci: Ci, workflow: Workflow) -> dict[str, bytes]:
    """Return a workflow's path and content."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    template = shipped("templates") / "ci" / f"{ci}.yml.j2"
    # YAML; HTML's escapes would corrupt it.
    jinja = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    text = jinja.from_string(template.read_text(encoding="utf-8")).render(_values(workflow))
    return {PLACES[ci]: text.encode()}


def python_for(wanted: str) -> tuple[str, str]:
    """Return the Python of a job, and a note if it is not the one that the project asks for.

    >>> python_for("3.12.4")
    ('3.12', '')
    >>> python_for("3.8")[1]
    'The project needs Python 3.8, and mlops needs 3.11: the job uses that.'
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        version = tuple(int(part) for part in wanted.split(".")[:2])
    except ValueError:
        version = ()
    if len(version) < 2:
        return here, ""
    if version >= _OLDEST_PYTHON:
        return ".".join(map(str, version)), ""
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    note = f"The project needs Python {wanted}, and mlops needs {oldest}: the job uses that."
    return oldest, note


def has_project(folder: Path) -> bool:
    """Whether a folder holds an MLproject already."""
    return folder.is_dir() and any(item.name.lower() == "mlproject" for item in folder.iterdir())


def _values(workflow: Workflow) -> dict[str, str]:
    model = workflow.model
    rows = (
        f"On the rows of {workflow.data}."
        if workflow.data
        else "By what their runs logged, if that was of the same data; or name rows that neither "
        "has seen: --data FILE --target COLUMN"
    )
    packages = "mlops project requirements > .mlops-requirements.txt && python -m pip install -r"
    return {
        "about": "Trains on every change, and names the model the challenger if it is not worse "
        "than the champion.",
        "branch": _yaml(workflow.branch),
        "source": workflow.source,
        "python": workflow.python,
        "cache_key": _yaml(workflow.environment_file or "MLproject"),
        "rows": rows,
        "install": 'python -m pip install "$MLOPS_SOURCE"',
        "packages": f"{packages} .mlops-requirements.txt",
        "look": 'test -n "$MLFLOW_TRACKING_URI" || { echo "Set the variable MLFLOW_TRACKING_URI.";'
        " exit 1; }",
        "train": f'{_train(workflow.parameters)} --alias "$CANDIDATE"',
        "compare": f'mlops models compare "{model}@$CANDIDATE" --against champion --max-regression '
        f"{shlex.quote(workflow.limit)} --allow-missing --markdown",
        "challenge": f'mlops models alias "{model}@$CANDIDATE" {_CHALLENGER}',
        "deploy": f"mlops deploy --ab {model}@champion {model}@{_CHALLENGER} $MLOPS_DEPLOY",
        "report": 'mlops report ${MLOPS_URL:+--url "$MLOPS_URL"} --exit-code --markdown',
        "promote": 'mlops promote ${MLOPS_URL:+--url "$MLOPS_URL"}',
    }


def _train(parameters: Mapping[str, str]) -> str:
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    # One environment for all: the models that are compared are loaded by this command.
    return shlex.join(["mlops", "train", *given, "--env-manager", "local", "--require-clean"])


def _yaml(text: str) -> str:
    import yaml

    quoted: str = yaml.safe_dump(text, default_style='"').strip()
    return quoted
