"""Where the files that ship beside the code are: templates and the wine example.

In an installed wheel they are in `mlops/_shipped`; in a checkout they are beside `cli/`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import NotFoundError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

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


def page_templates(folder: str = "") -> Environment:
    """Return the templates of pages in a shipped folder: what is inserted is escaped.

    Args:
        folder: Below `templates`; empty for that itself.

    Raises:
        NotFoundError: The installation lacks them.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(shipped("templates") / folder),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["prose"] = prose
    return made


def own_markup(text: str) -> Markup:
    """Take text as it is: of a shipped file, or rendered from one with what is inserted escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - see above


def prose(text: str) -> Markup:
    """Return escaped text, with names in backticks as code.

    >>> prose("`a<b` & more")
    Markup('<code>a&lt;b</code> &amp; more')
    """
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]*)`", text)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
