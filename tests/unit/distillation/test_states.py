import numpy as np
import paddle
import pytest

from ernie_ray.distillation.states import relation_divergence, state_error
from ernie_ray.tasks.classification import softmax

RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
STUDENT = RNG.normal(size=(2, 4, 12)).astype(np.float32)
TEACHER = RNG.normal(size=(2, 4, 8)).astype(np.float32)


def divergence(student, teacher, mask=MASK, num_heads=4):
    tensors = map(paddle.to_tensor, (student, teacher, mask))
    return relation_divergence(*tensors, num_heads).numpy()


def relations(states, num_heads):
    """Equation 7 of MiniLMv2 for one text without padding, [heads, units, units]."""
    heads = np.split(states, num_heads, axis=1)
    return np.stack([softmax(head @ head.T / np.sqrt(head.shape[1])) for head in heads])


def test_relations_are_those_of_the_paper_and_padding_takes_no_part():
    expected = []
    for row, num_units in enumerate([4, 2]):
        ours = relations(STUDENT[row, :num_units], 4)
        theirs = relations(TEACHER[row, :num_units], 4)
        expected.append((theirs * np.log(theirs / ours)).sum(axis=2).mean())
    np.testing.assert_allclose(divergence(STUDENT, TEACHER), expected, rtol=1e-4)


def test_a_student_that_relates_alike_loses_nothing_whatever_its_width():
    # Every number twice, with the scale that a head of twice the size takes away.
    wide = np.repeat(TEACHER, 2, axis=2) * 2**-0.25
    np.testing.assert_allclose(divergence(wide, TEACHER), 0, atol=1e-6)


def test_the_error_of_states_is_relative_to_the_teachers():
    student = RNG.normal(size=TEACHER.shape).astype(np.float32)
    found = [
        state_error(*map(paddle.to_tensor, (scale * student, scale * TEACHER, MASK))).numpy()
        for scale in (1, 10)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    short = ((student[1, :2] - TEACHER[1, :2]) ** 2).mean() / (TEACHER[1, :2] ** 2).mean()
    assert found[0][1] == pytest.approx(short, rel=1e-5)
