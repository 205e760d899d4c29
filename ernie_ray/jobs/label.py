"""Let a teacher label rows: a pool of Ray Data actors, each with the teacher loaded once.

Every chunk of rows is put in place as soon as it is done, so that a run that was killed anywhere
goes on behind what it had: the same command again labels only what is missing. The finished folder
appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from tqdm import tqdm

from ernie_ray.distillation.selection import keep_balanced, keep_confident
from ernie_ray.distillation.teacher import Teacher, TeacherSettings
from ernie_ray.errors import ConfigError, ErnieRayError
from ernie_ray.jobs.file_digests import digests_of_files, expected_rows
from ernie_ray.jobs.labelled_rows import (
    MANIFEST,
    ROWS,
    LabelledManifest,
    Parts,
    part_schema,
    read_labelled_manifest,
)
from ernie_ray.jobs.predict import cpus_per_actor
from ernie_ray.jobs.row_blocks import BadRowFilter, checked_schema, texts_of, with_given_names
from ernie_ray.jobs.row_chunks import END_OF_FILE, Chunking, chunk_entry, read_chunks, unpack
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir import ClassificationSpec, Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.rows import OnBad, RowSchema

# Counts up when the same input would give other rows.
_FORMAT = 1
_DIGEST_CHARACTERS = 12


@dataclass(frozen=True)
class Selection:
    """Which rows are kept; those with a label of their own always are.

    Attributes:
        min_confidence: Smallest probability of the teacher's first choice; 0: any.
        balance: Keep equally many rows of each class that the teacher found.
        seed: Draws the rows of the larger classes.
    """

    min_confidence: float = 0.0
    balance: bool = False
    seed: int = 42


@dataclass(frozen=True)
class LabelRequest:
    """Everything that decides what comes out.

    Attributes:
        teacher: Model directory: absolute path (on a cluster, one that all nodes see) or URI.
        files: The rows, read in this order.
        schema: Their columns; a label column may be there in some rows only.
        settings: How the teacher is run.
        selection: Which rows are kept.
        has_vectors: Give each row the teacher's vector, too.
        on_bad: Stop at a bad row, or skip and list it.
        rows_per_chunk: Rows that are labelled and put in place together, and lost together when
            the run is killed.
    """

    teacher: Location
    files: tuple[DataFile, ...]
    schema: RowSchema
    settings: TeacherSettings = field(default_factory=TeacherSettings)
    selection: Selection = field(default_factory=Selection)
    has_vectors: bool = False
    on_bad: OnBad = "error"
    rows_per_chunk: int = 512


@dataclass(frozen=True)
class Pool:
    """Machines for the teacher.

    Attributes:
        num_actors: Copies of the teacher on Ray, which must be initialised; 0: one, here.
        cpus_per_actor: CPUs and threads of each; 0: an equal share of the cluster's.
        gpus_per_actor: GPUs of each; a fraction shares one.
    """

    num_actors: int = 1
    cpus_per_actor: float = 0.0
    gpus_per_actor: float = 0.0


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
    return _finish(
        request, output, storage, parts, _Finding(teacher, digest, inputs, lengths, bad_rows)
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
        self._schema = _schema_of(request, read_manifest(folder))

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


def _schema_of(request: LabelRequest, teacher: Manifest) -> pa.Schema:
    return part_schema(
        teacher,
        has_pair=request.schema.text_pair is not None,
        has_label=request.schema.label is not None,
        has_vectors=request.has_vectors,
    )


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


@dataclass(frozen=True)
class _Finding:
    """What is known when all chunks are there."""

    teacher: Manifest
    digest: str
    inputs: list[str]
    lengths: dict[int, int]
    bad_rows: BadRowFilter


def _finish(
    request: LabelRequest, output: str, storage: Storage, parts: Parts, found: _Finding
) -> LabelledManifest:
    """Join the parts in input order, choose among the rows, and put the folder in place."""
    rows, num_skipped = _joined(parts, found.lengths, _schema_of(request, found.teacher))
    found.bad_rows.refuse_none_left(rows.num_rows)
    kept, num_unsure, num_surplus = _selected(rows, request, found.teacher)
    task = found.teacher.task
    labels = task.labels if isinstance(task, ClassificationSpec) else ()
    folder = staging_path(storage.resolve(output))
    folder.mkdir()
    try:
        written = with_given_names(kept, request.schema)
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
            num_skipped=num_skipped,
            num_unsure=num_unsure,
            num_surplus=num_surplus,
            num_rows_per_class=_per_class(kept, labels),
            engine=f"{request.settings.engine} {request.settings.precision}",
            sha256=sha256,
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        storage.publish(folder, output, last=MANIFEST)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts.remove()
    return manifest


def _joined(parts: Parts, lengths: dict[int, int], schema: pa.Schema) -> tuple[pa.Table, int]:
    """All good rows in input order with their ids, and the number of bad ones."""
    starts = np.cumsum([0, *(lengths[file] for file in sorted(lengths))])
    tables, num_skipped = [schema.empty_table()], 0
    for file, chunk in sorted(parts.num_rows):
        rows = parts.read(file, chunk)
        good = rows.filter(pc.is_null(rows["problem"]))
        num_skipped += rows.num_rows - good.num_rows
        ids = pa.array(starts[file] + good["row"].to_numpy(), pa.int64())
        good = good.append_column("id", ids)
        tables.append(good.select(schema.names).cast(schema))
    return pa.concat_tables(tables), num_skipped


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
