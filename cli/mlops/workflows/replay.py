"""Feedback to a deployment: find it, reach it, send."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlops.client.connection import Connection, read_token
from mlops.client.outcomes import Line, Sent, send_lines, send_one
from mlops.client.remote_endpoint import RemoteServer
from mlops.client.replay import Endpoint, OwnEndpoint, Tally, play
from mlops.client.replay_data import ReplayRows, blamed, read_replay_rows, row_order
from mlops.client.seldon import SeldonEndpoint
from mlops.client.signature import signature_at
from mlops.deployment.admin_client import add_note
from mlops.deployment.local import running
from mlops.deployment.runtime_files import Places, known_names, pick_name, places
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    UsageError,
    unreadable,
)
from mlops.rewards import is_own, reward_called
from mlops.rewards.own import load_reward
from mlops.rewards.sending import can_replay, feedback_commands
from mlops.settings import Settings
from mlops.spec.server import ServerState
from mlops.spec.tls import own_client_context
from mlops.workflows.remote_feedback import SeldonTerms, replay_endpoint

_HERE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Rows to replay.

    Attributes:
        data: CSV file; empty for the setting. Draws of the project file are not meant for another.
        truth_columns: Columns with the truth of each output; empty for the setting.
        once: Send each row once, whatever the settings say of draws.
        limit: At most so many requests; None for all.
        skip: Leave out so many requests at the start, which an interrupted run had made.
        rate: At most so many requests a second; None for as fast as possible.
        remote: Where the deployment is, if not on this machine.
        terms: What Seldon v1 needs besides.
        unrewarded: Replay also where no reward can be derived from a label.
        warn: Called with what the user should know.
        content: What is in `data`, where that is a pipe and has been read.
    """

    data: str = ""
    truth_columns: Sequence[str] = ()
    once: bool = False
    limit: int | None = None
    skip: int = 0
    rate: float | None = None
    remote: RemoteServer | None = None
    terms: SeldonTerms = field(default_factory=SeldonTerms)
    unrewarded: bool = False
    warn: Callable[[str], None] = lambda _: None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay.

    Attributes:
        name: Deployment, or the URL.
        deployment: Deployment of this project that was called; empty for a remote one.
        visits: Predictions requested.
        refused: Of them, those whose model did not take the row.
        customers: Rows of the file.
        simulated: Whether rows were drawn, and not each sent once.
        counts: Feedback by its status.
        seconds: Time it took.
    """

    name: str
    deployment: str
    visits: int
    refused: int
    customers: int
    simulated: bool
    counts: dict[str, int]
    seconds: float

    @property
    def label(self) -> str:
        """What a reader of the result must know."""
        return _label(self.customers, simulated=self.simulated)


def _label(customers: int, *, simulated: bool) -> str:
    drawn = f"simulated: draws from {customers} rows"
    return drawn if simulated else f"each of {customers} rows at most once"


def replay_file(
    settings: Settings,
    name: str | None,
    request: ReplayRequest,
    on_progress: Callable[[Tally, int], None] = lambda *_: None,
) -> ReplayResult:
    """Request predictions of labelled rows and send the label of each.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        request: What to replay, and how.
        on_progress: Called with the tally and the total number of requests.

    Raises:
        UsageError: There is no file of labelled rows, or no label has a reward there.
        NotFoundError: There is no such file, or the deployment does not run.
        ConflictError: The reward is not that of the deployment.
    """
    path, columns = _file(settings, request)
    draws = _draws(settings, request)
    with _endpoint(settings, name, request) as (state, endpoint):
        if state and not request.unrewarded:
            _check_rewarded(state, request)
        own = endpoint if isinstance(endpoint, OwnEndpoint) else None
        signature = signature_at(own.connection) if own else None
        table = read_replay_rows(path, columns, signature, request.content)
        first, count = request.skip, draws or len(table)
        total = min(count - first, request.limit or count)
        if total <= 0:
            raise UsageError(f"`--skip {first}` leaves none of the {count:,} rows.")
        rows = itertools.islice(
            row_order(table, draws, settings.feedback.seed), first, first + total
        )
        if state and draws:
            # Before the first request: an interrupted replay leaves simulated requests too.
            add_note(state.launch.socket, _label(len(table), simulated=True))
        file = request.data or settings.feedback.data
        reward = _reward_of(settings, request, state, endpoint)
        if reward and reward_called(reward).needs_numbers:
            _check_truths(settings, request, table)
        try:
            tally = play(
                *(endpoint, table, rows),
                rate=request.rate,
                on_progress=lambda t: on_progress(t, total),
            )
        except InvalidInputError as error:
            raise blamed(error, table.strays, file) from error
    return ReplayResult(
        name=request.remote.url if request.remote else state.launch.name if state else "",
        deployment=state.launch.name if state else "",
        visits=tally.visits,
        refused=tally.refused,
        customers=len(table),
        simulated=draws > 0,
        counts=dict(tally.counts),
        seconds=tally.seconds,
    )


def send_outcome(
    settings: Settings,
    name: str | None,
    request_id: str,
    *,
    row: int | None,
    reward: float | None,
    truth: str | None,
) -> dict[str, Any]:
    """Send feedback about one request; return the server's answer."""
    state = require_running(places(settings, pick_name(settings, name)))
    with connect(state) as connection:
        return send_one(connection, request_id, row=row, reward=reward, truth=truth)


