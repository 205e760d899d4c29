"""Rows: a text (or pair) and perhaps its label, checked against a schema while they stream in.

Nothing that does not fit the schema passes: it is an error that names file, line and field, or it
is skipped, counted and listed. Knows nothing of tokenizers; formats and files are read by
``ernie_ray.text.row_formats`` and ``ernie_ray.text.row_files``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.row_formats import MAX_FIELD_CHARS, read_raw_rows
from ernie_ray.text.row_values import (
    UnfitError,
    answers_label,
    entities_label,
    has_units,
    join_units,
    kind_of,
    number_of,
    units_of,
)

OnBad = Literal["error", "skip"]
LabelForm = Literal["class", "number", "entities", "answers"]
LABEL_SEPARATOR = "|"
# How many skipped rows are kept word for word; all are counted.
MAX_LISTED = 1000


@dataclass(frozen=True)
class RowSchema:
    """Which columns a row must have, and what they may hold.

    Attributes:
        text: Column of the text.
        text_pair: Column of the second text of a pair; None: single texts.
        label: Column of the label; None: rows without labels.
        labels: The labels that are known; None: any, to be collected from the rows.
        is_multi_label: A row has any number of labels: a list, or a text that separates them by
            ``LABEL_SEPARATOR``; ``Row.label`` is such a text, empty for none.
        holds: What the label column holds: a class, a number, the entities of the text, or the
            answers that stand in the second text; ``ernie_ray.text.row_values`` has the forms.
        low: Smallest number allowed.
        high: Largest number allowed.
        query: Column of what rows are ranked by; None: rows stand alone.
        header: Names of the columns in .csv and .tsv files that have no header line.
        is_label_optional: Rows may lack the label, or have null or an empty text for it.
        teacher_logits: Column of a teacher's logits, a list of numbers that rows may lack; None:
            not read.
        copy: Column with the number of an augmented copy, which rows may lack; None: not read.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    is_multi_label: bool = False
    holds: LabelForm = "class"
    low: float = -math.inf
    high: float = math.inf
    query: str | None = None
    header: tuple[str, ...] = ()
    is_label_optional: bool = False
    teacher_logits: str | None = None
    copy: str | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.label is None:
            raise ConfigError("labels are given but no label column; name the column in 'label'")
        if len(set(self.columns)) != len(self.columns):
            raise ConfigError(
                f"the columns {list(self.columns)} must differ; text, text_pair, label and "
                "query cannot share one"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        named = (
            *(self.text, self.text_pair, self.label, self.query),
            *(self.teacher_logits, self.copy),
        )
        return tuple(name for name in named if name is not None)

    @property
    def label_kind(self) -> Literal["none", "given", "free"]:
        """Whether rows carry a label, and whether its values are known already."""
        if self.label is None:
            return "none"
        return "free" if self.labels is None else "given"


@dataclass(frozen=True)
class Row:
    """One text (or pair) before tokenizing.

    Attributes:
        index: Position in the input from 0, bad rows counted too.
        text: Not empty.
        text_pair: Second text of a pair, else None.
        label: The label as a string (a whole number is turned into one; entities and answers are
            JSON), else None.
        origin: File and line, ``"reviews.jsonl:12"`` (in parquet, file and row), both from 1.
        query: What rows are ranked by, else None.
        teacher_logits: What a teacher gave for the row, before temperature; None: none did.
        copy: 0 for a row as it was given, 1, 2... for its augmented copies.
    """

    index: int
    text: str
    text_pair: str | None
    label: str | None
    origin: str
    query: str | None = None
    teacher_logits: tuple[float, ...] | None = None
    copy: int = 0


@dataclass(frozen=True)
class BadRow:
    """A row that does not fit its schema.

    Attributes:
        index: Position in the input from 0, bad rows counted too.
        origin: As in ``Row``.
        problem: What is wrong and what to change.
    """

    index: int
    origin: str
    problem: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.problem}"


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
    columns = (*schema.columns, *(("is_impossible",) if schema.holds == "answers" else ()))
    for index, (line, fields) in enumerate(read_raw_rows(file, columns, schema.header)):
        origin = f"{file.name}:{line}"
        if isinstance(fields, str):
            yield BadRow(index, origin, fields)
            continue
        try:
            yield _checked(index, origin, fields, schema)
        except _MissingColumnError as error:
            if file.format != "jsonl":
                # Header and parquet schema hold for all rows, so there is nothing to skip to.
                raise DataError(f"{origin}: {error}") from error
            yield BadRow(index, origin, str(error))
        except UnfitError as error:
            yield BadRow(index, origin, str(error))


def refuse_none_left(num_rows: int, num_skipped: int, skipped: list[BadRow]) -> None:
    """Raise if skipping left no row at all.

    Raises:
        DataError: ``num_rows`` is 0; the message shows the first skipped row.
    """
    if num_rows == 0 and num_skipped > 0:
        raise DataError(f"none of {num_skipped} rows can be used; the first: {skipped[0]}")


class _MissingColumnError(UnfitError):
    """A row lacks a column."""


