"""Turn rows into the feature cache: a Ray Data job that reads, checks and tokenizes once.

The cache is keyed by the content of everything that goes into it, so that the same input is
tokenized once and a changed one never mistaken for it. Knows no recipe and no network.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from tqdm import tqdm

from ernie_ray.errors import ConfigError, DataError, SourceError
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.row_blocks import BadRowFilter, checked_schema, rows_of, texts_of
from ernie_ray.jobs.row_dataset import WORK_CPUS, blocks_in_order, row_dataset
from ernie_ray.jobs.storage import Location, writing_to
from ernie_ray.modeldir import TaskSpec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.example import Example, texts_with_rows
from ernie_ray.text.cache import PER_TOKEN, SUMMARY_FILE, FeatureCache
from ernie_ray.text.cache_writer import CacheWriter
from ernie_ray.text.cutter import Cutter, cutter_from_bytes
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import Row, RowSchema, split_labels
from ernie_ray.text.rows import OnBad, files_of

# Counts up when the same input would give another cache.
_FORMAT = 6
_LABEL_COLUMNS = pa.schema(
    [("label", pa.string()), ("problem", pa.string()), ("is_fatal", pa.bool_())]
)


@dataclass(frozen=True)
class FeatureRequest:
    """Everything that decides what a feature cache holds.

    Attributes:
        location: The rows: a file, a folder or a glob; absolute path or URI.
        schema: Their columns. Without a label column the cache has no labels; the labels
            themselves are those of ``task``.
        task: How a label is encoded.
        tokenizer: A ``tokenizer.json`` or a student's ``vocabulary.json`` on this machine.
        max_tokens: Longest row in tokens, special tokens included.
        text_prefix: Put before every text.
        on_bad: Stop at a bad row, or skip and list it.
        measures: Keep what the task's metrics need, and rows that can only be measured.
        has_texts: Keep the texts beside their tokens.
    """

    location: Location
    schema: RowSchema
    task: TaskSpec
    tokenizer: Path
    max_tokens: int
    text_prefix: str = ""
    on_bad: OnBad = "error"
    measures: bool = False
    has_texts: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in the order of their encoding."""
        return getattr(self.task, "labels", ())


def feature_digest(request: FeatureRequest) -> str:
    """Digest of all that decides what a cache holds; reads the rows' files, and builds nothing.

    Raises:
        DataError: A file cannot be read.
        SourceError: The tokenizer cannot be read.
    """
    files = files_of(request.location, request.schema)
    return _digest(request, files, _read_tokenizer(request.tokenizer))


def cache_name(digest: str) -> str:
    """Name of a cache's folder."""
    return f"features-{digest[:16]}"


def build_feature_cache(
    request: FeatureRequest, *, cache_dir: Path, show_progress: bool = False
) -> FeatureCache:
    """Tokenize rows into a cache, or open the one that holds exactly this already.

    Args:
        request: What to tokenize and how.
        cache_dir: Where caches lie, one folder each; on a cluster a disk that all workers see.
        show_progress: Draw a bar on stderr.

    Returns:
        The cache, in input order; its summary has the rows per file and the skipped rows.

    Raises:
        DataError: A file or row cannot be used; the message names file, line and field. Or the
            cache cannot be written.
        SourceError: The tokenizer cannot be read.
        ConfigError: A ranking is to be measured, but no column names the rows' query.
    """
    files = files_of(request.location, request.schema)
    tokenizer_json = _read_tokenizer(request.tokenizer)
    digest = _digest(request, files, tokenizer_json)
    path = cache_dir / cache_name(digest)
    if (path / SUMMARY_FILE).is_file():
        return FeatureCache.open(path)
    schema = checked_schema(request.schema, request.task, measures=request.measures)
    dataset = row_dataset(files, schema).map_batches(
        _tokenize_block,
        batch_size=None,
        batch_format="pyarrow",
        # By reference, so that each node receives it once and not with every task.
        fn_kwargs={"request": request, "tokenizer_json": ray.put(tokenizer_json)},
        num_cpus=WORK_CPUS,
    )
    bad_rows = BadRowFilter(request.on_bad)
    family = family_of(request.task)
    notes: Counter[str] = Counter()
    names = [file.name for file in files]
    bar = tqdm(desc="tokenize", unit=" rows", disable=not show_progress)
    cache = CacheWriter(
        path,
        digest=digest,
        file_names=names,
        labels=request.labels,
        label_width=_label_width(request),
        teacher_width=_teacher_width(request),
        has_windows=family.is_per_token,
        has_infos=request.measures,
        has_texts=request.has_texts,
        has_copies=request.schema.copy is not None,
    )
    with bar, ExitStack() as stack:
        with writing_to(path):
            writer = stack.enter_context(cache)
        for block in blocks_in_order(dataset):
            good = bad_rows.good(block)
            notes.update(note for note in good["note"].to_pylist() if note)
            with writing_to(path):
                writer.write(good.filter(pc.is_valid(good["input_ids"])))
            bar.update(block.num_rows)
        bad_rows.refuse_none_left(writer.num_rows)
        if writer.num_rows == 0:
            raise DataError(f"{request.location}: no row is left to learn from ({dict(notes)})")
        with writing_to(path):
            return writer.finish(
                num_skipped=bad_rows.num_skipped, skipped=bad_rows.skipped, notes=notes
            )


