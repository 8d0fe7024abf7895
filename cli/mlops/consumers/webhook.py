"""Notification of alarms: the consumer `alerts` posts them to a webhook.

What it posts is what Slack's incoming webhooks take, and Mattermost, Rocket.Chat and others with
them: `{"text": ...}`. https://api.slack.com/messaging/webhooks

An alarm that the webhook accepted is never sent again. While it is down, they wait and are sent
together. Where its answer was lost, or this process died before it could be recorded, the same
message comes again, under the same `Idempotency-Key` unless another alarm has come meanwhile. What
was raised before a webhook was first set is not sent.
"""

from __future__ import annotations

import hashlib
import html
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import IO, ClassVar, Literal
from urllib.parse import urlsplit

from mlops.consumers.base import Batch, Consumed, Context
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.consumer_records import Alarm
from mlops.settings.secrets import look_up

_TIMEOUT_S = 10.0
# Where its state is kept.
_CONSUMER, _EARLIER = "alerts", "earlier"
_MOST_LINES = 20


class Webhook:
    """Sends alarms that were not sent yet.

    Args:
        context: Its option `webhook` says where the URL is, `env:VARIABLE` or `file:PATH`.
        clock: Seconds since 1970.
    """

    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True
    heartbeat_s: ClassVar[float] = 2.0

    def __init__(self, context: Context, clock: Callable[[], float] = time.time) -> None:
        self._context, self._clock = context, clock

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`; tried again, more and more rarely, while it fails."""
        journal = self._context.journal
        alarms, now_ms = journal.alarms(), int(self._clock() * 1000)
        earlier = self._earlier(alarms, now_ms)
        new = [each for each in alarms if each.sent_ms is None and each.id not in earlier]
        if new:
            post(self._context.options["webhook"], text_of(new), "\n".join(a.id for a in new))
            journal.alarms_sent([each.id for each in new], int(self._clock() * 1000))
        return Consumed(len(new))

    def _earlier(self, alarms: Sequence[Alarm], now_ms: int) -> set[str]:
        """Return the alarms from before a webhook was first set; they are no news."""
        journal = self._context.journal
        known = journal.remembered(_CONSUMER, [_EARLIER])
        if _EARLIER not in known:
            used = any(each.sent_ms is not None for each in alarms)
            known = {_EARLIER: [] if used else [each.id for each in alarms]}
            journal.remember(_CONSUMER, known, now_ms)
        return set(known[_EARLIER])

    def close(self) -> None:
        """See `Consumer.close`."""


def text_of(alarms: Sequence[Alarm]) -> str:
    """Return the text of alarms, a line each; names in them are no mentions or links to Slack."""
    lines = [html.escape(alarm.message, quote=False) for alarm in alarms[:_MOST_LINES]]
    more = len(alarms) - len(lines)
    return "\n".join([*lines, *([f"And {more} more: `mlops audit show`."] if more else [])])


def post(reference: str, text: str, identity: str) -> None:
    """Send a message, once.

    Args:
        reference: Where the URL is, `env:VARIABLE` or `file:PATH`.
        text: What it says.
        identity: The same for the same message.

    Raises:
        InvalidInputError: The reference leads to no URL.
        RemoteError: The webhook did not take it. Its URL, which is a secret, is not told.
    """
    url = look_up(reference)
    wrong = InvalidInputError(
        f"`{reference}` holds no URL of a webhook.",
        hint="Such as `https://hooks.slack.com/…`: ASCII, without spaces or a password.",
    )
    if not _is_address(url):
        raise wrong
    headers = {
        "content-type": "application/json",
        "idempotency-key": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "user-agent": "mlops",
    }
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http or https, see above
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise RemoteError(f"The webhook of `{reference}` answered {error.code}.") from None
    except (http.client.InvalidURL, UnicodeError):
        # They hold a part of the URL.
        raise wrong from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise RemoteError(f"The webhook of `{reference}` cannot be reached: {reason}.") from None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    return known and plain and parts.scheme in ("http", "https")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Alarms go only to the named address; redirects are refused."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None