def send_stream(
    settings: Settings,
    name: str | None,
    lines: Iterable[Line],
    on_progress: Callable[[Counter[str]], None] = lambda _: None,
) -> Sent:
    """Send NDJSON outcomes; return their statuses."""
    state = require_running(places(settings, pick_name(settings, name)))
    with connect(state) as connection:
        return send_lines(connection, lines, on_progress)


def require_running(where: Places) -> ServerState:
    """Return a deployment's state.

    Raises:
        NotFoundError: Its server does not run.
    """
    state = running(where)
    if state is None and where.cluster.exists():
        raise NotFoundError(
            f"No server of `{where.name}` runs on this machine; it was put into a cluster.",
            hint=f"`mlops status {where.name}` says where it answers: `--url URL` instead of "
            "the name. An address within the cluster needs `kubectl port-forward`, as "
            "`mlops deploy --apply` printed it.",
        )
    if state is None:
        raise NotFoundError(
            f"The server of `{where.name}` does not run.",
            hint=f"Repeat its `mlops deploy` to start it; `mlops history {where.name}` shows it.",
        )
    return state


def connect(state: ServerState) -> Connection:
    """Open a connection to a server on this machine.

    Raises:
        NotAllowedError: It asks callers for a certificate, and only `--url` goes with one.
    """
    launch = state.launch
    if launch.tls and launch.tls.client_ca:
        raise NotAllowedError(
            f"`{launch.name}` asks callers for a certificate, and a call by name shows none.",
            hint=f"`mlops predict` and `mlops feedback` show one with `--url {state.url} --ca FILE "
            "--client-cert CERT,KEY`; FILE has the authority of the server's own certificate.",
        )
    tls = own_client_context(launch.tls) if launch.tls else None
    return Connection(state.url, read_token(launch.credentials), tls=tls)


def _served_at(settings: Settings, url: str) -> ServerState | None:
    """Return the state of the deployment of this project that answers at a URL, if one does."""
    parts = urlsplit(url)
    for name in known_names(settings):
        state = running(places(settings, name))
        if state is None or parts.port != state.launch.port:
            continue
        if parts.hostname in {*_HERE, state.launch.host}:
            return state
    return None


def _file(settings: Settings, request: ReplayRequest) -> tuple[Path, Sequence[str]]:
    """Return the file of rows and the columns with the labels."""
    data = request.data or settings.feedback.data
    if not data:
        raise UsageError(
            "No labelled data is named to replay.",
            hint="`--data rows.csv --truth-column NAME`, or `[feedback] data` in `mlops.toml`; "
            "for outcomes that happened elsewhere `--data -` or `--request-id`.",
        )
    # A path on the command line is the shell's; one in the project file is the project's.
    path = Path(data) if request.data else settings.project_dir / data
    if not path.exists():
        # This can be checked without a server.
        raise unreadable(path, FileNotFoundError())
    columns = _truth_columns(settings, request)
    if not columns:
        raise UsageError("The column with the truth is not named.", hint="`--truth-column NAME`")
    return path, columns


