"""TLS of the public ports: certificates that are replaced while connections continue.

A handshake takes what is current when it begins, in one piece, and connections keep what they
began with. So to renew a certificate the files are written, and nothing is restarted. Files that
are not a certificate with its key change nothing; the log says so.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError
from mlops.serving.access.watch import FileWatch
from mlops.spec.access import Tls
from mlops.spec.tls import Validity, read_validity, server_context

_LOG = logging.getLogger(__name__)
_UNUSABLE = (
    "The files for TLS have changed and cannot be used; the previous certificate stays in use:"
)
#: Seconds that a handshake may take; as long as the headers of a request.
HANDSHAKE_S = 20.0


class ServerTls:
    """The certificate of a server.

    Args:
        tls: Its files.

    Raises:
        InvalidInputError: They cannot be used.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        paths = (tls.cert, tls.key, tls.client_ca, tls.client_crl)
        self.paths = [Path(path) for path in paths if path]
        #: Begins before they are read: models load for minutes until somebody looks again.
        self.watch = FileWatch(self.paths, self.reload)
        self._validity = Validity()
        self._fault = ""
        self._current = self._load()
        #: For listening; each handshake continues with what is current then.
        self.context = server_context(tls)
        self.context.sni_callback = self._choose

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the files, or soon will be as they end."""
        return [*([self._fault] if self._fault else []), *self._validity.warnings()]

    def _load(self) -> ssl.SSLContext:
        context, self._validity = read_validity(self._tls)
        for text in self._validity.warnings():
            _LOG.warning("TLS: %s", text)
        return context

    def reload(self) -> bool:
        """Read the files again; return False if one could not be read, whatever is in it."""
        try:
            self._current = self._load()
        except (InvalidInputError, OSError) as error:
            fault = f"{_UNUSABLE} {error}"
            if fault != self._fault:
                _LOG.error("%s", fault)
            self._fault = fault
            cause = error if isinstance(error, OSError) else error.__cause__
            # OpenSSL's error for content is an `OSError`, too.
            return not isinstance(cause, OSError) or isinstance(cause, ssl.SSLError)
        self._fault = ""
        _LOG.info("TLS: `%s` is read again", self._tls.cert)
        return True

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext
    ) -> None:
        # Called for each handshake, whether or not the caller names a host.
        connection.context = self._current

    def grpc_credentials(self) -> Any:  # noqa: ANN401 - of `grpc`, which has no types
        """Return the credentials for a port of gRPC, which asks for each connection."""
        import grpc

        seen: list[tuple[bytes, ...]] = [self._texts()]

        def fetch() -> Any:  # noqa: ANN401 - as above
            # In a thread of gRPC's. None: as before.
            try:
                texts = self._texts()
                if texts == seen[0]:
                    return None
                server_context(self._tls)
            except (OSError, InvalidInputError):
                return None
            seen[0] = texts
            return _configuration(texts)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(seen[0]), fetch, require_client_authentication=bool(self._tls.client_ca)
        )

    def _texts(self) -> tuple[bytes, ...]:
        return tuple(path.read_bytes() for path in self.paths)


def _configuration(texts: tuple[bytes, ...]) -> Any:  # noqa: ANN401 - of `grpc`
    import grpc

    certificate, key, *authorities = texts
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], authorities[0] if authorities else None
    )