def collect_labels(
    location: Location, schema: RowSchema, *, on_bad: OnBad = "error"
) -> tuple[str, ...]:
    """List the labels, or the types of entities, that rows have, for a task that names none.

    Args:
        location: The training rows: absolute path or URI.
        schema: Has a label column; its ``labels`` are not looked at.
        on_bad: Stop at a bad row, or skip it.

    Returns:
        Distinct labels; whole numbers by value, before all others by name.

    Raises:
        ConfigError: The schema has no label column.
        DataError: A file or row cannot be used.
    """
    if schema.label is None:
        raise ConfigError("labels cannot be collected without a label column; name it")
    files = files_of(location, schema)
    dataset = row_dataset(files, replace(schema, labels=None)).map_batches(
        _distinct_labels,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"schema": schema},
        num_cpus=WORK_CPUS,
    )
    bad_rows = BadRowFilter(on_bad)
    found: set[str] = set()
    for block in blocks_in_order(dataset):
        found.update(bad_rows.good(block)["label"].to_pylist())
    bad_rows.refuse_none_left(len(found))
    return tuple(sorted(found, key=_by_value))


def _by_value(label: str) -> tuple[bool, int, str]:
    is_number = re.fullmatch(r"-?[0-9]{1,18}", label) is not None
    return (not is_number, int(label) if is_number else 0, label)


def _distinct_labels(block: pa.Table, schema: RowSchema) -> pa.Table:
    bad = block.filter(pc.is_valid(block["problem"])).select(_LABEL_COLUMNS.names)
    labels = block["label"].drop_null().unique().to_pylist()
    if schema.holds == "entities":
        labels = [kind for label in labels for _, _, kind in json.loads(label)]
    elif schema.is_multi_label:
        labels = [part for label in labels for part in split_labels(label)]
    distinct = [{"label": label, "is_fatal": False} for label in sorted(set(labels))]
    return pa.concat_tables([bad, pa.Table.from_pylist(distinct, _LABEL_COLUMNS)])


def _tokenize_block(
    block: pa.Table, request: FeatureRequest, tokenizer_json: ray.ObjectRef
) -> pa.Table:
    family = family_of(request.task)
    is_good = pc.is_null(block["problem"])
    good = block.filter(is_good)
    cut = _cutter(
        tokenizer_json, family.is_per_token, request.max_tokens, request.text_prefix
    ).encode(texts_of(good))
    lines: list[_Line] = []
    for file, (row, tokens) in zip(
        good["file"].to_pylist(), texts_with_rows(rows_of(good), cut), strict=True
    ):
        note = "" if row.label is None else family.note(row, tokens)
        examples = family.examples(row, tokens, measures=request.measures)
        lines += [
            _Line(file, row, i, example, "" if i else note)
            for i, example in enumerate(examples or [None])
        ]
    features = _feature_table(lines, request)
    bad = block.filter(pc.invert(is_good)).select(["file", "row", "problem", "is_fatal"])
    return (
        pa.concat_tables([features, bad], promote_options="default") if bad.num_rows else features
    )


