import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from ernie_ray.errors import DataError
from ernie_ray.modeldir import ClassificationSpec
from ernie_ray.tasks import family_of

SINGLE = family_of(ClassificationSpec(labels=("a", "b", "c")))
MULTI = family_of(ClassificationSpec(labels=("a", "b", "c"), multi_label=True))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=50)
def test_single_label_metrics_equal_scikit_learn(seed, num_rows):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (num_rows, 1)).astype(np.float32)
    truth, guess = labels[:, 0].astype(int), logits.argmax(axis=1)
    found = SINGLE.metrics(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    classes = {"labels": [0, 1, 2], "zero_division": 0}
    assert found["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro", **classes))
    assert found["micro_f1"] == pytest.approx(f1_score(truth, guess, average="micro", **classes))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=50)
def test_multi_label_metrics_equal_scikit_learn(seed, num_rows):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, 3)).astype(np.float32)
    labels = rng.integers(0, 2, (num_rows, 3)).astype(np.float32)
    found = MULTI.metrics(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits > 0))
    for average in ("macro", "micro"):
        expected = f1_score(labels, logits > 0, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected)


def test_no_rows_give_zeros_and_no_warning():
    empty = np.zeros((0, 3), np.float32)
    assert set(SINGLE.metrics(empty, np.zeros((0, 1), np.float32)).values()) == {0.0}
    assert set(MULTI.metrics(empty, empty).values()) == {0.0}


@pytest.mark.parametrize("guess", [0, 1, 2])
@pytest.mark.parametrize("truth", [[0], [1, 1, 1], [0, 2, 2]])
def test_answers_that_are_all_the_same_are_measured_as_scikit_learn_measures_them(truth, guess):
    logits = np.eye(3, dtype=np.float32)[[guess] * len(truth)]
    found = SINGLE.metrics(logits, np.array(truth, np.float32)[:, None])
    assert found["accuracy"] == accuracy_score(truth, [guess] * len(truth))
    for average in ("macro", "micro"):
        expected = f1_score(
            truth, [guess] * len(truth), average=average, labels=[0, 1, 2], zero_division=0
        )
        assert found[f"{average}_f1"] == pytest.approx(expected)


@pytest.mark.parametrize("given", [0.0, 1.0])
@pytest.mark.parametrize("wanted", [0.0, 1.0])
def test_no_label_and_every_label_are_measured_as_scikit_learn_measures_them(wanted, given):
    labels, flags = np.full((4, 3), wanted, np.float32), np.full((4, 3), given, np.float32)
    found = MULTI.metrics(flags - 0.5, labels)
    assert found["accuracy"] == accuracy_score(labels, flags)
    for average in ("macro", "micro"):
        expected = f1_score(labels, flags, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected)


def test_decoding_gives_the_best_label_with_probabilities_that_sum_to_one():
    (result,) = SINGLE.decode(np.array([[0.0, 1000.0, -1000.0]], np.float32))
    assert result["label"] == "b"
    assert result["score"] == 1.0
    assert sum(result["scores"].values()) == pytest.approx(1.0)


def test_decoding_many_labels_keeps_those_above_one_half():
    (result,) = MULTI.decode(np.array([[3.0, -3.0, 0.5]], np.float32))
    assert result["labels"] == ["a", "c"]
    assert result["scores"]["b"] == pytest.approx(1 / (1 + np.exp(3)), rel=1e-5)


def test_an_unknown_label_is_an_error_that_lists_the_known_ones():
    with pytest.raises(DataError, match="'d' is none of: a, b, c"):
        SINGLE.label_of("d")


def test_multi_label_rows_may_be_empty():
    assert MULTI.label_of("").tolist() == [0, 0, 0]
    assert MULTI.label_of("c|a").tolist() == [1, 0, 1]
