"""The feature cache: tokenized rows on disk, in input order, mapped into memory when read.

A folder with ``features.arrow`` (Arrow IPC, uncompressed, so that any row is read in place) and
``summary.json`` for people. Knows token ids and encoded labels; not how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_ray.errors import DataError
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text

ARROW_FILE = "features.arrow"
SUMMARY_FILE = "summary.json"

PER_TOKEN = -1
"""The label width of rows that have one number per token."""
IGNORED = -100
"""The label of a token that has none, and of padding."""


class CacheSummary(BaseModel):
    """What a cache holds and where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="SHA-256 of the input's content and every setting.")
    labels: tuple[str, ...] = Field((), description="Label names in the order of their encoding.")
    num_rows: int = Field(ge=0, description="Rows in the cache.")
    num_rows_per_file: dict[str, int] = Field(description="Rows taken from each input file.")
    num_tokens: int = Field(ge=0, description="Tokens of all rows, special tokens included.")
    num_truncated: int = Field(ge=0, description="Rows cut to the longest length allowed.")
    num_skipped: int = Field(0, ge=0, description="Bad rows left out.")
    skipped: tuple[str, ...] = Field((), description="The first of them: file, line, problem.")
    notes: dict[str, int] = Field(
        default_factory=dict, description="Rows with a peculiarity, counted by what it is."
    )


def cache_schema(
    digest: str,
    labels: Sequence[str],
    label_width: int,
    teacher_width: int = 0,
    *,
    has_windows: bool = False,
    has_infos: bool = False,
    has_texts: bool = False,
    has_copies: bool = False,
) -> pa.Schema:
    """Describe the columns of ``features.arrow``.

    Args:
        digest: Key of the cache.
        labels: Label names in the order of their encoding.
        label_width: Numbers per row that encode the label, or ``PER_TOKEN``; 0: no label column.
        teacher_width: Logits per row that a teacher gave; 0: no such column.
        has_windows: A row may be cut into several windows, one line each; column ``window`` counts
            them from 0.
        has_infos: There is a column ``info`` with what metrics need beside the label.
        has_texts: There are columns ``text`` and ``text_pair`` with what was tokenized.
        has_copies: There is a column ``copy``.

    Returns:
        One line per row: ``file`` (position among the input files) and ``row`` (position in that
        file, bad rows counted) say where it came from. A row without label or teacher logits has
        NaN there; ``copy`` is 0 for a row as it was given.
    """
    columns = [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("token_type_ids", pa.list_(pa.int8())),
        ("is_truncated", pa.bool_()),
    ]
    if has_windows:
        columns.append(("window", pa.int32()))
    if label_width:
        columns.append(("label", pa.list_(pa.float32(), label_width)))
    if has_infos:
        columns.append(("info", pa.string()))
    if has_texts:
        columns += [("text", pa.string()), ("text_pair", pa.string())]
    if teacher_width:
        columns.append(("teacher_logits", pa.list_(pa.float32(), teacher_width)))
    if has_copies:
        columns.append(("copy", pa.int32()))
    return pa.schema(
        columns, metadata={"digest": digest, "labels": json.dumps(list(labels), ensure_ascii=False)}
    )


