import numpy as np
import paddle
import pytest

from ernie_ray.config import TrainingSection
from ernie_ray.errors import CheckpointError
from ernie_ray.training.optimizer import AdamW, LinearSchedule


def test_the_schedule_rises_to_its_peak_and_falls_to_zero():
    schedule = LinearSchedule(peak=1.0, num_warmup_steps=2, num_steps=6)
    assert [schedule.at(step) for step in range(7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]


class Model(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.body = paddle.nn.Linear(3, 3)
        self.head = paddle.nn.Linear(3, 2)

    def loss(self, rows):
        return self.head(self.body(rows)).square().mean()


def build(**changes):
    paddle.seed(1)
    model = Model()
    return model, AdamW(model, TrainingSection(**changes))


def step(model, optimizer):
    model.loss(paddle.ones([4, 3])).backward()
    optimizer.step(1e-2)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def test_restored_state_goes_on_as_if_nothing_had_happened():
    model, optimizer = build()
    step(model, optimizer)
    saved_weights = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    saved_state = optimizer.state()
    step(model, optimizer)
    paddle.nn.Linear(1, 1)  # moves Paddle's own parameter names on
    other, fresh = build()
    other.set_state_dict(saved_weights)
    fresh.load_state(saved_state)
    step(other, fresh)
    np.testing.assert_array_equal(weights(model), weights(other))


def test_state_names_every_parameter_by_the_network():
    model, optimizer = build()
    step(model, optimizer)
    owners = {key.rpartition(":")[0] for key in optimizer.state()}
    assert owners == {"body.weight", "body.bias", "head.weight", "head.bias"}


def test_state_of_other_parameters_is_refused():
    _, optimizer = build()
    with pytest.raises(CheckpointError, match=r"neck\.weight"):
        optimizer.load_state({"neck.weight:moment1_0": np.zeros(3, np.float32)})


def test_biases_are_not_decayed():
    model, optimizer = build(weight_decay=0.5)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    (model.loss(paddle.ones([4, 3])) * 0.0).backward()
    optimizer.step(1e-2)
    after = model.state_dict()
    np.testing.assert_array_equal(after["head.bias"].numpy(), before["head.bias"])
    np.testing.assert_allclose(
        after["head.weight"].numpy(), before["head.weight"] * (1 - 0.5e-2), rtol=1e-5
    )


def test_the_head_may_learn_faster():
    def moved(**changes):
        model, optimizer = build(weight_decay=0.0, **changes)
        before = model.head.weight.numpy().copy()
        step(model, optimizer)
        return np.abs(model.head.weight.numpy() - before).mean()

    slow = moved(learning_rate=1e-3)
    fast = moved(learning_rate=1e-3, head_learning_rate=1e-2)
    assert fast == pytest.approx(10 * slow, rel=1e-3)
