import numpy as np
import paddle
import pytest

from ernie_ray.config import TrainingSection
from ernie_ray.errors import ConfigError, DivergenceError
from ernie_ray.modeldir import EmbeddingSpec
from ernie_ray.models.encoder import read_weights
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.tasks import family_of
from ernie_ray.training.collective import WorkerGroup
from ernie_ray.training.loop import TrainingData, TrainingLoop
from ernie_ray.training.loss_scale import LossScale
from tests.tiny_models import tiny_cache, tiny_encoder, tiny_rows
from tests.tiny_training import ListReporter, assert_equal_weights, build


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    return (
        tiny_cache(folder / "train", tiny_rows(70, seed=1)),
        tiny_cache(folder / "dev", tiny_rows(40, seed=2)),
    )


def test_a_tiny_network_learns_the_telling_character(caches, tmp_path):
    many = tiny_cache(tmp_path / "many", tiny_rows(400, seed=3))
    loop, _, reporter = build((many, caches[1]), num_epochs=8, dropout=0.0)
    metrics = loop.run()
    assert metrics["accuracy"] > 0.9
    assert reporter.lines[-1]["loss"] < reporter.lines[0]["loss"] / 2


def test_the_same_run_twice_gives_the_same_weights(caches):
    networks = []
    for _ in range(2):
        loop, network, _ = build(caches)
        loop.run()
        networks.append(network)
    assert_equal_weights(*networks)


