"""Where the files that ship beside the code are: templates and the wine example.

In an installed wheel they are in `mlops/_shipped`; in a checkout they are beside `cli/`.
"""

from __future__ import annotations

from pathlib import Path

from mlops.errors import NotFoundError

_PACKAGE = Path(__file__).resolve().parent
#: What has to be on the path of an interpreter that is to run this very package.
PACKAGES = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """Return the shipped folder `name` (`templates` or `wine_example`).

    Raises:
        NotFoundError: The installation lacks it.
    """
    for root in (_PACKAGE / "_shipped", _PACKAGE.parent.parent):
        if (root / name).is_dir():
            return root / name
    raise NotFoundError(
        f"This installation of mlops lacks its `{name}` folder.",
        hint="pip install --force-reinstall mlops-loop",
    )
