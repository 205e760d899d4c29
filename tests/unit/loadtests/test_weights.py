from pathlib import Path

import pytest

from loadtests import weights


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """What would have been exported, each by its target."""
    calls = []

    def export(source, target):
        calls.append(source)
        Path(target).mkdir()
        (Path(target) / "manifest.json").touch()

    monkeypatch.setattr(weights, "_export", export)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "cache")
    return calls


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin", "vocab.txt"])
def test_weights_are_exported_once_and_again_when_any_of_their_files_changed(
    tmp_path, exported, name
):
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in ("config.json", "pytorch_model.bin", "vocab.txt"):
        (folder / file).write_text(file)
    first = weights.model_dir(folder)
    assert weights.model_dir(folder) == first
    assert len(exported) == 1
    (folder / name).write_text("another")
    assert weights.model_dir(folder) != first
    assert len(exported) == 2
