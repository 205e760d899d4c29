"""Let a teacher label rows: a pool of Ray Data actors, each with the teacher loaded once.

Every chunk of rows is put in place as soon as it is done, so that a run that was killed anywhere
goes on behind what it had: the same command again labels only what is missing. The finished folder
appears whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ernie_ray.distillation.teacher import Teacher
from ernie_ray.errors import ConfigError, DataError
from ernie_ray.jobs.chunk_run import ChunkRun, Pool, run_chunks
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.label_request import LabelRequest, refuse_unfit, schema_of
from ernie_ray.jobs.labelled_output import Finding, finish
from ernie_ray.jobs.labelled_rows import (
    MANIFEST,
    ROWS,
    LabelledManifest,
    read_labelled_manifest,
    refuse_damaged,
)
from ernie_ray.jobs.parts import Parts, digest_of, parts_folder
from ernie_ray.jobs.row_blocks import schema_of_model, texts_of
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.row_files import DataFile

# Counts up when the same input would give other rows.
_FORMAT = 2

DEFAULT_POOL = Pool()


def label(
    request: LabelRequest,
    output: str,
    *,
    storage: Storage,
    pool: Pool = DEFAULT_POOL,
    show_progress: bool = False,
) -> LabelledManifest:
    """Label rows, or go on with an interrupted run, or find them labelled.

    Args:
        request: What to label, and how.
        output: Folder to write: ``rows.parquet`` and ``labelled.json``.
        storage: Resolves ``output``.
        pool: Where the teacher runs.
        show_progress: Draw a bar with rows/s and the time left on stderr.

    Returns:
        The manifest of the finished folder.

    Raises:
        DataError: A file or row cannot be used, or the finished folder is damaged.
        ModelDirError: The teacher's model directory is broken.
        ConfigError: The teacher has not one answer per text, or none to select by; or the output
            holds something else.
    """
    folder = storage.fetch(request.teacher)
    teacher = read_manifest(folder)
    refuse_unfit(request.selection, teacher, request.teacher)
    _refuse_doubles(request.files)
    finished = read_labelled_manifest(storage, output)
    if finished is None:
        storage.refuse_taken(output, {ROWS, MANIFEST}, last=MANIFEST)
    inputs = digests_of_files(request.files)
    digest = request_digest(request, teacher, inputs)
    parts = Parts(storage, parts_folder(output, digest))
    if finished is not None:
        if finished.digest == digest:
            refuse_damaged(storage, output, finished)
            parts.remove()  # a run that was killed after its last step left them
            return finished
        raise ConfigError(
            f"{storage.resolve(output)} holds rows that were labelled from other rows, by another "
            "teacher or with other options; choose another output or remove it"
        )
    run = ChunkRun(
        "label",
        request.files,
        schema_of_model(request.schema, teacher),
        request.on_bad,
        request.rows_per_chunk,
        load=partial(RowLabeller, request),
        checks_first=True,
    )
    lengths = run_chunks(run, parts, pool, show_progress=show_progress)
    return finish(request, output, storage, parts, Finding(teacher, digest, inputs, lengths))


def _refuse_doubles(files: tuple[DataFile, ...]) -> None:
    name, count = Counter(file.name for file in files).most_common(1)[0]
    if count > 1:
        raise DataError(f"{name}: stands in more than one of the inputs; leave one of them out")


def request_digest(request: LabelRequest, teacher: Manifest, inputs: list[str]) -> str:
    """SHA-256 over everything that decides the labelled rows.

    Args:
        request: What to label, and how.
        teacher: Its manifest.
        inputs: Digests of the files.
    """
    selection = request.selection
    if not selection.balance:
        selection = replace(selection, seed=0)  # nothing is drawn
    key = {
        "format": _FORMAT,
        "teacher": teacher.fingerprint,
        "inputs": inputs,
        "schema": asdict(request.schema),
        "settings": asdict(request.settings),
        "selection": asdict(selection),
        "has_vectors": request.has_vectors,
        "on_bad": request.on_bad,
        "rows_per_chunk": request.rows_per_chunk,
    }
    return digest_of(key)


class RowLabeller:
    """Labels chunks of rows with a teacher that is loaded once."""

    def __init__(self, request: LabelRequest, num_threads: int | None = None) -> None:
        self._request = request
        folder = Storage().fetch(request.teacher)
        self._teacher = Teacher(folder, request.settings, num_threads=num_threads)
        schema = schema_of(request, read_manifest(folder)).remove(0)
        self._schema = schema.append(pa.field("engine", pa.string()))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Label the good rows of a chunk with ``ROW_COLUMNS``."""
        is_good = pc.is_null(rows["problem"])
        good, bad = rows.filter(is_good), rows.filter(pc.invert(is_good))
        kept = ["file", "row", "problem", "is_fatal"]
        if good.num_rows:
            outputs = self._teacher.ask(texts_of(good))
            columns = {name: good[name] for name in [*kept, "text", "copy"]}
            columns |= {
                name: good[name] for name in ("text_pair", "label") if name in self._schema.names
            }
            columns["engine"] = pa.array([self._teacher.engine] * good.num_rows)
            columns["teacher_logits"] = _fixed_lists(outputs.logits)
            if self._request.has_vectors:
                columns["teacher_vector"] = _fixed_lists(outputs.vectors)
            good = pa.table(columns)
        else:
            good = good.select(kept)
        empty = self._schema.empty_table()
        return pa.concat_tables([empty, good, bad.select(kept)], promote_options="default")


def _fixed_lists(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
