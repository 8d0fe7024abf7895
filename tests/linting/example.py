"""What is an example of a rule, and the places in manifests that several speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Change: TypeAlias = tuple[str, Any]

PREDICTORS = "0.spec.predictors"
PREDICTOR = "0.spec.predictor"
LOGGER = {"url": "http://sink", "mode": "all"}


@dataclass(frozen=True)
class Example:
    """What breaks a rule, and what comes close and does not.

    Attributes:
        of: The set of manifests.
        bad: Changes that break the rule.
        good: Changes that do not; without any, the set as it is.
        path: Where the finding is, if that is worth saying.
        versions: Platform to version.
        feedback: Whether feedback is sent.
    """

    of: str
    bad: tuple[Change, ...]
    good: tuple[Change, ...] = ()
    path: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    feedback: bool = False
