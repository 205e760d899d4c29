import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    mean_squared_error,
    ndcg_score,
)

from ernie_ray.modeldir import ClassificationSpec, PairSpec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.ranks import ndcg, pearson, ranking_metrics, spearman

SEEDS = st.integers(0, 2**32 - 1)
REGRESSION = family_of(PairSpec(low=0.0, high=5.0))
RANKING = family_of(PairSpec(objective="ranking", high=3.0))


def reference(function, a, b):
    """Scipy's value; 0 where it has none (constant or too short input)."""
    if len(a) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = function(a, b).statistic
    return 0.0 if np.isnan(value) else value


@given(SEEDS, st.integers(0, 30), st.integers(1, 6))
@settings(max_examples=100)
def test_correlations_equal_scipys_with_and_without_ties(seed, size, num_values):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, num_values, size).astype(float), rng.normal(size=size)
    assert pearson(a, b) == pytest.approx(reference(stats.pearsonr, a, b), abs=1e-9)
    assert spearman(a, b) == pytest.approx(reference(stats.spearmanr, a, b), abs=1e-9)


def test_constant_predictions_have_no_correlation_and_give_no_warning():
    assert pearson([0.1] * 3, [1, 2, 3]) == spearman([1, 2], [5, 5]) == pearson([], []) == 0.0


def test_regression_is_measured_on_the_labels_own_scale():
    logits = np.array([[0.0], [0.5], [1.5]], np.float32)
    labels = np.stack([REGRESSION.label_of(x) for x in ("0.0", "2.5", "5.0")])
    found = REGRESSION.metrics(logits, labels)
    assert found["mean_squared_error"] == pytest.approx(0.0)
    assert found["spearman"] == pytest.approx(1.0)
    assert [r["score"] for r in REGRESSION.decode(logits)] == [0.0, 2.5, 5.0]
    assert REGRESSION.metrics([], [])["pearson"] == 0.0


@given(SEEDS, st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_regression_metrics_equal_scikit_learns_and_scipys(seed, size):
    rng = np.random.default_rng(seed)
    # Also outside of the bounds, where scores are clipped and so tie.
    logits = rng.uniform(-0.5, 1.5, (size, 1)).astype(np.float32)
    labels = np.stack([REGRESSION.label_of(str(x)) for x in rng.integers(0, 6, size)])
    scores = [result["score"] for result in REGRESSION.decode(logits)]
    truth = 5.0 * labels[:, 0]
    found = REGRESSION.metrics(logits, labels)
    assert found["mean_squared_error"] == pytest.approx(mean_squared_error(truth, scores), abs=1e-5)
    assert found["pearson"] == pytest.approx(reference(stats.pearsonr, scores, truth), abs=1e-5)
    assert found["spearman"] == pytest.approx(reference(stats.spearmanr, scores, truth), abs=1e-5)


@given(SEEDS, st.integers(2, 15), st.integers(1, 12))
@settings(max_examples=80)
def test_ranking_metrics_of_one_query_equal_scikit_learn(seed, size, k):
    rng = np.random.default_rng(seed)
    scores, label = rng.permutation(size).astype(float), rng.integers(0, 4, size).astype(float)
    found = ranking_metrics(["q"] * size, scores, label, (k,))
    if not label.any():
        assert set(found.values()) == {0.0}
        return
    assert found["map"] == pytest.approx(average_precision_score(label > 0, scores))
    assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score([2**label - 1], [scores], k=k))
    order = np.argsort(-scores)
    assert found["mrr"] == pytest.approx(1 / (1 + np.flatnonzero(label[order] > 0)[0]))


def test_ranking_metrics_are_means_over_the_queries_that_have_an_answer():
    queries = ["a", "b", "a", "b", "c"]
    found = ranking_metrics(queries, [1.0, 2.0, 2.0, 1.0, 0.0], [1, 1, 0, 0, 0], (1,))
    assert found["mrr"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["ndcg@1"] == pytest.approx(0.5)


def test_a_constant_score_gains_nothing_from_the_order_of_the_file():
    for labels in ([1, 0, 0], [0, 0, 1]):
        assert ranking_metrics(["q"] * 3, [0.5] * 3, labels, (1,))["mrr"] == pytest.approx(1 / 3)
    assert ndcg(np.zeros(3), 2) == 0.0


def test_a_ranking_gives_scores_between_0_and_1_and_scales_grades():
    assert RANKING.label_of("3").tolist() == [1.0]
    scores = [r["score"] for r in RANKING.decode(np.array([[0.0], [100.0]], np.float32))]
    assert scores == [0.5, 1.0]
    labels = np.array([[1.0], [0.0]], np.float32)
    assert RANKING.metrics(np.array([[2.0], [1.0]]), labels, ["q", "q"])["mrr"] == 1.0
    assert RANKING.metrics([], [], [])["map"] == 0.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.0, 5.0), (-1.0, 2.0), (0.0, 3.0)])
def test_the_lowest_label_of_a_ranking_is_not_relevant_whatever_number_it_is(low, high):
    ranking = family_of(PairSpec(objective="ranking", low=low, high=high))
    labels = np.stack([ranking.label_of(str(x)) for x in (low, high, low)])
    found = ranking.metrics(np.array([[3.0], [2.0], [1.0]]), labels, ["q"] * 3)
    assert found["mrr"] == found["map"] == 0.5
    assert found["ndcg@1"] == 0.0


@given(SEEDS, st.integers(1, 40))
@settings(max_examples=50)
def test_the_f1_of_the_positive_class_equals_scikit_learns(seed, num_rows):
    rng = np.random.default_rng(seed)
    matching = family_of(ClassificationSpec(labels=("0", "1")))
    logits = rng.normal(size=(num_rows, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (num_rows, 1)).astype(np.float32)
    expected = f1_score(labels[:, 0], logits.argmax(axis=1), zero_division=0)
    assert matching.metrics(logits, labels)["positive_f1"] == pytest.approx(expected)
