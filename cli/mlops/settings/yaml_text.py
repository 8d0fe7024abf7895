"""Reading YAML that a user wrote."""

from __future__ import annotations

from typing import Any


def parse_yaml(text: str, *, texts_only: bool = False) -> Any:  # noqa: ANN401 - parsed YAML
    """Parse one YAML document.

    Args:
        text: The document.
        texts_only: Leave every scalar a text, so that `3.10` stays what it is.

    Raises:
        YAMLError: It is not YAML, or nested so deep that the parser cannot follow.
    """
    import yaml

    try:
        return yaml.load(text, Loader=yaml.BaseLoader if texts_only else yaml.SafeLoader)  # noqa: S506 - both are safe
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
