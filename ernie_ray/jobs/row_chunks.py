"""Rows in chunks that are the same in every run, so that a run can go on where another stopped.

A chunk is a fixed range of one file's rows. It travels as one value (Arrow IPC bytes), whatever
blocks Ray Data makes, and so gets the same answer in every run. Knows neither Ray nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ernie_ray.errors import DataError
from ernie_ray.jobs.row_blocks import ROW_COLUMNS, record_of
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import check_rows

END_OF_FILE = -1

CHUNK_COLUMNS = pa.schema(
    [
        ("file", pa.int32()),
        ("chunk", pa.int64()),
        ("num_rows", pa.int64()),
        ("rows", pa.large_binary()),
    ]
)
"""``chunk`` counts from 0 in its file; a last entry ``END_OF_FILE`` says how many rows the file has
in all, and its ``rows`` are empty or hold the problem that ended the reading."""


@dataclass(frozen=True)
class Chunking:
    """Which chunks to make.

    Attributes:
        rows_per_chunk: Rows of each, but for the last one of a file.
        done: (file, chunk) of those that need not be made again.
    """

    rows_per_chunk: int
    done: frozenset[tuple[int, int]] = frozenset()


def read_chunks(
    sources: pa.Table, files: Sequence[DataFile], schema: RowSchema, chunking: Chunking
) -> Iterator[pa.Table]:
    """Read the files that ``sources`` names; gives tables of one row, a chunk each."""
    for number in sources["file"].to_pylist():
        yield from _chunks_of_file(number, files[number], schema, chunking)


def _chunks_of_file(
    number: int, file: DataFile, schema: RowSchema, chunking: Chunking
) -> Iterator[pa.Table]:
    pending: list[dict[str, object]] = []
    num_rows = chunk = 0
    fatal: list[dict[str, object]] = []
    try:
        for row in check_rows(file, schema):
            num_rows += 1
            if (number, chunk) not in chunking.done:
                pending.append(record_of(number, row))
            if num_rows % chunking.rows_per_chunk == 0:
                if pending:
                    yield _entry(number, chunk, pending)
                pending, chunk = [], chunk + 1
    except DataError as error:
        fatal = [{"file": number, "row": -1, "problem": str(error), "is_fatal": True}]
    # What was read of a chunk before reading broke off is none of its own: it is read anew.
    if pending and not fatal:
        yield _entry(number, chunk, pending)
    yield _entry(number, END_OF_FILE, fatal, num_rows)


def _entry(
    file: int, chunk: int, records: list[dict[str, object]], num_rows: int | None = None
) -> pa.Table:
    rows = pa.Table.from_pylist(records, ROW_COLUMNS)
    return chunk_entry(file, chunk, len(records) if num_rows is None else num_rows, rows)


def chunk_entry(file: int, chunk: int, num_rows: int, rows: pa.Table) -> pa.Table:
    """Wrap the rows of a chunk into one row of ``CHUNK_COLUMNS``."""
    columns = [[file], [chunk], [num_rows], [pack(rows)]]
    return pa.table(columns, schema=CHUNK_COLUMNS)


def pack(rows: pa.Table) -> bytes:
    """Write a table as Arrow IPC bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def unpack(packed: bytes) -> pa.Table:
    """Read what ``pack`` wrote."""
    return pa.ipc.open_stream(pa.BufferReader(packed)).read_all()
