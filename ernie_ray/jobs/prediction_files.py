"""Predictions as tables, and as lines of JSON or parquet on disk.

Knows what the results of each task family look like; not how they were computed.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, get_args

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ernie_ray.errors import ConfigError
from ernie_ray.inference.predictor import Prediction
from ernie_ray.jobs.storage import Location, writing_to
from ernie_ray.modeldir import (
    ClassificationSpec,
    Manifest,
    PairSpec,
    ReadingSpec,
    TaskSpec,
    TokenLabelsSpec,
)
from ernie_ray.text.uris import path_of

Format = Literal["jsonl", "parquet", "npy"]

_ROWS_PER_GROUP = 8192
"""Of a parquet file: what is written comes in smaller portions, which read slowly."""
_PLACE = [("start", pa.int64()), ("end", pa.int64()), ("score", pa.float32())]
_AS_JSON = {"holds": "JSON"}
"""Marks columns whose values are JSON in any form, as texts."""
_OWN_COLUMNS = ("id", "text", "text_pair", "is_truncated", "vector")


def format_of(output: str) -> Format:
    """Name the format of a file to write, by its path's suffix; JSON lines without a known one."""
    name = path_of(output)
    return next((kind for kind in get_args(Format) if name.endswith(f".{kind}")), "jsonl")


def format_among(output: str, formats: Sequence[Format]) -> Format:
    """Name the format of a file to write whose suffix must be that of one of some formats.

    Raises:
        ConfigError: It is another one, or there is none.
    """
    name = path_of(output)
    for kind in formats:
        if name.endswith(f".{kind}"):
            return kind
    suffixes = " or ".join(f".{kind}" for kind in formats)
    raise ConfigError(f"{output}: rows are not written in this form; give a name in {suffixes}")


def prediction_schema(
    manifest: Manifest, *, has_pair: bool, has_vectors: bool, keep: Sequence[str] = ()
) -> pa.Schema:
    """Describe a prediction: ``id``, kept columns, text(s), the task's result, perhaps the vector.

    ``id`` is the row's position in the input from 0, bad rows counted too, unless the rows' own
    ``id`` is kept.

    Raises:
        ConfigError: A column to keep has the name of one that the prediction has itself.
    """
    columns: list[pa.Field] = [pa.field("text", pa.string())]
    if has_pair:
        columns.append(pa.field("text_pair", pa.string()))
    columns.append(pa.field("is_truncated", pa.bool_()))
    columns += [pa.field(name, kind) for name, kind in _result_columns(manifest.task)]
    if has_vectors:
        columns.append(pa.field("vector", pa.list_(pa.float32(), manifest.vector.size)))
    if taken := [field.name for field in columns if field.name in keep]:
        raise ConfigError(
            f"the column {taken[0]!r} cannot be kept, since predictions have one of that name; "
            "rename it in the rows"
        )
    kept = [pa.field(name, pa.string(), metadata=_AS_JSON) for name in keep]
    ids = [] if "id" in keep else [pa.field("id", pa.int64())]
    return pa.schema([*ids, *kept, *columns])


def with_kept(rows: pa.Table, keep: Sequence[str]) -> pa.Table:
    """Put what rows had in some columns, one list a row in ``kept``, into columns of their own."""
    kept = rows["kept"]
    for i, name in enumerate(keep):
        values = pc.list_element(kept, i)
        place = rows.schema.get_field_index(name)
        rows = (
            rows.append_column(name, values) if place < 0 else rows.set_column(place, name, values)
        )
    return rows


def _result_columns(task: TaskSpec) -> list[tuple[str, pa.DataType]]:
    """Columns of a task's result, by the names of what its family decodes to."""
    match task:
        case ClassificationSpec():
            scores = ("scores", pa.struct([(label, pa.float32()) for label in task.labels]))
            if task.multi_label:
                return [("labels", pa.list_(pa.string())), scores]
            return [("label", pa.string()), ("score", pa.float32()), scores]
        case PairSpec():
            return [("score", pa.float32())]
        case TokenLabelsSpec():
            entity = [("text", pa.string()), ("label", pa.string()), *_PLACE]
            return [("entities", pa.list_(pa.struct(entity)))]
        case ReadingSpec():
            nbest = pa.list_(pa.struct([("text", pa.string()), *_PLACE]))
            return [("answer", pa.string()), *_PLACE, ("nbest", nbest)]
        case _:
            return []


def prediction_table(
    rows: pa.Table, predictions: Sequence[Prediction], schema: pa.Schema
) -> pa.Table:
    """Put rows and what was predicted for them side by side.

    Args:
        rows: Good rows with the columns ``file``, ``row``, ``text``, ``text_pair``, ``problem``
            and ``is_fatal``, and perhaps ``kept``.
        predictions: One per row.
        schema: As from ``prediction_schema``, without columns to keep.

    Returns:
        The columns of ``schema`` except ``id``, ``kept`` as it was, and those that the collector of
        blocks needs.
    """
    columns: dict[str, Any] = {
        name: rows[name] for name in ("file", "row", "problem", "is_fatal", "text", "kept")
    }
    if "text_pair" in schema.names:
        columns["text_pair"] = rows["text_pair"]
    columns["is_truncated"] = pa.array([p.is_truncated for p in predictions], pa.bool_())
    for name in schema.names:
        if name not in _OWN_COLUMNS:
            kind = schema.field(name).type
            columns[name] = pa.array([p.result[name] for p in predictions], kind)
    if "vector" in schema.names:
        size = schema.field("vector").type.list_size
        flat = np.concatenate([np.empty(0, np.float32), *(p.vector for p in predictions)])
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
    return pa.table(columns)


