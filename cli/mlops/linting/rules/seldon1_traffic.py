"""SeldonDeployments: splits, shadows, gateways, and where feedback ends up.

Behaviour is that of SeldonIO/seldon-core v1.18.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document
from mlops.linting.rules.seldon1 import (
    CONTROLLER,
    SDEP,
    WEBHOOK,
    annotated,
    containers,
    live,
    nodes,
    predictors,
    protocol_of,
)

_AMBASSADOR = "SeldonIO/seldon-core v1.18.2 operator/controllers/ambassador/v1.go"
_EXECUTOR = "SeldonIO/seldon-core v1.18.2 executor/api/rest/server.go"
_INJECTION = "SELDON_ENABLE_ROUTING_INJECTION"


def traffic_sum(document: Document, context: Context) -> Iterator[Problem]:
    """Find a split that is none."""
    answering = live(document)
    if len(answering) > 1:
        total = sum(predictor.get("traffic") or 0 for _, predictor in answering)
        if total != 100:
            yield Problem(("spec", "predictors"), f"the traffic sums to {total}, not 100")
    elif len(predictors(document)) == 1 and answering:
        traffic = answering[0][1].get("traffic") or 0
        if 0 < traffic < 100:
            yield Problem(
                ("spec", "predictors", 0, "traffic"),
                f"must be 100 for the only predictor, not {traffic}",
            )


def traffic_range(document: Document, context: Context) -> Iterator[Problem]:
    """Find shares that are not percentages."""
    for index, predictor in enumerate(predictors(document)):
        traffic = predictor.get("traffic") or 0
        if not 0 <= traffic <= 100:
            yield Problem(
                ("spec", "predictors", index, "traffic"), f"must be from 0 to 100, not {traffic}"
            )


def shadows(document: Document, context: Context) -> Iterator[Problem]:
    """Find several shadows, or nothing but one."""
    found = [i for i, p in enumerate(predictors(document)) if p.get("shadow")]
    if len(found) > 1:
        yield Problem(
            ("spec", "predictors", found[1], "shadow"),
            f"only one shadow is allowed, not {len(found)}",
        )
    if found and len(predictors(document)) == len(found):
        yield Problem(
            ("spec", "predictors", found[0], "shadow"), "a shadow needs a predictor that answers"
        )


def split_feedback(document: Document, context: Context) -> Iterator[Problem]:
    """Find feedback that would land on any arm."""
    answering = live(document)
    told = document.annotations.get("mlops/feedback") == "none"
    if len(answering) > 1 and protocol_of(document) == "seldon" and not (context.feedback or told):
        yield Problem(
            ("spec", "predictors"),
            f"feedback would reach any of {len(answering)} predictors",
        )


def lost_feedback(document: Document, context: Context) -> Iterator[Problem]:
    """Find feedback that lands on any arm."""
    answering = live(document)
    if context.feedback and len(answering) > 1 and protocol_of(document) == "seldon":
        yield Problem(
            ("spec", "predictors"),
            f"feedback is sent, and reaches any of {len(answering)} predictors, whichever answered",
        )


def zero_reward(document: Document, context: Context) -> Iterator[Problem]:
    """Find rewards that Seldon's counters leave out or get wrong."""
    if context.feedback and not context.has_router and protocol_of(document) == "seldon":
        for path, node in nodes(document):
            if str(node.get("implementation", "")).endswith("_SERVER") and not _image_of(
                document, int(path[2]), node
            ):
                yield Problem(path, f"`{node.get('name')}` does not count a reward of 0")


def _image_of(document: Document, index: int, node: Mapping[str, Any]) -> str:
    for _, container in containers(predictors(document)[index]):
        if container.get("name") == node.get("name"):
            return str(container.get("image") or "")
    return ""


def v2_feedback(document: Document, context: Context) -> Iterator[Problem]:
    """Find feedback where there is no endpoint for it."""
    sent = context.feedback and not context.has_router
    if sent and protocol_of(document) in ("v2", "tensorflow"):
        yield Problem(("spec", "protocol"), f"`{document.at('spec', 'protocol')}` has no feedback")


def routing(document: Document, context: Context) -> Iterator[Problem]:
    """Find a router whose answers do not say which way they came."""
    for path, node in nodes(document):
        routes = node.get("implementation") == "RANDOM_ABTEST" or node.get("type") == "ROUTER"
        if not routes:
            continue
        index = path[2]
        given = maps(document.at("spec", "predictors", index, "svcOrchSpec", "env"))
        if not any(item.get("name") == _INJECTION and item.get("value") for item in given):
            yield Problem(
                path, f"`{node.get('name')}` routes requests, and `{_INJECTION}` is not set"
            )


def no_engine(document: Document, context: Context) -> Iterator[Problem]:
    """Find graphs of several nodes without the executor that runs them."""
    for path, (key, value) in annotated(document).items():
        if key != "seldon.io/no-engine" or value.lower() != "true":
            continue
        for index, predictor in enumerate(predictors(document)):
            if (predictor.get("graph") or {}).get("children"):
                yield Problem(path, f"predictor `{predictor.get('name', index)}` has several nodes")


def executor_off(document: Document, context: Context) -> Iterator[Problem]:
    """Find an executor that is taken away, or is thought to be."""
    for path, (key, value) in annotated(document).items():
        if key == "seldon.io/no-engine" and value.lower() == "true":
            yield Problem(path, "the predictors run without the executor")
        if key == "seldon.io/executor" and value.lower() == "false":
            yield Problem(path, "this annotation has no effect any more")


