import numpy as np
import paddle
import pytest

from ernie_ray.config import DistillationSection
from ernie_ray.distillation.epoch_rows import epoch_rows
from ernie_ray.distillation.losses import (
    hard_binary_cross_entropy,
    hard_cross_entropy,
    logit_mse,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from ernie_ray.distillation.objective import DistillationObjective, hard_weights
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import ClassificationSpec, PairSpec, ReadingSpec
from ernie_ray.tasks.classification import sigmoid, softmax

RNG = np.random.default_rng(0)
STUDENT = RNG.normal(0, 2, (5, 3)).astype(np.float32)
TEACHER = RNG.normal(0, 2, (5, 3)).astype(np.float32)
NAN = np.nan
TASK = ClassificationSpec(labels=("a", "b", "c"))


def tensors(*arrays):
    return [paddle.to_tensor(np.asarray(array, np.float32)) for array in arrays]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_cross_entropy_is_its_formula(temperature):
    p = softmax(TEACHER.astype(np.float64) / temperature)
    q = softmax(STUDENT.astype(np.float64) / temperature)
    expected = -(p * np.log(q)).sum(axis=1) * temperature**2
    found = soft_cross_entropy(*tensors(STUDENT, TEACHER), temperature).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_soft_binary_cross_entropy_is_its_formula():
    p, q = sigmoid(TEACHER / 2.0).astype(np.float64), sigmoid(STUDENT / 2.0).astype(np.float64)
    expected = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(axis=1) * 4
    found = soft_binary_cross_entropy(*tensors(STUDENT, TEACHER), 2.0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_other_losses_are_their_formulas():
    np.testing.assert_allclose(
        logit_mse(*tensors(STUDENT, TEACHER)).numpy(),
        ((STUDENT - TEACHER) ** 2).mean(axis=1),
        rtol=1e-5,
    )
    classes = np.array([[0], [2], [1], [1], [0]])
    expected = -np.log(np.take_along_axis(softmax(STUDENT), classes, axis=1))[:, 0]
    np.testing.assert_allclose(
        hard_cross_entropy(*tensors(STUDENT, classes)).numpy(), expected, rtol=1e-4
    )
    flags = (TEACHER > 0).astype(np.float32)
    q = sigmoid(STUDENT)
    expected = -(flags * np.log(q) + (1 - flags) * np.log(1 - q)).mean(axis=1)
    np.testing.assert_allclose(
        hard_binary_cross_entropy(*tensors(STUDENT, flags)).numpy(), expected, rtol=1e-4
    )


def test_each_row_is_weighed_by_what_it_has():
    labels = np.array([[1], [1], [NAN], [1], [1]], np.float32)
    teacher = np.array([[1, 0], [NAN, NAN], [1, 0], [1, 0], [NAN, NAN]], np.float32)
    is_copy = np.array([False, False, False, True, True])
    hard, soft = hard_weights(labels, teacher, is_copy, 0.25, is_hard_epoch=False)
    np.testing.assert_allclose(hard, [0.25, 1, 0, 0, 1])
    np.testing.assert_allclose(soft, [0.75, 0, 1, 1, 0])
    hard, soft = hard_weights(labels, teacher, is_copy, 0.25, is_hard_epoch=True)
    np.testing.assert_allclose(hard, [1, 1, 0, 0, 1])
    np.testing.assert_allclose(soft, [0, 0, 1, 1, 0])


class Cache:
    """The three columns that the objective reads."""

    def __init__(self, labels, teacher, copies):
        self._labels, self._teacher = np.array(labels, np.float32), np.array(teacher, np.float32)
        self.copies = np.array(copies, np.int32)

    def __len__(self):
        return len(self.copies)

    def labels(self, indices):
        return self._labels[indices]

    def teacher_logits(self, indices):
        return self._teacher[indices]


def test_the_objective_sums_both_parts_over_rows():
    labels = [[0], [NAN], [2], [1], [1]]
    cache = Cache(labels, TEACHER, [0, 0, 0, 1, 0])
    settings = DistillationSection(temperature=2.0, hard_weight=0.3)
    objective = DistillationObjective(settings, TASK, first_hard_epoch=9)
    rows = np.array([0, 1, 3])
    found = float(objective(paddle.to_tensor(STUDENT[rows]), cache, rows, 0))
    soft = soft_cross_entropy(*tensors(STUDENT[rows], TEACHER[rows]), 2.0).numpy()
    hard = -np.log(softmax(STUDENT[:1])[0, 0])
    assert found == pytest.approx(0.7 * soft[0] + soft[1] + soft[2] + 0.3 * hard, rel=1e-5)


def test_a_loss_given_for_labels_takes_the_place_of_the_tasks():
    cache = Cache([[0], [NAN]], TEACHER[:2], [0, 0])
    settings = DistillationSection(hard_weight=0.3)
    rows = np.arange(2)
    found = DistillationObjective(settings, TASK, 9, lambda logits, _: paddle.ones([len(logits)]))
    soft = soft_cross_entropy(*tensors(STUDENT[:2], TEACHER[:2]), 1.0).numpy()
    loss = float(found(paddle.to_tensor(STUDENT[:2]), cache, rows, 0))
    assert loss == pytest.approx(0.7 * soft[0] + soft[1] + 0.3, rel=1e-5)


def test_a_row_without_a_label_gives_finite_gradients():
    cache = Cache([[NAN], [1]], [TEACHER[0], [NAN] * 3], [0, 0])
    logits = paddle.to_tensor(STUDENT[:2], stop_gradient=False)
    objective = DistillationObjective(DistillationSection(), TASK, first_hard_epoch=1)
    objective(logits, cache, np.arange(2), 0).backward()
    assert np.isfinite(logits.grad.numpy()).all()


def test_hard_epochs_are_made_of_labelled_originals():
    cache = Cache([[0], [NAN], [1], [1]], TEACHER[:4], [0, 0, 2, 0])
    (last,) = epoch_rows(cache, DistillationSection(hard_epochs=2), num_epochs=5)
    assert last.first_epoch == 3
    assert last.rows.tolist() == [0, 3]


def test_an_epoch_repeats_labelled_originals_alone_until_the_hard_epochs():
    cache = Cache([[0], [NAN], [1], [1]], TEACHER[:4], [0, 0, 2, 0])
    settings = DistillationSection(labelled_repeats=3, hard_epochs=1)
    first, last = epoch_rows(cache, settings, num_epochs=5)
    assert first.first_epoch == 0
    assert sorted(first.rows.tolist()) == [0, 0, 0, 1, 2, 3, 3, 3]
    assert (last.first_epoch, last.rows.tolist()) == (4, [0, 3])
    assert epoch_rows(cache, DistillationSection(), num_epochs=5) == ()


@pytest.mark.parametrize("labels", [[[NAN], [NAN]], [[0], [1]]], ids=["none", "all"])
def test_no_row_is_repeated_where_none_or_all_are_labelled(labels):
    cache = Cache(labels, TEACHER[:2], [0, 0])
    assert epoch_rows(cache, DistillationSection(labelled_repeats=4), num_epochs=5) == ()


def test_hard_epochs_need_labelled_rows():
    with pytest.raises(ConfigError, match="hard_epochs"):
        epoch_rows(Cache([[NAN]], TEACHER[:1], [0]), DistillationSection(hard_epochs=2), 5)


def test_a_number_is_learnt_from_the_teachers_number_and_from_the_label():
    cache = Cache([[0.2], [NAN]], [[0.6], [0.4]], [0, 0])
    settings = DistillationSection(temperature=3.0, hard_weight=0.25)
    objective = DistillationObjective(settings, PairSpec(), first_hard_epoch=9)
    found = float(objective(paddle.to_tensor([[0.5], [0.1]]), cache, np.arange(2), 0))
    assert found == pytest.approx(0.25 * 0.3**2 + 0.75 * 0.1**2 + 0.3**2, rel=1e-5)


def test_a_ranking_is_learnt_as_chances():
    cache = Cache([[1.0]], [[2.0]], [0])
    objective = DistillationObjective(
        DistillationSection(), PairSpec(objective="ranking"), first_hard_epoch=9
    )
    logits = np.array([[0.5]], np.float32)
    expected = soft_binary_cross_entropy(*tensors(logits, np.array([[2.0]], np.float32)), 1.0)
    found = objective(paddle.to_tensor(logits), cache, np.arange(1), 0)
    assert float(found) == pytest.approx(float(expected.numpy()[0]), rel=1e-5)


def test_a_task_with_an_answer_per_token_has_no_logits_to_learn():
    with pytest.raises(ConfigError, match="for classes and pairs, not for reading"):
        DistillationObjective(DistillationSection(), ReadingSpec(), first_hard_epoch=9)
