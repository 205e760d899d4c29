import numpy as np
import paddle
import pytest

from ernie_ray.modeldir import BowConfig, ClassificationSpec, CnnConfig, LstmConfig
from ernie_ray.models.students import StudentNetwork

TASK = ClassificationSpec(labels=("a", "b"))
SIZES = {"vocab_size": 60, "embedding_size": 6}
CONFIGS = [
    BowConfig(**SIZES),
    BowConfig(**SIZES, pooling="sqrt_max"),
    CnnConfig(**SIZES, num_filters=5),
    LstmConfig(**SIZES, num_units=4),
]
IDS = np.arange(1, 51).reshape(2, 25)  # every token once


def run(network):
    ids = paddle.to_tensor(IDS)
    return network(ids, paddle.zeros_like(ids), paddle.ones_like(ids))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.pooling}")
def test_a_step_learns_nothing_about_the_tokens_that_it_leaves_out(config):
    paddle.seed(0)
    network = StudentNetwork(config, task=TASK, token_dropout=0.5)
    run(network).logits[:, 0].sum().backward()
    learnt = np.abs(network.embedding.weight.grad.numpy()).max(axis=1) > 0
    assert 10 <= learnt[1:51].sum() <= 40
    network.eval()
    np.testing.assert_array_equal(run(network).logits.numpy(), run(network).logits.numpy())


def test_left_out_tokens_keep_a_bags_mean():
    paddle.seed(0)
    network = StudentNetwork(CONFIGS[0], task=TASK, token_dropout=0.3, embedding_std=1.0)
    draws = np.mean([run(network).vector.numpy() for _ in range(3000)], axis=0)
    network.eval()
    np.testing.assert_allclose(draws, run(network).vector.numpy(), atol=0.25)
