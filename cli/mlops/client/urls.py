"""URLs of servers."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from mlops.errors import InvalidInputError

# What a path may hold as it is; anything else is written `%20` and such.
_PATH = re.compile(r"[!-~]*")


def split_url(url: str) -> SplitResult:
    """Parse the URL of a server.

    Raises:
        InvalidInputError: It is not http or https, holds credentials, or cannot be sent anywhere.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        # As it will be looked up.
        can_be_asked = bool((host or "").encode("idna")) and _PATH.fullmatch(parts.path)
    except ValueError:
        parts, host, can_be_asked = urlsplit(""), None, None
    is_url = parts.scheme in ("http", "https") and bool(can_be_asked)
    # In what is not a URL it is not known where a password ends.
    if "@" in (parts.netloc if is_url else url):
        raise InvalidInputError(
            f"The URL{f' of `{host}`' if host else ''} holds credentials.",
            hint="`--token env:VARIABLE` sends a token.",
        )
    if not is_url:
        bare = re.split("[?#]", url)[0]
        if bare and "://" not in url:
            raise InvalidInputError(
                f"`{bare}` has no `http://` or `https://` before it.",
                hint=f"`--url http://{bare}`",
            )
        raise InvalidInputError(
            f"`{bare}` is not a URL of a server.", hint="Write `http://host:port/path`."
        )
    return parts
