import json
import shutil

import pytest

from ernie_ray.errors import ModelDirError
from ernie_ray.modeldir import open_model_dir


@pytest.fixture
def copy(tiny_model_dir, tmp_path):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_a_whole_directory_opens_and_tells_its_task(tiny_model_dir):
    opened = open_model_dir(tiny_model_dir)
    assert opened.manifest.task.labels == ("negative", "positive")
    assert len(opened.manifest.fingerprint) == 16
    assert opened.golden_texts()


def test_a_copy_has_the_same_fingerprint(copy, tiny_model_dir):
    assert open_model_dir(copy).manifest.fingerprint == (
        open_model_dir(tiny_model_dir).manifest.fingerprint
    )


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "graph.onnx", "graph.pdiparams", "tokenizer.json"]
)
def test_one_flipped_byte_is_refused_by_the_file_name(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelDirError, match=f"{name} was changed"):
        open_model_dir(copy)


def test_a_missing_file_is_refused_by_its_name(copy):
    (copy / "graph.onnx").unlink()
    with pytest.raises(ModelDirError, match=r"missing graph\.onnx"):
        open_model_dir(copy)


def test_an_edited_label_list_is_refused_by_its_section(copy):
    edit_manifest(copy, lambda manifest: manifest["task"]["labels"].reverse())
    with pytest.raises(ModelDirError, match="task edited after export"):
        open_model_dir(copy)


def test_an_edited_parity_bound_is_refused_by_its_section(copy):
    edit_manifest(copy, lambda m: m["parity"]["fp32"].update(max_logit_error=9.0))
    with pytest.raises(ModelDirError, match="parity edited after export"):
        open_model_dir(copy)


def test_an_unknown_manifest_key_is_refused(copy):
    edit_manifest(copy, lambda manifest: manifest.update(extra=1))
    with pytest.raises(ModelDirError, match="extra"):
        open_model_dir(copy)


def test_a_newer_format_is_refused_with_the_version_that_can_be_read(copy):
    edit_manifest(copy, lambda manifest: manifest.update(format_version=99))
    with pytest.raises(ModelDirError, match="format_version 99"):
        open_model_dir(copy)


def test_a_folder_without_a_manifest_is_no_model_directory(tmp_path):
    with pytest.raises(ModelDirError, match="not a model directory"):
        open_model_dir(tmp_path)


def test_whoever_may_read_one_file_of_a_model_directory_may_read_all(tiny_model_dir):
    assert len({path.stat().st_mode for path in tiny_model_dir.iterdir()}) == 1


def test_nothing_in_a_model_directory_is_a_pickle(tiny_model_dir):
    suffixes = {path.suffix for path in tiny_model_dir.iterdir()}
    assert suffixes == {".json", ".safetensors", ".onnx", ".pdiparams"}
