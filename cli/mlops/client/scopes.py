"""What to do about a key that may not do something, which its refusal names."""

from __future__ import annotations

import re

_NEEDED = re.compile(r"\bneeds (?:a key with )?the scope `([a-z-]+)`")


def hint_of_scope(detail: str) -> str | None:
    """Say how a caller gets the scope that a deployment asks for; None where it names none.

    >>> hint_of_scope("This needs the scope `feedback`; the key or token has: predict.")[:40]
    '`mlops keys create NAME --scope feedback'
    >>> hint_of_scope("RBAC: access denied")
    """
    found = _NEEDED.search(detail)
    if found is None:
        return None
    return (
        f"`mlops keys create NAME --scope {found[1]}` makes a key with this scope; several are "
        "`--scope predict,feedback`. A token of an issuer needs it among its own scopes."
    )