@pytest.mark.parametrize("interrupted_at", [0, 1, 2], ids=["mid-epoch", "epoch-end", "later"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(caches, interrupted_at):
    loop, whole, reporter = build(caches, eval_every_steps=3)
    loop.run()
    resumed_loop, resumed, later = build(caches, eval_every_steps=3)
    resumed_loop.resume(reporter.checkpoints[interrupted_at])
    resumed_loop.run()
    assert_equal_weights(whole, resumed)
    assert list(later.checkpoints[-1].evaluations) == reporter.evaluations


def test_micro_batches_add_up_to_the_global_batch(caches):
    losses = []
    for size in (16, 5):
        loop, _, reporter = build(caches, per_worker_batch_size=size, dropout=0.0)
        loop.run()
        losses.append([line["loss"] for line in reporter.lines])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_a_run_without_epoch_end_evaluates_at_its_last_step(caches):
    loop, _, reporter = build(caches, max_steps=3)
    loop.run()
    assert [line["step"] for line in reporter.lines] == [1, 2, 3]
    assert [metrics["step"] for metrics in reporter.evaluations] == [3]


def test_frozen_embeddings_stay_as_they_were(caches):
    loop, network, _ = build(caches, freeze_embeddings=True, max_steps=2)
    before = network.encoder.embeddings.word.weight.numpy().copy()
    layer_before = network.encoder.layers[0].ffn.up.weight.numpy().copy()
    loop.run()
    np.testing.assert_array_equal(network.encoder.embeddings.word.weight.numpy(), before)
    assert np.abs(network.encoder.layers[0].ffn.up.weight.numpy() - layer_before).max() > 0


def test_frozen_layers_stay_and_the_others_move(caches):
    loop, network, _ = build(caches, freeze_layers=1, max_steps=2)
    before = {name: value.copy() for name, value in read_weights(network).items()}
    loop.run()
    moved = {n for n, value in read_weights(network).items() if (value != before[n]).any()}
    assert not [n for n in moved if n.startswith(("encoder.embeddings", "encoder.layers.0."))]
    assert [n for n in moved if n.startswith("encoder.layers.1.")]


def test_a_run_without_gain_stops_early_and_a_resumed_one_does_not_go_on(caches):
    # So low a learning rate changes no prediction, so the first evaluation stays the best.
    settings = {
        "learning_rate": 1e-9,
        "eval_every_steps": 1,
        "patience_evaluations": 2,
        "num_epochs": 4,
    }
    loop, _, reporter = build(caches, **settings)
    loop.run()
    assert [metrics["step"] for metrics in reporter.evaluations] == [1, 2, 3]
    resumed, _, again = build(caches, **settings)
    resumed.resume(reporter.checkpoints[-1])
    resumed.run()
    assert again.lines == []
    halfway, _, rest = build(caches, **settings)
    halfway.resume(reporter.checkpoints[1])
    halfway.run()
    assert [metrics["step"] for metrics in rest.evaluations] == [3]


def test_lower_layers_learn_more_slowly_by_the_layer_decay(caches):
    loop, network, _ = build(caches, layer_decay=0.5, weight_decay=0.0, max_steps=1, dropout=0.0)
    before = {name: value.copy() for name, value in read_weights(network).items()}
    loop.run()
    # Adam's first step is the learning rate itself, whatever the gradient.
    step = {
        name: float(np.abs(value - before[name]).max())
        for name, value in read_weights(network).items()
    }
    top, below = (step[f"encoder.layers.{i}.ffn.up.weight"] for i in (1, 0))
    assert step["head.weight"] == pytest.approx(top, rel=0.02)
    assert below == pytest.approx(top / 2, rel=0.02)
    assert step["encoder.embeddings.position.weight"] == pytest.approx(top / 4, rel=0.02)


@pytest.mark.parametrize("frozen", [{}, {"freeze_embeddings": True}, {"freeze_layers": 1}], ids=str)
def test_recomputed_activations_give_the_weights_of_kept_ones(caches, frozen):
    networks = []
    for recompute in (False, True):
        loop, network, _ = build(caches, recompute=recompute, max_steps=3, dropout=0.2, **frozen)
        loop.run()
        networks.append(network)
    assert_equal_weights(*networks)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="for Paddle without CUDA")
def test_a_short_number_format_is_refused_where_the_device_has_none(caches, precision):
    with pytest.raises(ConfigError, match=f"training.precision={precision} cannot be used on cpu"):
        build(caches, precision=precision)


def test_a_network_without_a_head_is_trained_by_what_its_objective_sees(caches):
    pretrained = tiny_encoder()
    network = TextNetwork(pretrained.config, pooling=pretrained.pooling, task=EmbeddingSpec())
    states, seen = [], []
    network.encoder.layers[-1].register_forward_post_hook(
        lambda layer, inputs, output: states.append(output)
    )

    def objective(logits, cache, indices, epoch):
        seen.append(logits)
        return paddle.sum(states[-1] ** 2)

    reporter = ListReporter()
    loop = TrainingLoop(
        network,
        TrainingData(train=caches[0], dev=None, pad_token_id=0),
        TrainingSection(num_epochs=1, log_every_steps=1),
        family=family_of(EmbeddingSpec()),
        group=WorkerGroup(),
        reporter=reporter,
        objective=objective,
    )
    assert loop.run() == {}
    assert set(seen) == {None}
    assert all(np.isfinite(line["loss"]) for line in reporter.lines)


@pytest.mark.parametrize("precision", ["fp32", "fp16 at the smallest factor"])
@pytest.mark.parametrize("log_every_steps", [1, 100], ids=["seen by the log", "by the checkpoint"])
def test_a_training_that_diverges_stops_with_the_remedy_and_writes_no_checkpoint(
    caches, log_every_steps, precision
):
    loop, _, reporter = build(
        caches, learning_rate=1e30, warmup_fraction=0.0, log_every_steps=log_every_steps
    )
    # The devices of these tests have no short formats; what counts is whether steps are left out.
    loop._precision.scales_loss = precision.startswith("fp16")
    loop._precision.loss_scale = LossScale(factor=1.0)
    with pytest.raises(DivergenceError, match=r"is nan at step \d+; lower training.learning_rate"):
        loop.run()
    assert all(np.isfinite(line["loss"]) for line in reporter.lines)
    assert reporter.checkpoints == []


def test_the_metric_that_a_recipe_names_decides_when_a_run_stops(caches, monkeypatch):
    values = iter([{"accuracy": 0.9 - i / 10, "macro_f1": i / 10} for i in range(9)])
    settings = {"eval_every_steps": 1, "patience_evaluations": 2, "num_epochs": 1}
    for metric, num_evaluations in (("", 3), ("macro_f1", 5)):
        loop, _, reporter = build(caches, metric=metric, **settings)
        monkeypatch.setattr(loop, "_evaluate", lambda: next(values))
        loop.run()
        assert len(reporter.evaluations) == num_evaluations


def test_a_metric_that_the_task_does_not_have_is_refused_before_any_step(caches):
    with pytest.raises(ConfigError, match=r"training\.metric=f2"):
        build(caches, metric="f2")