class FeatureCache:
    """A cache opened for reading; rows stay on disk until they are asked for.

    Attributes:
        path: Its folder.
        summary: Counts, labels, skipped rows.
        lengths: Tokens of each row, int32 [rows].
    """

    path: Path
    summary: CacheSummary
    lengths: NDArray[np.int32]

    def __init__(
        self, path: Path, summary: CacheSummary, batches: Sequence[pa.RecordBatch]
    ) -> None:
        self.path = path
        self.summary = summary
        parts = [_Part(batch) for batch in batches]
        self._parts = [part for part in parts if part.num_rows]
        self.lengths = np.concatenate(
            [np.empty(0, np.int32), *(np.diff(part.offsets) for part in self._parts)]
        ).astype(np.int32)
        self._starts = np.cumsum([0] + [part.num_rows for part in self._parts])

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Map a cache into memory.

        Raises:
            DataError: There is none, or it is broken.
        """
        folder = Path(path)
        try:
            summary = CacheSummary.model_validate_json((folder / SUMMARY_FILE).read_bytes())
            reader = pa.ipc.open_file(pa.memory_map(str(folder / ARROW_FILE)))
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            digest = (reader.schema.metadata or {}).get(b"digest", b"").decode()
        except (OSError, ValidationError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{folder}: not a feature cache ({reason}); remove it") from error
        cache = cls(folder, summary, batches)
        if digest != summary.digest or len(cache) != summary.num_rows:
            raise DataError(
                f"{folder}: {ARROW_FILE} and {SUMMARY_FILE} do not belong together; remove it"
            )
        return cache

    @property
    def digest(self) -> str:
        """SHA-256 of the input's content and every setting that made the cache."""
        return self.summary.digest

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> list[TokenIds]:
        """Read some rows.

        Args:
            indices: Positions from 0, in any order.

        Returns:
            One row per index.
        """
        return [part.tokens(i) for part, i in map(self._locate, indices)]

    def labels(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the encoded labels of some rows.

        Args:
            indices: Positions from 0, in any order.

        Returns:
            float32 [len(indices), label width]; the width is 0 if rows have no label. Labels per
            token are padded with ``IGNORED`` to the longest of these rows.
        """
        if self._parts and self._parts[0].label_offsets is not None:
            return self._token_labels(indices)
        return self._gather(indices, "labels")

    def teacher_logits(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Read what the teacher gave for some rows.

        Args:
            indices: Positions from 0, in any order.

        Returns:
            float32 [len(indices), outputs]; NaN for a row that no teacher has seen; the width is 0
            if the cache has none at all.
        """
        return self._gather(indices, "teacher_logits")

    def texts(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Text]:
        """Read the texts or pairs of some rows of a cache that keeps them.

        Raises:
            DataError: It does not.
        """
        if self._parts and self._parts[0].column("text") is None:
            raise DataError(f"{self.path}: the cache keeps no texts; tokenize the rows again")
        return [part.text(i) for part, i in map(self._locate, indices)]

    @property
    def copies(self) -> NDArray[np.int32]:
        """Number of the augmented copy, int32 [rows]; 0 for a row as it was given."""
        return np.concatenate([np.empty(0, np.int32), *(part.copies for part in self._parts)])

    def _gather(self, indices: Sequence[int] | NDArray[np.int64], name: str) -> NDArray[np.float32]:
        width = getattr(self._parts[0], name).shape[1] if self._parts else 0
        found = np.empty((len(indices), width), dtype=np.float32)
        for position, (part, i) in enumerate(map(self._locate, indices)):
            found[position] = getattr(part, name)[i]
        return found

    def infos(self) -> list[str]:
        """Read what metrics need beside the labels, of all rows; empty texts if nothing."""
        return [info for part in self._parts for info in part.infos()]

    def _token_labels(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        rows = [part.token_labels(i) for part, i in map(self._locate, indices)]
        found = np.full((len(rows), max(map(len, rows), default=0)), IGNORED, dtype=np.float32)
        for position, row in enumerate(rows):
            found[position, : len(row)] = row
        return found

    def _locate(self, index: int | np.int64) -> tuple[_Part, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[part], int(index - self._starts[part])


class _Part:
    """One record batch as numpy views on the mapped file."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        ids, types = batch.column("input_ids"), batch.column("token_type_ids")
        self.num_rows: int = batch.num_rows
        self.offsets: NDArray[np.int32] = ids.offsets.to_numpy()
        self._input_ids: NDArray[np.int32] = ids.values.to_numpy()
        self._type_offsets: NDArray[np.int32] = types.offsets.to_numpy()
        self._token_type_ids: NDArray[np.int8] = types.values.to_numpy()
        self._is_truncated: Any = batch.column("is_truncated")
        self._batch = batch
        self.label_offsets: NDArray[np.int32] | None = None
        self.labels: NDArray[np.float32]
        if "label" in batch.schema.names and pa.types.is_list(batch.schema.field("label").type):
            self.label_offsets = batch.column("label").offsets.to_numpy()
            self.labels = batch.column("label").values.to_numpy()
        else:
            self.labels = _fixed_lists(batch, "label")
        self.teacher_logits = _fixed_lists(batch, "teacher_logits")
        has_copies = "copy" in batch.schema.names
        self.copies: NDArray[np.int32] = (
            batch.column("copy").to_numpy() if has_copies else np.zeros(self.num_rows, np.int32)
        )

    def tokens(self, i: int) -> TokenIds:
        ids = self._input_ids[self.offsets[i] : self.offsets[i + 1]]
        types = self._token_type_ids[self._type_offsets[i] : self._type_offsets[i + 1]]
        return TokenIds(ids.tolist(), types.tolist(), self._is_truncated[i].as_py())

    def token_labels(self, i: int) -> NDArray[np.float32]:
        assert self.label_offsets is not None  # asked only of such caches
        return self.labels[self.label_offsets[i] : self.label_offsets[i + 1]]

    def infos(self) -> list[str]:
        infos = self.column("info")
        return [""] * self.num_rows if infos is None else infos.to_pylist()

    def text(self, i: int) -> Text:
        text, pair = (self._batch.column(name)[i].as_py() for name in ("text", "text_pair"))
        return text if pair is None else (text, pair)

    def column(self, name: str) -> Any:
        """A column that not every cache has, or None."""
        return self._batch.column(name) if name in self._batch.schema.names else None


def _fixed_lists(batch: pa.RecordBatch, name: str) -> NDArray[np.float32]:
    """A column of lists of one length as a view [rows, length]; length 0 if it is not there."""
    if name not in batch.schema.names:
        return np.empty((batch.num_rows, 0), dtype=np.float32)
    width = batch.schema.field(name).type.list_size
    flat: NDArray[np.float32] = batch.column(name).flatten().to_numpy()
    return flat.reshape(batch.num_rows, width)