def _truth_columns(settings: Settings, request: ReplayRequest) -> Sequence[str]:
    known = settings.feedback.truth_column
    return request.truth_columns or ((known,) if known else ())


def _draws(settings: Settings, request: ReplayRequest) -> int:
    """How many rows are drawn; by the project's settings, only from its own data."""
    own, feedback = settings.project_dir / settings.feedback.data, settings.feedback
    other = request.data and feedback.data and Path(request.data).resolve() != own.resolve()
    by_file = settings.origins["feedback.draws"] == str(settings.project_file)
    return 0 if request.once or (other and by_file) else feedback.draws


def _reward_of(
    settings: Settings, request: ReplayRequest, state: ServerState | None, endpoint: Endpoint
) -> str:
    """Name the reward, empty for that of a remote server, which it does not report."""
    if state and not request.remote:
        return state.launch.served.revision.spec.reward
    return settings.feedback.reward if isinstance(endpoint, SeldonEndpoint) else ""


def _check_rewarded(state: ServerState, request: ReplayRequest) -> None:
    """Refuse to fill an experiment with requests that stay without a reward.

    Raises:
        UsageError: Only rewards that clients send count.
    """
    reward, name = state.launch.served.revision.spec.reward, state.launch.name
    if not can_replay(reward):
        where = f"--url {request.remote.url}" if request.remote else name
        command, _ = feedback_commands(reward, where)
        raise UsageError(
            f"`{name}` has the reward `{reward}`: no label has a reward there, and the requests "
            "of a replay would only count as requests without feedback.",
            hint=f"Send the rewards of your own requests: `{command}`, or `--data FILE` with the "
            "columns `request_id` and `reward`. For labels without rewards, as a guardrail or "
            "`mlops monitor quality` needs them: `--without-reward`.",
        )


def _check_truths(settings: Settings, request: ReplayRequest, table: ReplayRows) -> None:
    """Refuse texts where errors are to be computed, before any request is sent.

    Raises:
        InvalidInputError: A truth is not a number; its place is named.
    """
    columns = _truth_columns(settings, request)
    truths = (each if isinstance(each, list) else [each] for each in table.truths)
    text = next((each for some in truths for each in some if isinstance(each, str)), None)
    if text is None:
        return
    stray = next((stray for stray in table.strays if stray.column in columns), None)
    named = ", ".join(f"`{column}`" for column in columns)
    what = f"{stray}" if stray else f"{named} is `{text[:40]}`, not a number"
    raise InvalidInputError(
        f"`{request.data or settings.feedback.data}`, {what}: there is no error to reward.",
        hint="Correct the file, or deploy with `--reward exact`.",
    )


@contextlib.contextmanager
def _endpoint(
    settings: Settings, name: str | None, request: ReplayRequest
) -> Iterator[tuple[ServerState | None, Endpoint]]:
    """Connect to the endpoint of the replay; the state is that of a deployment here."""
    wanted = settings.feedback.reward
    if request.remote:
        with replay_endpoint(settings, request.remote, request.terms, request.warn) as (
            url,
            endpoint,
        ):
            yield _served_at(settings, url), endpoint
        return
    where = places(settings, pick_name(settings, name))
    state = require_running(where)
    its = state.launch.served.revision.spec.reward
    if settings.origins["feedback.reward"] == "command line" and wanted != its:
        raise ConflictError(
            f"`{where.name}` was deployed with the reward `{its}`, not `{wanted}`.",
            hint="Another reward is another experiment: deploy again with `--reward`.",
        )
    own = (load_reward(its), its) if is_own(its) else None
    with connect(state) as connection:
        yield state, OwnEndpoint(connection, own, request.warn)
