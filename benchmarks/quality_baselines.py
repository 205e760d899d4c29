"""What any encoder must beat: a constant answer, and a bag of words, for each task family.

The bag of words is the simplest thing that looks at the text at all: logistic regression over
characters and their pairs for one text, the overlap of two texts for pairs, entities learnt by
heart for taggers, and for readers the piece of the context that shares most with the question.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import ClassificationSpec, PairSpec, ReadingSpec, TaskSpec, TokenLabelsSpec
from ernie_ray.tasks import TaskFamily, family_of
from ernie_ray.tasks.answer_metrics import answer_f1, exact_match, is_chinese
from ernie_ray.tasks.entity_metrics import Entity, entity_metrics
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.rows import read_rows

_MAX_ENTITY_CHARACTERS = 20
_PIECES = re.compile(r"[^，。；！？,;!?]+")

Scores = dict[str, float]


def baselines(task: TaskSpec, schema: RowSchema, train: Path, test: Path) -> tuple[Scores, Scores]:
    """Measure both baselines.

    Args:
        task: As in the model directory that they stand beside.
        schema: Columns of the rows.
        train: Rows to learn from.
        test: Rows to measure.

    Returns:
        Metrics of the constant answer and of the bag of words, by the family's names.
    """
    family = family_of(task)
    complete = family.row_schema(schema)
    known, asked = (list(read_rows(path, complete)) for path in (train, test))
    match task:
        case TokenLabelsSpec():
            return _tagger_baselines(known, asked)
        case ReadingSpec():
            return _reader_baselines(asked)
        case ClassificationSpec():
            bag = _measured(family, asked, _class_logits(task, known, asked))
            return best_constant(task, asked), bag
        case PairSpec():
            # Any constant: correlations of it are 0, and a ranking of it is the worst tie.
            fitted = np.zeros((len(asked), 1), np.float32), _overlaps(asked)[:, None]
        case _:
            raise ValueError(f"no baseline for {task.family}")
    constant, bag = (_measured(family, asked, logits) for logits in fitted)
    return constant, bag


def _measured(family: TaskFamily, rows: Sequence[Row], logits: NDArray[np.float32]) -> Scores:
    from ernie_ray.text.features import TokenIds

    examples = [family.examples(row, [TokenIds([], [])], measures=True)[0] for row in rows]
    return family.metrics(logits, [e.label for e in examples], [e.info for e in examples])


def best_constant(task: ClassificationSpec, rows: Sequence[Row]) -> Scores:
    """Measure every class as the answer to all rows; of each metric the best of them."""
    family = family_of(task)
    found = [
        _measured(family, rows, np.tile(one, (len(rows), 1)))
        for one in np.eye(len(task.labels), dtype=np.float32)
    ]
    return {name: max(scores[name] for scores in found) for name in found[0]}


def _class_logits(
    task: ClassificationSpec, train: Sequence[Row], test: Sequence[Row]
) -> NDArray[np.float32]:
    """Logits [N, C] of logistic regression."""
    from sklearn.linear_model import LogisticRegression

    labels = [row.label or "" for row in train]
    features_train, features_test = _features(train, test)
    model = LogisticRegression(C=0.3, max_iter=300).fit(features_train, labels)
    chances: NDArray[np.float32] = np.zeros((len(test), len(task.labels)), dtype=np.float32)
    order = [task.labels.index(str(label)) for label in model.classes_]
    chances[:, order] = model.predict_proba(features_test)
    return chances


def _features(train: Sequence[Row], test: Sequence[Row]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import CountVectorizer

    if train[0].text_pair is not None:
        return _overlaps(train)[:, None], _overlaps(test)[:, None]
    bag = CountVectorizer(analyzer="char", ngram_range=(1, 2), binary=True, min_df=2)
    return bag.fit_transform([r.text for r in train]), bag.transform([r.text for r in test])


def _overlaps(rows: Sequence[Row]) -> NDArray[np.float32]:
    """Shared characters over all characters of each pair (Jaccard)."""
    bags = [(set(row.text), set(row.text_pair or "")) for row in rows]
    return np.array([len(a & b) / max(len(a | b), 1) for a, b in bags], dtype=np.float32)


def _tagger_baselines(train: Sequence[Row], test: Sequence[Row]) -> tuple[Scores, Scores]:
    truth = [_entities(row) for row in test]
    seen: dict[str, Counter[str]] = {}
    for row in train:
        for start, end, kind in _entities(row):
            seen.setdefault(row.text[start:end], Counter())[kind] += 1
    kinds = {text: counts.most_common(1)[0][0] for text, counts in seen.items() if len(text) > 1}
    found = [_by_heart(row.text, kinds) for row in test]
    return entity_metrics(truth, [[] for _ in truth]), entity_metrics(truth, found)


def _entities(row: Row) -> list[Entity]:
    return [(start, end, kind) for start, end, kind in json.loads(row.label or "[]")]


def _by_heart(text: str, kinds: dict[str, str]) -> list[Entity]:
    """From left to right the longest known entity at each place."""
    found: list[Entity] = []
    start = 0
    while start < len(text):
        for end in range(min(len(text), start + _MAX_ENTITY_CHARACTERS), start, -1):
            if text[start:end] in kinds:
                found.append((start, end, kinds[text[start:end]]))
                start = end - 1
                break
        start += 1
    return found


def _reader_baselines(test: Sequence[Row]) -> tuple[Scores, Scores]:
    def measured(predictions: list[str]) -> Scores:
        sums = np.zeros(2)
        for row, text in zip(test, predictions, strict=True):
            answers = [answer for answer, _ in json.loads(row.label or "[]")]
            chinese = is_chinese(row.text_pair or "")
            sums += [
                measure(text, answers, chinese=chinese) for measure in (exact_match, answer_f1)
            ]
        return dict(zip(("exact_match", "f1"), (sums / max(len(test), 1)).tolist(), strict=True))

    pieces = [_PIECES.findall(row.text_pair or "") or [""] for row in test]
    nearest = [_nearest(parts, row.text) for row, parts in zip(test, pieces, strict=True)]
    return measured([parts[0] for parts in pieces]), measured(nearest)


def _nearest(parts: Sequence[str], question: str) -> str:
    """The part that shares most characters with the question."""
    asked = set(question)
    return max(parts, key=lambda part: len(set(part) & asked))
