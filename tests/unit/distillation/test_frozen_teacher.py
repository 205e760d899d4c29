import numpy as np
import pytest

from ernie_ray.config import Lesson, StatesSection
from ernie_ray.distillation.frozen_teacher import FrozenTeacher, through_engine, through_network
from ernie_ray.errors import ConfigError, InferenceError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.modeldir import open_model_dir
from ernie_ray.text.tokenizer import TextTokenizer
from tests.tiny_models import export_tiny_student, word_texts

TEXTS = word_texts()[:5]


def lesson(layers, **states):
    return Lesson(
        teacher="t",
        precision="fp32",
        teacher_layers=layers,
        states=StatesSection(**states),
        logits=None,
    )


def shown_by(way, model_dir, wanted):
    tokenizer = TextTokenizer.from_file(model_dir.file("tokenizer.json"), max_tokens=32)
    return way(model_dir, wanted)(tokenizer.encode(TEXTS))


@pytest.mark.parametrize(("layers", "related"), [((1, 2), 0), ((2,), 1), ((1,), 2)])
def test_an_engine_shows_what_the_network_does(tiny_model_dir, layers, related):
    model_dir, wanted = open_model_dir(tiny_model_dir), lesson(layers, relation_layer=related)
    one = shown_by(through_network, model_dir, wanted)
    other = shown_by(lambda *given: through_engine(*given, None), model_dir, wanted)
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)
    assert (len(other.states), len(other.related)) == (len(layers), 3)
    for ours, theirs in zip(
        (*one.states, *one.related), (*other.states, *other.related), strict=True
    ):
        # What stands at padding differs, and no loss reads it.
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy()[:, :3], theirs.numpy()[:, :3], atol=1e-4)


def test_only_what_is_learnt_is_shown(tiny_model_dir):
    wanted = lesson((1, 2), relation_weight=0, hidden_weight=0)
    shown, places = FrozenTeacher(tiny_model_dir, wanted, num_threads=1).ask(TEXTS)
    assert (shown.states, shown.related) == ([], [])
    assert len(shown.logits) == len(places) == len(TEXTS)


def test_an_answer_that_is_no_number_is_an_error_and_not_taken_for_none(
    tiny_model_dir, monkeypatch
):
    forward = Predictor.forward

    def broken(predictor, rows):
        outputs = forward(predictor, rows)
        outputs.logits[3] = np.nan
        return outputs

    wanted = lesson((1,), relation_weight=0, hidden_weight=0)
    teacher = FrozenTeacher(tiny_model_dir, wanted, num_threads=1)
    monkeypatch.setattr(Predictor, "forward", broken)
    with pytest.raises(InferenceError, match=f"NaN or infinite for '{TEXTS[3]}'"):
        teacher.ask(TEXTS)


def test_a_student_has_no_layers_to_imitate(tmp_path):
    student = export_tiny_student(tmp_path / "student")
    with pytest.raises(ConfigError, match="no layers to imitate"):
        FrozenTeacher(student, lesson((1,)))
