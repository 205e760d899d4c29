import numpy as np
import paddle
import pytest

from ernie_ray.training.loss_scale import LossScale
from ernie_ray.training.precision import Precision


def test_the_loss_scale_halves_after_an_overflow_and_never_falls_below_one():
    assert LossScale(factor=8.0, num_good_steps=5).after(is_finite=False) == LossScale(factor=4.0)
    assert LossScale(factor=1.0).after(is_finite=False).factor == 1.0


def test_the_loss_scale_doubles_after_2000_good_steps():
    scale = LossScale(factor=8.0)
    for _ in range(1999):
        scale = scale.after(is_finite=True)
    assert scale == LossScale(factor=8.0, num_good_steps=1999)
    assert scale.after(is_finite=True) == LossScale(factor=16.0)


def test_an_overflow_is_the_end_only_where_no_smaller_factor_is_left(scaling):
    assert scaling.can_scale_down
    scaling.loss_scale = LossScale(factor=1.0)
    assert not scaling.can_scale_down
    assert not Precision("fp32").can_scale_down


@pytest.fixture
def scaling():
    """The scaling of fp16 alone; its forward pass needs a GPU."""
    precision = Precision("fp32")
    precision.scales_loss, precision.loss_scale = True, LossScale(factor=1024.0)
    return precision


def gradients(precision, row):
    layer = paddle.nn.Linear(2, 1)
    precision.scaled(layer(paddle.to_tensor(row)).sum()).backward()
    return layer


def test_unscaled_gradients_are_those_of_the_loss_itself(scaling):
    layer = gradients(scaling, [[0.5, -3.0]])
    assert scaling.unscale(layer.parameters())
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[0.5], [-3.0]])
    assert scaling.loss_scale == LossScale(factor=1024.0, num_good_steps=1)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_with_one_gradient_that_is_not_finite_is_left_out(scaling, bad):
    layer = gradients(scaling, np.array([[1.0, bad]], np.float32))
    assert not scaling.unscale(layer.parameters())
    assert scaling.loss_scale == LossScale(factor=512.0)