class PredictionWriter(Protocol):
    """Takes tables of one schema, in order."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def write(self, table: pa.Table) -> None:
        """Append rows."""


def open_writer(
    path: Path | None, kind: Format, schema: pa.Schema, *, output: Location | None = None
) -> PredictionWriter:
    """Open a file for predictions.

    Args:
        path: The file; None: lines of JSON on standard output.
        kind: Its format.
        schema: Of what is written.
        output: Where the file is going to be, as errors name it; None: ``path``.

    Raises:
        DataError: It cannot be written, now or later.
    """
    if path is None:
        return _JsonLines("standard output", sys.stdout.buffer, schema, closes=False)
    name = output or path
    with writing_to(name):
        if kind == "jsonl":
            return _JsonLines(name, path.open("wb"), schema, closes=True)
        if kind == "npy":
            return _VectorArray(name, path, schema.field("vector").type.list_size)
        return _Parquet(name, path, schema)


class _Writer(ABC):
    """Turns what fails on the way to a file into an error that names it."""

    def __init__(self, name: Location) -> None:
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with writing_to(self._name):
            self._close()

    def write(self, table: pa.Table) -> None:
        with writing_to(self._name):
            self._write(table)

    @abstractmethod
    def _write(self, table: pa.Table) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class _JsonLines(_Writer):
    def __init__(
        self, name: Location, stream: BinaryIO, schema: pa.Schema, *, closes: bool
    ) -> None:
        super().__init__(name)
        self._stream = stream
        self._json = _json_columns(schema)
        self._closes = closes

    def _write(self, table: pa.Table) -> None:
        columns = {name: _json_values(table[name].combine_chunks()) for name in table.column_names}
        for name in self._json:
            columns[name] = [orjson.Fragment(text) for text in columns[name]]
        for values in zip(*columns.values(), strict=True):
            record = dict(zip(columns, values, strict=True))
            line = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
            self._stream.write(line + b"\n")
        self._stream.flush()

    def _close(self) -> None:
        if self._closes:
            self._stream.close()


class _Parquet(_Writer):
    def __init__(self, name: Location, path: Path, schema: pa.Schema) -> None:
        super().__init__(name)
        self._writer = pyarrow.parquet.ParquetWriter(str(path), schema, compression="zstd")
        self._schema = schema
        self._pending: list[pa.Table] = []

    def _write(self, table: pa.Table) -> None:
        for name in _json_columns(self._schema):
            place = table.schema.get_field_index(name)
            texts = [_text_in_json(text) for text in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(texts, pa.string()))
        self._pending.append(table.cast(self._schema))
        if sum(len(one) for one in self._pending) >= _ROWS_PER_GROUP:
            self._write_pending()

    def _write_pending(self) -> None:
        if self._pending:
            self._writer.write_table(pa.concat_tables(self._pending))
        self._pending = []

    def _close(self) -> None:
        with closing(self._writer):
            self._write_pending()


class _VectorArray(_Writer):
    """Vectors alone, as numpy's file of one float32 array [rows, size] that can be mapped."""

    def __init__(self, name: Location, path: Path, size: int) -> None:
        super().__init__(name)
        self._stream = path.open("wb")
        self._size = size
        self._num_rows = 0
        self._write_header()

    def _write(self, table: pa.Table) -> None:
        flat = table["vector"].combine_chunks().flatten().to_numpy()
        self._stream.write(flat.astype("<f4", copy=False).tobytes())
        self._num_rows += table.num_rows

    def _close(self) -> None:
        with self._stream:
            self._stream.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        # numpy leaves room for the rows to grow, so the last header is as long as the first.
        shape = (self._num_rows, self._size)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, header)


def _json_columns(schema: pa.Schema) -> list[str]:
    wanted = {key.encode(): value.encode() for key, value in _AS_JSON.items()}
    return [field.name for field in schema if field.metadata == wanted]


def _text_in_json(text: str) -> str | None:
    """Give a text as it is, null as null, and anything else as the JSON that it is."""
    value = json.loads(text)
    return value if value is None or isinstance(value, str) else text


def _json_values(column: pa.Array) -> Sequence[Any]:
    # As float32, so that JSON shows 0.9 and not the 0.8999999761581421 of its nearest double.
    if pa.types.is_float32(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return list(flat.reshape(-1, column.type.list_size))
    if pa.types.is_struct(column.type):
        names = [field.name for field in column.type]
        parts = [_json_values(part) for part in column.flatten()]
        return [dict(zip(names, values, strict=True)) for values in zip(*parts, strict=True)]
    if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
        values = _json_values(column.flatten())
        ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy())
        return [list(values[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    return list(column.to_pylist())
