"""A large model to MinIO and back: our whole command against boto3's own transfer of its bytes.

    python benchmarks/push.py [--mib 1024] [--rounds 3]

MinIO comes from PATH or from where `python -m tests.minio` builds it. Both sides are processes of
their own, in turn, in one run; the model is one file of random bytes, registered in SQLite. Of
boto3 only the call is timed; of ours the transfer, checksums included, and the whole command. Exits
with 1 if a push is slower than 0.7 of boto3, or takes 300 MiB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import MLOPS, machine

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.minio import Minio, find_minio

_SLOWEST = 0.7
_MOST_MIB = 300
_BOTO = """
import os, sys, time, boto3
client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
started = time.perf_counter()
getattr(client, sys.argv[1])(*sys.argv[2:])
print(time.perf_counter() - started)
"""

_REGISTER = """
import sys
from pathlib import Path
from mlops.registry import open_registry
from mlops.settings import load_settings
client = open_registry(load_settings(Path(sys.argv[1]), environ={}))
client.create_registered_model("large")
client.create_model_version("large", sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One transfer by one side.

    Attributes:
        whole_s: Seconds from the start of the process to its end.
        peak_mib: Its largest resident set.
        said: What it printed.
    """

    whole_s: float
    peak_mib: float
    said: str


def run(command: Sequence[str | Path], folder: Path) -> Side:
    """Run a process to its end."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=error)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - started
        out.seek(0)
        error.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} failed:\n{error.read()}")
        return Side(took, usage.ru_maxrss / 1024, out.read())


def make_model(folder: Path, mib: int) -> Path:
    """Register a model with one large file as `large/1` and return the file."""
    model = folder / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}\n")
    large = model / "weights.bin"
    with large.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    (folder / "mlops.toml").touch()
    # In a process of its own: what we have in memory counts as the peak of those we start.
    subprocess.run([sys.executable, "-c", _REGISTER, folder, model.as_uri()], check=True)
    return large


@contextlib.contextmanager
def minio(folder: Path) -> Iterator[Minio]:
    """Start a MinIO, and say in our environment how it is reached."""
    program = find_minio()
    if program is None:
        raise SystemExit("There is no MinIO here; `python -m tests.minio` builds it with Go.")
    started = Minio(program, folder / "minio")
    started.server.start()
    os.environ.update(started.environ)
    try:
        yield started
    finally:
        started.server.stop()


def main(mib: int, rounds: int) -> int:
    figures: dict[str, list[Side]] = {name: [] for name in ("upload", "push", "download", "pull")}
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as name, minio(Path(name)) as server:
        folder = Path(name)
        large = make_model(folder, mib)
        for number in range(rounds):
            bucket = server.bucket()
            boto = [sys.executable, "-c", _BOTO]
            back, pulled = folder / "back", folder / "pulled"
            up = {
                "upload": [*boto, "upload_file", str(large), bucket, "weights.bin"],
                "push": [str(MLOPS), "models", "push", "large/1", f"s3://{bucket}/m", "--json"],
            }
            down = {
                "download": [*boto, "download_file", bucket, "weights.bin", str(back)],
                "pull": [str(MLOPS), "models", "pull", f"s3://{bucket}/m", str(pulled), "--json"],
            }
            for commands in (up, down):
                # In turn, so that neither is always the one that finds things warm.
                for each in sorted(commands, reverse=bool(number % 2)):
                    figures[each].append(run(commands[each], folder))
            back.unlink()
            subprocess.run(["rm", "-rf", pulled, folder / ".mlops" / "cache"], check=True)
            _empty(server, bucket)
    print(f"{machine()}; {mib} MiB, medians of {rounds}")
    speed = _compare(figures["upload"], figures["push"], mib)
    _compare(figures["download"], figures["pull"], mib)
    peak = max(side.peak_mib for side in [*figures["push"], *figures["pull"]])
    return 0 if speed >= _SLOWEST and peak < _MOST_MIB else 1


def _empty(server: Minio, bucket: str) -> None:
    client = server.client()
    for entry in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=entry["Key"])


def _compare(theirs: Sequence[Side], ours: Sequence[Side], mib: int) -> float:
    """Print one direction; return the ratio of our transfer's speed to boto3's."""
    their_s = statistics.median(float(side.said) for side in theirs)
    our_s = statistics.median(side.whole_s for side in ours)
    transfer_s = statistics.median(float(json.loads(side.said)["took_s"]) for side in ours)
    peak = max(side.peak_mib for side in ours)
    theirs_peak = max(side.peak_mib for side in theirs)
    print(f"boto3 alone: {their_s:.2f} s, {mib / their_s:.0f} MiB/s, peak {theirs_peak:.0f} MiB")
    print(f"our transfer: {transfer_s:.2f} s, {mib / transfer_s:.0f} MiB/s, peak {peak:.0f} MiB")
    print(f"our whole command: {our_s:.2f} s, {mib / our_s:.0f} MiB/s")
    print(f"our transfer to boto3's speed: {their_s / transfer_s:.2f}")
    print(f"our whole command to boto3's speed: {their_s / our_s:.2f}")
    return their_s / transfer_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sys.exit(main(options.mib, options.rounds))
