"""Write a feature cache batch by batch, and show it under its name only when it is whole.

Knows the columns of ``ernie_ray.text.cache``; not where the rows come from.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ernie_ray.text.cache import (
    ARROW_FILE,
    SUMMARY_FILE,
    CacheSummary,
    FeatureCache,
    cache_schema,
)


class CacheWriter:
    """Appends rows in input order; leaving the ``with`` block unfinished leaves nothing behind."""

    def __init__(
        self,
        path: Path,
        *,
        digest: str,
        file_names: Sequence[str],
        labels: Sequence[str] = (),
        label_width: int = 0,
        teacher_width: int = 0,
        has_windows: bool = False,
        has_infos: bool = False,
        has_texts: bool = False,
        has_copies: bool = False,
    ) -> None:
        """Prepare a cache that will stand at ``path``.

        Args:
            path: Folder of the finished cache.
            digest: Its key.
            file_names: Input files; column ``file`` counts them from 0.
            labels: Label names in the order of their encoding.
            label_width: Numbers per row that encode the label; 0: no labels.
            teacher_width: Logits per row that a teacher gave; 0: none.
            has_windows: Rows come with a column ``window``; see ``cache_schema``.
            has_infos: Rows come with a column ``info``.
            has_texts: Rows come with columns ``text`` and ``text_pair``.
            has_copies: Rows come with a column ``copy``.
        """
        self.schema = cache_schema(
            digest,
            labels,
            label_width,
            teacher_width,
            has_windows=has_windows,
            has_infos=has_infos,
            has_texts=has_texts,
            has_copies=has_copies,
        )
        self.num_rows = 0
        self._path = path
        self._digest = digest
        self._labels = tuple(labels)
        self._file_names = file_names
        self._rows_per_file = np.zeros(len(file_names), dtype=np.int64)
        self._num_tokens = self._num_truncated = 0
        self._last = (-1, -1, -1)
        self._partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")

    def __enter__(self) -> Self:
        self._partial.mkdir(parents=True)
        self._writer = pa.ipc.new_file(str(self._partial / ARROW_FILE), self.schema)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A finished cache is closed already; to close an unfinished one may fail on a full disk.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def write(self, rows: pa.Table) -> None:
        """Append rows.

        Args:
            rows: The columns of ``schema``, in any order; others are left out.

        Raises:
            ValueError: The rows do not come after those written before.
        """
        rows = rows.select(self.schema.names).cast(self.schema)
        if rows.num_rows == 0:
            return
        file, row = rows["file"].to_numpy(), rows["row"].to_numpy()
        is_windowed = "window" in self.schema.names
        window = rows["window"].to_numpy() if is_windowed else np.zeros(len(row), dtype=np.int32)
        self._refuse_disorder(file, row, window)
        self._rows_per_file += np.bincount(file[window == 0], minlength=len(self._rows_per_file))
        self._num_tokens += pc.sum(pc.list_value_length(rows["input_ids"])).as_py()
        truncated = rows["is_truncated"].to_numpy()
        self._num_truncated += int(truncated[window == 0].sum())  # every window says so
        self.num_rows += rows.num_rows
        self._writer.write_table(rows.combine_chunks())

    def finish(
        self,
        *,
        num_skipped: int = 0,
        skipped: Sequence[str] = (),
        notes: Mapping[str, int] | None = None,
    ) -> FeatureCache:
        """Complete the cache and put it in place.

        Args:
            num_skipped: Bad rows that were left out.
            skipped: The first of them, for the summary.
            notes: Counts of peculiar rows, for the summary.

        Returns:
            The cache, opened. If another process has finished the same one meanwhile, that one.
        """
        self._writer.close()
        per_file = zip(self._file_names, self._rows_per_file.tolist(), strict=True)
        summary = CacheSummary(
            digest=self._digest,
            labels=self._labels,
            num_rows=self.num_rows,
            num_rows_per_file=dict(per_file),
            num_tokens=self._num_tokens,
            num_truncated=self._num_truncated,
            num_skipped=num_skipped,
            skipped=tuple(skipped),
            notes=dict(notes or {}),
        )
        text = summary.model_dump_json(indent=2)
        (self._partial / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")
        try:
            self._partial.rename(self._path)
        except OSError:
            if not (self._path / SUMMARY_FILE).is_file():
                raise
        return FeatureCache.open(self._path)

    def _refuse_disorder(self, file: np.ndarray, row: np.ndarray, window: np.ndarray) -> None:
        files, rows = np.append(self._last[0], file), np.append(self._last[1], row)
        file_step, row_step = np.diff(files), np.diff(rows)
        window_step = np.diff(np.append(self._last[2], window))
        is_next = (row_step > 0) | ((row_step == 0) & (window_step > 0))
        if not np.all((file_step > 0) | ((file_step == 0) & is_next)):
            raise ValueError("rows reached the cache out of input order")
        self._last = (int(file[-1]), int(row[-1]), int(window[-1]))
