"""What it is worth to give every text the same answer: the least that a model must beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ernie_ray.text.row_schema import split_labels


def constant_accuracy(train: Sequence[str], measured: Sequence[str]) -> float:
    """Accuracy of always answering the most frequent training label."""
    answer = max(sorted(set(train)), key=list(train).count)
    return sum(label == answer for label in measured) / max(len(measured), 1)


def constant_micro_f1(train: Sequence[str], measured: Sequence[str]) -> float:
    """Micro F1 of always giving the same labels: the most frequent ones of the training rows.

    As many as give the highest value there. A row's labels are one text, as ``join_labels`` writes
    them.
    """
    in_train, in_measured = map(_label_counts, (train, measured))
    ranked = sorted(in_train, key=lambda label: (-in_train[label], label))
    answers = [ranked[:n] for n in range(1, len(ranked) + 1)]
    best = max(answers, key=lambda answer: _micro_f1(answer, in_train, len(train)), default=[])
    return _micro_f1(best, in_measured, len(measured))


def _label_counts(labels: Sequence[str]) -> Counter[str]:
    return Counter(part for label in labels for part in split_labels(label))


def _micro_f1(answer: list[str], counts: Counter[str], num_rows: int) -> float:
    both = sum(counts[label] for label in answer)
    return 2 * both / max(len(answer) * num_rows + counts.total(), 1)
