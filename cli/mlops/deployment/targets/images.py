"""What is in the images that platforms run model servers from, and which models they can load.

Contents are those of SeldonIO/MLServer's lock files and `Dockerfile` at the tags named. A model
that a current MLflow has logged does not load there: its MLmodel, its pickle or its skops file is
newer than what reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from mlops.deployment.targets.base import Refusal
from mlops.registry.details import Details


@dataclass(frozen=True, slots=True)
class Contents:
    """What an image contains.

    Attributes:
        image: Its name with a tag.
        python: Its Python's minor version.
        mlflow: Newest MLflow it may have.
        apache: Whether everything in it is under Apache-2.0.
    """

    image: str
    python: str
    mlflow: str
    apache: bool = True


#: Images whose contents are known, newest first.
IMAGES = (
    Contents("docker.io/seldonio/mlserver:1.7.1-mlflow", "3.10", "2.20"),
    Contents("docker.io/seldonio/mlserver:1.7.1", "3.10", "2.20", apache=False),
    Contents("docker.io/seldonio/mlserver:1.5.0-mlflow", "3.10", "2.11"),
    Contents("docker.io/seldonio/mlserver:1.5.0", "3.10", "2.11", apache=False),
    Contents("docker.io/seldonio/mlserver:1.3.5-mlflow", "3.8", "2.5"),
)
#: The newest MLServer with nothing but MLflow's runtime, which is under Apache-2.0 alone.
MLSERVER = IMAGES[0].image

# Formats that hold Python's byte code or objects of a library's own version.
_TIED = ("cloudpickle", "pickle")
_SINCE_MLFLOW_3 = ("skops",)


def contents(image: str) -> Contents | None:
    """Return what an image holds, None if that is not known.

    >>> contents("seldonio/mlserver:1.7.1-mlflow").python
    '3.10'
    """
    short = image.removeprefix("docker.io/")
    for known in IMAGES:
        if known.image.removeprefix("docker.io/") == short:
            return known
    return None


def unable(arm: str, details: Details, image: Contents) -> Iterator[Refusal]:
    """Say why an image cannot load a model, as far as its MLmodel says."""
    hint = (
        "Let our own server load it: `--model-server mlops`, or `--target kubernetes`. Or name an "
        "image of your own with `--image`, or train with what the image has."
    )
    where = f"`{image.image}`"
    if _newer(details.mlflow, image.mlflow):
        yield Refusal(
            f"`{arm}` was logged by MLflow {details.mlflow}, and {where} has {image.mlflow}", hint
        )
    if details.serialization in _SINCE_MLFLOW_3:
        yield Refusal(
            f"`{arm}` is kept as {details.serialization}, which {where} cannot read", hint
        )
    python = ".".join(details.python.split(".")[:2])
    if details.serialization in _TIED and python and python != image.python:
        yield Refusal(
            f"`{arm}` was pickled by Python {python}, and {where} has {image.python}", hint
        )


def _newer(version: str, than: str) -> bool:
    try:
        return Version(version).release[:2] > Version(than).release[:2]
    except InvalidVersion:
        return False
