"""`python -m mlops.serving LAUNCH_FILE [LOCK]`: run one deployment's server.

LOCK is the descriptor of the deployment's lock, if the parent process holds it already.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from pathlib import Path

from mlops.errors import MlopsError
from mlops.serving.start import serve
from mlops.spec.server import read_launch

_MAX_FILES = 65_536


def main() -> int:
    """Serve what the launch file says; return the exit code."""
    if len(sys.argv) not in (2, 3):
        sys.stderr.write("usage: python -m mlops.serving LAUNCH_FILE [LOCK]\n")
        return 2
    # No telemetry of MLflow's either, unless the user asked for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    # Usually 1,024, which as many idle connections use up: then no other client is answered.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    # No other user may read the journal, wherever it is.
    os.umask(0o077)
    # Last, since nothing there may shadow an installed library (`-P` leaves it out); there at all
    # for models whose classes are in the project.
    sys.path.append(str(Path.cwd()))
    try:
        launch = read_launch(Path(sys.argv[1]))
        locked = len(sys.argv) == 3
        if locked:
            # Held until this process ends, and not inherited by processes it starts.
            os.set_inheritable(int(sys.argv[2]), False)
        serve(launch, locked=locked)
    except MlopsError as error:
        logging.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Python would wait for every thread, and a model's call that hangs never ends.
    os._exit(code)
