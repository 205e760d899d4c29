"""Rows as a Ray Data set: read and checked by tasks, and handed to the driver in input order.

Knows neither tokenizers nor models.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray.data
from ray.exceptions import RayTaskError

from ernie_ray.errors import ErnieRayError
from ernie_ray.jobs.row_blocks import read_blocks
from ernie_ray.jobs.row_chunks import Chunking, read_chunks
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema

# A reader and a worker fit into one CPU together, so that a reader which waits for a worker never
# holds the only one. Different shares also keep Ray Data from joining both into one task a file.
READ_CPUS = 0.4
WORK_CPUS = 0.6
# Text per block: small enough that one file keeps several workers busy, large enough that tens of
# milliseconds of scheduling per block do not count.
BLOCK_BYTES = 1 << 20
# Smaller than any chunk of rows, so that each chunk is a block and goes to the next free actor.
_CHUNK_BLOCK_BYTES = 8 << 10


def row_dataset(
    files: Sequence[DataFile], schema: RowSchema, *, block_bytes: int = BLOCK_BYTES
) -> ray.data.Dataset:
    """Describe the reading of files, with columns ``ROW_COLUMNS``; nothing runs yet.

    Args:
        files: One reading task each.
        schema: What rows must hold.
        block_bytes: Text per block, about.
    """
    return _sources(files, block_bytes).map_batches(
        read_blocks,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"files": tuple(files), "schema": schema},
        num_cpus=READ_CPUS,
    )


def chunk_dataset(
    files: Sequence[DataFile],
    schema: RowSchema,
    chunking: Chunking,
    max_readers: int | None = None,
) -> ray.data.Dataset:
    """Describe the reading of files in chunks of fixed rows, with columns ``CHUNK_COLUMNS``.

    A chunk is one row of the data set, so that no step can split it or join it with another. They
    arrive in input order, so that of several bad rows always the first is met.

    Args:
        files: One reading task each.
        schema: What rows must hold.
        chunking: Which chunks.
        max_readers: At most so many tasks read at once, and count for no CPU; None: as many as
            there are CPUs for.
    """
    return _sources(files, _CHUNK_BLOCK_BYTES).map_batches(
        read_chunks,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"files": tuple(files), "schema": schema, "chunking": chunking},
        num_cpus=0 if max_readers else READ_CPUS,
        concurrency=max_readers,
    )


def _sources(files: Sequence[DataFile], block_bytes: int) -> ray.data.Dataset:
    """One row per file, under the settings that all readings share."""
    sources = [{"file": i} for i in range(len(files))]
    dataset = ray.data.from_items(sources, override_num_blocks=len(sources))
    dataset.context.execution_options.preserve_order = True
    dataset.context.target_max_block_size = block_bytes
    dataset.context.enable_progress_bars = False
    # Else Ray Data's own exception takes the place of ours, which is then only text in it.
    dataset.context.raise_original_map_exception = True
    return dataset


def blocks_in_order(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a data set and hand its blocks to the driver in input order.

    Raises:
        ErnieRayError: As a task raised it, without Ray's wrapping.
    """
    problem: ErnieRayError
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        return
    except RayTaskError as error:
        if not isinstance(error.cause, ErnieRayError):
            raise
        problem = error.cause
    # Ray's error holds the frames that raised it, they the actors, and those their CPUs: as a
    # cycle, which else stays until Python's collector comes by, and the next job waits for it.
    gc.collect()
    raise _without_advice(problem)


def _without_advice(error: ErnieRayError) -> ErnieRayError:
    """Take off what Ray Data appends to a message: how to configure its retries."""
    error.args = (str(error).partition("\nFailed to ")[0],)
    return error
