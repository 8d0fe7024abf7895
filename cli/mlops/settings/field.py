"""How a setting is declared: a field with its default, its meaning and its variables."""

from __future__ import annotations

from dataclasses import field
from typing import Any

MAX_PORT = 65_535


def setting(
    default: object,
    doc: str,
    *,
    env: tuple[str, ...] = (),
    form: str = "",
    low: int = 0,
    high: int | None = None,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare one setting.

    Args:
        default: Its value unless it is set.
        doc: What it means.
        env: Foreign variables for it.
        form: What `load` holds it to, if its type does not say enough: a `place` is a path or URI
            without credentials, a `source` says where credentials are.
        low: Least value of a whole number.
        high: Largest value of a whole number; None for any.
    """
    limits = (low, high)
    return field(default=default, metadata={"doc": doc, "env": env, "form": form, "limits": limits})
