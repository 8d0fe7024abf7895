"""What Seldon Core v1 would refuse or do differently, reported before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

from mlops.deployment.targets import platform, pods, rclone, router, sources
from mlops.deployment.targets.apportionment import too_small, whole
from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.deployment.targets.names import MAX_NAME, begins_with_letter
from mlops.deployment.targets.seldon.graph import (
    SERVERS,
    behind_router,
    by_gateway,
    learns,
    object_name,
    predictors_of,
    server_of,
)
from mlops.spec.deployment import DeploymentSpec

_OLDEST = "1.8.0"
_PLATFORM = "Seldon Core v1"
#: The platform's own metrics, and how they are scraped.
_METRICS = (
    "Its executor reports requests, errors and latency by predictor and model "
    "(`seldon_api_executor_client_requests_seconds`): scrape pods with the label "
    "`app.kubernetes.io/managed-by: seldon-core`, port `metrics`, path `/prometheus`."
)
_GIVEN = "given"
_GATEWAYS = ("istio", "ambassador")
_SPLITS = ("auto", "graph", "predictors")


def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Say which settings are wrong, whatever is deployed."""
    own = options.seldon
    yield from platform.one_among("seldon.mode", own.mode, _GATEWAYS)
    yield from platform.one_among("seldon.split", own.split, _SPLITS)
    yield from platform.version_of("seldon.version", own.version, _OLDEST)
    yield from pods.refusals(options)
    yield from pods.object_names(("seldon.env_secret", own.env_secret))


def refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    """Yield why a spec cannot be deployed this way."""
    settings = [
        *platform.one_among("cluster.model_server", server_of(options), SERVERS),
        *setting_refusals(options),
    ]
    yield from settings
    if settings:
        return
    yield from sources.refusals(spec, rclone.unfetchable, router.is_on_platform)
    yield from sources.disk_refusals(spec, options, together=False)
    if not begins_with_letter(spec.name):
        yield Refusal(
            f"its services would be named after `{spec.name}`, and a service's name begins with a "
            "letter",
            "Give another name with `--name`.",
        )
    if options.cluster.router:
        yield from router.refusals(spec, options)
        for one in behind_router(spec).values():
            yield from _long_names(one, options)
        return
    drawn = learns(spec, options)
    yield from platform.no_router(spec, _PLATFORM, any_policy=drawn)
    if drawn:
        yield from _policy_refusals(spec, options)
    yield from platform.no_monitoring(options, _PLATFORM, _METRICS)
    yield from _split_refusals(spec, options)
    yield from _shadow_refusals(spec)
    yield from _long_names(spec, options)


def _split_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    count = len(spec.arms)
    own, server = options.seldon, server_of(options)
    if own.split == "graph" and count > 2 and not learns(spec, options):
        yield Refusal(
            f"its in-graph A/B test never calls a third child, and there are {count} arms",
            "Leave `--traffic-by graph` out and the gateway splits; `--router` and `--target "
            "kubernetes` take any number of arms, with feedback.",
        )
    if own.split == "graph" and server == "mlserver":
        yield Refusal(
            "an in-graph A/B test is for feedback, which MLServer's protocol, V2, does not have",
            "Use `--model-server mlops`, `--traffic-by predictors`, or `--router`.",
        )
    if not by_gateway(spec, options):
        return
    weights = [arm.weight for arm in spec.arms]
    for index in too_small(weights, 100):
        yield Refusal(
            f"`{spec.arms[index].name}` gets {weights[index] * 100:.3g} % of the traffic, and "
            "predictors have whole percentages",
            "Give it 1 % or 0; `--router` and `--target kubernetes` take any share.",
        )
    if own.mode == "ambassador" and 0 in whole(weights, 100):
        yield Refusal(
            "Ambassador leaves out a weight of 0, so that an arm that is to get nothing would get "
            "an equal share",
            "Leave the arm out, deploy behind Istio, or let our server split with `--router`.",
        )


def _policy_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    """Refuse what the bundled component in the graph cannot do, which sees no answer of a model."""
    if server_of(options) != SERVERS[0] or options.seldon.split == "predictors":
        yield Refusal(
            f"the policy `{spec.policy}` is a component of the bundled image in the graph",
            "Leave `--model-server` and `--traffic-by` out, or use `--router`.",
        )
    if not options.postgresql:
        yield Refusal(
            f"what the policy `{spec.policy}` learns is kept in PostgreSQL",
            "Name it: `url` of `[journal]`, or `journal_secret` of `[kubernetes]`.",
        )
    if spec.reward != _GIVEN:
        yield Refusal(
            f"the reward `{spec.reward}` needs what a model answered, which a component in the "
            "graph does not see",
            "Use `--reward given` and send rewards, or `--router`.",
        )
    if not options.client_ids:
        yield Refusal(
            "the executor names requests by ids of its own, and `client_ids` of `[feedback]` is "
            "off",
            "Switch it on, or use `--router`.",
        )


def _shadow_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    if len(spec.shadows) > 1:
        yield Refusal(
            f"it takes one shadow, and there are {len(spec.shadows)}",
            "Leave the others out; `--router` and `--target kubernetes` take several.",
        )
    for shadow in spec.shadows:
        # A percentage of 0 would mean all requests.
        if round(shadow.share * 100) < 1:
            yield Refusal(
                f"the shadow `{shadow.name}` gets {shadow.share * 100:.3g} % of the requests, and "
                "predictors have whole percentages",
                "Give it 1 % or more; `--router` takes any share.",
            )


def _long_names(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    # An arm is named after its URI; one that may carry a secret must not show up here.
    if any(True for _ in sources.refusals(spec, rclone.unfetchable)):
        return
    for predictor in predictors_of(spec, options):
        for index, arm in enumerate(predictor.arms):
            name = object_name(spec.name, predictor.name, index, arm.container)
            if len(name) > MAX_NAME:
                yield Refusal(
                    f"the operator would join names to `{name}`, which has {len(name)} characters, "
                    f"and replace it by a hash because it is longer than {MAX_NAME}",
                    "Give shorter names with `--name` and `--arm NAME=REF`.",
                )
