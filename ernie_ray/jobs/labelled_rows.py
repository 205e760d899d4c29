"""The folder of labelled rows: ``rows.parquet`` with the teacher's logits, and its manifest.

Knows the columns and the parts that a labelling run leaves on its way; not how labels are made.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_ray.errors import DataError
from ernie_ray.jobs.storage import Storage, staging_path
from ernie_ray.modeldir import Manifest, TaskSpec

ROWS = "rows.parquet"
MANIFEST = "labelled.json"


class LabelledManifest(BaseModel):
    """Contents of ``labelled.json``: what was labelled, by whom, and what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="SHA-256 over everything that decides the rows.")
    teacher: str = Field(description="Fingerprint of the teacher's model directory.")
    teacher_name: str = Field(description="Its name.")
    labels: tuple[str, ...] = Field(description="Class names in the order of the logits.")
    task: TaskSpec = Field(description="What the teacher answers.")
    inputs: dict[str, str] = Field(description="Format and SHA-256 of each input file.")
    num_rows_per_file: dict[str, int] = Field(description="Rows of each input file, bad ones too.")
    num_rows: int = Field(ge=0, description="Rows in the output.")
    num_skipped: int = Field(ge=0, description="Bad rows left out.")
    num_unsure: int = Field(ge=0, description="Rows left out because the teacher was not sure.")
    num_surplus: int = Field(ge=0, description="Rows left out to balance the classes.")
    num_rows_per_class: dict[str, int] = Field(description="Rows by the teacher's first choice.")
    engine: str = Field(description="What ran the teacher.")
    sha256: str = Field(description="SHA-256 of rows.parquet.")


def part_schema(
    teacher: Manifest, *, has_pair: bool, has_label: bool, has_vectors: bool
) -> pa.Schema:
    """Columns of a labelled row: id, text(s), label, copy, teacher_logits, teacher_vector."""
    columns = [("id", pa.int64()), ("text", pa.string())]
    if has_pair:
        columns.append(("text_pair", pa.string()))
    if has_label:
        columns.append(("label", pa.string()))
    columns.append(("copy", pa.int32()))
    columns.append(("teacher_logits", pa.list_(pa.float32(), teacher.task.num_outputs)))
    if has_vectors:
        columns.append(("teacher_vector", pa.list_(pa.float32(), teacher.vector.size)))
    return pa.schema(columns)


def read_labelled_manifest(storage: Storage, name: str) -> LabelledManifest | None:
    """Read the manifest of a folder of labelled rows, or of the folder that a file stands in.

    Returns:
        None if there is none.

    Raises:
        DataError: It cannot be used.
    """
    folder = name.rpartition("/")[0] if name.endswith(".parquet") else name
    place = f"{folder}/{MANIFEST}" if folder else MANIFEST
    if not storage.exists(place):
        return None
    try:
        return LabelledManifest.model_validate_json(storage.fetch(place).read_bytes())
    except ValidationError as error:
        raise DataError(f"{place}: not a manifest of labelled rows: {error}") from error


class Parts:
    """What a run has labelled so far: one file per chunk, each there whole or not at all."""

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
        """Put a chunk's rows in place."""
        name = f"{self._folder}/{_part_name(file, chunk)}"
        staging = staging_path(self._storage.resolve(name))
        pyarrow.parquet.write_table(rows, str(staging), compression="zstd")
        self._storage.publish(staging, name)
        self.num_rows[file, chunk] = rows.num_rows

    def read(self, file: int, chunk: int) -> pa.Table:
        """Read a chunk's rows back."""
        path = self._storage.fetch(f"{self._folder}/{_part_name(file, chunk)}")
        return pyarrow.parquet.read_table(path, partitioning=None)

    def remove(self) -> None:
        """Remove all parts."""
        self._storage.remove(self._folder)

    def check_whole(self, num_rows_per_file: Mapping[int, int], rows_per_chunk: int) -> None:
        """Refuse parts that do not hold every row of every file exactly once.

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
            raise DataError(
                f"{self._storage.resolve(self._folder)}: chunks {differing[:5]} (file, chunk) are "
                "missing or incomplete; run the same command again"
            )

    def _take_over(self, name: str) -> None:
        if name.startswith(".") or not name.endswith(".parquet"):
            return
        try:
            file, chunk = (int(part) for part in name.removesuffix(".parquet").split("-")[1:])
            metadata = pyarrow.parquet.read_metadata(self._storage.fetch(f"{self._folder}/{name}"))
        except (ValueError, OSError, pa.ArrowException):
            return  # not a whole part: it is labelled again
        self.num_rows[file, chunk] = int(metadata.num_rows)


def _part_name(file: int, chunk: int) -> str:
    return f"part-{file:05d}-{chunk:07d}.parquet"