@dataclass(frozen=True)
class _Line:
    """One line of the cache, or, without an example, a row that gives none."""

    file: int
    row: Row
    window: int
    example: Example | None
    note: str


def _feature_table(lines: Sequence[_Line], request: FeatureRequest) -> pa.Table:
    tokens = [None if line.example is None else line.example.tokens for line in lines]
    ids = [None if row is None else row.input_ids for row in tokens]
    types = [None if row is None else row.token_type_ids for row in tokens]
    columns = {
        "file": pa.array([line.file for line in lines], pa.int32()),
        "row": pa.array([line.row.index for line in lines], pa.int64()),
        "window": pa.array([line.window for line in lines], pa.int32()),
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
        "token_type_ids": pa.array(types, pa.list_(pa.int8())),
        "is_truncated": pa.array(
            [row is not None and row.is_truncated for row in tokens], pa.bool_()
        ),
        "info": pa.array(
            [line.example.info if line.example else "" for line in lines], pa.string()
        ),
        "note": pa.array([line.note for line in lines], pa.string()),
        "problem": pa.nulls(len(lines), pa.string()),
        "is_fatal": pa.array([False] * len(lines), pa.bool_()),
    }
    if request.has_texts:
        columns["text"] = pa.array([line.row.text for line in lines], pa.string())
        columns["text_pair"] = pa.array([line.row.text_pair for line in lines], pa.string())
    if width := _label_width(request):
        labels = [_label_or_unknown(line.example, width) for line in lines]
        columns["label"] = pa.array(labels, pa.list_(pa.float32(), width))
    if teacher_width := _teacher_width(request):
        logits = [_teacher_logits(line.row, teacher_width) for line in lines]
        columns["teacher_logits"] = pa.array(logits, pa.list_(pa.float32(), teacher_width))
    if request.schema.copy is not None:
        columns["copy"] = pa.array([line.row.copy for line in lines], pa.int32())
    return pa.table(columns)


def _label_or_unknown(example: Example | None, width: int) -> np.ndarray | None:
    """A row's label; NaN for a row without one among rows that have some."""
    if example is None or len(example.label) or width == PER_TOKEN:
        return None if example is None else example.label
    return np.full(width, np.nan, dtype=np.float32)


def _teacher_logits(row: Row, width: int) -> np.ndarray:
    if row.teacher_logits is None:
        return np.full(width, np.nan, dtype=np.float32)
    if len(row.teacher_logits) != width:
        raise DataError(
            f"row {row.index + 1} has {len(row.teacher_logits)} teacher logits, but the task has "
            f"{width} classes; label the rows with a teacher of this task"
        )
    return np.asarray(row.teacher_logits, np.float32)


@functools.lru_cache(maxsize=1)
def _cutter(
    tokenizer_json: ray.ObjectRef, per_token: bool, max_tokens: int, text_prefix: str
) -> Cutter:
    # Kept for the next block of the same worker process: a vocabulary of 250,000 pieces takes a
    # second to read.
    return cutter_from_bytes(
        ray.get(tokenizer_json),
        "tokenizer",
        max_tokens=max_tokens,
        text_prefix=text_prefix,
        per_token=per_token,
    )


def _read_tokenizer(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: the tokenizer cannot be read: {error.strerror}") from error
    # Read here once, so that a broken file is an error before any task runs.
    cutter_from_bytes(content, str(path), max_tokens=16)
    return content


def _label_width(request: FeatureRequest) -> int:
    return 0 if request.schema.label is None else family_of(request.task).label_width


def _teacher_width(request: FeatureRequest) -> int:
    return 0 if request.schema.teacher_logits is None else request.task.num_outputs


def _digest(request: FeatureRequest, files: Sequence[DataFile], tokenizer_json: bytes) -> str:
    schema = asdict(checked_schema(request.schema, request.task))
    del schema["keep"]  # a cache keeps no columns
    parts = {
        "cache_format": _FORMAT,
        "files": digests_of_files(files),
        "schema": schema,
        "task": request.task.model_dump(mode="json"),
        "tokenizer": hashlib.sha256(tokenizer_json).hexdigest(),
        "max_tokens": request.max_tokens,
        "text_prefix": request.text_prefix,
        "on_bad": request.on_bad,
        "measures": request.measures,
        **({"has_texts": True} if request.has_texts else {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
