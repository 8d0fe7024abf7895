"""Feedback to deployments that are not on this machine: on a cluster, by URL."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mlops.client.outcomes import Line, Sent, read_truth, send_lines, send_one
from mlops.client.remote_endpoint import Reached, RemoteServer, reach
from mlops.client.replay import Endpoint, OwnEndpoint
from mlops.client.saved_responses import read_saved, send_saved, truths
from mlops.client.seldon import Outcome, SeldonClient, SeldonEndpoint, Terms
from mlops.errors import InvalidInputError, UsageError
from mlops.rewards import is_own
from mlops.rewards.choosing import default_reward
from mlops.rewards.own import load_reward
from mlops.settings import Settings

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SeldonTerms:
    """Options for a Seldon v1 deployment.

    Attributes:
        shift: Added to every reward.
        one_model: There is only one model to credit.
    """

    shift: float = 0.0
    one_model: bool = False


@contextlib.contextmanager
def reached(where: RemoteServer) -> Iterator[Reached]:
    """Connect; the connection ends with the block."""
    found = reach(where)
    with found.connection:
        yield found


@contextlib.contextmanager
def replay_endpoint(
    settings: Settings, where: RemoteServer, terms: SeldonTerms, warn: Warn
) -> Iterator[tuple[str, Endpoint]]:
    """Connect for a replay; yields the base URL and the endpoint.

    Raises:
        InvalidInputError: It speaks a protocol without feedback, or computes rewards itself.
    """
    with reached(where) as found:
        if found.protocol == "mlops":
            _only_seldon(terms)
            yield found.url, OwnEndpoint(found.connection, _own_reward(settings), warn)
        else:
            yield found.url, SeldonEndpoint(_client(settings, found, terms, warn))


def send_remote_outcome(where: RemoteServer, request_id: str, **outcome: Any) -> dict[str, Any]:  # noqa: ANN401 - see `send_one`
    """Send feedback about one request to an mlops server, wherever it is."""
    with reached(where) as found:
        _require_ids(found)
        return send_one(found.connection, request_id, **outcome)


def send_remote_stream(
    settings: Settings,
    where: RemoteServer,
    lines: Iterable[Line],
    terms: SeldonTerms,
    warn: Warn,
    on_progress: Callable[[Counter[str]], None],
) -> Sent:
    """Send NDJSON outcomes, by request id to an mlops server, with kept answers to Seldon."""
    with reached(where) as found:
        if found.protocol == "mlops":
            _only_seldon(terms)
            return send_lines(found.connection, lines, on_progress)
        return send_saved(_client(settings, found, terms, warn), lines, on_progress)


def send_saved_outcome(
    settings: Settings,
    where: RemoteServer,
    file: str,
    *,
    reward: float | None,
    truth: str | None,
    terms: SeldonTerms,
    warn: Warn,
) -> dict[str, int]:
    """Send feedback about an answer of Seldon v1 that was kept in a file; count what was sent."""
    kept = read_saved(file)
    with reached(where) as found:
        if found.protocol == "mlops":
            raise UsageError(
                f"{found.url} is an mlops server, which finds its predictions by their id.",
                hint="`--request-id` instead of `--response`.",
            )
        known = () if truth is None else truths(read_truth(truth))
        outcome = Outcome(kept.response, kept.request, known, reward)
        _client(settings, found, terms, warn).tell(outcome)
    return {"sent": 1}


def _client(settings: Settings, found: Reached, terms: SeldonTerms, warn: Warn) -> SeldonClient:
    if found.protocol != "seldon":
        raise InvalidInputError(
            f"{found.url} speaks `{found.protocol}`, which has no feedback.",
            hint="`mlops deploy … --router` has: our server in front of the models takes rewards "
            "and truths, and knows whom to credit.",
        )
    # Only the client computes it here, and it has no signature.
    name = settings.feedback.reward or default_reward("")
    rewards = Terms((load_reward(name), name), terms.shift, terms.one_model)
    return SeldonClient(found.connection, rewards, warn)


def _own_reward(settings: Settings) -> Any:  # noqa: ANN401 - a reward with its name
    name = settings.feedback.reward
    if is_own(name):
        return load_reward(name), name
    if settings.origins["feedback.reward"] == "command line":
        raise InvalidInputError(
            f"An mlops server derives the reward from the label; `{name}` is not needed.",
            hint="The reward belongs to the deployment: `mlops deploy --reward`.",
        )
    return None


def _only_seldon(terms: SeldonTerms) -> None:
    if terms != SeldonTerms():
        raise UsageError(
            "`--shift` and `--one-model` are for Seldon v1; this is an mlops server.",
            hint="It takes negative rewards, and knows whom to credit.",
        )


def _require_ids(found: Reached) -> None:
    if found.protocol == "seldon":
        raise UsageError(
            f"{found.url} speaks Seldon v1, which credits a reward by the routing in its answer "
            "and not by an id.",
            hint="Keep the answer and say `--response FILE`; if it is an mlops server, say "
            "`--protocol mlops`.",
        )
    if found.protocol != "mlops":
        raise InvalidInputError(f"{found.url} speaks `{found.protocol}`, which has no feedback.")
