"""JSON in one form only, so that equal data have equal bytes and equal hashes: RFC 8785 (JCS).

Keys are sorted by their UTF-16 code units, nothing is spaced, and numbers are written as
ECMAScript writes them. Another program that checks a trail gets the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

# Beyond it another program may read another number (RFC 7493, 2.2).
_EXACT = 2**53


def canonical(value: object) -> str:
    """Write JSON data in canonical form.

    What JSON cannot express becomes the closest form: NaN and infinities null, whole numbers
    that a double cannot hold text, and lone surrogates a question mark.

    Raises:
        TypeError: It is not JSON data.

    >>> canonical({"b": [1.0, 1e-7, True], "a": None})
    '{"a":null,"b":[1,1e-7,true]}'
    """
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) <= _EXACT else _text(str(value))
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else "null"
    if isinstance(value, Mapping):
        pairs = sorted((str(key).encode("utf-16-be", "replace"), key) for key in value)
        return "{" + ",".join(f"{_text(str(k))}:{canonical(value[k])}" for _, k in pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    raise TypeError(f"{type(value).__name__} is not JSON data")


def number(value: float) -> str:
    """Write a finite double as ECMAScript does (ECMA-262, Number::toString).

    Python's `repr` has the same digits, the fewest that read back to the same double, and places
    point and exponent differently.

    >>> [number(x) for x in (-0.0, 1e21, 123456789012345680000.0, 1.5e-6, 1e-7)]
    ['0', '1e+21', '123456789012345680000', '0.0000015', '1e-7']
    """
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, power = f"{abs(value)!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    part = "" if part == "0" else part
    digits = (whole + part).lstrip("0")
    # The value is 0.digits times ten to the power of `point`.
    point = len(whole) + int(power or 0) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _text(value: str) -> str:
    return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False)
