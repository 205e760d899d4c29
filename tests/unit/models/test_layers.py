import numpy as np
import paddle
import pytest
from paddle import nn

from ernie_ray.models.layers import Dropout, LayerNorm, Linear


def gradients(layer, states, upstream):
    inputs = paddle.to_tensor(states, stop_gradient=False)
    output = layer(inputs)
    output.backward(paddle.to_tensor(upstream))
    found = {name: p.grad.numpy() for name, p in layer.named_parameters()}
    return {"output": output.numpy(), "input": inputs.grad.numpy(), **found}


@pytest.mark.parametrize("shape", [(3, 7, 12), (5, 12), (1, 1, 12)])
@pytest.mark.parametrize(
    ("ours", "paddles"),
    [
        (lambda: Linear(12, 20), lambda: nn.Linear(12, 20)),
        (lambda: LayerNorm(12, epsilon=1e-5), lambda: nn.LayerNorm(12, epsilon=1e-5)),
    ],
)
def test_results_and_gradients_are_those_of_paddles_layers(ours, paddles, shape):
    rng = np.random.default_rng(0)
    mine, reference = ours(), paddles()
    for name, parameter in reference.named_parameters():
        parameter.set_value(rng.normal(1.0, 0.5, parameter.shape).astype(np.float32))
        dict(mine.named_parameters())[name].set_value(parameter)
    states = rng.normal(0.3, 2.0, shape).astype(np.float32)
    width = mine(paddle.to_tensor(states)).shape[-1]
    upstream = rng.normal(size=(*shape[:-1], width)).astype(np.float32)
    found, expected = gradients(mine, states, upstream), gradients(reference, states, upstream)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest_to_keep_the_mean(probability):
    paddle.seed(3)
    dropped = Dropout(probability)(paddle.ones([400, 500])).numpy()
    assert (dropped == 0).mean() == pytest.approx(probability, abs=0.005)
    assert dropped.max() == pytest.approx(1 / (1 - probability), rel=1e-3)
    assert dropped.mean() == pytest.approx(1.0, abs=0.01)
    # Neighbours fall independently: of pairs, the square of the share.
    both = (dropped[:, ::2] == 0) & (dropped[:, 1::2] == 0)
    assert both.mean() == pytest.approx(probability**2, abs=0.01)


def test_dropout_follows_paddles_seed_and_differs_between_calls():
    layer, ones = Dropout(0.3), paddle.ones([7, 11])
    paddle.seed(5)
    first, second = layer(ones).numpy(), layer(ones).numpy()
    paddle.seed(5)
    np.testing.assert_array_equal(layer(ones).numpy(), first)
    assert (first != second).any()


def test_dropout_passes_gradients_through_what_it_kept():
    inputs = paddle.ones([5, 9])
    inputs.stop_gradient = False
    output = Dropout(0.4)(inputs)
    output.sum().backward()
    np.testing.assert_array_equal(inputs.grad.numpy(), output.numpy())


def test_dropout_of_everything_and_of_nothing_are_exact():
    ones = paddle.ones([50, 50])
    assert Dropout(1.0)(ones).numpy().sum() == 0
    np.testing.assert_array_equal(Dropout(0.0)(ones).numpy(), ones.numpy())


def test_dropout_lets_everything_pass_when_it_does_not_train():
    layer, ones = Dropout(0.5), paddle.ones([4, 4])
    layer.eval()
    np.testing.assert_array_equal(layer(ones).numpy(), ones.numpy())
