"""`python -m mlops.serving LAUNCH_FILE`: run one deployment's server."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from mlops.errors import MlopsError
from mlops.spec.server import read_launch


def main() -> int:
    """Serve what the launch file says; return the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m mlops.serving LAUNCH_FILE\n")
        return 2
    # No telemetry of MLflow's either, unless the user asked for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        launch = read_launch(Path(sys.argv[1]))
        from mlops.serving.process import Process, hold_lock

        hold_lock(Path(launch.lock_file))
        _run(Process(launch))
    except MlopsError as error:
        logging.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    return 0


def _run(process: object) -> None:
    from mlops.serving.process import Process

    assert isinstance(process, Process)
    try:
        import uvloop
    except ImportError:
        asyncio.run(process.run())
    else:
        uvloop.run(process.run())


if __name__ == "__main__":
    sys.exit(main())
