"""Any Seldon Core v1 endpoint: predictions and feedback in its own protocol.

Seldon finds the model that a reward is for by `response.meta.routing`: for each router of the graph
the child it chose. So the whole response goes back with the reward. Two deployments cannot be
credited that way, and are refused:

- without `SELDON_ENABLE_ROUTING_INJECTION` a response has no routing, and the executor hands the
  reward to all models of the graph;
- where traffic is split between predictors no router chose. The gateway did, and it draws again for
  the feedback, so that rewards land on whichever predictor comes up.

Feedback is not remembered: the same twice counts twice, so nothing here is ever sent again.

Specification: `executor/predictor/predictor_process.go`, `createIstioResources` of the operator,
`python/seldon_core/metrics.py` and `proto/prediction.proto` of seldon-core 1.18.2.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mlops.client.connection import Connection
from mlops.client.reward import compute
from mlops.client.seldon_answer import answered_by, chosen, malformed, predictions
from mlops.errors import ConflictError, InvalidInputError, RemoteError
from mlops.rewards.own import Function

_PREDICTIONS = "/api/v1.0/predictions"
_FEEDBACK = "/api/v1.0/feedback"
_FAILURES = (1, "FAILURE")


@dataclass(frozen=True, slots=True)
class Terms:
    """How outcomes become the one number that Seldon takes.

    Attributes:
        reward: Computes the reward of a prediction, with its name.
        shift: Added to every reward.
        one_model: The user says that there is only one model to credit.
    """

    reward: tuple[Function, str]
    shift: float = 0.0
    one_model: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one request.

    Attributes:
        response: What Seldon answered, whole.
        request: What it was asked; None if it was not kept.
        truths: The true value of each row; empty if not known.
        reward: The reward of the whole request, where it is not computed from the truth.
    """

    response: dict[str, Any]
    request: dict[str, Any] | None = None
    truths: Sequence[Any] = ()
    reward: float | None = None


class SeldonClient:
    """Sends outcomes to one Seldon v1 deployment.

    Args:
        connection: To the deployment's prefix, for example `http://host/seldon/ns/wine`.
        terms: How outcomes become rewards.
        warn: Told each thing that a user should know once.
    """

    def __init__(
        self, connection: Connection, terms: Terms, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._warn = warn
        self._warned: set[str] = set()
        self._answered_by = ""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a prediction.

        Raises:
            RemoteError: The answer says that it failed, or is not a message of Seldon's.
        """
        response, _ = self._connection.post(_PREDICTIONS, json.dumps(request).encode())
        return _succeeded(response)

    def tell(self, outcome: Outcome) -> None:
        """Send a reward, and the truth if it is known.

        Raises:
            ConflictError: It could not be credited to the model that answered.
            InvalidInputError: There is neither reward nor truth, or not one truth per row.
        """
        self._check_credit(outcome.response)
        reward = self._reward(outcome)
        feedback: dict[str, Any] = {"response": outcome.response, "reward": reward}
        if outcome.request is not None:
            feedback["request"] = outcome.request
        if outcome.truths:
            feedback["truth"] = {"data": {"ndarray": list(outcome.truths)}}
        answer, _ = self._connection.post(_FEEDBACK, json.dumps(feedback).encode())
        _succeeded(answer)

    def _reward(self, outcome: Outcome) -> float:
        if outcome.reward is not None:
            value = outcome.reward
        elif not outcome.truths:
            raise InvalidInputError("There is neither a reward nor a truth in this feedback.")
        else:
            answers = predictions(outcome.response)
            if len(answers) != len(outcome.truths):
                raise InvalidInputError(
                    f"{len(outcome.truths)} truths for {len(answers)} rows.",
                    hint="Give the truth of every row, in their order.",
                )
            pairs = zip(answers, outcome.truths, strict=True)
            value = fmean(compute(*self._terms.reward, *pair) for pair in pairs)
        value += self._terms.shift
        self._check_counter(value)
        return value

    def _check_counter(self, value: float) -> None:
        """Warn of what Seldon's counters cannot hold."""
        if value < 0:
            self._once(
                "negative",
                f"the reward {value:g} is negative, and Seldon v1 adds rewards to a Prometheus "
                "counter. Prometheus takes a counter that falls for one that started again, so "
                "every `rate` and `increase` of `seldon_api_model_feedback_reward_total` is wrong "
                "from here on. `--shift NUMBER` adds the same to every reward; or use a reward "
                "above 0, such as 1 / (1 + error) in a `module:function`.",
            )
        elif value == 0:
            self._once(
                "zero",
                "Seldon v1's Python servers do not count feedback whose reward is 0, neither in "
                "`seldon_api_model_feedback_total` nor in its reward: a rate made of the two "
                "leaves failures out. `--shift NUMBER` keeps rewards above 0.",
            )

    def _check_credit(self, response: dict[str, Any]) -> None:
        """Refuse what would be credited to another model, or to all."""
        meta = response.get("meta") or {}
        if chosen(response):
            return
        leaf = answered_by(response)
        if leaf and self._answered_by not in ("", leaf):
            raise ConflictError(
                f"`{self._answered_by}` and `{leaf}` answer here, and no router of Seldon's chose "
                "between them: the gateway splits traffic between predictors, and would draw again "
                "for this reward.",
                hint=_INSTEAD,
            )
        self._answered_by = leaf
        if self._terms.one_model:
            return
        if not meta.get("routing"):
            raise ConflictError(
                "Seldon's answer does not say which model gave it: it has no `meta.routing`, and "
                "feedback without it is handed to every model of the graph.",
                hint="Set SELDON_ENABLE_ROUTING_INJECTION in its `svcOrchSpec.env`, as `mlops "
                "deploy --target seldon` does for two arms; where there is one model, say "
                "`--one-model`.",
            )
        raise ConflictError(
            f"No router chose `{leaf or 'the model'}` that answered. If the gateway splits traffic "
            "between predictors, it would draw again for this reward, and credit any of them.",
            hint=f"{_INSTEAD} Where there is one model, say `--one-model`.",
        )

    def say(self, text: str) -> None:
        """Show the user a message."""
        self._warn(text)

    def _once(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._warn(text)


_INSTEAD = (
    "`mlops deploy --target seldon --traffic-by graph` lets a router inside Seldon's graph choose, "
    "`--router` puts our server in front, which knows its answers by their id."
)


class SeldonEndpoint:
    """Replays rows to a Seldon v1 deployment. Each outcome is a request of its own."""

    def __init__(self, client: SeldonClient) -> None:
        self._client = client
        self._sent: Counter[str] = Counter()

    def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: object) -> None:
        """See `Endpoint.send_row`; the feedback is sent at once."""
        request = {"data": {"names": list(columns), "ndarray": [list(row)]}}
        response = self._client.ask(request)
        self._client.tell(Outcome(response, request, (truth,)))
        self._sent["sent"] += 1

    def flush(self) -> Counter[str]:
        """Return what was sent since the last call. Seldon does not say its status."""
        sent, self._sent = self._sent, Counter()
        return sent


def _succeeded(response: object) -> dict[str, Any]:
    if not isinstance(response, dict) or malformed(response):
        raise RemoteError(f"The endpoint does not speak Seldon v1: {str(response)[:80]}.")
    status = response.get("status")
    if isinstance(status, dict) and status.get("status") in _FAILURES:
        raise RemoteError(f"Seldon says it failed: {str(status.get('info'))[:300]}.")
    return response
