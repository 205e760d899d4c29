"""Read rows only to see whether all can be used, before something slow spends hours on them."""

from __future__ import annotations

from tqdm import tqdm

from ernie_ray.jobs.file_digests import expected_rows
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import OnBad, RowReader


def check_every_row(
    files: tuple[DataFile, ...], schema: RowSchema, on_bad: OnBad, *, show_progress: bool
) -> int:
    """Read files to their end.

    Args:
        files: Read in this order.
        schema: What their rows must hold.
        on_bad: Stop at a bad row, or pass over it.
        show_progress: Draw a bar on stderr.

    Returns:
        The number of good rows.

    Raises:
        DataError: A file cannot be read to its end; a row is bad and none may be, or all are.
    """
    total = expected_rows(files) if show_progress else None
    rows = RowReader(files, schema, on_bad=on_bad)
    bar = tqdm(rows, desc="check", unit=" rows", total=total, disable=not show_progress)
    return sum(1 for _ in bar)
