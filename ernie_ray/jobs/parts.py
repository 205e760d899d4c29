"""The parts that a long job leaves on its way, from which it goes on when it was interrupted.

Knows chunks of rows by their file and number; not what is in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from ernie_ray.errors import DataError
from ernie_ray.jobs.storage import Storage, staging_path, writing_to
from ernie_ray.text.uris import path_of

_DIGEST_CHARACTERS = 12


def digest_of(key: Mapping[str, Any]) -> str:
    """SHA-256 of everything that decides what a job gives, as plain values."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def parts_folder(output: str, digest: str) -> str:
    """Name the folder of a job's parts, beside its output and hidden from readers of folders."""
    path = path_of(output)
    options = output.removeprefix(path)
    head, slash, name = path.rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.parts-{digest[:_DIGEST_CHARACTERS]}{options}"


class Parts:
    """What a run has done so far: one file per chunk, each there whole or not at all."""

    def __init__(self, storage: Storage, folder: str) -> None:
        """Look at a folder of parts, which need not exist.

        Args:
            storage: Resolves the folder.
            folder: Its name carries the run's digest, so that parts of two runs never mix.
        """
        self._storage = storage
        self._folder = folder
        self.num_rows: dict[tuple[int, int], int] = {}
        for name in storage.names_in(folder):
            self._take_over(name)

    def write(self, file: int, chunk: int, rows: pa.Table) -> None:
        """Put a chunk's rows in place.

        Raises:
            DataError: They cannot be written there.
        """
        name = f"{self._folder}/{_part_name(file, chunk)}"
        location = self._storage.resolve(name)
        staging = staging_path(location)
        try:
            with writing_to(location):
                pyarrow.parquet.write_table(rows, str(staging), compression="zstd")
            self._storage.publish(staging, name)
        finally:
            staging.unlink(missing_ok=True)
        self.num_rows[file, chunk] = rows.num_rows

    def read(self, file: int, chunk: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a chunk's rows back, or some columns of them."""
        # Opened in place: copies of a remote job's parts would add up to one of its whole output.
        with self._storage.open(f"{self._folder}/{_part_name(file, chunk)}") as stream:
            wanted = None if columns is None else list(columns)
            return pyarrow.parquet.read_table(stream, partitioning=None, columns=wanted)

    def in_order(
        self, num_rows_per_file: Mapping[int, int], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Give all chunks in input order, with the column ``id``: the row's place in the input.

        Args:
            num_rows_per_file: Rows of each file, bad ones too.
            columns: Those to read, ``row`` among them; None: all.
        """
        starts = np.cumsum([0, *(num_rows_per_file[file] for file in sorted(num_rows_per_file))])
        for file, chunk in sorted(self.num_rows):
            rows = self.read(file, chunk, columns)
            yield rows.append_column("id", pa.array(starts[file] + rows["row"].to_numpy()))

    def remove(self) -> None:
        """Remove all parts."""
        self._storage.remove(self._folder)

    def check_whole(self, num_rows_per_file: Mapping[int, int], rows_per_chunk: int) -> None:
        """Refuse parts that do not hold every row of every file exactly once.

        Parts that differ are removed, so that the next run makes them anew.

        Raises:
            DataError: A chunk is missing or has other rows than it should.
        """
        wanted = {
            (file, chunk): min(rows_per_chunk, num_rows - chunk * rows_per_chunk)
            for file, num_rows in num_rows_per_file.items()
            for chunk in range(-(-num_rows // rows_per_chunk))
        }
        if wanted != self.num_rows:
            differing = sorted(k for k in wanted.keys() | self.num_rows.keys()
                               if wanted.get(k) != self.num_rows.get(k))  # fmt: skip
            for file, chunk in self.num_rows.keys() & set(differing):
                self._storage.remove(f"{self._folder}/{_part_name(file, chunk)}")
            raise DataError(
                f"{self._storage.resolve(self._folder)}: chunks {differing[:5]} (file, chunk) are "
                "missing or incomplete; run the same command again"
            )

    def _take_over(self, name: str) -> None:
        if name.startswith(".") or not name.endswith(".parquet"):
            return
        try:
            file, chunk = (int(part) for part in name.removesuffix(".parquet").split("-")[1:])
            with self._storage.open(f"{self._folder}/{name}") as stream:
                metadata = pyarrow.parquet.read_metadata(stream)
        except (ValueError, OSError, pa.ArrowException):
            return  # not a whole part: it is done again
        self.num_rows[file, chunk] = int(metadata.num_rows)


def _part_name(file: int, chunk: int) -> str:
    return f"part-{file:05d}-{chunk:07d}.parquet"
