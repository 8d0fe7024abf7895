"""Keeping secrets out of what we print."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    """Return `text` with the `user:password@` of every URI in it left out.

    >>> without_credentials("postgresql://ann:secret@db/mlflow is down")
    'postgresql://db/mlflow is down'
    """
    return _USERINFO.sub("", text)
