"""Read the raw rows of one data file, each with the line it stands on.

Decompresses, decodes and splits JSON lines, CSV, TSV, plain text and parquet. Does not know what a
row must hold: that is ``ernie_ray.text.row_fields``.

A file that cannot be read to its end is a ``DataError``; a single bad row is yielded with its
problem in words, so that the caller decides whether to stop or to skip it.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from ernie_ray.errors import DataError
from ernie_ray.text.row_files import DataFile, first_line
from ernie_ray.text.squad_files import RawRow, read_squad

# A longer text is a sign that rows are not one per line; the csv module has the same limit.
MAX_FIELD_CHARS = 131_072
MAX_LINE_BYTES = 1_000_000
_PARQUET_BATCH_ROWS = 4096


def read_raw_rows(
    file: DataFile, columns: Sequence[str], header: Sequence[str] = ()
) -> Iterator[RawRow]:
    """Stream the rows of one file; blank lines are no rows.

    Args:
        file: What to read.
        columns: Columns that the caller looks at; others may be left out of the rows.
        header: Names of the columns of .csv and .tsv files without a header line.

    Raises:
        DataError: The file is empty, truncated, compressed wrongly, or its header is unusable.
    """
    num_rows = 0
    try:
        with file.open() as stream:
            for raw in _rows_of(file, stream, columns, header):
                yield raw
                num_rows += 1
    except EOFError as error:
        raise DataError(
            f"{file.name}: the gzip data ends early, after {num_rows} rows; copy the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{file.name}: broken gzip data after {num_rows} rows ({error}); copy the file again, "
            "or drop the suffix .gz if it is not compressed"
        ) from error
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{file.name}: cannot be read after {num_rows} rows: {first_line(error)}"
        ) from error
    if num_rows == 0:
        raise DataError(f"{file.name}: has no rows; remove the file or fill it")


def _rows_of(
    file: DataFile, stream: IO[bytes], columns: Sequence[str], header: Sequence[str]
) -> Iterator[RawRow]:
    match file.format:
        case "jsonl":
            return _read_jsonl(file, stream)
        case "json":
            return read_squad(file, stream)
        case "csv" | "tsv":
            return _read_delimited(file, stream, list(header) or None)
        case "txt":
            return _read_text(file, stream)
        case _:
            return _read_parquet(stream, columns)


class _Lines:
    """Decoded lines of a file, one at a time; a bad line raises and the next call goes on.

    A class and not a generator, because a generator ends where it raises.
    """

    def __init__(self, file: DataFile, stream: IO[bytes]) -> None:
        self._stream: Any = gzip.GzipFile(fileobj=stream) if file.is_gzip else stream
        self._offset = 0
        self.line = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._stream.readline(MAX_LINE_BYTES + 1)
        if not raw:
            raise StopIteration
        self.line += 1
        start, self._offset = self._offset, self._offset + len(raw)
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            self._skip_rest_of_line()
            raise _BadLineError(
                f"the line is longer than {MAX_LINE_BYTES:,} bytes; write one row per line"
            )
        if start == 0:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _BadLineError(
                f"not UTF-8 (byte 0x{raw[error.start]:02x} at position {start + error.start} of "
                "the file); convert it, e.g. iconv -f GB18030 -t UTF-8"
            ) from error

    def _skip_rest_of_line(self) -> None:
        while (rest := self._stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            self._offset += len(rest)
        self._offset += len(rest)


class _BadLineError(Exception):
    """One line cannot be used; the next may."""


def _read_text(file: DataFile, stream: IO[bytes]) -> Iterator[RawRow]:
    lines = _Lines(file, stream)
    while True:
        try:
            text = next(lines)
        except StopIteration:
            return
        except _BadLineError as error:
            yield lines.line, str(error)
            continue
        if text.strip():
            yield lines.line, {"text": text.rstrip("\r\n")}


def _read_jsonl(file: DataFile, stream: IO[bytes]) -> Iterator[RawRow]:
    for line, raw in _read_text(file, stream):
        if isinstance(raw, str):
            yield line, raw
            continue
        try:
            fields = json.loads(str(raw["text"]))
        except (ValueError, RecursionError) as error:
            yield line, f"not JSON ({error}); write one JSON object per line"
            continue
        if isinstance(fields, dict):
            yield line, fields
        else:
            kind = type(fields).__name__
            yield line, f"a JSON {kind}, not an object; write {{...}} on each line"


def _read_delimited(
    file: DataFile, stream: IO[bytes], header: list[str] | None
) -> Iterator[RawRow]:
    names = "the header names" if header is None else "data.columns names"
    lines = _Lines(file, stream)
    if file.format == "csv":
        reader = csv.reader(lines, strict=True)
    else:
        # TSV has no quoting: a quotation mark is a character like any other.
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except (_BadLineError, csv.Error) as error:
            if header is None:
                raise DataError(f"{file.name}:{lines.line}: {_csv_problem(error)}") from error
            yield lines.line, _csv_problem(error)
            continue
        if not values:
            continue
        if header is None:
            header = _checked_header(file, values)
        elif len(values) != len(header):
            yield (
                lines.line,
                f"{len(values)} fields where {names} {len(header)}; "
                + ("quote fields that hold commas" if file.format == "csv" else "check its tabs"),
            )
        else:
            yield lines.line, dict(zip(header, values, strict=True))


def _checked_header(file: DataFile, names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        double = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{file.name}:1: the header names {double} more than once; rename them")
    return names


def _csv_problem(error: Exception) -> str:
    text = str(error)
    if isinstance(error, _BadLineError):
        return text
    if "field limit" in text:
        return f"a field is longer than {MAX_FIELD_CHARS:,} characters; is a quote left open?"
    if "unexpected end" in text:
        return "the file ends inside a quoted field; close the quote"
    return f"not a delimited row ({text}); quote the field, and double quotes inside it"


def _read_parquet(stream: IO[bytes], columns: Sequence[str]) -> Iterator[RawRow]:
    row = 0
    parquet = pyarrow.parquet.ParquetFile(stream)
    present = [name for name in parquet.schema_arrow.names if name in columns]
    for batch in parquet.iter_batches(_PARQUET_BATCH_ROWS, columns=present):
        for fields in _rows_of_batch(batch):
            row += 1
            yield row, fields


def _rows_of_batch(batch: pyarrow.RecordBatch) -> list[Mapping[str, object] | str]:
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError):
        rows: list[Mapping[str, object] | str] = []
        for i in range(batch.num_rows):
            try:
                rows.extend(batch.slice(i, 1).to_pylist())
            except UnicodeDecodeError as error:
                rows.append(f"a text is not UTF-8 ({error.reason}); write the file again as UTF-8")
            except (ValueError, OverflowError) as error:  # a date after the year 9999
                rows.append(f"a value cannot be read ({first_line(error)}); change or remove it")
        return rows
