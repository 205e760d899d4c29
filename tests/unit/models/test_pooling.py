"""Maxima over tokens and their gradients, beside Paddle's own."""

import numpy as np
import paddle

from ernie_ray.modeldir import Pooling
from ernie_ray.models.pooling import max_over_tokens, pool


def states(seed=0):
    values = np.random.default_rng(seed).standard_normal((3, 7, 5)).astype(np.float32)
    return paddle.to_tensor(values, stop_gradient=False)


def test_a_maximum_and_its_gradient_are_paddles_own():
    found, expected = states(), states()
    weights = paddle.to_tensor(np.arange(15, dtype=np.float32).reshape(3, 5))
    (max_over_tokens(found) * weights).sum().backward()
    (paddle.max(expected, axis=1) * weights).sum().backward()
    np.testing.assert_array_equal(max_over_tokens(found).numpy(), found.numpy().max(axis=1))
    np.testing.assert_array_equal(found.grad.numpy(), expected.grad.numpy())


def test_the_first_of_equal_states_gets_the_gradient():
    equal = paddle.ones([1, 4, 2])
    equal.stop_gradient = False
    max_over_tokens(equal).sum().backward()
    np.testing.assert_array_equal(equal.grad.numpy(), [[[1, 1], [0, 0], [0, 0], [0, 0]]])


def test_padding_has_no_part_in_a_maximum():
    values = states(1)
    mask = paddle.to_tensor(np.array([[1, 1, 1, 0, 0, 0, 0]] * 3))
    with paddle.no_grad():
        without_gradient = pool(values, mask, Pooling.MAX, None).numpy()
    pooled = pool(values, mask, Pooling.MAX, None)
    np.testing.assert_array_equal(pooled.numpy(), values.numpy()[:, :3].max(axis=1))
    np.testing.assert_array_equal(pooled.numpy(), without_gradient)
    pooled.sum().backward()
    assert not values.grad.numpy()[:, 3:].any()
