"""Join what a labelling run has done, choose among the rows, and put the finished folder in place.

Knows the parts of a run, not how they were made.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ernie_ray.distillation.selection import keep_balanced, keep_confident
from ernie_ray.errors import DataError
from ernie_ray.jobs.label_request import LabelRequest, schema_of
from ernie_ray.jobs.labelled_rows import MANIFEST, ROWS, LabelledManifest
from ernie_ray.jobs.parts import Parts
from ernie_ray.jobs.prediction_files import open_writer
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

    The parts are read twice, to choose and to write, so that memory holds a few bytes of each row
    and not its texts.

    Raises:
        DataError: A row is there twice, or the output cannot be written.
    """
    place = storage.resolve(output)
    bad_rows = BadRowFilter(request.on_bad)
    answers = _read_answers(request, found, parts, bad_rows)
    if len(np.unique(answers.ids)) != len(answers.ids):
        raise DataError(
            f"{place}: a row was labelled twice; remove the folder of parts beside it and run the "
            "same command again"
        )
    bad_rows.refuse_none_left(len(answers.ids))
    is_kept = answers.is_sure.copy()
    if request.selection.balance:
        is_kept[is_kept] = keep_balanced(
            answers.choices[is_kept], answers.is_labelled[is_kept], request.selection.seed
        )
    task = found.teacher.task
    labels = task.labels if isinstance(task, ClassificationSpec) else ()
    counts = np.bincount(answers.choices[is_kept], minlength=len(labels)).tolist()
    folder = staging_path(place)
    folder.mkdir()
    try:
        given = with_given_names(schema_of(request, found.teacher).empty_table(), request.schema)
        with open_writer(folder / ROWS, "parquet", given.schema, output=place) as writer:
            for rows in _kept_rows(is_kept, request, found, parts):
                writer.write(rows)
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
            num_rows=int(is_kept.sum()),
            num_skipped=bad_rows.num_skipped,
            num_unsure=int((~answers.is_sure).sum()),
            num_surplus=int((answers.is_sure & ~is_kept).sum()),
            num_rows_per_class=dict(zip(labels, counts, strict=True)) if labels else {},
            engine=", ".join(sorted(answers.engines)),
            sha256=sha256,
        )
        with writing_to(place):
            (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        storage.publish(folder, output, last=MANIFEST)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts.remove()
    return manifest


@dataclass(frozen=True)
class _Answers:
    """What decides which rows are kept, of every good row in input order, [N] each.

    Attributes:
        ids: Places in the input.
        choices: The teacher's first choice among the classes.
        is_labelled: The row has a label and is no copy, so it stays.
        is_sure: The teacher is sure enough, or the row stays anyway.
        engines: What ran the teacher: several if machines, or attempts, were unlike.
    """

    ids: NDArray[np.int64]
    choices: NDArray[np.int32]
    is_labelled: NDArray[np.bool_]
    is_sure: NDArray[np.bool_]
    engines: set[str]


def _read_answers(
    request: LabelRequest, found: Finding, parts: Parts, bad_rows: BadRowFilter
) -> _Answers:
    task = found.teacher.task
    is_multi_label = isinstance(task, ClassificationSpec) and task.multi_label
    min_confidence = request.selection.min_confidence
    has_labels = request.schema.label is not None
    columns = ["row", "problem", "is_fatal", "copy", "engine", "teacher_logits"]
    columns += ["label"] * has_labels
    ids, choices, labelled, sure = [_NO_IDS], [_NO_CHOICES], [_NO_FLAGS], [_NO_FLAGS]
    engines: set[str] = set()
    for part in parts.in_order(found.lengths, columns):
        rows = bad_rows.good(part)
        if rows.num_rows == 0:
            continue
        logits = rows["teacher_logits"].combine_chunks().flatten().to_numpy()
        logits = logits.reshape(rows.num_rows, -1)
        # The label of an augmented copy may no longer hold.
        is_labelled = rows["copy"].to_numpy() == 0
        is_labelled &= pc.is_valid(rows["label"]).to_numpy() if has_labels else False
        engines.update(rows["engine"].unique().to_pylist())
        ids.append(rows["id"].to_numpy())
        choices.append(logits.argmax(axis=1).astype(np.int32))
        labelled.append(is_labelled)
        sure.append(
            keep_confident(logits, is_labelled, min_confidence, is_multi_label=is_multi_label)
        )
    return _Answers(
        ids=np.concatenate(ids),
        choices=np.concatenate(choices),
        is_labelled=np.concatenate(labelled),
        is_sure=np.concatenate(sure),
        engines=engines,
    )


_NO_IDS, _NO_CHOICES, _NO_FLAGS = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, bool)


def _kept_rows(
    is_kept: NDArray[np.bool_], request: LabelRequest, found: Finding, parts: Parts
) -> Iterator[pa.Table]:
    """The good rows that are kept, under the names of the input."""
    columns = schema_of(request, found.teacher).names
    bad_rows = BadRowFilter(request.on_bad)
    start = 0
    for part in parts.in_order(found.lengths):
        rows = bad_rows.good(part).select(columns)
        chosen = pa.array(is_kept[start : start + rows.num_rows])
        start += rows.num_rows
        yield with_given_names(rows.filter(chosen), request.schema)
