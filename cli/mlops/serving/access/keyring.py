"""The valid API keys, from the keys file."""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import Iterable
from pathlib import Path

from mlops.errors import InvalidInputError, MlopsError
from mlops.serving.access.buckets import Bucket, Places
from mlops.serving.access.grants import Grant, expand
from mlops.spec.access import (
    ANY_SUBJECT,
    Key,
    digest_of,
    parse_rate,
    read_if_there,
    read_keys,
)

_LOG = logging.getLogger(__name__)
_GONE = "Put it back from a backup, or make new keys: `mlops keys create`."
_RESTART = "Mend the file before a restart, which fails without."
_PREVIOUS = f"The previous keys stay valid. {_RESTART}"
_NO_PREVIOUS = f"There are no previous keys: no key is needed until it is mended. {_RESTART}"


class Keyring:
    """Keys by their digest, and certificates by their subject.

    Args:
        path: The keys file; empty for none. It may not exist yet.
        places: Where the calls of each key are counted.

    Raises:
        InvalidInputError: The file is there and cannot be read.
    """

    def __init__(self, path: str, places: Places) -> None:
        self.path = Path(path) if path else None
        self._places = places
        self._by_digest: dict[str, tuple[Key, Grant]] = {}
        self._by_subject: dict[str, Grant] = {}
        #: Whether there is, or was, a keys file: then every caller must authenticate.
        self.exists = False
        #: What is wrong with the file, and what to do; empty if nothing is.
        self.warnings: list[str] = []
        #: Whether the last attempt could read the file, whatever was in it, or found none.
        self.is_read = True
        text = read_if_there(self.path) if self.path is not None else None
        if text is not None:
            self._load(text)

    def reload(self) -> bool:
        """Read the file again; return whether the valid keys changed.

        A file that cannot be read changes nothing. If the file is gone no key is valid, and callers
        without one are still refused.
        """
        if self.path is None:
            return False
        self.is_read = False
        try:
            text = read_if_there(self.path)
            self.is_read = True
            if text is not None:
                self._load(text)
        except MlopsError as error:
            warning = f"{error.message} {_PREVIOUS if self.exists else _NO_PREVIOUS}"
            if self.warnings != [warning]:
                _LOG.error("keys: %s", warning)
            self.warnings = [warning]
            return False
        self.warnings = []
        if text is not None:
            return True
        return self.exists and self._clear()

    def _clear(self) -> bool:
        """Take that the file is gone; return whether the valid keys changed."""
        self.warnings = [f"`{self.path}` is gone, so no API key is valid. {_GONE}"]
        if not (self._by_digest or self._by_subject):
            return False
        _LOG.error("keys: `%s` is gone; no key is valid any more", self.path)
        self._by_digest, self._by_subject = {}, {}
        return True

    def _load(self, text: bytes) -> None:
        try:
            keys = read_keys(text)
        except InvalidInputError as error:
            raise InvalidInputError(f"`{self.path}`: {error.message}", hint=error.hint) from error
        grants = [(key, self._grant(key, place)) for place, key in enumerate(keys)]
        self._by_digest = {key.digest: (key, grant) for key, grant in grants if key.digest}
        self._by_subject = {
            key.subject: grant for key, grant in grants if key.subject and key.revoked_ms is None
        }
        self.exists = True

    def _grant(self, key: Key, place: int) -> Grant:
        until = math.inf if key.expires_ms is None else key.expires_ms / 1000
        bucket = Bucket.of(parse_rate(key.rate), self._places, place) if key.rate else None
        return Grant(key.id, expand(key.scopes), until, bucket)

    def of_key(self, sent: bytes) -> Grant | None:
        """Return the grant of a key that a caller sent; None if it is unknown or was revoked."""
        digest = digest_of(sent)
        key, grant = self._by_digest.get(digest, (None, None))
        if key is None or key.revoked_ms is not None:
            return None
        return grant if hmac.compare_digest(digest, key.digest) else None

    def of_id(self, key_id: str) -> Grant | None:
        """Return the grant of the key of this id; None if there is none, or it was revoked."""
        known = (pair for pair in self._by_digest.values() if pair[0].id == key_id)
        key, grant = next(known, (None, None))
        return None if key is None or key.revoked_ms is not None else grant

    def digest_of(self, key_id: str) -> str:
        """Return the digest of the key of this id; empty if there is none."""
        return next((d for d, (key, _) in self._by_digest.items() if key.id == key_id), "")

    def of_names(self, names: Iterable[str]) -> Grant | None:
        """Return the grant of a client certificate with these names, the first that has one."""
        for name in (*names, ANY_SUBJECT):
            if name in self._by_subject:
                return self._by_subject[name]
        return None