def _checked(index: int, origin: str, fields: Mapping[str, object], schema: RowSchema) -> Row:
    units = None
    if schema.holds == "entities" and has_units(value := _value_of(fields, schema.text)):
        units = units_of(value, schema.text)
        fields = {**fields, schema.text: join_units(units)[0]}
    text = _text_of(fields, schema.text)
    pair = None if schema.text_pair is None else _text_of(fields, schema.text_pair)
    query = (
        None
        if schema.query is None
        else _one_label(_value_of(fields, schema.query), schema.query, None, role="query")
    )
    label = None
    if schema.label is None or (schema.is_label_optional and not _has(fields, schema.label)):
        pass
    elif schema.holds == "class":
        label = _label_of(fields, schema.label, schema)
    else:
        label = _other_label(fields, schema.label, schema, (units, text, pair))
    logits = None if schema.teacher_logits is None else fields.get(schema.teacher_logits)
    copy = 0 if schema.copy is None else fields.get(schema.copy)
    return Row(
        index,
        text,
        pair,
        label,
        origin,
        query,
        teacher_logits=None if logits is None else _logits_of(logits, str(schema.teacher_logits)),
        copy=0 if copy is None else _copy_of(copy, str(schema.copy)),
    )


def _other_label(
    fields: Mapping[str, object],
    column: str,
    schema: RowSchema,
    texts: tuple[list[str] | None, str, str | None],
) -> str:
    value = _value_of(fields, column)
    units, text, pair = texts
    if schema.holds == "number":
        return number_of(value, column, schema.low, schema.high)
    if schema.holds == "entities":
        return entities_label(value, column, units, text, schema.labels)
    return answers_label(value, column, pair or text, fields.get("is_impossible"))


def _logits_of(value: object, column: str) -> tuple[float, ...]:
    # bool is a number to Python, too.
    if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
        raise UnfitError(f"'{column}' is {kind_of(value)}; write a list of numbers")
    if not all(map(math.isfinite, value)):
        raise UnfitError(f"'{column}' holds NaN or infinite numbers; label the row again")
    return tuple(map(float, value))


def _copy_of(value: object, column: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise UnfitError(f"'{column}' is {kind_of(value)}; write a whole number") from None


def _value_of(fields: Mapping[str, object], column: str) -> object:
    if column not in fields:
        present = ", ".join(repr(name) for name in list(fields)[:8]) or "no column"
        raise _MissingColumnError(
            f"column '{column}' is missing (there is {present}); rename it, or name the right "
            "column in the data settings"
        )
    return fields[column]


def _text_of(fields: Mapping[str, object], column: str) -> str:
    value = _value_of(fields, column)
    if not isinstance(value, str):
        raise UnfitError(f"'{column}' is {kind_of(value)}, not a text; write it as a string")
    if not value.strip():
        raise UnfitError(f"'{column}' is empty; fill it or remove the row")
    if len(value) > MAX_FIELD_CHARS:
        raise UnfitError(
            f"'{column}' has {len(value):,} characters, the limit is {MAX_FIELD_CHARS:,}; "
            "split the text"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnfitError(
            f"'{column}' holds half of a surrogate pair at character {error.start}; write the "
            "text as UTF-8"
        ) from error
    return value


def _has(fields: Mapping[str, object], column: str) -> bool:
    return fields.get(column) not in (None, "")


def _label_of(fields: Mapping[str, object], column: str, schema: RowSchema) -> str:
    value = _value_of(fields, column)
    if not schema.is_multi_label:
        return _one_label(value, column, schema.labels)
    if isinstance(value, str):
        value = [part for part in value.split(LABEL_SEPARATOR) if part.strip()]
    if not isinstance(value, list):
        raise UnfitError(f"label '{column}' is {kind_of(value)}; write a list of labels")
    parts = [_one_label(part, column, schema.labels) for part in value]
    if any(LABEL_SEPARATOR in part for part in parts):
        raise UnfitError(f"label '{column}' has a {LABEL_SEPARATOR!r} inside a label; rename it")
    return LABEL_SEPARATOR.join(parts)


def _one_label(
    value: object, column: str, known: tuple[str, ...] | None, role: str = "label"
) -> str:
    if isinstance(value, float) and math.isnan(value):
        raise UnfitError(f"{role} '{column}' is NaN; fill it or remove the row")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UnfitError(
            f"{role} '{column}' is {kind_of(value)}; write it as a string or a whole number"
        )
    label = str(value)
    if not label.strip():
        raise UnfitError(f"{role} '{column}' is empty; fill it or remove the row")
    if known is not None and label not in known:
        raise UnfitError(
            f"{role} '{column}' is {label!r}, which is none of {_shown(known)}; correct the row "
            "or add the label to the list"
        )
    if known is None and label.lower() == "nan":
        raise UnfitError(
            f"{role} '{column}' is {label!r}, a missing number in most tools; fill it, or list it "
            "among the labels if it is one"
        )
    return label


def _shown(labels: tuple[str, ...]) -> str:
    some = ", ".join(repr(label) for label in labels[:10])
    return some if len(labels) <= 10 else f"{some} and {len(labels) - 10} more"
