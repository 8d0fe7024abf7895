"""The gate of a server, as its launch says."""

from __future__ import annotations

from mlops.errors import InvalidInputError
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.gate import Gate
from mlops.serving.access.grants import ANYBODY, ANYBODY_HERE
from mlops.serving.access.keyring import Keyring
from mlops.serving.secret_files import read_token
from mlops.spec.access import check_auth
from mlops.spec.server import Launch


def open_gate(launch: Launch, keyring: Keyring | None = None, token: str | None = None) -> Gate:
    """Open the gate of a server.

    Args:
        launch: How it is started.
        keyring: The API keys that count so far; None to read the file of the launch.
        token: Of the deployment, empty for none; None to read the file of the launch.

    Raises:
        InvalidInputError: A file cannot be read, or every client on the network would be admitted.
    """
    access = launch.access
    verifier = None
    if access.issuer is not None:
        check_auth()
        from mlops.serving.access.signed import Verifier

        verifier = Verifier(access.issuer)
    if keyring is None:
        keyring = Keyring(access.keys_file, shared_places())
    else:
        # A key that was revoked since must not count for a moment.
        keyring.reload()
    gate = Gate(
        read_token(launch.token_file) if token is None else token,
        keyring,
        verifier,
        client_ca=bool(launch.tls and launch.tls.client_ca),
        anybody=ANYBODY_HERE if launch.is_local else ANYBODY,
    )
    if not (gate.required or launch.is_local or access.unprotected):
        raise InvalidInputError(
            f"The server is to listen on {launch.host}, and callers would not authenticate.",
            hint="Give it keys (`mlops keys create`), a token, an issuer (`[auth]`) or client "
            "certificates; or admit every caller: `--insecure-no-auth`, in a pod "
            "`insecure_no_auth = true` of `[kubernetes]`.",
        )
    return gate
