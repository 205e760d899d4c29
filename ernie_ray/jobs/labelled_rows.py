"""The folder of labelled rows: ``rows.parquet`` with the teacher's logits, and its manifest.

Knows the columns, not how labels are made.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_ray.errors import DataError
from ernie_ray.jobs.storage import Storage
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
    engine: str = Field(
        description="Engine and precision that ran the teacher; several where machines differed."
    )
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


def refuse_damaged(storage: Storage, folder: str, manifest: LabelledManifest) -> None:
    """Refuse a finished folder whose rows are not those that its manifest was written for.

    Raises:
        DataError: ``rows.parquet`` is missing, or has another content.
    """
    place = f"{folder}/{ROWS}"
    problem = "is missing"
    if storage.exists(place):
        with storage.open(place) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if sha256 == manifest.sha256:
            return
        problem = f"is not what {MANIFEST} describes"
    raise DataError(
        f"{storage.resolve(place)} {problem}; remove the folder, and the same command labels the "
        "rows again"
    )
