"""The bundled server as an image: a Dockerfile made for the models it is to load.

The image has the Python and the packages that the models were trained with, so what the platform
runs can read what training wrote. Nothing is installed when a pod starts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from mlops import __version__
from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.names import models_of
from mlops.deployment.yaml_templates import render_template
from mlops.registry.details import Details
from mlops.runtimes.requirements import TRIED_BY, optional
from mlops.spec.deployment import DeploymentSpec

DOCKERFILE = "Dockerfile"
REQUIREMENTS = "requirements.txt"
#: The oldest Python that this program runs on.
OLDEST_PYTHON = "3.11"
_DIGEST = 12
# Packages whose wheels need a library of the system.
_NEEDS_OPENMP = ("lightgbm",)


@dataclass(frozen=True, slots=True)
class OwnImage:
    """An image to be built, or one that exists.

    Attributes:
        name: Its name with a tag.
        files: File name to text of what it is built from.
        notes: What the reader should know about it.
        build: Commands that make it; empty where the settings name an image.
    """

    name: str
    files: Mapping[str, str]
    notes: tuple[str, ...]
    build: tuple[str, ...]


def own_image(
    spec: DeploymentSpec, options: RenderOptions, named_by: str = "`--image`"
) -> OwnImage:
    """Say which image runs the bundled server with the models of a spec, and how to build it.

    Args:
        spec: Has the models; those that another server answers for are not in the image.
        options: `cluster.image` names one that exists.
        named_by: What names it, human-readable.
    """
    known = [options.details[name] for name in _names(spec) if name in options.details]
    python, notes = _python(known)
    pins, clashes = _pins(known)
    requirements = _requirements(pins, _extras(options))
    openmp = any(name in _NEEDS_OPENMP for name in pins)
    dockerfile = render_template(
        "image/Dockerfile", {"python": python, "openmp": openmp}, finalize=_word
    )
    files = {DOCKERFILE: dockerfile, REQUIREMENTS: requirements}
    digest = hashlib.sha256("\0".join(files.values()).encode()).hexdigest()[:_DIGEST]
    given = options.cluster.image
    name = given or f"{spec.name}-mlops:{digest}"
    notes += clashes
    if given:
        notes.append(
            f"`{given}` is used as named: what it can load is not known here. The Dockerfile "
            "beside the manifests makes one that fits."
        )
    else:
        notes.append(
            f"The image `{name}` is to be built from the Dockerfile beside the manifests; name the "
            f"one in your registry with {named_by}. Where your package index lacks mlops-loop "
            f"{__version__}, put its wheel beside the Dockerfile."
        )
    missing = [name for name in _names(spec) if name not in options.details]
    if missing:
        quoted = ", ".join(f"`{name}`" for name in missing)
        notes.append(
            f"The requirements of {quoted} were not read; requirements.txt lacks them. Add them "
            "before you build."
        )
    build = () if given else (f"docker build -t {name} {{folder}}",)
    return OwnImage(name, files, tuple(notes), build)


def _names(spec: DeploymentSpec) -> list[str]:
    return [name for name, model in models_of(spec).items() if not model.endpoint]


def _python(known: Sequence[Details]) -> tuple[str, list[str]]:
    """Choose the minor version of Python: the newest that a model was trained with."""
    minors = sorted({minor for each in known if (minor := _minor(each.python))}, key=Version)
    chosen = max([*minors, OLDEST_PYTHON], key=Version)
    others = [minor for minor in minors if minor != chosen]
    if not others:
        return chosen, []
    note = (
        f"The image runs Python {chosen}; a model was trained with {', '.join(others)}. What is "
        "pickled may not load there: check the first lines of the server's log."
    )
    return chosen, [note]


def _minor(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match[0] if match else ""


def _pins(known: Sequence[Details]) -> tuple[dict[str, Requirement], list[str]]:
    """Merge the requirements of all models; of two versions the newer one."""
    pins: dict[str, Requirement] = {}
    notes = []
    for requirement in _parsed(known):
        name = requirement.name.lower().replace("_", "-")
        before = pins.get(name)
        if before is None or _version(requirement) > _version(before):
            pins[name] = requirement
        if before is not None and str(before.specifier) != str(requirement.specifier):
            notes.append(
                f"Models were trained with `{before.name}{before.specifier}` and "
                f"`{requirement.name}{requirement.specifier}`; one image has one of them, "
                f"`{pins[name].specifier}`."
            )
    return pins, list(dict.fromkeys(notes))


def _parsed(known: Sequence[Details]) -> Iterator[Requirement]:
    for details in known:
        for line in details.requirements:
            try:
                yield Requirement(line.partition("#")[0].strip())
            except InvalidRequirement:
                continue


def _version(requirement: Requirement) -> Version:
    pinned = next((s.version for s in requirement.specifier if s.operator == "=="), "0")
    try:
        return Version(pinned)
    except InvalidVersion:
        return Version("0")


def _extras(options: RenderOptions) -> list[str]:
    wanted = {"grpc": options.kubernetes.grpc_port, "postgres": options.postgresql}
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _requirements(pins: Mapping[str, Requirement], extras: Sequence[str]) -> str:
    extra = f"[{','.join(extras)}]" if extras else ""
    lines = [f"mlops-loop{extra}=={__version__}"]
    unneeded = optional(pins)
    lines += [str(pins[name]) for name in sorted(pins) if name not in {"mlops-loop", *unneeded}]
    lines += [
        f"# {name} is left out: {TRIED_BY[name]} imports it only where it is installed."
        for name in sorted(unneeded)
    ]
    return "# Rendered by `mlops deploy`; rendering again overwrites this file.\n" + "".join(
        f"{line}\n" for line in lines
    )


def _word(value: object) -> object:
    """Write a value into a Dockerfile: versions and flags only, nothing that a user can choose."""
    text = str(value)
    if not re.fullmatch(r"[0-9A-Za-z.]*", text):
        raise TypeError(f"A Dockerfile cannot hold {value!r}.")
    return text
