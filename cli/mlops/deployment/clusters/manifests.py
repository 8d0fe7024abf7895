"""The objects of a revision, in the order and the stages in which they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import yaml

from mlops.cluster import Manifest
from mlops.cluster.objects import ref_of
from mlops.deployment.clusters.connection import place_of
from mlops.deployment.clusters.options import restored
from mlops.deployment.fetchable import read_models
from mlops.deployment.manifests import render_checked
from mlops.deployment.targets import Rendered, RenderOptions
from mlops.registry.details import Details, read_details
from mlops.registry.ledger import Entry
from mlops.settings.needs import StoreSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.place import ObjectRef, Place


@dataclass(frozen=True, slots=True)
class Manifests:
    """The objects of a revision.

    Attributes:
        rendered: What they were parsed from.
        options: What that was rendered with.
        stages: Objects in the order in which they are applied; those of a stage once all before
            are ready. A later stage may have an object again.
    """

    rendered: Rendered
    options: RenderOptions
    stages: tuple[tuple[Manifest, ...], ...]

    @property
    def in_order(self) -> tuple[ObjectRef, ...]:
        """Every object once, in the order in which they are applied first."""
        return tuple(dict.fromkeys(ref_of(each) for stage in self.stages for each in stage))

    @property
    def final(self) -> Mapping[ObjectRef, Manifest]:
        """What each object is in the end."""
        return {ref_of(each): each for stage in self.stages for each in stage}


def parsed(rendered: Rendered, options: RenderOptions) -> Manifests:
    """Read what a target rendered."""
    files = rendered.files
    stages = (
        _objects(files[name] for name in rendered.first),
        _objects(text for name, text in files.items() if name not in rendered.first),
        _objects(rendered.beside[name] for name in rendered.later),
    )
    return Manifests(rendered, options, tuple(stage for stage in stages if stage))


def rendered_again(
    settings: StoreSettings,
    spec: DeploymentSpec,
    place: Place,
    number: int,
    read: Callable[[str], Details] = read_details,
) -> Manifests:
    """Return the objects of a spec as an earlier revision was rendered, under another number.

    Args:
        settings: The project's settings.
        spec: What shall be served; that of the revision, or another.
        place: Of the revision.
        number: Number that the manifests shall have.
        read: Reads the files of the model at a URI.

    Raises:
        InvalidInputError: The platform cannot do this.
    """
    options = restored(place)
    details, _ = read_models(settings, spec, read)
    options = replace(options, details=details, revision=number)
    return parsed(render_checked(place.target, spec, options), options)


def manifests_of(settings: StoreSettings, entry: Entry) -> Manifests:
    """Return the objects of a revision as they were applied.

    Raises:
        ValueError: It is on no cluster.
    """
    return rendered_again(settings, entry.intent.spec, place_of(entry), entry.number)


def _objects(texts: Iterable[str]) -> tuple[Manifest, ...]:
    stream = "---\n".join(texts)
    return tuple(each for each in yaml.safe_load_all(stream) if each is not None)
