import numpy as np
import paddle
import pytest

from ernie_ray.config import DistillationSection, Lesson, StatesSection, TinyStudentSection
from ernie_ray.distillation.frozen_teacher import FrozenTeacher
from ernie_ray.distillation.objective import DistillationObjective
from ernie_ray.distillation.tiny_start import tiny_start
from ernie_ray.distillation.transfer import Pupil, TransferObjective
from ernie_ray.errors import ConfigError
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.models.pretrained import from_pretrained
from ernie_ray.models.start import StartSpec, write_start
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.text.features import TokenIds, pad_batch
from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
from ernie_ray.text.tokenizer import TextTokenizer
from tests.tiny_models import SPEC, word_texts

TEXTS = word_texts()[:6]
ROWS = np.arange(len(TEXTS))


class Cache:
    """What the objective reads of a feature cache."""

    copies = np.zeros(len(TEXTS), np.int32)

    def labels(self, indices):
        return np.ones((len(indices), 1), np.float32)

    def texts(self, indices):
        return [TEXTS[i] for i in indices]


def lesson(layers, *, logits=None, **states):
    weights = {"relation_weight": 0.0, "hidden_weight": 0.0, "relation_heads": 4} | states
    return Lesson(
        teacher="t",
        precision="fp32",
        teacher_layers=layers,
        states=StatesSection(**weights),
        logits=logits,
    )


def pupil_of(model_dir, folder, *, tokenizer=None, **changes):
    """A student that starts from the teacher in a folder."""
    teacher = from_pretrained(str(model_dir))
    shape = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "max_tokens": 32}
    student = tiny_start(
        teacher, tokenizer or teacher.tokenizer, TinyStudentSection(**(shape | changes))
    )
    spec = StartSpec(
        task=SPEC, network=student.config, pooling=student.pooling, normalize=True, text_prefix="",
        max_tokens=32, pretrained="",
    )  # fmt: skip
    folder.mkdir()
    write_start(folder, spec, student)
    network = TextNetwork(student.config, pooling=student.pooling, task=SPEC)
    load_weights(network.encoder, student.weights)
    return Pupil(network, spec, folder)


def loss_of(objective, pupil, epoch=0):
    tokenizer = TextTokenizer.from_file(pupil.start / "tokenizer.json", max_tokens=32)
    rows = [TokenIds(row.input_ids, row.token_type_ids) for row in tokenizer.encode(TEXTS)]
    batch = pad_batch(rows, pad_token_id=pupil.spec.network.pad_token_id)
    arrays = (batch.input_ids, batch.token_type_ids, batch.attention_mask)
    return objective(pupil.network(*map(paddle.to_tensor, arrays)).logits, Cache(), ROWS, epoch)


def objective_of(pupil, model_dir, wanted, first_hard_epoch=9):
    logits = wanted.logits and DistillationObjective(wanted.logits, SPEC, first_hard_epoch)
    return TransferObjective(pupil, FrozenTeacher(model_dir, wanted), wanted, logits)


@pytest.mark.parametrize("part", ["relation_weight", "hidden_weight"])
def test_a_copy_of_the_teacher_has_nothing_to_learn_of_its_inside(tiny_model_dir, tmp_path, part):
    pupil = pupil_of(tiny_model_dir, tmp_path / "start")
    objective = objective_of(pupil, tiny_model_dir, lesson((1, 2), **{part: 1.0}))
    assert float(loss_of(objective, pupil)) == pytest.approx(0, abs=1e-5)


def test_another_cut_and_width_learn_the_teachers_inside_in_a_few_steps(tiny_model_dir, tmp_path):
    tokenizer = train_subword_tokenizer(word_texts(), 60, lowercase=True)
    pupil = pupil_of(
        tiny_model_dir, tmp_path / "start", tokenizer=tokenizer, num_layers=1, hidden_size=48,
        num_heads=6,
    )  # fmt: skip
    wanted = lesson((2,), relation_weight=1.0, hidden_weight=1.0, relation_heads=8)
    objective = objective_of(pupil, tiny_model_dir, wanted)
    assert any(name.startswith("training_only.") for name in read_weights(pupil.network))
    adam = paddle.optimizer.Adam(3e-3, parameters=pupil.network.parameters())
    losses = []
    for _ in range(12):
        loss = loss_of(objective, pupil)
        loss.backward()
        adam.step()
        adam.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2


def test_the_teachers_logits_and_the_labels_are_blended(tiny_model_dir, tmp_path):
    pupil = pupil_of(tiny_model_dir, tmp_path / "start")
    found = {}
    for share in (0.0, 0.5, 1.0):
        wanted = lesson((1, 2), logits=DistillationSection(hard_weight=share))
        found[share] = float(loss_of(objective_of(pupil, tiny_model_dir, wanted), pupil))
    assert found[0.5] == pytest.approx((found[0.0] + found[1.0]) / 2, rel=1e-4)
    assert found[0.0] != pytest.approx(found[1.0], rel=1e-2)


def test_in_hard_epochs_labels_alone_count(tiny_model_dir, tmp_path):
    pupil = pupil_of(tiny_model_dir, tmp_path / "start")
    labels_alone = lesson((1, 2), logits=DistillationSection(hard_weight=1.0))
    expected = float(loss_of(objective_of(pupil, tiny_model_dir, labels_alone), pupil))
    settings = DistillationSection(hard_weight=0.2, temperature=2.0)
    wanted = lesson((1,), logits=settings, hidden_weight=1.0, relation_weight=1.0)
    objective = objective_of(pupil, tiny_model_dir, wanted, first_hard_epoch=1)
    assert float(loss_of(objective, pupil, epoch=1)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(objective, pupil, epoch=0)) != pytest.approx(expected, rel=1e-2)


def test_a_step_without_gradients_below_the_states_is_refused(tiny_model_dir, tmp_path):
    pupil = pupil_of(tiny_model_dir, tmp_path / "start")
    objective = objective_of(pupil, tiny_model_dir, lesson((1, 2), hidden_weight=1.0))
    with paddle.no_grad(), pytest.raises(ConfigError, match="recomputed"):
        loss_of(objective, pupil)


def test_relation_heads_that_fit_one_width_only_are_refused(tiny_model_dir, tmp_path):
    pupil = pupil_of(tiny_model_dir, tmp_path / "start", hidden_size=48, num_heads=6)
    wanted = lesson((1, 2), relation_weight=1.0, relation_heads=12)
    with pytest.raises(ConfigError, match=r"choose one of \[1, 2, 4, 8, 16\]"):
        objective_of(pupil, tiny_model_dir, wanted)
