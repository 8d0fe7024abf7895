"""What to do about failures of a script whose own message does not say it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SKOPS = re.compile(r"skops_trusted_types|skops serialization format|UntrustedTypesFound")
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w-]+)")
_CLOUDPICKLE = (
    "MLflow 3 saves scikit-learn models with skops, which refuses trees, forests and classes of "
    'your own. Log it with `mlflow.sklearn.log_model(…, serialization_format="cloudpickle")`, or '
    "name the types that you trust in `skops_trusted_types=[…]`"
)


def hint_for(output: Iterable[str], env_manager: str) -> str:
    """Return what to do about a failure, empty if nothing is known.

    Args:
        output: The script's last lines.
        env_manager: What made its environment.
    """
    text = "\n".join(output)
    if _SKOPS.search(text):
        return _CLOUDPICKLE
    missing = _MISSING.findall(text)
    if not missing:
        return ""
    if env_manager == "local":
        return (
            f"`{missing[-1]}` is not installed beside `mlops`: install its package, or use "
            "`--env-manager uv` for an environment of the project's own"
        )
    return f"Name the package of `{missing[-1]}` in the project's environment file"
