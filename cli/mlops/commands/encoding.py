"""Output where the encoding is not UTF-8, as with `LC_ALL=C` of an old system."""

from __future__ import annotations

import codecs
import sys

# Characters of the output beyond ASCII, for streams that cannot write it.
_PLAIN = str.maketrans(
    {"✓": "+", "✗": "x", "…": "...", "·": "-", "→": "->", "≥": ">=", "≤": "<=", "±": "+-"}
    | dict(zip("▁▂▃▄▅▆▇█", "__--==##", strict=True))
)


def tolerate_narrow_encodings() -> None:
    """Let stdout and stderr replace what their encoding lacks, instead of failing."""
    codecs.register_error("mlops", _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="mlops")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
