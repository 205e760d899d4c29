import numpy as np
import paddle
import pytest

from ernie_ray.inference.students import NumpyStudent
from ernie_ray.modeldir import BowConfig, ClassificationSpec, CnnConfig, LstmConfig
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.models.students import StudentNetwork
from ernie_ray.text.features import TokenIds, pad_batch

TASK = ClassificationSpec(labels=("a", "b", "c"))
SIZES = {"vocab_size": 40, "embedding_size": 6}
CONFIGS = [
    BowConfig(**SIZES, squash="softsign", hidden_sizes=(5,)),
    BowConfig(**SIZES, pooling="mean"),
    BowConfig(**SIZES, pooling="sqrt", hidden_sizes=(5, 4), dense_activation="relu"),
    BowConfig(**SIZES, pooling="sqrt_max", hidden_sizes=(5,)),
    CnnConfig(**SIZES, num_filters=5, widths=(3,), activation="tanh", hidden_sizes=(4,)),
    CnnConfig(**SIZES, num_filters=5, widths=(1, 2, 4), pooling="max"),
    CnnConfig(**SIZES, num_filters=5, widths=(2, 5), pooling="sum", squash="tanh"),
    CnnConfig(**SIZES, num_filters=5, widths=(4, 1, 4, 2), pooling="mean"),
    CnnConfig(**SIZES, num_filters=5, pooling="mean"),
    LstmConfig(**SIZES, num_units=4, hidden_sizes=(5,)),
    LstmConfig(**SIZES, num_units=4, pooling="max", is_bidirectional=False),
    LstmConfig(**SIZES, num_units=4, pooling="mean"),
]


def single_rows(rng, lengths=(1, 2, 3, 9, 1, 17, 300)):
    return [TokenIds(rng.integers(1, 40, n).tolist(), [0] * n) for n in lengths]


def pair_rows(rng, lengths=((3, 2), (1, 1), (9, 4), (2, 17), (5, 0))):
    return [TokenIds(rng.integers(1, 40, a + b).tolist(), [0] * a + [1] * b) for a, b in lengths]


def outputs_of_paddle(network, rows):
    batch = pad_batch(rows, pad_token_id=0)
    network.eval()
    with paddle.no_grad():
        output = network(
            *map(paddle.to_tensor, (batch.input_ids, batch.token_type_ids, batch.attention_mask))
        )
    return output.vector.numpy(), output.logits.numpy()


def random_network(config, seed=0):
    network = StudentNetwork(config, task=TASK)
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0, 0.5, array.shape).astype(np.float32)
        for name, array in read_weights(network).items()
    }
    load_weights(network, weights)
    return network, weights


@pytest.mark.parametrize("is_pair", [False, True], ids=["single", "pair"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.pooling}-{c.squash}")
def test_numpy_gives_what_the_paddle_network_gives(config, is_pair):
    config = config.model_copy(update={"is_pair": is_pair})
    rows = (pair_rows if is_pair else single_rows)(np.random.default_rng(1))
    network, weights = random_network(config)
    vectors, logits = outputs_of_paddle(network, rows)
    found_vectors, found_logits = NumpyStudent(config, weights).run(rows)
    assert found_vectors.dtype == found_logits.dtype == np.float32
    np.testing.assert_allclose(found_vectors, vectors, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found_logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.pooling}-{c.squash}")
def test_a_text_gets_the_same_alone_as_among_others(config):
    rows = single_rows(np.random.default_rng(2))
    _, weights = random_network(config)
    student = NumpyStudent(config, weights)
    together = student.run(rows)[1]
    alone = np.concatenate([student.run([row])[1] for row in rows])
    np.testing.assert_allclose(alone, together, atol=1e-6)


@pytest.mark.parametrize("config", [CONFIGS[4], CONFIGS[7]], ids=["cnn", "lstm"])
def test_a_vocabulary_too_large_for_a_table_gives_the_same(config, monkeypatch):
    rows = single_rows(np.random.default_rng(3))
    _, weights = random_network(config)
    with_table = NumpyStudent(config, weights).run(rows)[1]
    monkeypatch.setattr("ernie_ray.inference.students._TABLE_LIMIT_BYTES", 0)
    np.testing.assert_allclose(NumpyStudent(config, weights).run(rows)[1], with_table, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.pooling}-{c.squash}")
def test_every_parameter_of_a_student_learns(config):
    network, _ = random_network(config)
    network.train()
    batch = pad_batch(single_rows(np.random.default_rng(4)), pad_token_id=0)
    output = network(
        *map(paddle.to_tensor, (batch.input_ids, batch.token_type_ids, batch.attention_mask))
    )
    paddle.sum(output.logits**2).backward()
    for name, parameter in network.named_parameters():
        assert float(paddle.abs(parameter.grad).max()) > 0, name
