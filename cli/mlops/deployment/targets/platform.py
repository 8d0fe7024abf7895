"""What the targets of model-serving platforms have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from packaging.version import InvalidVersion, Version

from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.deployment.targets.images import MLSERVER, contents, unable
from mlops.errors import one_of
from mlops.spec.deployment import DeploymentSpec

_BSL = (
    "under the Business Source License 1.1, images and charts included: no production use "
    "without a "
    "commercial licence"
)


def one_among(setting: str, value: str, known: Sequence[str]) -> Iterator[Refusal]:
    """Refuse a value that a setting does not have."""
    if value not in known:
        yield Refusal(f"`{setting}` is `{value}`", f"Use {one_of(known)}.")


def version_of(setting: str, value: str, oldest: str) -> Iterator[Refusal]:
    """Refuse what is not a version, and versions older than those supported."""
    try:
        old = Version(value) < Version(oldest)
    except InvalidVersion:
        yield Refusal(f"`{setting}` is `{value}`, which is not a version", f"Write `{oldest}`.")
        return
    if old:
        yield Refusal(f"version {value} of the platform is older than {oldest}", "Upgrade it.")


def no_router(
    spec: DeploymentSpec, platform: str, *, any_policy: bool = False
) -> Iterator[Refusal]:
    """Refuse what only the bundled router can do, and models of other servers.

    Args:
        spec: What is deployed.
        platform: Its name.
        any_policy: Whether a policy may draw there.
    """
    if spec.sticky_by:
        yield Refusal(
            f"{platform} draws an arm for every request, so it cannot keep `{spec.sticky_by}` "
            "on one",
            "Leave `sticky_by` out; `--router` and `--target kubernetes` have sticky arms.",
        )
    if spec.policy != "weighted" and not any_policy:
        yield Refusal(
            f"{platform} knows fixed weights only, not the policy `{spec.policy}`",
            "Use the policy `weighted`; `--router` and `--target kubernetes` have others.",
        )
    if spec.ramp is not None:
        yield Refusal(
            f"{platform} keeps the weights as rendered, and judges nothing by which a ramp could "
            "move them",
            "Leave `ramp` out; `--router` and `--target kubernetes` have ramps.",
        )
    for model in spec.models:
        if model.endpoint:
            yield Refusal(
                f"`{model.label}` is a server that runs already, and {platform} starts its own",
                "`--router` and `--target kubernetes` call other servers as arms.",
            )


def no_monitoring(options: RenderOptions, platform: str, own: str) -> Iterator[Refusal]:
    """Refuse alerts and dashboards about what a platform does not measure.

    Args:
        options: What is wanted.
        platform: The platform's name.
        own: What it has of its own, and how that is scraped.
    """
    if options.cluster.extras:
        yield Refusal(
            f"{platform} splits the traffic itself and counts neither rewards nor what each arm "
            "should have got, so our alerts and dashboard would be empty",
            f"`--router` and `--target kubernetes` have all of it. {own}",
        )


def mlserver_image(options: RenderOptions) -> str:
    """Return the image that runs MLServer."""
    return options.cluster.image or MLSERVER


def image_refusals(options: RenderOptions, image: str) -> Iterator[Refusal]:
    """Say why an image cannot load the models whose files are known."""
    known = contents(image)
    if known is not None:
        for name, details in options.details.items():
            yield from unable(name, details, known)


def request_log_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    """Say that sinks read the bundled server's journal, where there is none."""
    if options.sinks and not options.cluster.router and spec.policy == "weighted":
        yield (
            "The sinks of `[log]` get nothing: they read the journal of the bundled server, which "
            "is there with `--router` or `--target kubernetes`."
        )


def image_notes(spec: DeploymentSpec, options: RenderOptions, image: str) -> Iterator[str]:
    """Say what is known of a third-party image."""
    known = contents(image)
    if known is None:
        yield f"`{image}` is used as named: what it can load is not known here."
        return
    yield (
        f"`{image}` has Python {known.python} and MLflow up to {known.mlflow}, and ignores "
        "a model's requirements."
    )
    if not known.apache:
        yield (
            f"`{image}` carries alibi and alibi-detect, which are {_BSL}. `{MLSERVER}` does not."
        )
    unread = [arm.name for arm in spec.arms if arm.name not in options.details]
    if unread:
        quoted = ", ".join(f"`{name}`" for name in unread)
        yield f"The files of {quoted} were not read; whether the image can load them is not known."


def licence_note(platform: str, version: str, last_apache: str) -> str:
    """Say under which licence a version of a platform is.

    >>> licence_note("Seldon Core", "1.17.1", "1.17.1")
    'Seldon Core 1.17.1 is under Apache-2.0, the last version that is; later ones are not.'
    """
    if Version(version) <= Version(last_apache):
        last = ", the last version that is" if version == last_apache else ""
        return f"{platform} {version} is under Apache-2.0{last}; later ones are not."
    return f"{platform} {version} is {_BSL}. {last_apache} is the last under Apache-2.0."
