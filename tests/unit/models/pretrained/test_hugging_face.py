"""An encoder written for transformers and sentence-transformers is the one that was read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from ernie_ray.cli import group
from ernie_ray.errors import ConfigError, SourceError
from ernie_ray.modeldir import Pooling
from ernie_ray.models.pretrained import from_pretrained, write_hugging_face
from ernie_ray.models.pretrained.hugging_face import write_config


@pytest.mark.parametrize("name", ["bert_gelu", "ernie_relu", "ernie_gelu_task_types"])
@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.MEAN, Pooling.MAX])
def test_what_is_written_reads_back_the_same(
    encoders: Path, name: str, pooling: Pooling, tmp_path: Path
) -> None:
    normalize = pooling is Pooling.MEAN
    encoder = replace(
        from_pretrained(str(encoders / name)),
        pooling=pooling, normalize=normalize, text_prefix="问：" if normalize else "",
    )  # fmt: skip
    write_hugging_face(encoder, tmp_path)
    read = from_pretrained(str(tmp_path))
    assert read.config == encoder.config
    assert (read.pooling, read.normalize) == (pooling, normalize)
    assert read.text_prefix == encoder.text_prefix
    assert read.tokenizer.to_str() == encoder.tokenizer.to_str()
    assert read.weights.keys() == encoder.weights.keys()
    for key, array in read.weights.items():
        np.testing.assert_array_equal(array, encoder.weights[key], err_msg=key)


def test_the_names_and_settings_are_those_of_transformers(encoders: Path, tmp_path: Path) -> None:
    folder = encoders / "ernie_gelu_task_types"
    write_hugging_face(replace(from_pretrained(str(folder)), pooling=Pooling.CLS), tmp_path)
    published = safetensors.numpy.load_file(folder / "model.safetensors")
    written = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert written.keys() == published.keys()
    theirs = json.loads((folder / "config.json").read_text())
    ours = json.loads((tmp_path / "config.json").read_text())
    shared = ours.keys() & theirs.keys() - {"hidden_dropout_prob", "attention_probs_dropout_prob"}
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert {"use_task_id", "hidden_size", "intermediate_size", "hidden_act"} <= shared


def test_dropout_of_further_training_is_as_asked(encoders: Path, tmp_path: Path) -> None:
    config = from_pretrained(str(encoders / "bert_gelu")).config
    write_config(config, tmp_path, dropout=0.0)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["hidden_dropout_prob"] == written["attention_probs_dropout_prob"] == 0.0


def test_a_pooling_that_the_layout_lacks_is_refused(encoders: Path, tmp_path: Path) -> None:
    encoder = replace(from_pretrained(str(encoders / "bert_gelu")), pooling=Pooling.POOLER)
    with pytest.raises(ConfigError, match=r"pooling pooler cannot be written.*cls, mean, max"):
        write_hugging_face(encoder, tmp_path)


def test_a_default_prompt_that_is_not_there_is_an_error(encoders: Path, tmp_path: Path) -> None:
    encoder = replace(from_pretrained(str(encoders / "bert_gelu")), pooling=Pooling.MEAN)
    write_hugging_face(encoder, tmp_path)
    prompts = {"prompts": {}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with pytest.raises(SourceError, match="the default prompt cannot be read"):
        from_pretrained(str(tmp_path))


def test_the_command_writes_the_layout_once_and_keeps_what_is_there(
    encoders: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    source = tmp_path / "mean"
    source.mkdir()
    encoder = replace(from_pretrained(str(encoders / "bert_gelu")), pooling=Pooling.MEAN)
    write_hugging_face(encoder, source)
    arguments = ["export", "--pretrained", str(source), str(target), "--layout", "hugging-face"]
    done = CliRunner().invoke(group, [*arguments, "--text-prefix", "query: "])
    assert done.exit_code == 0, done.output
    assert from_pretrained(str(target)).text_prefix == "query: "
    again = CliRunner().invoke(group, arguments)
    assert again.exit_code != 0
    assert from_pretrained(str(target)).text_prefix == "query: "


def test_a_run_folder_cannot_be_written_in_the_layout(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        group, ["export", str(tmp_path), str(tmp_path / "out"), "--layout", "hugging-face"]
    )
    assert done.exit_code != 0
    assert "export the run first" in done.output
