"""Let a teacher label rows: a pool of Ray Data actors, each with the teacher loaded once.

Every chunk of rows is put in place as soon as it is done, so that a run that was killed anywhere
goes on behind what it had: the same command again labels only what is missing. The finished folder
appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ernie_ray.distillation.teacher import Teacher
from ernie_ray.errors import ConfigError, ErnieRayError
from ernie_ray.jobs.file_digests import digests_of_files, expected_rows
from ernie_ray.jobs.label_request import LabelRequest, Pool, schema_of
from ernie_ray.jobs.labelled_output import Finding, finish
from ernie_ray.jobs.labelled_rows import LabelledManifest, Parts, read_labelled_manifest
from ernie_ray.jobs.predict import cpus_per_actor
from ernie_ray.jobs.row_blocks import BadRowFilter, checked_schema, texts_of
from ernie_ray.jobs.row_chunks import END_OF_FILE, Chunking, chunk_entry, read_chunks, unpack
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.rows import RowSchema

# Counts up when the same input would give other rows.
_FORMAT = 1
_DIGEST_CHARACTERS = 12


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
        DataError: A file or row cannot be used.
        ModelDirError: The teacher's model directory is broken.
        ConfigError: The teacher has no head, or the output holds other rows.
    """
    folder = storage.fetch(request.teacher)
    teacher = read_manifest(folder)
    inputs = digests_of_files(request.files)
    digest = _digest(request, teacher, inputs)
    finished = read_labelled_manifest(storage, output)
    if finished is not None:
        if finished.digest == digest:
            return finished
        raise ConfigError(
            f"{storage.resolve(output)} holds rows that were labelled from other rows, by another "
            "teacher or with other options; choose another output or remove it"
        )
    parts = Parts(storage, _parts_folder(output, digest))
    lengths, bad_rows = _label_chunks(request, parts, pool, show_progress=show_progress)
    parts.check_whole(lengths, request.rows_per_chunk)
    return finish(
        request, output, storage, parts, Finding(teacher, digest, inputs, lengths, bad_rows)
    )


def _parts_folder(output: str, digest: str) -> str:
    head, slash, name = output.rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.parts-{digest[:_DIGEST_CHARACTERS]}"


def _digest(request: LabelRequest, teacher: Manifest, inputs: list[str]) -> str:
    key = {
        "format": _FORMAT,
        "teacher": teacher.fingerprint,
        "inputs": inputs,
        "schema": asdict(request.schema),
        "settings": asdict(request.settings),
        "selection": asdict(request.selection),
        "has_vectors": request.has_vectors,
        "on_bad": request.on_bad,
        "rows_per_chunk": request.rows_per_chunk,
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _label_chunks(
    request: LabelRequest, parts: Parts, pool: Pool, *, show_progress: bool
) -> tuple[dict[int, int], BadRowFilter]:
    """Label the chunks that are missing; gives the rows of each file, and what was skipped."""
    chunking = Chunking(request.rows_per_chunk, frozenset(parts.num_rows))
    entries = (
        _entries_on_ray(request, chunking, pool)
        if pool.num_actors
        else _entries_here(request, chunking)
    )
    lengths: dict[int, int] = {}
    bad_rows = BadRowFilter(request.on_bad)
    with (
        closing(entries),
        tqdm(
            desc="label",
            unit=" rows",
            total=expected_rows(request.files),
            initial=sum(parts.num_rows.values()),
            disable=not show_progress,
        ) as bar,
    ):
        for entry in entries:
            for file, chunk, num_rows, packed in zip(
                *(column.to_pylist() for column in entry.columns), strict=True
            ):
                rows = unpack(packed)
                bad_rows.good(rows)  # raises where no bad row is allowed
                if chunk == END_OF_FILE:
                    lengths[file] = num_rows
                    continue
                parts.write(file, chunk, rows)
                bar.update(num_rows)
    return lengths, bad_rows


class ChunkLabeller:
    """Labels chunks of rows with a teacher that is loaded once."""

    def __init__(self, request: LabelRequest, num_threads: int | None = None) -> None:
        self._request = request
        folder = Storage().fetch(request.teacher)
        self._teacher = Teacher(folder, request.settings, num_threads=num_threads)
        self._schema = schema_of(request, read_manifest(folder))

    def __call__(self, entries: pa.Table) -> pa.Table:
        """Label the chunks of a table with ``CHUNK_COLUMNS``."""
        columns = (column.to_pylist() for column in entries.columns)
        return pa.concat_tables(
            [
                chunk_entry(file, chunk, num_rows, self._labelled(unpack(packed)))
                for file, chunk, num_rows, packed in zip(*columns, strict=True)
            ]
        )

    def _labelled(self, rows: pa.Table) -> pa.Table:
        is_good = pc.is_null(rows["problem"])
        good, bad = rows.filter(is_good), rows.filter(pc.invert(is_good))
        kept = ["file", "row", "problem", "is_fatal"]
        if good.num_rows:
            outputs = self._teacher.ask(texts_of(good))
            columns = {name: good[name] for name in [*kept, "text", "copy"]}
            columns |= {
                name: good[name] for name in ("text_pair", "label") if name in self._schema.names
            }
            columns["teacher_logits"] = _fixed_lists(outputs.logits)
            if self._request.has_vectors:
                columns["teacher_vector"] = _fixed_lists(outputs.vectors)
            good = pa.table(columns)
        else:
            good = good.select(kept)
        empty = self._schema.remove(0).empty_table()
        return pa.concat_tables([empty, good, bad.select(kept)], promote_options="default")


class _Actor:
    """A chunk labeller in an actor of Ray Data."""

    def __init__(self, request: LabelRequest, num_threads: int | None) -> None:
        # Of an error raised here Ray Data would pass on a traceback as text; raised by the first
        # call it arrives as it is.
        self._loaded: ChunkLabeller | ErnieRayError
        try:
            self._loaded = ChunkLabeller(request, num_threads)
        except ErnieRayError as error:
            self._loaded = error

    def __call__(self, entries: pa.Table) -> pa.Table:
        if isinstance(self._loaded, ErnieRayError):
            raise self._loaded
        return self._loaded(entries)


def _fixed_lists(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _entries_here(request: LabelRequest, chunking: Chunking) -> Generator[pa.Table, None, None]:
    labeller = ChunkLabeller(request)
    sources = pa.table({"file": list(range(len(request.files)))})
    for entry in read_chunks(sources, request.files, _reading_schema(request), chunking):
        yield labeller(entry)


def _entries_on_ray(
    request: LabelRequest, chunking: Chunking, pool: Pool
) -> Generator[pa.Table, None, None]:
    # Imported here, because labelling in this process needs no Ray.
    import ray.data

    from ernie_ray.jobs.row_dataset import READ_CPUS, blocks_in_order, chunk_dataset

    num_cpus = pool.cpus_per_actor
    if not num_cpus:
        nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        num_cpus = 1.0 if pool.gpus_per_actor else cpus_per_actor(
            nodes, pool.num_actors, READ_CPUS
        )  # fmt: skip
    dataset = chunk_dataset(request.files, _reading_schema(request), chunking).map_batches(
        _Actor,
        fn_constructor_kwargs={"request": request, "num_threads": max(1, round(num_cpus))},
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.num_actors),
        num_cpus=num_cpus,
        num_gpus=pool.gpus_per_actor or None,
    )
    yield from blocks_in_order(dataset)


def _reading_schema(request: LabelRequest) -> RowSchema:
    return checked_schema(request.schema, read_manifest(Storage().fetch(request.teacher)).task)
