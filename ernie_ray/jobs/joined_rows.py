"""Rows of several files and forms in one parquet file, for a training that reads one source.

Knows columns as a recipe names them; not what is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ernie_ray.config import TinyDataSection
from ernie_ray.jobs.storage import Storage, staging_path, writing_to
from ernie_ray.text.row_schema import COPY_COLUMN, Row, RowSchema
from ernie_ray.text.rows import read_rows

_ROWS_PER_GROUP = 8192


def unlabelled_schema(data: TinyDataSection, schema: RowSchema) -> RowSchema:
    """Columns of the unlabelled rows beside rows of a schema."""
    return RowSchema(
        text=data.unlabelled_text_column or schema.text,
        text_pair=schema.text_pair if data.unlabelled_have_pairs else None,
        label=None,
        header=schema.header,
    )


def all_texts(data: TinyDataSection, schema: RowSchema, storage: Storage) -> Iterator[str]:
    """Every training and unlabelled text by itself; the two texts of a pair one after the other."""
    for row in _rows(data, schema, storage, has_unlabelled=True):
        yield row.text
        if row.text_pair is not None:
            yield row.text_pair


def write_texts(data: TinyDataSection, schema: RowSchema, name: str, storage: Storage) -> None:
    """Write every training and unlabelled text as a row of its own."""
    columns = pa.schema([(schema.text, pa.string())])
    _write(
        ({schema.text: text} for text in all_texts(data, schema, storage)), columns, name, storage
    )


def write_task_rows(
    data: TinyDataSection, schema: RowSchema, name: str, storage: Storage, *, has_unlabelled: bool
) -> None:
    """Write the training rows with their labels and, if asked, unlabelled rows with none.

    A column says which rows are augmented copies.
    """
    names = [name for name in (schema.text, schema.text_pair, schema.label) if name]
    records = (
        {
            schema.text: row.text,
            schema.text_pair: row.text_pair,
            schema.label: row.label,
            COPY_COLUMN: row.copy,
        }
        for row in _rows(data, schema, storage, has_unlabelled=has_unlabelled)
    )
    columns = pa.schema([*((name, pa.string()) for name in names), (COPY_COLUMN, pa.int32())])
    _write(records, columns, name, storage)


def _rows(
    data: TinyDataSection, schema: RowSchema, storage: Storage, *, has_unlabelled: bool
) -> Iterator[Row]:
    training = replace(schema, copy=COPY_COLUMN)
    yield from read_rows(storage.resolve(data.train), training, on_bad=data.bad_rows)
    unlabelled = unlabelled_schema(data, schema)
    for name in data.unlabelled if has_unlabelled else ():
        yield from read_rows(storage.resolve(name), unlabelled, on_bad=data.bad_rows)


def _write(
    records: Iterable[Mapping[Any, object]],
    columns: pa.Schema,
    name: str,
    storage: Storage,
) -> None:
    staging = staging_path(storage.resolve(name))
    stream = iter(records)
    try:
        with (
            writing_to(storage.resolve(name)),
            pyarrow.parquet.ParquetWriter(staging, columns, compression="zstd") as writer,
        ):
            while group := list(islice(stream, _ROWS_PER_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, columns))
        storage.publish(staging, name)
    finally:
        staging.unlink(missing_ok=True)
