"""Turn rows into the feature cache: a Ray Data job that reads, checks and tokenizes once.

The cache is keyed by the content of everything that goes into it, so that the same input is
tokenized once and a changed one never mistaken for it. Knows no recipe and no network.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from tqdm import tqdm

from ernie_ray.errors import ConfigError, DataError, SourceError
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.row_blocks import BadRowFilter, checked_schema, texts_of
from ernie_ray.jobs.row_dataset import WORK_CPUS, blocks_in_order, row_dataset
from ernie_ray.jobs.storage import Location
from ernie_ray.modeldir import ClassificationSpec, TaskSpec
from ernie_ray.tasks import family_of
from ernie_ray.text.cache import SUMMARY_FILE, FeatureCache
from ernie_ray.text.cache_writer import CacheWriter
from ernie_ray.text.cutter import Cutter, cutter_from_bytes
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.rows import LABEL_SEPARATOR, OnBad, RowSchema

# Counts up when the same input would give another cache.
_FORMAT = 2
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
    """

    location: Location
    schema: RowSchema
    task: TaskSpec
    tokenizer: Path
    max_tokens: int
    text_prefix: str = ""
    on_bad: OnBad = "error"

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in the order of their encoding."""
        return self.task.labels if isinstance(self.task, ClassificationSpec) else ()


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
        DataError: A file or row cannot be used; the message names file, line and field.
        SourceError: The tokenizer cannot be read.
    """
    files = find_files(request.location)
    tokenizer_json = _read_tokenizer(request.tokenizer)
    digest = _digest(request, files, tokenizer_json)
    path = cache_dir / f"features-{digest[:16]}"
    if (path / SUMMARY_FILE).is_file():
        return FeatureCache.open(path)
    dataset = row_dataset(files, checked_schema(request.schema, request.task)).map_batches(
        _tokenize_block,
        batch_size=None,
        batch_format="pyarrow",
        # By reference, so that each node receives it once and not with every task.
        fn_kwargs={"request": request, "tokenizer_json": ray.put(tokenizer_json)},
        num_cpus=WORK_CPUS,
    )
    bad_rows = BadRowFilter(request.on_bad)
    width = _label_width(request)
    names = [file.name for file in files]
    bar = tqdm(desc="tokenize", unit=" rows", disable=not show_progress)
    with (
        bar,
        CacheWriter(
            path,
            digest=digest,
            file_names=names,
            labels=request.labels,
            label_width=width,
            teacher_width=_teacher_width(request),
        ) as writer,
    ):
        for block in blocks_in_order(dataset):
            writer.write(bad_rows.good(block))
            bar.update(block.num_rows)
        bad_rows.refuse_none_left(writer.num_rows)
        return writer.finish(num_skipped=bad_rows.num_skipped, skipped=bad_rows.skipped)


def collect_labels(
    location: Location, schema: RowSchema, *, on_bad: OnBad = "error"
) -> tuple[str, ...]:
    """List the labels that rows have, for a task that names none.

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
    files = find_files(location)
    dataset = row_dataset(files, replace(schema, labels=None)).map_batches(
        _distinct_labels,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"is_multi_label": schema.is_multi_label},
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


def _distinct_labels(block: pa.Table, is_multi_label: bool) -> pa.Table:
    bad = block.filter(pc.is_valid(block["problem"])).select(_LABEL_COLUMNS.names)
    labels = block["label"].drop_null().unique().to_pylist()
    if is_multi_label:
        labels = [part for label in labels for part in label.split(LABEL_SEPARATOR) if part]
    distinct = [{"label": label, "is_fatal": False} for label in sorted(set(labels))]
    return pa.concat_tables([bad, pa.Table.from_pylist(distinct, _LABEL_COLUMNS)])


def _tokenize_block(
    block: pa.Table, request: FeatureRequest, tokenizer_json: ray.ObjectRef
) -> pa.Table:
    family = family_of(request.task)
    width = _label_width(request)
    is_good = pc.is_null(block["problem"])
    good = block.filter(is_good)
    tokens = _tokenizer(tokenizer_json, request.max_tokens, request.text_prefix).encode(
        texts_of(good)
    )
    columns = {
        "file": good["file"],
        "row": good["row"],
        "input_ids": _list_array([row.input_ids for row in tokens], pa.int32()),
        "token_type_ids": _list_array([row.token_type_ids for row in tokens], pa.int8()),
        "is_truncated": pa.array([row.is_truncated for row in tokens], pa.bool_()),
        "problem": good["problem"],
        "is_fatal": good["is_fatal"],
    }
    if width:
        unknown = np.full(width, np.nan, dtype=np.float32)
        labels = [
            unknown if label is None else family.label_of(label)
            for label in good["label"].to_pylist()
        ]
        columns["label"] = _fixed_list_array(labels, width)
    if teacher_width := _teacher_width(request):
        columns["teacher_logits"] = _teacher_logits(good, teacher_width)
        columns["copy"] = good["copy"]
    features = pa.table(columns)
    bad = block.filter(pc.invert(is_good)).select(["file", "row", "problem", "is_fatal"])
    return (
        pa.concat_tables([features, bad], promote_options="default") if bad.num_rows else features
    )


def _teacher_logits(good: pa.Table, width: int) -> pa.Array:
    unknown = np.full(width, np.nan, dtype=np.float32)
    found = []
    for row, logits in zip(good["row"], good["teacher_logits"].to_pylist(), strict=True):
        if logits is not None and len(logits) != width:
            raise DataError(
                f"row {row.as_py() + 1} has {len(logits)} teacher logits, but the task has {width} "
                "classes; label the rows with a teacher of this task"
            )
        found.append(unknown if logits is None else np.asarray(logits, np.float32))
    return _fixed_list_array(found, width)


def _fixed_list_array(rows: Sequence[np.ndarray], width: int) -> pa.Array:
    flat = np.concatenate([np.empty(0, np.float32), *rows])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), width)


def _list_array(rows: Sequence[Sequence[int] | np.ndarray], kind: pa.DataType) -> pa.ListArray:
    return pa.array(rows, pa.list_(kind))


@functools.lru_cache(maxsize=1)
def _tokenizer(tokenizer_json: ray.ObjectRef, max_tokens: int, text_prefix: str) -> Cutter:
    # Kept for the next block of the same worker process: a vocabulary of 250,000 pieces takes a
    # second to read.
    content = ray.get(tokenizer_json)
    return cutter_from_bytes(content, "tokenizer", max_tokens=max_tokens, text_prefix=text_prefix)


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
    parts = {
        "cache_format": _FORMAT,
        "files": digests_of_files(files),
        "schema": asdict(checked_schema(request.schema, request.task)),
        "task": request.task.model_dump(mode="json"),
        "tokenizer": hashlib.sha256(tokenizer_json).hexdigest(),
        "max_tokens": request.max_tokens,
        "text_prefix": request.text_prefix,
        "on_bad": request.on_bad,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
