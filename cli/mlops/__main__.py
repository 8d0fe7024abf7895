"""The `mlops` program: one place that turns an error into words and an exit code."""

from __future__ import annotations

import mlops.commands.late_collection  # noqa: F401 - before all else

# isort: split
import gc
import json
import logging
import os
import re
import sys
from collections.abc import Sequence

import typer

from mlops.commands.app import program
from mlops.commands.completion import words_of_bash
from mlops.commands.encoding import tolerate_narrow_encodings
from mlops.commands.interrupts import start_uninterrupted, words_of
from mlops.commands.output import start_afresh
from mlops.commands.readers import prepare_for_readers
from mlops.errors import MlopsError, UsageError, of_system

_INTERRUPTED = 130
_SURROGATE = re.compile("[\ud800-\udfff]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    tolerate_narrow_encodings()
    prepare_for_readers(words)
    with words_of_bash():
        code = run(words)
    # The end of Python looks through everything for cycles; after `import mlflow` that is a million
    # objects and half a second, to free memory that the system frees anyway.
    gc.freeze()
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run one command and return its exit code; 0 ok, others as in `mlops.errors`."""
    start_afresh()
    start_uninterrupted()
    try:
        started = program(words[0] if words else "")
        result = started(words, standalone_mode=False, prog_name="mlops")
    except MlopsError as error:
        return _fail(error, words)
    except typer.TyperException as error:
        # Without a message it has been said: a group without a command has shown its help.
        return _fail(_usage(error), words) if error.format_message() else UsageError.exit_code
    except (OSError, MemoryError, ImportError) as error:
        known = of_system(error)
        if known is None:
            raise
        return _fail(known, words)
    except (UnicodeEncodeError, TypeError):
        # Bytes that are not UTF-8 come as halves of surrogate pairs, which neither a database nor
        # JSON takes (orjson raises a TypeError).
        odd = next((each for each in words if _SURROGATE.search(each)), None)
        if odd is None:
            raise
        shown = odd.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return _fail(UsageError(f"`{shown}` is not UTF-8.", hint="Write it in UTF-8."), words)
    except (KeyboardInterrupt, typer.Abort):
        result = _INTERRUPTED
    if result == _INTERRUPTED:
        # Typer makes this exit code of a KeyboardInterrupt and says nothing.
        sys.stderr.write(f"Interrupted. {words_of(words)}".rstrip() + "\n")
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "mlops"
    return UsageError(error.format_message(), hint=f"`{command} --help`")


def _fail(error: MlopsError, words: list[str]) -> int:
    if os.environ.get("MLOPS_DEBUG") or logging.getLogger("mlops").level:
        import traceback

        traceback.print_exc()
    if "--json" in words:
        document = {
            "schema_version": 1,
            "error": {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "exit_code": error.exit_code,
            },
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    from mlops.commands.output import print_error

    # Also beside the document: a CI job that captures stdout shows only this.
    print_error(error)
    return error.exit_code


if __name__ == "__main__":
    main()
