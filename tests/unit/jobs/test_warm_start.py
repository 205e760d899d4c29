import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_ray.errors import ConfigError
from ernie_ray.jobs.warm_start import choose_weights


@pytest.fixture
def shapes(tiny_model_dir):
    weights = load_file(tiny_model_dir / "weights.safetensors")
    return {name: value.shape for name, value in weights.items()}


def test_everything_that_fits_is_taken(tiny_model_dir, shapes):
    taken, report = choose_weights(
        str(tiny_model_dir), ".*", shapes, tiny_model_dir / "tokenizer.json"
    )
    assert set(taken) == set(report.taken) == set(shapes)
    assert report.left == {}
    assert report.missing == ()
    expected = load_file(tiny_model_dir / "weights.safetensors")
    np.testing.assert_array_equal(taken["head.weight"], expected["head.weight"])


def test_a_pattern_a_shape_and_a_foreign_vocabulary_leave_parameters_out(
    tiny_model_dir, shapes, tmp_path
):
    other = shapes | {"head.weight": (32, 7), "head.bias": (7,), "extra.weight": (1,)}
    tokenizer = (tiny_model_dir / "tokenizer.json").read_text(encoding="utf-8")
    foreign = tmp_path / "tokenizer.json"
    foreign.write_text(tokenizer.replace('"good"', '"gold"'), encoding="utf-8")
    taken, report = choose_weights(
        str(tiny_model_dir), r"head\..*|encoder\.embeddings\..*", other, foreign
    )
    assert report.left["head.weight"] == "shape [32, 2], [32, 7] needed"
    assert report.left["encoder.embeddings.word.weight"].endswith("another vocabulary")
    assert report.left["encoder.layers.0.ffn.up.weight"] == "does not match the pattern"
    assert report.missing == ("extra.weight",)
    assert set(taken) == {
        name for name in shapes if name.startswith("encoder.embeddings.") and "word" not in name
    }


def test_the_encoder_of_vectors_only_gives_no_head(tiny_embedding_dir, shapes):
    _, report = choose_weights(
        str(tiny_embedding_dir), ".*", shapes, tiny_embedding_dir / "tokenizer.json"
    )
    assert report.missing == ("head.bias", "head.weight")


@pytest.mark.parametrize("pattern", ["(", "nothing"])
def test_a_pattern_that_takes_nothing_is_an_error(tiny_model_dir, shapes, pattern):
    with pytest.raises(ConfigError, match="warm_start"):
        choose_weights(str(tiny_model_dir), pattern, shapes, tiny_model_dir / "tokenizer.json")
