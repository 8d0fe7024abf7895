"""The written form of a reference profile: a JSON document, kept with the model it describes.

`docs/schemas/profile.v1.json` is its schema. A number that JSON cannot hold, that is an unknown
deviation or a sum beyond floats, is null and read as NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from mlops.errors import InvalidInputError
from mlops.stats.joint import Joint, JointFeature
from mlops.stats.profiles import Categories, Distribution, FeatureProfile, Kind

#: Version of the written form.
SCHEMA_VERSION = 1
#: Name of the file in a model's folder.
PROFILE_FILE = "reference_profile.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model was trained on.

    Attributes:
        name: Name of the data set.
        digest: Its digest as the run has it.
        source: Where it was read from.
        rows: Rows it has.
        profiled_rows: Rows that were looked at.
        features: By name, in the order of the model's signature.
        joint: Statistics of several numbers of a row, by name.
    """

    name: str
    digest: str
    source: str
    rows: int
    profiled_rows: int
    features: Mapping[str, FeatureProfile]
    joint: Mapping[str, JointFeature] = field(default_factory=dict)


def to_json(profile: Profile) -> str:
    """Write a profile."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(profile)}
    return json.dumps(_finite(document), allow_nan=False) + "\n"


def from_json(text: str) -> Profile:
    """Read a profile that `to_json` has written.

    Raises:
        InvalidInputError: The document is of another version or form.
    """
    try:
        document = json.loads(text)
        version = document["schema_version"]
        if version == SCHEMA_VERSION:
            return _profile(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"This profile is broken: {error!r}.") from error
    raise InvalidInputError(
        f"This profile has version {version}; this mlops reads {SCHEMA_VERSION}.",
        hint="pip install --upgrade mlops-loop",
    )


def _profile(document: Mapping[str, Any]) -> Profile:
    return Profile(
        name=document["name"],
        digest=document["digest"],
        source=document["source"],
        rows=int(document["rows"]),
        profiled_rows=int(document["profiled_rows"]),
        features={name: _feature(item) for name, item in document["features"].items()},
        # Earlier versions wrote none.
        joint={
            name: JointFeature(Joint.read(item["statistic"]), _feature(item["profile"]))
            for name, item in document.get("joint", {}).items()
        },
    )


def _feature(item: Mapping[str, Any]) -> FeatureProfile:
    numbers, categories = item["numbers"], item["categories"]
    return FeatureProfile(
        kind=cast(Kind, item["kind"]),
        count=int(item["count"]),
        missing=int(item["missing"]),
        numbers=_distribution(numbers) if numbers is not None else None,
        categories=Categories(**categories) if categories is not None else None,
    )


def _distribution(item: Mapping[str, Any]) -> Distribution:
    below, above = item["infinite"]
    return Distribution(
        minimum=float(item["minimum"]),
        maximum=float(item["maximum"]),
        mean=_number(item["mean"]),
        deviation=_number(item["deviation"]),
        percentiles=tuple(map(float, item["percentiles"])),
        edges=tuple(map(float, item["edges"])),
        counts=tuple(map(int, item["counts"])),
        infinite=(int(below), int(above)),
        sample=tuple(map(float, item.get("sample", ()))),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _finite(value: object) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
