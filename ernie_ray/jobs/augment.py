"""Augment rows: a Ray Data job over any number of files, in two passes.

The first pass cuts and tags the words of every row, and counts them; the second makes the copies.
Duplicates are dropped where the blocks come together in input order, so that which of two equal
copies stays does not depend on blocks or workers.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from numpy.typing import NDArray
from tqdm import tqdm

from ernie_ray.jobs.file_digests import expected_rows
from ernie_ray.jobs.prediction_files import Format, open_writer
from ernie_ray.jobs.row_blocks import BadRowFilter, with_given_names
from ernie_ray.jobs.row_check import check_every_row
from ernie_ray.jobs.row_dataset import WORK_CPUS, blocks_in_order, row_dataset
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.text.augment import AugmentSettings, WordsByTag, augmented, copy_random
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import OnBad
from ernie_ray.text.segmenter import NO_TAG, TaggedWord, tag_words

# Text per block: tagging takes milliseconds a row, so blocks are small enough to share the work.
_BLOCK_BYTES = 128 << 10
_WORDS = pa.list_(pa.struct([("text", pa.string()), ("tag", pa.string())]))


@dataclass(frozen=True)
class AugmentRequest:
    """What to augment.

    Attributes:
        files: The rows, read in this order.
        schema: Their columns; labels may be missing.
        settings: How copies are made.
        keeps_originals: Write the rows as they were given, too, each before its copies.
        on_bad: Stop at a bad row, or skip and list it.
    """

    files: tuple[DataFile, ...]
    schema: RowSchema
    settings: AugmentSettings = field(default_factory=AugmentSettings)
    keeps_originals: bool = True
    on_bad: OnBad = "error"


@dataclass(frozen=True)
class AugmentResult:
    """What came of it.

    Attributes:
        output: Where the rows are.
        num_originals: Rows read.
        num_copies: Copies written.
        num_duplicates: Copies dropped because the same text was there.
        num_skipped: Bad rows left out.
        skipped: The first of them, in words.
    """

    output: Location
    num_originals: int
    num_copies: int
    num_duplicates: int
    num_skipped: int
    skipped: tuple[str, ...]


def augment(
    request: AugmentRequest,
    output: str,
    *,
    storage: Storage,
    kind: Format = "jsonl",
    block_bytes: int = _BLOCK_BYTES,
    show_progress: bool = False,
) -> AugmentResult:
    """Augment rows on Ray, which must be initialised.

    Args:
        request: What to augment, and how.
        output: File to write; it appears whole or not at all.
        storage: Resolves ``output``.
        kind: Format of the file.
        block_bytes: Text per block, about; changes nothing of the result.
        show_progress: Draw bars on stderr.

    Raises:
        DataError: A file or row cannot be used.
    """
    check_every_row(request.files, request.schema, request.on_bad, show_progress=show_progress)
    tagged = (
        row_dataset(request.files, request.schema, block_bytes=block_bytes)
        .map_batches(_tag_block, batch_size=None, batch_format="pyarrow", num_cpus=WORK_CPUS)
        .materialize()
    )
    corpus = _read_corpus(request, tagged, show_progress=show_progress)
    copies = tagged.map_batches(
        _copy_block,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={
            "settings": request.settings,
            "known": ray.put(corpus.words),
            "starts": corpus.starts,
        },
        num_cpus=WORK_CPUS,
    )
    staging = staging_path(storage.resolve(output))
    schema = _output_schema(request.schema)
    given = with_given_names(schema.empty_table(), request.schema).schema
    num_copies = num_duplicates = 0
    try:
        with (
            open_writer(staging, kind, given, output=storage.resolve(output)) as writer,
            tqdm(desc="augment", unit=" rows", disable=not show_progress) as bar,
        ):
            for block in blocks_in_order(copies):
                is_copy = block["copy"].to_numpy() > 0
                is_new = _unseen(block, is_copy, corpus.digests)
                num_copies += int((is_copy & is_new).sum())
                num_duplicates += int((~is_new).sum())
                kept = is_new if request.keeps_originals else is_new & is_copy
                rows = block.filter(pa.array(kept)).select(schema.names)
                writer.write(with_given_names(rows, request.schema))
                bar.update(block.num_rows)
        location = storage.publish(staging, output)
    finally:
        staging.unlink(missing_ok=True)
    bad = corpus.bad_rows
    return AugmentResult(
        location, corpus.num_rows, num_copies, num_duplicates, bad.num_skipped, tuple(bad.skipped)
    )


@dataclass
class _Corpus:
    """What the first pass finds.

    Attributes:
        words: The words of all rows, by part of speech.
        starts: Id of each file's first row.
        digests: Of every row as it was given.
        num_rows: Good rows.
        bad_rows: The others.
    """

    words: WordsByTag
    starts: dict[int, int]
    digests: set[bytes]
    num_rows: int
    bad_rows: BadRowFilter


def _read_corpus(
    request: AugmentRequest, tagged: ray.data.Dataset, *, show_progress: bool
) -> _Corpus:
    bad_rows = BadRowFilter(request.on_bad)
    counts: dict[str, dict[str, int]] = {}
    digests: set[bytes] = set()
    lengths: dict[int, int] = {}
    num_rows = 0
    total = expected_rows(request.files)
    with tqdm(desc="tag", unit=" rows", total=total, disable=not show_progress) as bar:
        for block in blocks_in_order(tagged):
            for file, row in zip(block["file"].to_pylist(), block["row"].to_pylist(), strict=True):
                lengths[file] = max(lengths.get(file, 0), row + 1)
            good = bad_rows.good(block)
            num_rows += good.num_rows
            digests.update(_digests(good))
            for column in ("words", "pair_words"):
                _count_words(good[column], counts)
            bar.update(block.num_rows)
    bad_rows.refuse_none_left(num_rows)
    starts, start = {}, 0
    for file in sorted(lengths):
        starts[file] = start
        start += lengths[file]
    return _Corpus(WordsByTag(counts), starts, digests, num_rows, bad_rows)


def _count_words(words: pa.ChunkedArray, counts: dict[str, dict[str, int]]) -> None:
    text, tag = words.combine_chunks().flatten().flatten()
    table = pa.table({"text": text, "tag": tag}).group_by(["tag", "text"])
    for entry in table.aggregate([([], "count_all")]).to_pylist():
        if entry["tag"] != NO_TAG:
            of_tag = counts.setdefault(entry["tag"], {})
            of_tag[entry["text"]] = of_tag.get(entry["text"], 0) + entry["count_all"]


def _tag_block(block: pa.Table) -> pa.Table:
    """Add the tagged words of each text; rows that are bad get none."""
    for name, column in (("words", "text"), ("pair_words", "text_pair")):
        tagged = [
            [] if text is None else [{"text": w.text, "tag": w.tag} for w in tag_words(text)]
            for text in block[column].to_pylist()
        ]
        block = block.append_column(name, pa.array(tagged, _WORDS))
    return block


def _copy_block(
    block: pa.Table, settings: AugmentSettings, known: ray.ObjectRef, starts: dict[int, int]
) -> pa.Table:
    """Give each good row and, behind it, its copies."""
    words_by_tag = _known_words(known)
    made: list[dict[str, object]] = []
    for row in block.filter(pc.is_null(block["problem"])).to_pylist():
        row_id = starts[row["file"]] + row["row"]
        original = {"id": row_id, "label": row["label"], "copy": 0}
        made.append(original | {"text": row["text"], "text_pair": row["text_pair"]})
        words, pair_words = _tagged(row["words"]), _tagged(row["pair_words"])
        for copy in range(1, settings.num_copies + 1):
            random = copy_random(settings.seed, row_id, copy)
            text = augmented(words, words_by_tag, settings, random)
            pair = None
            if row["text_pair"] is not None:
                pair = augmented(pair_words, words_by_tag, settings, random)
            if text is None or (row["text_pair"] is not None and pair is None):
                continue
            made.append(original | {"copy": copy, "text": text, "text_pair": pair})
    return pa.Table.from_pylist(made, _MADE)


_MADE = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("text_pair", pa.string()),
        ("label", pa.string()),
        ("copy", pa.int32()),
    ]
)


def _output_schema(schema: RowSchema) -> pa.Schema:
    """Columns of the output; ``id`` is the position of the original row, bad rows counted."""
    absent = {"text_pair": schema.text_pair is None, "label": schema.label is None}
    return pa.schema([column for column in _MADE if not absent.get(column.name)])


def _tagged(words: Sequence[dict[str, str]]) -> list[TaggedWord]:
    return [TaggedWord(word["text"], word["tag"]) for word in words]


@functools.lru_cache(maxsize=1)
def _known_words(known: ray.ObjectRef) -> WordsByTag:
    # Kept for the next block of the same worker process.
    words: WordsByTag = ray.get(known)
    return words


def _unseen(block: pa.Table, is_copy: NDArray[np.bool_], seen: set[bytes]) -> NDArray[np.bool_]:
    """Say which rows to keep: originals, and copies unlike anything before them."""
    is_new = ~is_copy
    for i, digest in enumerate(_digests(block)):
        if is_copy[i] and digest not in seen:
            seen.add(digest)
            is_new[i] = True
    return is_new


def _digests(block: pa.Table) -> list[bytes]:
    """Eight bytes for each row's text(s)."""
    texts, pairs = block["text"].to_pylist(), block["text_pair"].to_pylist()
    return [
        hashlib.blake2b(f"{text}\0{pair or ''}".encode(), digest_size=8).digest()
        for text, pair in zip(texts, pairs, strict=True)
    ]
