"""The rows of the Slim benchmarks, and which unlabelled texts are too near to a measured one.

Reads the data sets where they lie; only the filtered unlabelled texts are written, into the
benchmark's own work folder.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

DATA = Path(os.environ.get("ERNIE_RAY_DATA", Path(__file__).parents[2] / "shared" / "data"))

NEAR_CHARACTERS = 13
NEAR_RULE = (
    f"A text is near a dev or test row if both share a run of {NEAR_CHARACTERS} letters, digits or "
    "characters (punctuation, white space and case left out), or are equal where one is shorter."
)


@dataclass(frozen=True)
class TaskRows:
    """Where a data set's rows are."""

    name: str
    train: str
    dev: str
    test: str
    unlabelled: str = ""
    text: str = "text"
    text_pair: str = ""


CHNSENTICORP = TaskRows(
    "ChnSentiCorp",
    "classification/chnsenticorp/train_noleak.jsonl.gz",
    "classification/chnsenticorp/dev.jsonl.gz",
    "classification/chnsenticorp/test.jsonl.gz",
    "unlabelled/zh_reviews",
)
THUCNEWS = TaskRows(
    "THUCNews titles",
    "classification/thucnews_title/train.jsonl.gz",
    "classification/thucnews_title/dev.jsonl.gz",
    "classification/thucnews_title/test.jsonl.gz",
    "unlabelled/zh_titles_queries",
)
AFQMC = TaskRows(
    "AFQMC",
    "pair/afqmc/train.jsonl.gz",
    "pair/afqmc/dev.jsonl.gz",
    "pair/afqmc/dev.jsonl.gz",
    text="text_a",
    text_pair="text_b",
)
STSB = TaskRows(
    "STS-B-zh",
    "pair/stsb_zh/train.jsonl.gz",
    "pair/stsb_zh/dev.jsonl.gz",
    "pair/stsb_zh/test.jsonl.gz",
    "unlabelled/zh_titles_queries",
    text="text_a",
    text_pair="text_b",
)


def with_held_out_dev(rows: TaskRows, num_dev: int, folder: Path) -> TaskRows:
    """Take the last training rows as dev rows, for a set whose own dev rows are those measured."""
    lines = gzip.decompress((DATA / rows.train).read_bytes()).splitlines(keepends=True)
    folder.mkdir(parents=True, exist_ok=True)
    places = []
    for name, part in (("train", lines[:-num_dev]), ("dev", lines[-num_dev:])):
        path = folder.absolute() / f"{name}.jsonl.gz"
        path.write_bytes(gzip.compress(b"".join(part), mtime=0))
        places.append(str(path))
    return replace(rows, train=places[0], dev=places[1])


def add_threads_option(parser: argparse.ArgumentParser, default: int = 2) -> None:
    """Let the caller say how many cores a training has."""
    parser.add_argument(
        "--threads",
        type=int,
        default=default,
        help="Of each training. With 1 a second benchmark may run beside this one on 2 cores: "
        "each is slower, both together take 2/3 to 3/4 of the time.",
    )


def require_data() -> None:
    """End the program with a message where the data sets are not there."""
    if not DATA.is_dir():
        sys.exit(f"{DATA}: no data sets; point ERNIE_RAY_DATA to them")


def place(name: str) -> str:
    """Absolute path of a file, which may be one of the data sets'."""
    return str(DATA / name)


def read_texts(name: str, column: str = "text") -> Iterator[str]:
    """Texts of a .jsonl.gz file, or of all such files of a folder."""
    path = DATA / name
    for file in sorted(path.rglob("*.jsonl.gz")) if path.is_dir() else [path]:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)[column]


class NearTexts:
    """Knows the measured texts; says of another whether it is near one of them."""

    def __init__(self, measured: Iterable[str]) -> None:
        self._runs: set[int] = set()
        self._short: set[str] = set()
        for text in measured:
            letters = _letters(text)
            self._short.add(letters)
            self._runs.update(map(hash, _runs(letters)))

    def __contains__(self, text: object) -> bool:
        letters = _letters(str(text))
        return letters in self._short or any(hash(run) in self._runs for run in _runs(letters))


def write_unlabelled(rows: TaskRows, target: Path, max_rows: int) -> int:
    """Write the unlabelled texts that are near no dev or test row, evenly spread over the source.

    Returns:
        How many near texts were left out.
    """
    near = NearTexts(
        text
        for split in (rows.dev, rows.test)
        for column in filter(None, (rows.text, rows.text_pair))
        for text in read_texts(split, column)
    )
    texts = list(dict.fromkeys(read_texts(rows.unlabelled)))
    kept = [text for text in texts if text not in near]
    step = max(len(kept) / max_rows, 1.0)
    chosen = [kept[int(i * step)] for i in range(min(max_rows, len(kept)))]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for text in chosen:
            stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    partial.rename(target)
    return len(texts) - len(kept)


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if unicodedata.category(c)[0] in "LN")


def _runs(letters: str) -> Iterator[str]:
    for i in range(len(letters) - NEAR_CHARACTERS + 1):
        yield letters[i : i + NEAR_CHARACTERS]
