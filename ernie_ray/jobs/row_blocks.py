"""Rows as a Ray Data set: read and checked by tasks, and handed to the driver in input order.

A bad row travels as a row with its problem in words, so that the driver meets the first one of the
input first, whatever task was quicker. Knows neither tokenizers nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from ernie_ray.errors import DataError, ErnieRayError
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.rows import MAX_LISTED, BadRow, OnBad, Row, RowSchema, check_rows

# Reading costs far less than what follows, and a reader that waits must leave a CPU for it: the
# two fit into one CPU together.
READ_CPUS = 0.1
WORK_CPUS = 0.9
# Text per block: small enough that one file keeps several workers busy, large enough that tens of
# milliseconds of scheduling per block do not count.
_BLOCK_BYTES = 1 << 20
_ROWS_PER_YIELD = 1024

ROW_COLUMNS = pa.schema(
    [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("text", pa.string()),
        ("text_pair", pa.string()),
        ("label", pa.string()),
        ("problem", pa.string()),
        ("is_fatal", pa.bool_()),
    ]
)
"""``row`` counts from 0 in its file, bad rows too. Where ``problem`` is not null, texts and label
are; ``is_fatal`` means that the file could not be read further."""


def row_dataset(files: Sequence[DataFile], schema: RowSchema) -> ray.data.Dataset:
    """Describe the reading of files, with columns ``ROW_COLUMNS``; nothing runs yet.

    Args:
        files: One reading task each.
        schema: What rows must hold.
    """
    sources = [{"file": i} for i in range(len(files))]
    dataset = ray.data.from_items(sources, override_num_blocks=len(sources))
    dataset.context.execution_options.preserve_order = True
    dataset.context.target_max_block_size = _BLOCK_BYTES
    dataset.context.enable_progress_bars = False
    return dataset.map_batches(
        read_blocks,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"files": tuple(files), "schema": schema},
        num_cpus=READ_CPUS,
    )


def read_blocks(
    sources: pa.Table, files: Sequence[DataFile], schema: RowSchema
) -> Iterator[pa.Table]:
    """Read the files that ``sources`` names, some rows at a time."""
    for number in sources["file"].to_pylist():
        pending: list[dict[str, object]] = []
        try:
            for row in check_rows(files[number], schema):
                pending.append(_record(number, row))
                if len(pending) == _ROWS_PER_YIELD:
                    yield pa.Table.from_pylist(pending, ROW_COLUMNS)
                    pending = []
        except DataError as error:
            pending.append({"file": number, "row": -1, "problem": str(error), "is_fatal": True})
        yield pa.Table.from_pylist(pending, ROW_COLUMNS)


def _record(number: int, row: Row | BadRow) -> dict[str, object]:
    record: dict[str, object] = {"file": number, "row": row.index, "is_fatal": False}
    if isinstance(row, BadRow):
        return record | {"problem": str(row)}
    return record | {"text": row.text, "text_pair": row.text_pair, "label": row.label}


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


def blocks_in_order(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a data set and hand its blocks to the driver in input order.

    Raises:
        ErnieRayError: As a task raised it, without Ray's wrapping.
    """
    with plain_errors():
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the library's own errors as they were in the task; Ray wraps them in its own."""
    try:
        yield
    except Exception as error:
        own = _own_error(error)
        if own is None or own is error:
            raise
        raise own from None


def _own_error(error: BaseException | None) -> ErnieRayError | None:
    seen: list[Any] = []
    while error is not None and error not in seen:
        if isinstance(error, ErnieRayError) and not hasattr(error, "as_instanceof_cause"):
            return error
        seen.append(error)
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return None
