"""Put rows through a model in chunks, each kept as soon as it is done: the core of long jobs.

In this process, or by a pool of Ray Data actors that have the model loaded once each. A run that
was killed anywhere goes on behind what it had. Knows rows and chunks, not what is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
from tqdm import tqdm

from ernie_ray.environment import this_machine
from ernie_ray.errors import DataError, ErnieRayError, InferenceError
from ernie_ray.jobs.cpu_share import cpu_share, cpus_of_nodes
from ernie_ray.jobs.file_digests import expected_rows
from ernie_ray.jobs.parts import Parts
from ernie_ray.jobs.row_blocks import BadRowFilter
from ernie_ray.jobs.row_check import check_every_row
from ernie_ray.jobs.row_chunks import END_OF_FILE, Chunking, chunk_entry, read_chunks, unpack
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import OnBad

RowWork = Callable[[pa.Table], pa.Table]
"""Takes a chunk with ``ROW_COLUMNS``; gives as many rows, with ``file``, ``row``, ``problem``,
``is_fatal`` and what it made of the good ones."""


@dataclass(frozen=True)
class Pool:
    """Machines for the model.

    Attributes:
        num_actors: Copies of the model on Ray, which must be initialised; 0: one, here.
        cpus_per_actor: CPUs and threads of each; 0: an equal share of the cluster's.
        gpus_per_actor: GPUs of each; a fraction shares one.
    """

    num_actors: int = 1
    cpus_per_actor: float = 0.0
    gpus_per_actor: float = 0.0


@dataclass(frozen=True)
class ChunkRun:
    """What to put through which model.

    Attributes:
        desc: Word before the bar.
        files: The rows, read in this order.
        schema: What they must hold.
        on_bad: Stop at a bad row, or keep it out.
        rows_per_chunk: Rows that are kept together, and lost together when the run is killed.
        load: Loads the model with a number of threads (None: its own choice). Crosses process
            borders.
        checks_first: Read every row before the model sees one: where the model is slow, a bad row
            at the end would cost hours.
    """

    desc: str
    files: tuple[DataFile, ...]
    schema: RowSchema
    on_bad: OnBad
    rows_per_chunk: int
    load: Callable[[int | None], RowWork]
    checks_first: bool = False


def run_chunks(run: ChunkRun, parts: Parts, pool: Pool, *, show_progress: bool) -> dict[int, int]:
    """Do the chunks that are missing in ``parts``.

    Returns:
        The rows of each file, bad ones too; every chunk of them is in ``parts``.

    Raises:
        DataError: A file or row cannot be used.
        ErnieRayError: As ``run.load`` or what it loads raised it.
    """
    if run.checks_first and not parts.num_rows:
        check_every_row(run.files, run.schema, run.on_bad, show_progress=show_progress)
    chunking = Chunking(run.rows_per_chunk, frozenset(parts.num_rows))
    entries = (
        _entries_on_ray(run, chunking, pool) if pool.num_actors else _entries_here(run, chunking)
    )
    lengths: dict[int, int] = {}
    bad_rows = BadRowFilter(run.on_bad)
    with (
        closing(entries),
        tqdm(
            desc=run.desc,
            unit=" rows",
            total=expected_rows(run.files) if show_progress else None,
            initial=sum(parts.num_rows.values()),
            disable=not show_progress,
        ) as bar,
    ):
        for entry in entries:
            for file, chunk, num_rows, packed in zip(
                *(column.to_pylist() for column in entry.columns), strict=True
            ):
                rows = unpack(packed)
                try:
                    bad_rows.good(rows)
                except DataError:
                    if chunk != END_OF_FILE:  # the input must change, and nothing would fit it
                        parts.remove()
                    raise
                if chunk == END_OF_FILE:
                    lengths[file] = num_rows
                    continue
                parts.write(file, chunk, rows)
                bar.update(num_rows)
    parts.check_whole(lengths, run.rows_per_chunk)
    return lengths


class _Actor:
    """Puts the chunks of tables with ``CHUNK_COLUMNS`` through a model that is loaded once."""

    def __init__(self, run: ChunkRun, num_threads: int | None) -> None:
        self._run = run
        if num_threads is not None:  # a Ray may count more CPUs than its machine has
            num_threads = min(num_threads, this_machine().num_cpus)
        # Of an error raised here Ray Data would pass on a traceback as text; raised by the first
        # call it arrives as it is.
        self._loaded: RowWork | ErnieRayError
        try:
            self._loaded = run.load(num_threads)
        except ErnieRayError as error:
            self._loaded = error

    def __call__(self, entries: pa.Table) -> pa.Table:
        columns = (column.to_pylist() for column in entries.columns)
        return pa.concat_tables(
            [
                chunk_entry(file, chunk, num_rows, self._work(file, chunk, unpack(packed)))
                for file, chunk, num_rows, packed in zip(*columns, strict=True)
            ]
        )

    def _work(self, file: int, chunk: int, rows: pa.Table) -> pa.Table:
        if isinstance(self._loaded, ErnieRayError):
            raise self._loaded
        try:
            return self._loaded(rows)
        except InferenceError as error:
            first = chunk * self._run.rows_per_chunk + 1
            raise InferenceError(
                f"{self._run.files[file].name}: in rows {first} to {first + rows.num_rows - 1}: "
                f"{error}"
            ) from error


def _entries_here(run: ChunkRun, chunking: Chunking) -> Generator[pa.Table, None, None]:
    work = _Actor(run, None)
    sources = pa.table({"file": list(range(len(run.files)))})
    for entry in read_chunks(sources, run.files, run.schema, chunking):
        yield work(entry)


def _entries_on_ray(
    run: ChunkRun, chunking: Chunking, pool: Pool
) -> Generator[pa.Table, None, None]:
    # Imported here, because a run in this process needs no Ray.
    import ray.data

    from ernie_ray.jobs.row_dataset import READ_CPUS, blocks_in_order, chunk_dataset

    shared = cpu_share(cpus_of_nodes(), pool.num_actors, READ_CPUS)
    num_cpus = pool.cpus_per_actor or (1.0 if pool.gpus_per_actor else shared)
    # Where actors leave no CPU, a reader that asks for one would never start.
    max_readers = None if num_cpus <= shared else pool.num_actors
    dataset = chunk_dataset(run.files, run.schema, chunking, max_readers).map_batches(
        _Actor,
        fn_constructor_kwargs={"run": run, "num_threads": max(1, round(num_cpus))},
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.num_actors),
        num_cpus=num_cpus,
        num_gpus=pool.gpus_per_actor or None,
    )
    yield from blocks_in_order(dataset)
