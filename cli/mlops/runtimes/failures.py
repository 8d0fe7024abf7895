"""Whose fault it is that a model raised: that of the rows, or its own.

The same for every runtime. What code raises where its input is not what it was written for is a
refusal of the rows (400) if something is unusual about them, see `irregularity`; `ValueError` is
how libraries refuse values, and always one. Anything else, such as a lost device, says nothing
about the rows, whatever is in them: it is an error of the arm (500), which guardrails watch.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops.errors import MODEL_FAILED, MODEL_REFUSED
from mlops.protocols.base import Kind, ProtocolError
from mlops.runtimes.base import first_line
from mlops.runtimes.irregular import irregularity
from mlops.tables.signature import Column

#: What code raises for rows that it was not written for, if nothing has checked them before.
_BAD_ROWS = (TypeError, LookupError, AttributeError, ArithmeticError)
_MOST_SHOWN = 500


def failure_of(
    error: Exception, rows: object, columns: Sequence[Column], *, checked: bool = True
) -> ProtocolError:
    """Return the answer to rows on which a model raised.

    Args:
        error: What it raised.
        rows: As `irregularity` takes them.
        columns: Those of its signature.
        checked: Whether a signature has checked the rows. Where none has, nothing says that they
            are right.
    """
    if isinstance(error, ValueError):
        return ProtocolError(Kind.MISMATCH, first_line(error))
    if not isinstance(error, _BAD_ROWS):
        return own_failure(error)
    if odd := irregularity(rows, columns):
        fault = odd.within(f"{MODEL_REFUSED}: ", f"; it raised {_said(error)}")
        return ProtocolError(Kind.MISMATCH, str(fault), fault)
    if not checked:
        return ProtocolError(Kind.MISMATCH, f"{MODEL_REFUSED}: it raised {_said(error)}")
    return own_failure(error)


def own_failure(error: Exception) -> ProtocolError:
    """Return the answer where a model raised, and the rows are not known to be the reason."""
    return ProtocolError(Kind.MODEL_FAILED, f"{MODEL_FAILED}: {_said(error)}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MOST_SHOWN]
