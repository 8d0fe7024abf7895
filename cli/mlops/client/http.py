"""The exchanges of `mlops.client.exchange`, carried by httpx."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from mlops.client import exchange
from mlops.client.checking import listed
from mlops.client.exchange import Pause, Request, Response, Retries, Steps, Unanswered
from mlops.client.records import FeedbackResult, Outcome, Prediction
from mlops.client.urls import split_url

if TYPE_CHECKING:
    import ssl

    import httpx


class _Base:
    """What both clients share."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # Proxies of the environment are for the outside, not for a server of this machine.
        self._local = split_url(url).hostname in ("127.0.0.1", "localhost", "::1")
        self.url = url.rstrip("/")
        own = {"authorization": f"Bearer {token}"} if token else {}
        self._headers = {**own, **(headers or {})}
        self._retries = Retries(retries)
        self._timeout_s, self._tls = timeout_s, tls

    def _options(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout_s,
            "verify": True if self._tls is None else self._tls,
            "trust_env": not self._local,
            "headers": self._headers,
        }

    def _unanswered(self, error: httpx.TransportError) -> Unanswered:
        import httpx

        if isinstance(error, httpx.TimeoutException):
            return Unanswered(f"{self.url} does not answer within {self._timeout_s:g} s.")
        return Unanswered(f"{self.url} does not answer: {error or type(error).__name__}.")


