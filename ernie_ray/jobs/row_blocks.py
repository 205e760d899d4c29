"""Rows as Arrow tables, the form in which they pass between processes.

A bad row travels as a row with its problem in words, so that whoever collects the blocks meets the
first one of the input first, whatever task was quicker. Knows neither Ray nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.modeldir import Manifest, TaskSpec
from ernie_ray.tasks import family_of, reads_pairs
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import BadRow, Row, RowSchema
from ernie_ray.text.rows import MAX_LISTED, OnBad, check_rows
from ernie_ray.text.tokenizer import Text

_ROWS_PER_YIELD = 1024

ROW_COLUMNS = pa.schema(
    [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("text", pa.string()),
        ("text_pair", pa.string()),
        ("label", pa.string()),
        ("query", pa.string()),
        ("teacher_logits", pa.list_(pa.float32())),
        ("copy", pa.int32()),
        ("kept", pa.list_(pa.string())),
        ("problem", pa.string()),
        ("is_fatal", pa.bool_()),
    ]
)
"""``row`` counts from 0 in its file, bad rows too. Where ``problem`` is not null, texts and label
are; ``is_fatal`` means that the file could not be read further."""


def checked_schema(schema: RowSchema, task: TaskSpec, *, measures: bool = False) -> RowSchema:
    """Give a schema what a task knows of its rows, so that others are found in reading.

    Args:
        schema: Columns of the rows.
        task: What a model is to make, or makes, of them.
        measures: The rows are to be measured, not only learnt from.

    Raises:
        ConfigError: The task takes pairs, but no column is of a second text; or the rows of a
            ranking are measured, but no column names their query.
    """
    family = family_of(task)
    if family.takes_pairs and schema.text_pair is None:
        # Else the first text alone would be scored as if it were a pair.
        raise ConfigError(
            f"a model of {task.family} takes pairs; name the column of the second text "
            "(--text-pair-column, or data.text_pair_column in a recipe)"
        )
    if measures and family.ranks_by_query and schema.label is not None and schema.query is None:
        # Else all rows would count as candidates of one query.
        raise ConfigError(
            "a ranking is measured query by query; name the column that candidates of one query "
            "share (--query-column, or data.query_column in a recipe)"
        )
    return family.row_schema(schema)


def schema_of_model(schema: RowSchema, manifest: Manifest, *, measures: bool = False) -> RowSchema:
    """Give a schema what a trained model knows of its rows: its task, and the form that it reads.

    Raises:
        ConfigError: See ``checked_schema``; or the model reads single texts and there is a column
            of second ones, or a student reads pairs and there is none.
    """
    pairs = reads_pairs(manifest)
    if pairs is False and schema.text_pair is not None:
        raise ConfigError(
            f"{manifest.name} reads single texts; leave the column {schema.text_pair!r} of second "
            "texts out (--text-pair-column, or data.text_pair_column in a recipe)"
        )
    if pairs and schema.text_pair is None:
        raise ConfigError(
            f"{manifest.name} reads pairs of texts; name the column of the second text "
            "(--text-pair-column, or data.text_pair_column in a recipe)"
        )
    return checked_schema(schema, manifest.task, measures=measures)


def read_blocks(
    sources: pa.Table, files: Sequence[DataFile], schema: RowSchema
) -> Iterator[pa.Table]:
    """Read the files that ``sources`` names, some rows at a time."""
    for number in sources["file"].to_pylist():
        pending: list[dict[str, object]] = []
        try:
            for row in check_rows(files[number], schema):
                pending.append(record_of(number, row))
                if len(pending) == _ROWS_PER_YIELD:
                    yield pa.Table.from_pylist(pending, ROW_COLUMNS)
                    pending = []
        except DataError as error:
            pending.append({"file": number, "row": -1, "problem": str(error), "is_fatal": True})
        yield pa.Table.from_pylist(pending, ROW_COLUMNS)


def record_of(number: int, row: Row | BadRow) -> dict[str, object]:
    """Give a row of a file the form of ``ROW_COLUMNS``."""
    record: dict[str, object] = {"file": number, "row": row.index, "is_fatal": False}
    if isinstance(row, BadRow):
        return record | {"problem": str(row)}
    return record | {
        "text": row.text,
        "text_pair": row.text_pair,
        "label": row.label,
        "query": row.query,
        "teacher_logits": row.teacher_logits,
        "copy": row.copy,
        "kept": row.kept,
    }


def texts_of(block: pa.Table) -> list[Text]:
    """List the texts or pairs of a block's rows, none of which may be bad."""
    texts, pairs = block["text"].to_pylist(), block["text_pair"].to_pylist()
    return [text if pair is None else (text, pair) for text, pair in zip(texts, pairs, strict=True)]


def rows_of(block: pa.Table) -> list[Row]:
    """List the rows of a block, none of which may be bad; their origin is not known here."""
    names = ("row", "text", "text_pair", "label", "query", "teacher_logits", "copy")
    columns = (block[name].to_pylist() for name in names)
    return [
        Row(index, text, pair, label, "", query, logits, copy or 0)
        for index, text, pair, label, query, logits, copy in zip(*columns, strict=True)
    ]


def with_given_names(table: pa.Table, schema: RowSchema) -> pa.Table:
    """Call the columns of text(s) and label as they were called in the input."""
    given = {"text": schema.text, "text_pair": schema.text_pair, "label": schema.label}
    return table.rename_columns([given.get(name) or name for name in table.column_names])


@dataclass
class BadRowFilter:
    """Takes bad rows out of what reaches the driver.

    Attributes:
        on_bad: Stop at the first one, or count and list them.
        num_skipped: How many were taken out.
        skipped: The first ``MAX_LISTED`` of them, in words.
    """

    on_bad: OnBad
    num_skipped: int = 0
    skipped: list[str] = field(default_factory=list)

    def good(self, block: pa.Table) -> pa.Table:
        """Return the good rows of a block that has the columns ``problem`` and ``is_fatal``.

        Raises:
            DataError: A file could not be read, or a row is bad and none may be.
        """
        is_bad = pc.is_valid(block["problem"])
        bad = block.filter(is_bad)
        if bad.num_rows == 0:
            return block
        if self.on_bad == "error":
            raise DataError(bad["problem"][0].as_py())
        fatal = bad.filter(bad["is_fatal"])
        if fatal.num_rows:
            raise DataError(fatal["problem"][0].as_py())
        self.num_skipped += bad.num_rows
        self.skipped.extend(bad["problem"].to_pylist()[: MAX_LISTED - len(self.skipped)])
        return block.filter(pc.invert(is_bad))

    def refuse_none_left(self, num_rows: int) -> None:
        """Raise if skipping left no row at all.

        Raises:
            DataError: ``num_rows`` is 0.
        """
        if num_rows == 0 and self.num_skipped:
            raise DataError(
                f"none of {self.num_skipped} rows can be used; the first: {self.skipped[0]}"
            )
