"""How large a journal may grow before a warning.

Nothing is deleted automatically: which evidence may go is for a user to decide.
"""

from __future__ import annotations

_MB = 1_000_000


def too_large(size_bytes: int, max_mb: int, name: str) -> str:
    """Say that a journal has grown too large, and what makes it smaller; empty if it has not.

    Args:
        size_bytes: What it takes on disk.
        max_mb: Megabytes that it may take; 0 for any.
        name: Name of the deployment.

    >>> too_large(2_500_000, 2, "wine")[:57]
    'The journal takes 2.5 MB, more than `[journal] max_mb`, 2'
    >>> too_large(2_500_000, 0, "wine")
    ''
    """
    if not max_mb or size_bytes <= max_mb * _MB:
        return ""
    return (
        f"The journal takes {size_bytes / _MB:,.1f} MB, more than `[journal] max_mb`, {max_mb:,}: "
        f"`mlops journal prune {name} --older-than DAYS` forgets the features of old requests, "
        "which are most of it."
    )
