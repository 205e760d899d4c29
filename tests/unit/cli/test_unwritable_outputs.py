"""Whatever keeps an output from being written: one line that names it, and never a traceback."""

import sys

import pytest

from ernie_ray.cli import main
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import predict as predict_job
from tests.full_disk import files_up_to
from tests.tiny_models import tiny_rows
from tests.tiny_tasks import write_jsonl


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"text": text, "label": label} for text, label in tiny_rows(200, 0)])
    return path


@pytest.fixture
def message_of(monkeypatch, capsys):
    """Run a command that cannot write its output; gives the line that says so."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ernie-ray", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        message = capsys.readouterr().err
        assert message.startswith("ernie-ray: DataError: ")
        assert ": cannot be written: " in message
        assert len(message.splitlines()) == 1
        return message

    return run


@pytest.fixture
def fails(tiny_model_dir, rows, message_of):
    """Run a model over rows; gives the line that says why its output cannot be written."""

    def run(verb, output, *options):
        words = [tiny_model_dir, rows, "--engine", "onnxruntime", "--quiet"]
        return message_of(verb, *words, "--output", output, *options)

    return run


@pytest.mark.parametrize("root", ["", "file://"])
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_place_that_cannot_be_is_an_error_before_the_model_loads(
    fails, tmp_path, monkeypatch, verb, root
):
    monkeypatch.setattr(Predictor, "from_dir", lambda *_, **__: pytest.fail("the model loads"))
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "file" / "out", tmp_path / "folder", "/proc/none/out"):
        assert f"{root}{output}: " in fails(verb, f"{root}{output}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "rows.jsonl"}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "npy"])
def test_a_disk_that_fills_up_is_one_clear_line_and_leaves_no_half_output(fails, tmp_path, suffix):
    with files_up_to(4096):
        message = fails("predict", tmp_path / f"out.{suffix}", "--vectors")
    assert f"{tmp_path}/.out.{suffix}.parts-" in message
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / f"out.{suffix}").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "npy"])
def test_an_output_that_is_larger_than_its_parts_is_one_clear_line_too(
    fails, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(predict_job, "ROWS_PER_CHUNK", 40)
    with files_up_to(16_000):  # room for each of the parts
        message = fails("predict", tmp_path / f"out.{suffix}", "--vectors")
    assert f"{tmp_path}/out.{suffix}: " in message
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / f"out.{suffix}").exists()


def test_a_disk_that_fills_up_under_an_evaluation_is_one_clear_line(fails, tmp_path):
    with files_up_to(512):
        assert f"{tmp_path}/out.json: " in fails("evaluate", tmp_path / "out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("layout", ["ernie-ray", "hugging-face"])
@pytest.mark.parametrize("num_bytes", [0, 4096, 60_000])
def test_a_disk_that_fills_up_under_an_export_is_one_clear_line(
    message_of, tiny_embedding_dir, tmp_path, layout, num_bytes
):
    target = tmp_path / "model"
    words = ("--pretrained", tiny_embedding_dir, "--layout", layout)
    with files_up_to(num_bytes):
        message = message_of("export", *words, target)
    assert f"{target}: cannot be written: " in message
    assert not list(tmp_path.iterdir())
