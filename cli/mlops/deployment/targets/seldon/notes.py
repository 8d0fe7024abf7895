"""What the reader of a rendering for Seldon Core v1 should know."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mlops.deployment.targets import platform, rclone, router
from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.names import label_notes
from mlops.deployment.targets.own_image import OwnImage
from mlops.deployment.targets.seldon.graph import by_gateway, in_graph, learns, ratio_a, server_of
from mlops.rewards import reward_called
from mlops.spec.deployment import DeploymentSpec

LAST_APACHE = "1.17.1"


def notes(
    spec: DeploymentSpec, options: RenderOptions, own: OwnImage | None, image: str
) -> Iterator[str]:
    """Say what the platform will not do or do differently."""
    yield platform.licence_note("Seldon Core", options.seldon.version, LAST_APACHE)
    if own is not None:
        yield from own.notes
    elif server_of(options) == "mlserver":
        yield from platform.image_notes(spec, options, image)
    else:
        yield from _prepackaged_notes(spec, options)
    yield from platform.request_log_notes(spec, options)
    yield from label_notes(spec)
    secret = options.seldon.env_secret or options.cluster.storage_secret
    fetched = (model.source for model in spec.models if router.is_on_platform(model))
    yield from rclone.notes(fetched, secret)
    if options.cluster.router:
        return
    yield from _traffic_notes(spec, options)
    yield from _reward_notes(spec, options)


def _prepackaged_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    logged = [
        f"`{name}` was logged by MLflow {details.mlflow or 'of an unknown version'} and Python "
        f"{details.python or 'of an unknown version'}"
        for name, details in options.details.items()
    ]
    yield (
        "The images of MLFLOW_SERVER bring an old Python and an old MLflow and may be unable to "
        "read a model that a current MLflow has logged; try it before you rely on it."
        + (f" Here {'; '.join(logged)}." if logged else "")
    )
    yield (
        "A model server builds the model's conda environment when it starts: it needs the internet "
        "and some minutes. The probes wait for 18."
    )
    guessed = [f"`{arm.name}`" for arm in spec.arms if arm.name not in options.details]
    if guessed:
        yield (
            f"The signature of {', '.join(guessed)} was not read; `xtype` DataFrame is a guess, "
            "right for models with named columns."
        )


def _traffic_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    if spec.shadows:
        yield (
            f"`{spec.shadows[0].name}` gets copies of feedback calls too, as the gateway cannot "
            "tell them from requests."
        )
    if len(spec.arms) < 2:
        return
    if not in_graph(spec, options):
        yield (
            "The gateway splits between predictors and draws again for the feedback call, so a "
            "reward would land on any arm: feedback is not possible here. With `--router` our "
            "server in front takes it, for any number of arms; so does `--target kubernetes`."
        )
        return
    if learns(spec, options):
        yield (
            f"`{spec.policy}` is drawn by a bundled component in the graph, which learns from the "
            "feedback that the executor hands on: send `response.meta` back as it came. What it "
            "knows is in PostgreSQL, where `mlops report` reads it; raise `replicas` as you like."
        )
        yield "The executor is ready only while the component and all model servers are."
        return
    # The executor reads ratioA in single precision.
    (ratio,) = struct.unpack("f", struct.pack("f", ratio_a(spec)))
    if ratio in (0, 1):
        idle, busy = spec.arms if ratio == 0 else reversed(spec.arms)
        yield (
            f"`{idle.name}` gets no request at all, so nothing will be learned about it; its "
            f"server runs nevertheless. To serve `{busy.name}` alone, deploy it with `--model`."
        )
    yield (
        "The executor is ready only while both model servers are: if one is down, neither arm "
        "answers."
    )


def _reward_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    if by_gateway(spec, options) or learns(spec, options) or server_of(options) == "mlserver":
        return
    if server_of(options) == "mlops":
        yield (
            "Feedback is counted by each arm's server (`/metrics`, a reward of 0 and negative ones "
            "too) and not kept, so `mlops report` knows nothing of it. With `--router` it does."
        )
        return
    yield (
        "Feedback moves only Seldon's Prometheus counters, and a reward of 0 not even those: "
        "reward divided by feedback leaves such answers out."
    )
    low, high = reward_called(spec.reward).span
    if high <= 0:
        yield (
            f"The reward `{spec.reward}` is negative. It makes Seldon's reward counter fall, which "
            "Prometheus takes for a restart: rate() of it means nothing."
        )
    elif low < 0:
        yield (
            f"If the reward `{spec.reward}` can be negative, Seldon's reward counter falls, which "
            "Prometheus takes for a restart."
        )
