"""Digests and sizes of data files and settings, for keys of what is made from them, and bars."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from ernie_ray.text.row_files import DataFile

_READ_BYTES = 1 << 20


def digests_of_files(files: Sequence[DataFile]) -> list[str]:
    """Format and SHA-256 of each file's content."""
    # hashlib releases the interpreter lock, so threads hash in parallel.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_digest_of_file, files))


def digest_of(*parts: Any) -> str:
    """Twelve hexadecimal digits over everything that decides a stage; sections as their JSON."""

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if hasattr(part, "model_dump") else part

    text = json.dumps([plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def expected_rows(files: Sequence[DataFile]) -> int:
    """Count rows for a bar: exactly in parquet, else by lines, which quoted CSV may exceed."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return sum(pool.map(_rows_of_file, files))


def _digest_of_file(file: DataFile) -> str:
    with file.open() as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    return f"{file.format} {content}"


def _rows_of_file(file: DataFile) -> int:
    with file.open() as stream:
        try:
            if file.format == "parquet":
                return int(pyarrow.parquet.ParquetFile(stream).metadata.num_rows)
            lines = _count_lines(gzip.GzipFile(fileobj=stream) if file.is_gzip else stream)
        # Broken: the reader will say so.
        except (OSError, EOFError, zlib.error, pyarrow.ArrowException):
            return 0
    return lines - (file.format in ("csv", "tsv"))


def _count_lines(stream: IO[bytes] | gzip.GzipFile | io.BufferedReader) -> int:
    count, last = 0, b"\n"
    reader: Any = stream
    while block := reader.read(_READ_BYTES):
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n")
