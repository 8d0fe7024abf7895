"""A large file to S3 in parts, such that an interrupted upload is resumed.

boto3's own `upload_file` discards the parts that did arrive. Here they stay, and the next
attempt at the same key compares them with the file: S3 says the MD5 of each.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from mlops.registry.stores.base import CHECKSUM_NAME

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: A file of more bytes is sent in parts.
PART_SIZE = 8 << 20
# S3's limit.
_MOST_PARTS = 10_000
_MIB = 1 << 20


class PartsUpload:
    """Sends one file.

    Args:
        client: A boto3 client of S3.
        threads: Sends the parts.
        bucket: The bucket.
        key: The full key.
        on_bytes: Called with what has arrived.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - boto3 makes its classes at run time
        threads: Executor,
        bucket: str,
        key: str,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._client = client
        self._threads = threads
        self._target = {"Bucket": bucket, "Key": key}
        self._on_bytes = on_bytes

    def send(self, source: Path, sha256: str) -> None:
        """Send a file, resuming what an earlier attempt left there.

        Raises:
            ClientError: The store refuses; what has arrived stays for the next attempt.
        """
        size = source.stat().st_size
        before = self._unfinished()
        if before and self._complete(source, size, before[0], self._arrived(before[0])):
            # An earlier attempt may have been for another file with the same beginning.
            if self._client.head_object(**self._target)["Metadata"].get(CHECKSUM_NAME) == sha256:
                self._forget(before[1:])
                return
            self._on_bytes(-size)
        upload = self._begin(sha256)
        self._complete(source, size, upload, {})
        self._forget(before)

    def _begin(self, sha256: str) -> str:
        made = self._client.create_multipart_upload(
            **self._target, Metadata={CHECKSUM_NAME: sha256}, **self._checksums()
        )
        return str(made["UploadId"])

    def _checksums(self) -> dict[str, str]:
        wanted = self._client.meta.config.request_checksum_calculation == "when_supported"
        return {"ChecksumAlgorithm": "CRC32"} if wanted else {}

    def _unfinished(self) -> list[str]:
        """Return the unfinished uploads to this key, the newest first."""
        pages = self._client.get_paginator("list_multipart_uploads")
        try:
            found = [
                upload
                for page in pages.paginate(
                    Bucket=self._target["Bucket"], Prefix=self._target["Key"]
                )
                for upload in page.get("Uploads", ())
                if upload["Key"] == self._target["Key"]
            ]
        except ClientError:
            # Sending is allowed more often than listing; then nothing can be resumed.
            return []
        found.sort(key=lambda upload: upload["Initiated"], reverse=True)
        return [str(upload["UploadId"]) for upload in found]

    def _arrived(self, upload: str) -> dict[int, Mapping[str, Any]]:
        pages = self._client.get_paginator("list_parts")
        try:
            return {
                part["PartNumber"]: part
                for page in pages.paginate(**self._target, UploadId=upload)
                for part in page.get("Parts", ())
            }
        except ClientError:
            return {}

    def _complete(
        self, source: Path, size: int, upload: str, arrived: Mapping[int, Mapping[str, Any]]
    ) -> bool:
        """Send the parts that did not arrive and put the file together.

        Returns:
            False, with nothing sent, if what did arrive belongs to another file.
        """
        step = _part_size(size)
        ranges = {number: (number - 1) * step for number in range(1, -(-size // step) + 1)}
        for number, part in arrived.items():
            start = ranges.get(number, size)
            if not _is_part(source, start, min(step, size - start), part):
                return False
        for number in arrived:
            self._on_bytes(min(step, size - ranges[number]))

        def send(number: int) -> Mapping[str, Any]:
            with _Slice(source, ranges[number], min(step, size - ranges[number])) as body:
                sent: Mapping[str, Any] = self._client.upload_part(
                    **self._target,
                    UploadId=upload,
                    PartNumber=number,
                    Body=body,
                    **self._checksums(),
                )
            self._on_bytes(len(body))
            return sent

        missing = {n: self._threads.submit(send, n) for n in ranges if n not in arrived}
        try:
            wait(missing.values(), return_when=FIRST_EXCEPTION)
        finally:
            for future in missing.values():
                future.cancel()
        whole = {**arrived}
        for number, future in missing.items():
            if not future.cancelled():
                whole[number] = future.result()
        parts = [_named(number, whole[number]) for number in ranges]
        self._client.complete_multipart_upload(
            **self._target, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        return True

    def _forget(self, uploads: list[str]) -> None:
        """Throw away what can never be finished, lest the store keeps its parts forever."""
        for upload in uploads:
            try:
                self._client.abort_multipart_upload(**self._target, UploadId=upload)
            except ClientError:
                # It belongs to another process, or is gone.
                continue


def _part_size(size: int) -> int:
    """Return the size of each part but the last, in whole MiB; equal for equal sizes.

    >>> _part_size(1 << 30) >> 20, _part_size(200 << 30) >> 20
    (8, 21)
    """
    return max(PART_SIZE, -(-size // (_MOST_PARTS * _MIB)) * _MIB)


def _is_part(source: Path, start: int, size: int, part: Mapping[str, Any]) -> bool:
    found = hashlib.md5(usedforsecurity=False)
    with _Slice(source, start, size) as body:
        while block := body.read(_MIB):
            found.update(block)
    return (part["Size"], part["ETag"].strip('"')) == (size, found.hexdigest())


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own, so that none has to be in memory completely.

    Args:
        source: The file.
        start: Where the part begins.
        size: Its length.
    """

    def __init__(self, source: Path, start: int, size: int) -> None:
        self._file = source.open("rb", buffering=0)
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)[: max(self._size - self._at, 0)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _named(number: int, part: Mapping[str, Any]) -> dict[str, Any]:
    names = ("ETag", "ChecksumCRC32")
    return {"PartNumber": number, **{name: part[name] for name in names if name in part}}
