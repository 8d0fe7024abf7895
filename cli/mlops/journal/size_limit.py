"""How large a journal may grow before a warning, and how full its disk may be.

Nothing is deleted automatically: which evidence may go is for a user to decide.
"""

from __future__ import annotations

_MB = 1_000_000
# Bytes that stay free of a disk, and the share of a small one.
_RESERVE, _RESERVE_SHARE = 500 * _MB, 0.05
_LAST, _LAST_SHARE = 100 * _MB, 0.01


def is_nearly_full(total: int, free: int) -> bool:
    """Whether a disk has no space for what evidence can do without.

    Args:
        total: Its bytes.
        free: Those that this user may still write.

    >>> is_nearly_full(100_000 * _MB, 400 * _MB), is_nearly_full(1_000 * _MB, 400 * _MB)
    (True, False)
    """
    return free < min(_RESERVE, _RESERVE_SHARE * total)


def has_last_space(total: int, free: int) -> bool:
    """Whether what a disk has left is for feedback, and for commands that free space."""
    return free < min(_LAST, _LAST_SHARE * total)


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
