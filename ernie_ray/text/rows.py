"""Rows streamed from files and checked against a schema.

Nothing that does not fit the schema passes: it is an error that names file, line and field, or it
is skipped, counted and listed. Knows nothing of tokenizers; formats and files are read by
``ernie_ray.text.row_formats`` and ``ernie_ray.text.row_files``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from ernie_ray.errors import DataError
from ernie_ray.text.row_fields import MissingColumnError, check_fields
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.row_formats import read_raw_rows
from ernie_ray.text.row_schema import BadRow, Row, RowSchema
from ernie_ray.text.row_values import UnfitError

OnBad = Literal["error", "skip"]
# How many skipped rows are kept word for word; all are counted.
MAX_LISTED = 1000


class RowReader:
    """Iterates over the good rows of some files and remembers what it skipped.

    Attributes:
        files: What is read, in this order.
        num_rows: Good rows so far, per file name.
        num_skipped: Bad rows passed over so far.
        skipped: The first ``MAX_LISTED`` of them.
    """

    def __init__(self, files: tuple[DataFile, ...], schema: RowSchema, *, on_bad: OnBad) -> None:
        self.files = files
        self.num_rows = dict.fromkeys((file.name for file in files), 0)
        self.num_skipped = 0
        self.skipped: list[BadRow] = []
        self._schema = schema
        self._on_bad = on_bad
        self._rows = self._read()

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        return next(self._rows)

    def _read(self) -> Iterator[Row]:
        start = 0
        for file in self.files:
            index = start
            for index, row in enumerate(check_rows(file, self._schema), start):
                if isinstance(row, Row):
                    self.num_rows[file.name] += 1
                    yield replace(row, index=index)
                else:
                    self._skip(BadRow(index, row.origin, row.problem))
            start = index + 1
        refuse_none_left(sum(self.num_rows.values()), self.num_skipped, self.skipped)

    def _skip(self, bad: BadRow) -> None:
        if self._on_bad == "error":
            raise DataError(str(bad))
        self.num_skipped += 1
        if len(self.skipped) < MAX_LISTED:
            self.skipped.append(bad)


def read_rows(location: str | Path, schema: RowSchema, *, on_bad: OnBad = "error") -> RowReader:
    """Stream the rows of any number of files, never all in memory.

    Args:
        location: A file, a folder or a glob of .jsonl, .csv, .tsv, .txt (also .gz) and .parquet;
            a local path or a URI of a file system that pyarrow opens.
        schema: Columns and labels.
        on_bad: What to do with a row that does not fit: stop, or skip and list it. A file that
            cannot be read to its end, or lacks a column altogether, is an error in both cases.

    Returns:
        An iterator over ``Row`` that lists the skipped rows as it goes.

    Raises:
        DataError: Here if there is no file; from the iterator at the first bad row or file. The
            message names file, line and field and says what to change.
    """
    return RowReader(files_of(location, schema), schema, on_bad=on_bad)


def files_of(location: str | Path, schema: RowSchema) -> tuple[DataFile, ...]:
    """List the files of a location; with column names given, those of no known suffix are TSV."""
    return find_files(location, without_suffix="tsv" if schema.header else "")


def check_rows(file: DataFile, schema: RowSchema) -> Iterator[Row | BadRow]:
    """Stream every row of one file, good or bad; ``index`` counts from 0 in this file.

    Raises:
        DataError: The file cannot be read to its end, or lacks a column.
    """
    flags = ("is_impossible",) if schema.holds == "answers" else ()
    columns = (*schema.columns, *schema.keep, *flags)
    for index, (line, fields) in enumerate(read_raw_rows(file, columns, schema.header)):
        origin = f"{file.name}:{line}"
        if isinstance(fields, str):
            yield BadRow(index, origin, fields)
            continue
        try:
            yield check_fields(index, origin, fields, schema)
        except MissingColumnError as error:
            if file.format not in ("jsonl", "json"):
                # Header and parquet schema hold for all rows, so there is nothing to skip to.
                raise DataError(f"{origin}: {error}") from error
            yield BadRow(index, origin, str(error))
        except UnfitError as error:
            yield BadRow(index, origin, str(error))


def has_column(files: Sequence[DataFile], column: str, header: Sequence[str]) -> bool:
    """Say whether at least one row has a column, which may be null there.

    Args:
        files: Read until a row has it; the first readable row of each before all others.
        column: Its name.
        header: Names of the columns in .csv and .tsv files that have no header line.

    Raises:
        DataError: A file cannot be read so far.
    """

    def holds(file: DataFile, num_rows: int | None) -> bool:
        rows = read_raw_rows(file, (column,), header)
        readable = (fields for _, fields in rows if not isinstance(fields, str))
        return any(column in fields for fields in islice(readable, num_rows))

    # Where a header or a schema holds for all rows, the first one has said it.
    others = [file for file in files if file.format == "jsonl"]
    return any(holds(file, 1) for file in files) or any(holds(file, None) for file in others)


def refuse_none_left(num_rows: int, num_skipped: int, skipped: list[BadRow]) -> None:
    """Raise if skipping left no row at all.

    Raises:
        DataError: ``num_rows`` is 0; the message shows the first skipped row.
    """
    if num_rows == 0 and num_skipped > 0:
        raise DataError(f"none of {num_skipped} rows can be used; the first: {skipped[0]}")
