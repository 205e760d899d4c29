"""Layouts, configurations and the errors of folders that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ernie_ray.errors import ConfigError, SourceError
from ernie_ray.modeldir import (
    EmbeddingSpec,
    InputSpec,
    Lineage,
    Manifest,
    Pooling,
    VectorSpec,
    seal_model_dir,
)
from ernie_ray.models.pretrained import from_pretrained, keep_layers
from ernie_ray.models.pretrained.layouts import HUGGING_FACE, weight_shapes
from ernie_ray.models.pretrained.renaming import from_our_names
from tests.unit.models.pretrained.layout_folders import write_paddle_ernie, write_paddle_nlp


@pytest.fixture
def ernie(encoders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoders / "ernie_relu", tmp_path / "ernie"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not None}))


def edit_weights(folder: Path, edit) -> None:
    path = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(path)
    edit(arrays)
    safetensors.numpy.save_file(arrays, path)


def test_weights_have_exactly_the_names_and_shapes_of_the_configuration(encoders: Path) -> None:
    pretrained = from_pretrained(str(encoders / "ernie_gelu_task_types"))
    shapes = {name: array.shape for name, array in pretrained.weights.items()}
    assert shapes == weight_shapes(pretrained.config)
    assert {array.dtype for array in pretrained.weights.values()} == {np.dtype(np.float32)}


def test_weights_written_in_hugging_faces_layout_are_those_that_were_read(encoders: Path) -> None:
    folder = encoders / "bert_gelu"
    published = safetensors.numpy.load_file(folder / "model.safetensors")
    written = from_our_names(from_pretrained(str(folder)).weights, HUGGING_FACE)
    assert written
    for name, array in written.items():
        np.testing.assert_array_equal(array, published[name], err_msg=name)


def test_every_wrong_weight_is_listed_in_one_error(ernie: Path) -> None:
    def spoil(arrays: dict[str, np.ndarray]) -> None:
        del arrays["encoder.layer.1.output.dense.bias"]
        arrays["encoder.layer.0.intermediate.dense.weight"] = np.zeros((3, 3), np.float32)
        arrays["adapter.weight"] = np.zeros(2, np.float32)

    edit_weights(ernie, spoil)
    with pytest.raises(SourceError) as raised:
        from_pretrained(str(ernie))
    message = str(raised.value)
    assert "missing encoder.layer.1.output.dense.bias" in message
    assert "encoder.layer.0.intermediate.dense.weight has shape (3, 3), (32, 48)" in message
    assert "unexpected adapter.weight" in message


def test_head_weights_are_ignored_and_a_missing_pooler_is_noted(ernie: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for kind in ("weight", "bias"):
            del arrays[f"pooler.dense.{kind}"]
        arrays["classifier.weight"] = np.zeros((2, 32), np.float32)
        arrays["cls.predictions.bias"] = np.zeros(41, np.float32)

    edit_weights(ernie, change)
    pretrained = from_pretrained(str(ernie))
    assert not pretrained.config.has_pooler
    assert pretrained.pooling is Pooling.CLS
    assert not any(name.startswith("pooler") for name in pretrained.weights)


def test_half_precision_weights_are_widened(ernie: Path) -> None:
    before = from_pretrained(str(ernie)).weights

    def halve(arrays: dict[str, np.ndarray]) -> None:
        arrays.update({name: array.astype(np.float16) for name, array in arrays.items()})

    edit_weights(ernie, halve)
    for name, array in from_pretrained(str(ernie)).weights.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, before[name], atol=2e-3)


def test_sharded_safetensors_are_joined(ernie: Path) -> None:
    before = from_pretrained(str(ernie)).weights
    arrays = safetensors.numpy.load_file(ernie / "model.safetensors")
    (ernie / "model.safetensors").unlink()
    names = sorted(arrays)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in shards.items():
        safetensors.numpy.save_file({name: arrays[name] for name in held}, ernie / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (ernie / "model.safetensors.index.json").write_text(json.dumps(index))
    after = from_pretrained(str(ernie)).weights
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "roberta"}, "model_type='roberta'"),
        ({"hidden_act": "swish"}, "hidden_act='swish'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"num_attention_heads": 5}, "num_heads=5"),
    ],
)
def test_an_unsupported_configuration_is_refused_by_name(
    ernie: Path, change: dict[str, object], named: str
) -> None:
    edit_config(ernie, **change)
    with pytest.raises(SourceError, match=named):
        from_pretrained(str(ernie))


def test_a_vocabulary_larger_than_the_embedding_is_refused(ernie: Path) -> None:
    with (ernie / "vocab.txt").open("a", encoding="utf-8") as stream:
        stream.write("extra\n")
    with pytest.raises(SourceError, match="42 pieces, the word embedding 41 rows"):
        from_pretrained(str(ernie))


def test_paddle_nlp_sizes_left_out_are_read_from_the_weights(
    encoders: Path, tmp_path: Path
) -> None:
    # The file states neither token types nor task types, whose class defaults (16, on) are wrong.
    original = from_pretrained(str(encoders / "ernie_relu"))
    write_paddle_nlp(tmp_path, original, encoders / "ernie_relu" / "vocab.txt")
    assert from_pretrained(str(tmp_path)).config == original.config


def test_old_paddle_nlp_configuration_with_nested_arguments_is_read(
    encoders: Path, tmp_path: Path
) -> None:
    original = from_pretrained(str(encoders / "ernie_gelu_task_types"))
    write_paddle_nlp(tmp_path, original, encoders / "ernie_relu" / "vocab.txt")
    flat = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    nested = {
        "init_args": [flat | {"init_class": "ErnieModel"}],
        "num_classes": 2,
        "init_class": "ErnieForSequenceClassification",
    }
    (tmp_path / "model_config.json").write_text(json.dumps(nested))
    assert from_pretrained(str(tmp_path)).config == original.config


def test_paddle_ernie_ffn_is_four_times_the_width_unless_stated(
    encoders: Path, tmp_path: Path
) -> None:
    original = from_pretrained(str(encoders / "ernie_relu"))
    write_paddle_ernie(tmp_path, original, encoders / "ernie_relu" / "vocab.txt", hidden_act="gelu")
    read = from_pretrained(str(tmp_path))
    assert read.config.ffn_size == original.config.ffn_size
    assert read.config.activation == "gelu"
    assert read.config.layer_norm_eps == 1e-5


def test_paddle_ernie_folder_cuts_words_as_ernie_1_did(encoders: Path, tmp_path: Path) -> None:
    folder = encoders / "ernie_relu"
    write_paddle_ernie(tmp_path, from_pretrained(str(folder)), folder / "vocab.txt")
    # BERT drops the accent and finds "e"; ERNIE 1.0 meets an unknown character.
    assert from_pretrained(str(folder)).tokenizer.encode("\u00e9").tokens[1] == "e"
    assert from_pretrained(str(tmp_path)).tokenizer.encode("\u00e9").tokens[1] == "[UNK]"


def test_keep_layers_takes_the_first_ones(encoders: Path) -> None:
    pretrained = from_pretrained(str(encoders / "bert_gelu"))
    shallow = keep_layers(pretrained, 2)
    assert shallow.config.num_layers == 2
    shapes = {name: array.shape for name, array in shallow.weights.items()}
    assert shapes == weight_shapes(shallow.config)
    with pytest.raises(ConfigError, match="choose 1 to 3"):
        keep_layers(pretrained, 4)


def test_a_model_directory_can_be_the_start_of_another(encoders: Path, tmp_path: Path) -> None:
    start = from_pretrained(str(encoders / "ernie_relu"))
    arrays = {f"encoder.{name}": array for name, array in start.weights.items()}
    arrays["head.weight"] = np.zeros((32, 2), np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    start.tokenizer.save(str(tmp_path / "tokenizer.json"))
    manifest = Manifest(
        name="start",
        task=EmbeddingSpec(),
        network=start.config,
        input=InputSpec(max_tokens=16, pad_token_id=0, text_prefix="query: "),
        vector=VectorSpec(pooling=Pooling.MEAN, size=32, normalize=True),
        outputs=("vector",),
        layer_nodes=(),
        parity={},
        lineage=Lineage(),
        versions={},
    )
    sealed = seal_model_dir(tmp_path, manifest)
    again = from_pretrained(str(tmp_path))
    assert again.weights.keys() == start.weights.keys()
    assert all(np.array_equal(again.weights[name], start.weights[name]) for name in start.weights)
    assert (again.pooling, again.normalize, again.text_prefix) == (Pooling.MEAN, True, "query: ")
    assert again.source.endswith(sealed.manifest.fingerprint)


def test_sentence_transformers_folder_states_its_pooling(ernie: Path) -> None:
    (ernie / "1_Pooling").mkdir()
    (ernie / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (ernie / "modules.json").write_text(json.dumps(modules))
    pretrained = from_pretrained(str(ernie))
    assert pretrained.pooling is Pooling.MEAN
    assert pretrained.normalize
    # What else its vectors go through is not left out in silence.
    dense = {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (ernie / "modules.json").write_text(json.dumps([*modules, dense]))
    with pytest.raises(SourceError, match="go through Dense, which is not supported"):
        from_pretrained(str(ernie))
    (ernie / "modules.json").write_text(json.dumps(modules))
    both = '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}'
    (ernie / "1_Pooling" / "config.json").write_text(both)
    with pytest.raises(SourceError, match="pooling_mode_mean_tokens and pooling_mode_max_tokens"):
        from_pretrained(str(ernie))
