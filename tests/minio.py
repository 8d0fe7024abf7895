"""MinIO, the real server, as a process of the tests.

It is AGPL and stays a separate program: found on PATH or in a cache outside the checkout, where
`python -m tests.minio` builds it with Go. Nothing of it is imported, vendored or shipped.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import ServerProcess, unused_port

#: Tagged releases are not to be had through Go's module proxy; this is one by its commit.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_MODULE = "github.com/minio/minio"
REGION = "us-east-1"
_ENOUGH_S = 60.0
#: Programs that only tests need; read before a test says that home is elsewhere.
_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")


def find_minio() -> Path | None:
    """Return the program, from PATH or the cache."""
    on_path = shutil.which("minio")
    if on_path:
        return Path(on_path)
    cached = _CACHE / "bin" / "minio"
    return cached if cached.is_file() else None


def build_minio() -> Path:
    """Build the program into the cache, which takes Go some minutes, and return it."""
    folder = _CACHE / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    # A build that is interrupted leaves no program that looks like one.
    part = folder / f".part-{os.getpid()}"
    subprocess.run(
        ["go", "install", f"{_MODULE}@{VERSION}"],
        env=os.environ | {"GOBIN": str(part), "CGO_ENABLED": "0"},
        check=True,
    )
    built = (part / "minio").rename(folder / "minio")
    part.rmdir()
    return built


@dataclass(frozen=True, slots=True)
class Keys:
    """Who somebody is to an S3 server.

    Attributes:
        access: Access key id.
        secret: Secret access key.
        token: Session token of temporary credentials, else empty.
    """

    access: str
    secret: str
    token: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which tools are told."""
        named = {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}
        return named | ({"AWS_SESSION_TOKEN": self.token} if self.token else {})


class Minio:
    """A MinIO with random credentials in `folder`.

    Attributes:
        server: The process, which may be stopped and restarted.
        keys: Its administrator.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self.keys = Keys(secrets.token_hex(8), secrets.token_hex(20))
        port = unused_port()
        data = folder / "data"
        data.mkdir(parents=True)
        self.server = ServerProcess(
            [program, "server", data, "--address", f"127.0.0.1:{port}", "--quiet"],
            folder,
            f"http://127.0.0.1:{port}",
            "/minio/health/ready",
            {
                "MINIO_ROOT_USER": self.keys.access,
                "MINIO_ROOT_PASSWORD": self.keys.secret,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                "MINIO_CONFIG_DIR": str(folder / "config"),
                "HOME": str(folder),
            },
        )

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url

    @property
    def environ(self) -> dict[str, str]:
        """All that a program needs to use it: endpoint, region and the administrator's keys."""
        return self.keys.environ | {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str = "s3", keys: Keys | None = None) -> Any:
        """Return a boto3 client of it."""
        import boto3

        keys = keys or self.keys
        # The default session belongs to the code under test.
        return boto3.session.Session().client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            aws_session_token=keys.token or None,
        )

    def bucket(self) -> str:
        """Make a new bucket and return its name."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def keys_for(self, *actions: str, bucket: str = "*") -> Keys:
        """Return temporary keys that allow nothing but `actions`, for example `s3:GetObject`."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": list(actions),
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            ],
        }
        answer = self._assume_role(json.dumps(policy))["Credentials"]
        return Keys(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])

    def _assume_role(self, policy: str) -> Any:
        """Ask again while it knows no users yet; it says that it is ready before."""
        from botocore.exceptions import ClientError

        deadline = time.monotonic() + _ENOUGH_S
        while True:
            try:
                return self.client("sts").assume_role(
                    RoleArn="arn:minio:iam:::role/any",
                    RoleSessionName="tests",
                    DurationSeconds=900,
                    Policy=policy,
                )
            except ClientError as error:
                if "not initialized" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


if __name__ == "__main__":
    sys.stdout.write(f"{find_minio() or build_minio()}\n")