def v2_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find predictors that answer to different model names."""
    if protocol_of(document) != "v2":
        return
    names = [(p.get("graph") or {}).get("name") for p in predictors(document)]
    for index, name in enumerate(names):
        if name != names[0]:
            yield Problem(
                ("spec", "predictors", index, "graph", "name"), f"`{name}` is not `{names[0]}`"
            )


def ambassador(document: Document, context: Context) -> Iterator[Problem]:
    """Find a share of 0, which Ambassador leaves out."""
    for index, predictor in live(document):
        if len(live(document)) > 1 and not predictor.get("traffic"):
            yield Problem(
                ("spec", "predictors", index), f"`{predictor.get('name')}` has no traffic"
            )


def regex_header(document: Document, context: Context) -> Iterator[Problem]:
    """Find a pair of annotations of which only one is there."""
    found = {key: path for path, (key, _) in annotated(document).items()}
    if "seldon.io/ambassador-regex-header" in found and "seldon.io/ambassador-header" not in found:
        yield Problem(
            found["seldon.io/ambassador-regex-header"], "`seldon.io/ambassador-header` is missing"
        )


RULES = (
    Rule("seldon/traffic-sum", "error", SDEP, traffic_sum,
         'The webhook refuses it: "Traffic must sum to 100 for multiple predictors".', WEBHOOK),
    Rule("seldon/traffic-range", "error", SDEP, traffic_range,
         "The webhook refuses it for shadows, and does not check other predictors: 150 and -50 "
         "sum to 100.",
         WEBHOOK),
    Rule("seldon/shadows", "error", SDEP, shadows,
         'The webhook refuses it: "Multiple shadows are not allowed", "Shadow can not exist as '
         'only predictor".', WEBHOOK),
    Rule("seldon/split-feedback", "warning", SDEP, split_feedback,
         "The gateway splits between predictors, and it draws again for the feedback call: a "
         "reward for one arm's answer is counted for whichever arm the feedback reaches. With an "
         "even split of two arms half of all rewards are wrong, and the difference between the "
         "arms disappears. Put two arms into one graph with RANDOM_ABTEST and routing injection, "
         "send feedback to each arm's own Service, or put a router in front that knows request "
         "ids (`mlops deploy --target seldon --router`).", CONTROLLER),
    Rule("seldon/lost-feedback", "error", SDEP, lost_feedback,
         "The gateway splits between predictors, and it draws again for the feedback call: a "
         "reward for one arm's answer is counted for whichever arm the feedback reaches. With an "
         "even split of two arms half of all rewards are wrong, and the difference between the "
         "arms disappears. Put two arms into one graph with RANDOM_ABTEST and routing injection, "
         "send feedback to each arm's own Service, or put a router in front that knows request "
         "ids (`mlops deploy --target seldon --router`).", CONTROLLER),
    Rule("seldon/zero-reward", "warning", SDEP, zero_reward,
         "The wrapper returns early on a reward of 0: neither the feedback counter nor the reward"
         " counter moves, so reward divided by feedback leaves failures out. A negative reward "
         "makes the counter fall, which Prometheus takes for a restart, and rewards are cut to "
         "single precision.",
         "SeldonIO/seldon-core v1.18.2 python/seldon_core/metrics.py"),
    Rule("seldon/v2-feedback", "error", SDEP, v2_feedback,
         "Under protocol v2 `/api/v1.0/feedback` does not exist (404); under tensorflow it "
         "answers and does nothing. Use protocol seldon.", _EXECUTOR),
    Rule("seldon/routing-injection", "warning", SDEP, routing,
         "Without the variable answers have no `meta.routing`; feedback then goes to all "
         "children, and a bandit fails with a 500. Any value but the empty string enables it, "
         "even `false`.",
         "SeldonIO/seldon-core v1.18.2 executor/predictor/predictor_process.go"),
    Rule("seldon/no-engine", "error", SDEP, no_engine,
         'The webhook refuses it: "Running without engine only valid for single element graphs".',
         WEBHOOK),
    Rule("seldon/executor-off", "warning", SDEP, executor_off,
         'With `seldon.io/no-engine: "true"` there is no executor: no request metrics '
         "(seldon_api_executor_*), no request id in the header, no payload logging, no "
         "`meta.routing`, and the model server's own port answers. `seldon.io/executor: \"false\"` "
         "chose the Java engine of 1.0 to 1.2; the operator knows neither it nor that engine any "
         "more and always runs the executor.", CONTROLLER),
    Rule("seldon/v2-names", "error", SDEP, v2_names,
         "Clients of the V2 protocol name the model in the path, and the executor passes that "
         "name to whichever predictor the gateway picked: the others answer 404. Give every "
         "predictor's graph one name.",
         "SeldonIO/seldon-core v1.18.2 executor/predictor/predictor_process.go"),
    Rule("seldon/zero-traffic", "warning", SDEP, ambassador,
         "Ambassador is not given the first predictor's weight and drops a weight of 0, so 100:0 "
         "becomes 50:50 (SeldonIO/seldon-core#4067). Behind Istio 0 means 0. Leave the predictor "
         "out.",
         _AMBASSADOR),
    Rule("seldon/regex-header", "error", SDEP, regex_header,
         "The operator reads past the end of a list and panics.", _AMBASSADOR),
)  # fmt: skip