class Client(_Base):
    """Predictions and feedback; a context manager.

    Connections are kept, and several threads may use it.

    Args:
        url: Base URL of the deployment, with a path if it is behind a gateway.
        token: Bearer token, empty for none.
        headers: Sent with every request, for example the one of `--sticky-by header:NAME`.
        timeout_s: Seconds to wait for a connection, and for each part of an answer.
        retries: How often a request is sent again; see `mlops.client.exchange`.
        tls: How to check a server of `https`; None as the system does.

    Raises:
        InvalidInputError: The URL is not http or https, or holds credentials.
    """

    _http: httpx.Client | None = None
    # Which of several threads opens it.
    _opening = threading.Lock()

    def predict(
        self,
        rows: object,
        *,
        params: Mapping[str, Any] | None = None,
        arm: str = "",
        idempotency_key: str = "",
        client_id: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Ask for predictions of every row, in one request.

        Args:
            rows: One row as a mapping or a pandas Series with names; a list of mappings, of lists
                or of values; a pandas or polars frame; a NumPy array; or a body of MLflow's scoring
                protocol. A Series whose index has texts only is always one row; a column
                is sent as `frame[["text"]]`.
            params: Parameters of the model's signature.
            arm: Arm to force; such a request stays out of the statistics.
            idempotency_key: Two requests with one key get the same arm and are one decision;
                by default each call has its own.
            client_id: Your own id of the request as text, such as an order number; feedback may
                name it instead of the request id. Send one id with one prediction only. None or
                empty for none.
            headers: Sent with this request only.

        Raises:
            InvalidInputError: The model refuses the rows, or `client_id` is not text or fits no
                header.
            NotAllowedError: The token is missing or not valid.
            RemoteError: There was no answer, or the server failed.
        """
        asking = exchange.Asking(arm, idempotency_key, client_id, headers or {})
        steps = exchange.predict(rows, params, asking, self._retries)
        prediction: Prediction = self._run(steps)
        return prediction

    def feedback(
        self,
        request_id: str = "",
        *,
        client_id: str = "",
        reward: float | list[float | None] | None = None,
        truth: object = None,
        row: int | None = None,
        outcome_id: str = "",
    ) -> FeedbackResult:
        """Send feedback on one prediction, now or days later. Attributes as in `Outcome`.

        Returns:
            Its status, also if it was refused, for example because another outcome
            counts; check `refused`.

        Raises:
            NotAllowedError: The token is missing or not valid.
            RemoteError: No answer, or it could not be stored; sending it again is harmless.
        """
        return self.send(
            [
                Outcome(
                    request_id=request_id,
                    client_id=client_id,
                    reward=reward,
                    truth=truth,
                    row=row,
                    outcome_id=outcome_id,
                )
            ]
        )

    def send(self, outcomes: Iterable[Outcome]) -> FeedbackResult:
        """Send many outcomes, a thousand in each request. Raises as `feedback` does.

        Those that are malformed are in `refused`, and the others are stored.

        Raises:
            InvalidInputError: They are no outcomes; nothing is sent.
        """
        result: FeedbackResult = self._run(exchange.send(listed(outcomes), {}, self._retries))
        return result

    def is_ready(self) -> bool:
        """Return whether every arm can answer."""
        ready: bool = self._run(exchange.is_ready({}))
        return ready

    def close(self) -> None:
        """Close its connections; the next request opens new ones."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, steps: Steps) -> Any:  # noqa: ANN401 - what the exchange returns
        drive = _Drive(steps)
        while drive.step is not None:
            if isinstance(drive.step, Pause):
                time.sleep(drive.step.seconds)
                drive.resume(None)
                continue
            import httpx

            with self._opening:
                self._http = opened = self._http or httpx.Client(**self._options())
            try:
                answer = opened.request(**_arguments(self.url, drive.step))
            except httpx.TransportError as error:
                drive.fail(self._unanswered(error))
            else:
                drive.resume(_response(answer))
        return drive.result


class AsyncClient(_Base):
    """`Client` for asyncio: an asynchronous context manager, made with the same arguments."""

    _http: httpx.AsyncClient | None = None

    async def predict(
        self,
        rows: object,
        *,
        params: Mapping[str, Any] | None = None,
        arm: str = "",
        idempotency_key: str = "",
        client_id: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """See `Client.predict`."""
        asking = exchange.Asking(arm, idempotency_key, client_id, headers or {})
        steps = exchange.predict(rows, params, asking, self._retries)
        prediction: Prediction = await self._run(steps)
        return prediction

    async def feedback(
        self,
        request_id: str = "",
        *,
        client_id: str = "",
        reward: float | list[float | None] | None = None,
        truth: object = None,
        row: int | None = None,
        outcome_id: str = "",
    ) -> FeedbackResult:
        """See `Client.feedback`."""
        return await self.send(
            [
                Outcome(
                    request_id=request_id,
                    client_id=client_id,
                    reward=reward,
                    truth=truth,
                    row=row,
                    outcome_id=outcome_id,
                )
            ]
        )

    async def send(self, outcomes: Iterable[Outcome]) -> FeedbackResult:
        """See `Client.send`."""
        result: FeedbackResult = await self._run(exchange.send(listed(outcomes), {}, self._retries))
        return result

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        ready: bool = await self._run(exchange.is_ready({}))
        return ready

    async def aclose(self) -> None:
        """Close its connections; the next request opens new ones."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, steps: Steps) -> Any:  # noqa: ANN401 - what the exchange returns
        import asyncio

        drive = _Drive(steps)
        while drive.step is not None:
            if isinstance(drive.step, Pause):
                await asyncio.sleep(drive.step.seconds)
                drive.resume(None)
                continue
            import httpx

            if self._http is None:
                self._http = httpx.AsyncClient(**self._options())
            try:
                answer = await self._http.request(**_arguments(self.url, drive.step))
            except httpx.TransportError as error:
                drive.fail(self._unanswered(error))
            else:
                drive.resume(_response(answer))
        return drive.result


class _Drive:
    """An exchange and where it is: `step` is None once `result` is there."""

    def __init__(self, steps: Generator[Request | Pause, Response | None, Any]) -> None:
        self._steps = steps
        self.step: Request | Pause | None = None
        self.result: Any = None
        self.resume(None)

    def resume(self, answer: Response | None) -> None:
        try:
            self.step = self._steps.send(answer)
        except StopIteration as end:
            self.step, self.result = None, end.value

    def fail(self, error: Unanswered) -> None:
        try:
            self.step = self._steps.throw(error)
        except StopIteration as end:
            self.step, self.result = None, end.value


def _arguments(url: str, request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": f"{url}{request.path}",
        "content": request.body or None,
        "headers": dict(request.headers),
    }


def _response(answer: httpx.Response) -> Response:
    return Response(answer.status_code, answer.headers, answer.content)
