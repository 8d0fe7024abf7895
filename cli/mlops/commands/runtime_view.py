"""A short description of a model's runtime and its proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops.commands.output import age


def runtime_line(runtime: Mapping[str, Any]) -> str:
    """Say what executes a model; empty if another server does.

    Args:
        runtime: `name`, `proof` and `reasons`, as the server gives them.

    >>> runtime_line({"name": "pyfunc", "proof": None, "reasons": ["native: it has text"]})
    'runtime pyfunc (not used: native: it has text)'
    """
    name, proof, reasons = runtime["name"], runtime["proof"], runtime["reasons"]
    if name == "remote":
        return ""
    if proof is None:
        return f"runtime {name}" + (f" (not used: {_grouped(reasons)})" if reasons else "")
    largest = proof["largest_difference"]
    since = _since(proof)
    differs = f"numbers within {largest:.1g} of their size" if largest else "to the last digit"
    return (
        f"runtime {name}: {proof['row_us']:,.0f} µs a row (pyfunc {proof['row_us_before']:,.0f}); "
        f"equal on {proof['rows']:,} rows, {differs}"
        f"{since and '; proved' + since}"
    )


def short_line(runtime: Mapping[str, Any]) -> str:
    """Say what executes a model, and since when that is proved; empty if another server does."""
    if runtime["name"] == "remote":
        return ""
    proof = runtime["proof"]
    words = "" if proof is None else f", proved equal to pyfunc{_since(proof, always=True)}"
    return f"runtime {runtime['name']}{words}"


def _since(proof: Mapping[str, Any], *, always: bool = False) -> str:
    """Say when a proof was made, if that was not just now."""
    made_ms, cached = proof.get("made_ms"), proof.get("cached")
    if made_ms is None or not (cached or always):
        return ""
    return f" {age(made_ms)}" + (" (from the cache)" if cached else "")


def _grouped(reasons: Iterable[str]) -> str:
    """Join reasons, each once.

    >>> _grouped(["native: it has text", "trees: it has text"])
    'native, trees: it has text'
    """
    names: dict[str, list[str]] = {}
    for reason in reasons:
        name, _, text = reason.partition(": ")
        names.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(these)}: {text}" for text, these in names.items())
