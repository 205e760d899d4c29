"""Join what a labelling run has done, choose among the rows, and put the finished folder in place.

Knows the parts of a run, not how they were made.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ernie_ray.distillation.selection import keep_balanced, keep_confident
from ernie_ray.errors import DataError
from ernie_ray.jobs.label_request import LabelRequest, schema_of
from ernie_ray.jobs.labelled_rows import MANIFEST, ROWS, LabelledManifest
from ernie_ray.jobs.parts import Parts
from ernie_ray.jobs.row_blocks import BadRowFilter, with_given_names
from ernie_ray.jobs.storage import Storage, staging_path, writing_to
from ernie_ray.modeldir import ClassificationSpec, Manifest


@dataclass(frozen=True)
class Finding:
    """What is known when all chunks are there."""

    teacher: Manifest
    digest: str
    inputs: list[str]
    lengths: dict[int, int]


def finish(
    request: LabelRequest, output: str, storage: Storage, parts: Parts, found: Finding
) -> LabelledManifest:
    """Join the parts in input order, choose among the rows, and put the folder in place.

    Raises:
        DataError: A row is there twice.
    """
    bad_rows = BadRowFilter(request.on_bad)
    rows = _joined(parts, found.lengths, schema_of(request, found.teacher), bad_rows)
    if pc.count_distinct(rows["id"]).as_py() != rows.num_rows:
        raise DataError(
            f"{storage.resolve(output)}: a row was labelled twice; remove the folder of parts "
            "beside it and run the same command again"
        )
    bad_rows.refuse_none_left(rows.num_rows)
    kept, num_unsure, num_surplus = _selected(rows, request, found.teacher)
    task = found.teacher.task
    labels = task.labels if isinstance(task, ClassificationSpec) else ()
    folder = staging_path(storage.resolve(output))
    folder.mkdir()
    try:
        written = with_given_names(kept, request.schema)
        with writing_to(storage.resolve(output)):
            pyarrow.parquet.write_table(written, str(folder / ROWS), compression="zstd")
        with (folder / ROWS).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        names = [file.name for file in request.files]
        manifest = LabelledManifest(
            digest=found.digest,
            teacher=found.teacher.fingerprint,
            teacher_name=found.teacher.name,
            labels=labels,
            task=task,
            inputs=dict(zip(names, found.inputs, strict=True)),
            num_rows_per_file={names[i]: n for i, n in sorted(found.lengths.items())},
            num_rows=kept.num_rows,
            num_skipped=bad_rows.num_skipped,
            num_unsure=num_unsure,
            num_surplus=num_surplus,
            num_rows_per_class=_per_class(kept, labels),
            engine=f"{request.settings.engine} {request.settings.precision}",
            sha256=sha256,
        )
        with writing_to(storage.resolve(output)):
            (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        storage.publish(folder, output, last=MANIFEST)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts.remove()
    return manifest


def _joined(
    parts: Parts, lengths: dict[int, int], schema: pa.Schema, bad_rows: BadRowFilter
) -> pa.Table:
    """All good rows in input order with their ids."""
    tables = [bad_rows.good(rows) for rows in parts.in_order(lengths)]
    return pa.concat_tables(
        [schema.empty_table(), *(good.select(schema.names).cast(schema) for good in tables)]
    )


def _selected(
    rows: pa.Table, request: LabelRequest, teacher: Manifest
) -> tuple[pa.Table, int, int]:
    """The rows kept, how many the teacher was not sure of, and how many were too many."""
    selection = request.selection
    is_multi_label = isinstance(teacher.task, ClassificationSpec) and teacher.task.multi_label
    if rows.num_rows == 0:
        return rows, 0, 0
    logits = _logits_of(rows)
    if "label" in rows.column_names:
        # The label of an augmented copy may no longer hold.
        has_label = pc.is_valid(rows["label"]).to_numpy()
        is_labelled = has_label & (rows["copy"].to_numpy() == 0)
    else:
        is_labelled = np.zeros(rows.num_rows, dtype=bool)
    sure = keep_confident(
        logits, is_labelled, selection.min_confidence, is_multi_label=is_multi_label
    )
    rows, logits, is_labelled = rows.filter(pa.array(sure)), logits[sure], is_labelled[sure]
    num_unsure = int((~sure).sum())
    if not selection.balance:
        return rows, num_unsure, 0
    even = keep_balanced(logits, is_labelled, selection.seed)
    return rows.filter(pa.array(even)), num_unsure, int((~even).sum())


def _per_class(rows: pa.Table, labels: tuple[str, ...]) -> dict[str, int]:
    if not labels or rows.num_rows == 0:
        return dict.fromkeys(labels, 0)
    counts = np.bincount(_logits_of(rows).argmax(axis=1), minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _logits_of(rows: pa.Table) -> np.ndarray:
    column = rows["teacher_logits"].combine_chunks()
    return column.flatten().to_numpy().reshape(rows.num_rows, -1)
