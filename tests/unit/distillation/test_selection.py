import numpy as np

from ernie_ray.distillation.selection import confidence, keep_balanced, keep_confident

LOGITS = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.55, 0.45]], np.float32))


def test_confidence_is_the_best_probability():
    np.testing.assert_allclose(confidence(LOGITS, is_multi_label=False), [0.9, 0.6, 0.8, 0.55])


def test_confidence_in_independent_labels_is_that_of_the_least_certain_one():
    logits = np.array([[0.0, 5.0], [4.0, -4.0]], np.float32)
    found = confidence(logits, is_multi_label=True)
    np.testing.assert_allclose(found, [0.5, 1 / (1 + np.exp(-4))], rtol=1e-5)


def test_labelled_rows_stay_however_unsure_the_teacher_is():
    is_labelled = np.array([False, True, False, False])
    assert keep_confident(LOGITS, is_labelled, 0.7).tolist() == [True, True, True, False]


def test_balance_keeps_as_many_of_each_class_and_every_labelled_row():
    rng = np.random.default_rng(1)
    logits = rng.normal([1.0, 0.0, -0.5], 1, (300, 3)).astype(np.float32)
    is_labelled = rng.random(300) < 0.1
    classes = logits.argmax(axis=1)
    kept = keep_balanced(classes, is_labelled, seed=3)
    assert kept[is_labelled].all()
    counts = np.bincount(classes[kept & ~is_labelled], minlength=3)
    assert counts.min() == counts.max() > 0
    assert (keep_balanced(classes, is_labelled, seed=3) == kept).all()
