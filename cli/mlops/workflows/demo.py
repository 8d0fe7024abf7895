"""State and result of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops.deployment.curl_example import curl
from mlops.deployment.runtime_files import pick_name, places
from mlops.errors import ConflictError
from mlops.settings import load_settings
from mlops.workflows.evidence import report_on
from mlops.workflows.replay import require_running

_FOLDER = "mlops-demo"


@dataclass(frozen=True, slots=True)
class StoryEnd:
    """The result of the demo.

    Attributes:
        name: The deployment.
        winner: The arm that the verdict names, None if it names none.
        url: Where the deployment serves.
        curl: A command that requests a prediction.
    """

    name: str
    winner: str | None
    url: str
    curl: str


def new_folder(wanted: Path | None) -> Path:
    """Create the demo's folder and return it.

    Args:
        wanted: Where; None for the first free `mlops-demo`, `mlops-demo-2`, … here.

    Raises:
        ConflictError: The wanted folder is there already and not empty.
    """
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise ConflictError(
                f"`{wanted}` exists already.", hint="Name a folder that is new or empty."
            )
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted.resolve()
    number = 1
    while True:
        folder = Path(_FOLDER if number == 1 else f"{_FOLDER}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder.resolve()


def story_end() -> StoryEnd:
    """Read the verdict and the address of the project's only deployment."""
    settings = load_settings()
    name = pick_name(settings, None)
    state = require_running(places(settings, name))
    verdict = report_on(settings, name).verdict
    return StoryEnd(name, verdict.winner, state.url, curl(state))
