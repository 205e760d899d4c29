import numpy as np
import paddle
import pytest

from ernie_ray.errors import CheckpointError, ConfigError
from ernie_ray.modeldir import ClassificationSpec, EmbeddingSpec, Pooling
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.models.pooling import max_pool, mean_pool
from ernie_ray.models.text_network import TextNetwork
from tests.tiny_models import tiny_encoder


def network(pooling=Pooling.MEAN, task=None) -> TextNetwork:
    paddle.seed(0)
    pretrained = tiny_encoder()
    built = TextNetwork(
        pretrained.config, pooling=pooling, task=task or ClassificationSpec(labels=("a", "b"))
    )
    load_weights(built.encoder, pretrained.weights)
    built.eval()
    return built


def arrays(ids, mask):
    ids, mask = np.array(ids, np.int64), np.array(mask, np.int64)
    return paddle.to_tensor(ids), paddle.zeros_like(paddle.to_tensor(ids)), paddle.to_tensor(mask)


@pytest.mark.parametrize("pooling", list(Pooling))
def test_padding_changes_neither_vector_nor_logits(pooling):
    built = network(pooling)
    short = built(*arrays([[2, 5, 6, 3]], [[1, 1, 1, 1]]))
    padded = built(*arrays([[2, 5, 6, 3, 0, 0, 0]], [[1, 1, 1, 1, 0, 0, 0]]))
    np.testing.assert_allclose(short.vector.numpy(), padded.vector.numpy(), atol=1e-6)
    np.testing.assert_allclose(short.logits.numpy(), padded.logits.numpy(), atol=1e-6)


def test_training_mode_without_dropout_computes_the_same_as_evaluation():
    built = network()
    inputs = arrays([[2, 5, 6, 3], [2, 7, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]])
    expected = built(*inputs).logits.numpy()
    built.train()
    np.testing.assert_allclose(built(*inputs).logits.numpy(), expected, atol=1e-6)


def test_mean_pool_averages_tokens_only():
    states = paddle.to_tensor(np.array([[[1.0], [3.0], [100.0]]], np.float32))
    mask = paddle.to_tensor(np.array([[1, 1, 0]], np.int64))
    assert mean_pool(states, mask).numpy().tolist() == [[2.0]]


def test_mean_pool_of_no_tokens_is_zero():
    states = paddle.ones([1, 2, 3])
    assert mean_pool(states, paddle.zeros([1, 2], "int64")).numpy().tolist() == [[0.0, 0.0, 0.0]]


def test_max_pool_ignores_padding_even_when_all_states_are_negative():
    states = paddle.to_tensor(np.array([[[-5.0], [-3.0], [0.0]]], np.float32))
    mask = paddle.to_tensor(np.array([[1, 1, 0]], np.int64))
    assert max_pool(states, mask).numpy().tolist() == [[-3.0]]


def test_an_embedding_model_has_no_logits():
    assert network(task=EmbeddingSpec())(*arrays([[2, 3]], [[1, 1]])).logits is None


def test_pooler_pooling_needs_a_pooler():
    config = tiny_encoder().config.model_copy(update={"has_pooler": False})
    with pytest.raises(ConfigError, match="no pooler"):
        TextNetwork(config, pooling=Pooling.POOLER, task=EmbeddingSpec())


def test_loading_lists_missing_unexpected_and_misshaped_weights():
    built = network()
    weights = read_weights(built)
    weights["extra"] = weights.pop("head.bias")
    weights["head.weight"] = weights["head.weight"][:5]
    with pytest.raises(CheckpointError) as error:
        load_weights(built, weights)
    for part in ("missing head.bias", "unexpected extra", r"head.weight has shape [5, 2]"):
        assert part in str(error.value)
