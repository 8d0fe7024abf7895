"""How a setting is declared: a field with its default, its meaning and its variables."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: object, doc: str, *, env: tuple[str, ...] = (), form: str = "") -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare one setting.

    Args:
        default: Its value unless it is set.
        doc: What it means.
        env: Foreign variables for it.
        form: What `load` holds it to, if its type does not say enough: a `place` is a path or URI
            without credentials, a `source` says where credentials are.
    """
    return field(default=default, metadata={"doc": doc, "env": env, "form": form})
