"""A student's model directory, made by the real export, through the Predictor."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie_ray.errors import ConfigError, InferenceError, MalformedRequestError, ModelDirError
from ernie_ray.inference.batcher import Batcher
from ernie_ray.inference.predictor import Predictor
from ernie_ray.modeldir import open_model_dir, seal_model_dir
from tests.tiny_models import export_tiny_student, tiny_rows

TEXTS = [text for text, _ in tiny_rows(30, 4)]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return export_tiny_student(tmp_path_factory.mktemp("bow") / "model")


def test_the_folder_holds_no_graph_and_is_run_by_numpy(model_dir):
    assert sorted(p.name for p in model_dir.iterdir()) == [
        "golden.json", "manifest.json", "vocabulary.json", "weights.safetensors",
    ]  # fmt: skip
    predictor = Predictor.from_dir(model_dir)
    assert (predictor.engine, predictor.precision) == ("numpy", "fp32")


def test_one_text_gets_what_it_gets_among_others(model_dir):
    predictor = Predictor.from_dir(model_dir)
    together = predictor.predict(TEXTS)
    for text, expected in zip(TEXTS, together, strict=True):
        (alone,) = predictor.predict([text])
        np.testing.assert_allclose(alone.vector, expected.vector, atol=1e-6)
        assert alone.result["label"] == expected.result["label"]
        assert alone.result["scores"] == pytest.approx(expected.result["scores"], abs=1e-6)


def test_pairs_are_proved_by_golden_pairs(tmp_path):
    folder = export_tiny_student(tmp_path / "model", "cnn", is_pair=True)
    golden = open_model_dir(folder).golden_texts()
    assert all(entry.text_pair for entry in golden)
    predictor = Predictor.from_dir(folder)
    ab, ba = predictor.run([("好书店", "房间差"), ("房间差", "好书店")]).logits
    assert np.abs(ab - ba).max() > 1e-6
    with pytest.raises(MalformedRequestError, match="a pair of texts"):
        predictor.run(["好书店"])
    single = Predictor.from_dir(export_tiny_student(tmp_path / "single", "cnn"))
    with pytest.raises(MalformedRequestError, match="a single text"):
        single.run([("好书", "书店")])


def test_other_engines_and_precisions_are_refused_in_words(model_dir, tiny_model_dir):
    with pytest.raises(ConfigError, match="cannot run a student"):
        Predictor.from_dir(model_dir, engine="openvino")
    with pytest.raises(ConfigError, match="precision 'bf16'"):
        Predictor.from_dir(model_dir, precision="bf16")
    with pytest.raises(ConfigError, match="runs students only"):
        Predictor.from_dir(tiny_model_dir, engine="numpy")


def test_changed_weights_do_not_pass_the_golden_texts(model_dir, tmp_path):
    opened = open_model_dir(model_dir)
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in opened.manifest.files:
        (folder / name).write_bytes((model_dir / name).read_bytes())
    weights = load_file(folder / "weights.safetensors")
    weights["head.bias"] = weights["head.bias"] + 1
    save_file(weights, folder / "weights.safetensors")
    seal_model_dir(folder, opened.manifest)
    with pytest.raises(ModelDirError, match="logits of the golden texts differ"):
        Predictor.from_dir(folder)


def test_infinite_outputs_are_an_error_even_for_one_text(model_dir):
    predictor = Predictor.from_dir(model_dir)
    row = predictor.tokenize(["好"])[0]
    predictor._run_engine = lambda rows: {
        "vector": np.full((len(rows), 6), np.inf, np.float32),
        "logits": np.zeros((len(rows), 2), np.float32),
    }
    for rows in ([row], [row, row]):
        with pytest.raises(InferenceError, match="text 0"):
            predictor.run_rows(rows)


def test_large_but_finite_outputs_are_no_error(model_dir):
    predictor = Predictor.from_dir(model_dir)
    predictor._run_engine = lambda rows: {
        "vector": np.full((len(rows), 6), 3e38, np.float32),
        "logits": np.zeros((len(rows), 2), np.float32),
    }
    assert np.isfinite(predictor.run_rows([predictor.tokenize(["好"])[0]]).vectors).all()


def test_the_batcher_of_the_service_takes_a_student(model_dir):
    import asyncio

    async def ask():
        batcher = Batcher(Predictor.from_dir(model_dir))
        answers = await batcher.infer(await batcher.tokenize(TEXTS))
        await batcher.close()
        return answers

    answers = asyncio.run(ask())
    assert not answers.errors
    expected = Predictor.from_dir(model_dir).run(TEXTS).logits
    np.testing.assert_allclose(answers.logits, expected, atol=1e-5)
