import json
import math

import numpy as np
import pytest

from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import (
    ClassificationSpec,
    EmbeddingSpec,
    PairSpec,
    ReadingSpec,
    TokenLabelsSpec,
)
from ernie_ray.tasks import family_of
from ernie_ray.tasks.metric_choice import MetricChoice, choose_metric

PLACES = [[0, 1], [1, 2]]
INFOS = {
    "reading": json.dumps({"places": PLACES, "context": "好书", "answers": ["好"]}),
    "token_labels": json.dumps({"places": PLACES, "entities": []}),
}


@pytest.mark.parametrize(
    "task",
    [
        ClassificationSpec(labels=("a", "b")),
        ClassificationSpec(labels=("a", "b", "c")),
        ClassificationSpec(labels=("a", "b"), multi_label=True),
        PairSpec(objective="regression"),
        PairSpec(objective="ranking"),
        TokenLabelsSpec(labels=("O", "B-X", "I-X")),
        ReadingSpec(),
        EmbeddingSpec(),
    ],
    ids=str,
)
def test_a_family_lists_exactly_the_metrics_that_it_measures(task):
    family = family_of(task)
    outputs = np.zeros((1, *family.kept_shape(2)), np.float32)
    width = max(family.label_width, 1)
    infos = [INFOS.get(task.family, "q")]
    found = family.metrics(outputs, np.zeros((1, width), np.float32), infos)
    assert set(found) == set(family.metric_names)
    assert family.primary_metric in (*family.metric_names, "")


def test_the_familys_main_metric_decides_unless_another_is_named():
    family = family_of(PairSpec(objective="regression"))
    assert choose_metric(family, "", "training.metric") == MetricChoice("spearman", "max")
    chosen = choose_metric(family, "mean_squared_error", "training.metric")
    assert chosen == MetricChoice("mean_squared_error", "min")


def test_a_metric_that_the_task_does_not_have_is_refused_with_those_that_it_has():
    family = family_of(PairSpec(objective="regression"))
    known = "pearson, spearman, mean_squared_error"
    with pytest.raises(ConfigError, match=f"tune.metric=f2: .* it has: {known}"):
        choose_metric(family, "f2", "tune.metric")
    with pytest.raises(ConfigError, match="it has: none"):
        choose_metric(family_of(EmbeddingSpec()), "f1", "training.metric")


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_score_is_finite_and_lowest_where_the_metric_is_no_number(mode):
    choice = MetricChoice("m", mode)
    values = [math.nan, -math.inf, -1.0, 2.0, math.inf]
    scores = [choice.score({"m": value}) for value in values]
    assert all(math.isfinite(score) for score in scores)
    assert scores[0] == min(scores)
    ordered = [value for _, value in sorted(zip(scores[1:], values[1:], strict=True))]
    assert ordered == sorted(values[1:], reverse=mode == "min")
    assert choice.score({"other": 1.0}) is None
