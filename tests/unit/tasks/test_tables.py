import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ernie_ray.modeldir import ClassificationSpec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.entity_metrics import entity_tables
from ernie_ray.text.row_schema import Row


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=50)
def test_tables_equal_scikit_learns(seed, num_rows):
    rng = np.random.default_rng(seed)
    family = family_of(ClassificationSpec(labels=("a", "b", "c")))
    logits = rng.normal(size=(num_rows, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (num_rows, 1)).astype(np.float32)
    tables = family.tables(logits, labels)
    truth, guess = labels[:, 0], logits.argmax(axis=1)
    np.testing.assert_array_equal(
        tables.confusion, confusion_matrix(truth, guess, labels=[0, 1, 2])
    )
    expected = precision_recall_fscore_support(truth, guess, labels=[0, 1, 2], zero_division=0)
    found = [(line.precision, line.recall, line.f1, line.support) for line in tables.classes]
    np.testing.assert_allclose(found, np.stack(expected).T)


def test_many_labels_a_row_have_lines_but_no_confusion():
    family = family_of(ClassificationSpec(labels=("a", "b"), multi_label=True))
    tables = family.tables(np.ones((2, 2)), np.array([[1, 1], [1, 0]]))
    assert [(line.label, line.support, line.precision) for line in tables.classes] == [
        ("a", 2, 1.0),
        ("b", 1, 0.5),
    ]
    assert tables.confusion == ()


def test_entity_types_have_lines():
    tables = entity_tables(("A", "B"), [[(0, 1, "A"), (2, 3, "B")]], [[(0, 1, "A"), (2, 4, "B")]])
    assert [(line.label, line.f1) for line in tables.classes] == [("A", 1.0), ("B", 0.0)]


def test_a_result_is_right_if_it_says_what_the_row_says():
    row = Row(0, "x", None, "a", "")
    family = family_of(ClassificationSpec(labels=("a", "b")))
    assert family.is_right(row, {"label": "a"})
    assert not family.is_right(row, {"label": "b"})
    several = family_of(ClassificationSpec(labels=("a", "b"), multi_label=True))
    assert several.is_right(Row(0, "x", None, "b|a", ""), {"labels": ["a", "b"]})
