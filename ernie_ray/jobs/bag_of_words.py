"""A bag of words with logistic regression: what any trained encoder must beat.

Binary bag over the sub-words of a tokenizer, L2 penalty chosen on dev rows. Plain numpy.

Dimension key: N rows, V vocabulary, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ernie_ray.tasks.classification import softmax
from ernie_ray.text.tokenizer import TextTokenizer

_PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_NUM_ITERATIONS = 120
_STEP_SIZE = 0.05


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with the class index of each."""

    texts: Sequence[str]
    labels: NDArray[np.int64]


def bag_of_words_accuracy(
    tokenizer: TextTokenizer, train: LabelledTexts, dev: LabelledTexts, test: LabelledTexts
) -> tuple[float, float]:
    """Train on ``train``, choose the penalty on ``dev``, measure both once more.

    Returns:
        Accuracy on dev and on test.
    """
    # A piece that one training row alone has would only let that row be learnt by heart.
    num_rows = Counter(
        token for row in tokenizer.encode(train.texts) for token in set(row.input_ids)
    )
    kept = sorted(token for token, count in num_rows.items() if count > 1)
    vocabulary = {token: i for i, token in enumerate(kept)}
    bags = [_bags(tokenizer, split.texts, vocabulary) for split in (train, dev, test)]
    best_dev, best_test = -1.0, 0.0
    for penalty in _PENALTIES:
        weights_VC = _fit(bags[0], train.labels, penalty)
        accuracy = _accuracy(bags[1], weights_VC, dev.labels)
        if accuracy > best_dev:
            best_dev, best_test = accuracy, _accuracy(bags[2], weights_VC, test.labels)
    return best_dev, best_test


def _bags(
    tokenizer: TextTokenizer, texts: Sequence[str], vocabulary: dict[int, int]
) -> NDArray[np.float32]:
    # The last column is always 1: the bias. Special tokens stand in every text and do the same.
    bags_NV = np.zeros((len(texts), len(vocabulary) + 1), dtype=np.float32)
    bags_NV[:, -1] = 1.0
    for i, row in enumerate(tokenizer.encode(texts)):
        known = {vocabulary[token] for token in row.input_ids if token in vocabulary}
        bags_NV[i, list(known)] = 1.0
    return bags_NV


def _fit(
    bags_NV: NDArray[np.float32], labels: NDArray[np.int64], penalty: float
) -> NDArray[np.float32]:
    """Minimise mean cross-entropy + penalty / 2 x squared weights with Adam, full batch."""
    truth_NC: NDArray[np.float32] = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    weights_VC: NDArray[np.float32] = np.zeros((bags_NV.shape[1], truth_NC.shape[1]), np.float32)
    first = np.zeros_like(weights_VC)
    second = np.zeros_like(weights_VC)
    for i in range(1, _NUM_ITERATIONS + 1):
        error_NC = softmax(bags_NV @ weights_VC) - truth_NC
        gradient: NDArray[np.float32] = bags_NV.T @ error_NC / len(labels) + penalty * weights_VC
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**i) / (np.sqrt(second / (1 - 0.999**i)) + 1e-8)
        weights_VC -= _STEP_SIZE * (1 - (i - 1) / _NUM_ITERATIONS) * corrected
    return weights_VC


def _accuracy(
    bags_NV: NDArray[np.float32], weights_VC: NDArray[np.float32], labels: NDArray[np.int64]
) -> float:
    return float(((bags_NV @ weights_VC).argmax(axis=1) == labels).mean())
