"""Rows, teachers and files that `augment`, `label`, `distill`, `slim` and `tiny` cannot use."""

import json

import pytest

from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.text.tags import tag_names
from tests.chain_rows import chain_settings, write_chain_rows
from tests.command_errors import error_of
from tests.tiny_models import export_tiny_classifier

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]
RECIPES = {"distill": "bow", "slim": "bow", "tiny": "3x384"}
SMALL = {
    "distill": ["student.bucket_bits=8", "data.teacher_logits_column="],
    "slim": ["student.bucket_bits=8"],
    "tiny": ["student.num_layers=1", "student.max_tokens=32", "vocabulary.max_pieces=60"],
}
COLUMNS = ["--text-column", "review", "--label-column", "kind"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows, and the training rows with one in the fourth line whose label is wrong."""
    folder = write_chain_rows(tmp_path_factory.mktemp("data"), unlabelled_column="review")
    rows = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    for name, label in (("nan", float("nan")), ("unknown", "other")):
        bad = json.dumps({"review": "好书", "kind": label})
        (folder / f"{name}.jsonl").write_text("\n".join([*rows[:3], bad, *rows[3:]]) + "\n")
    (folder / "blank.jsonl").write_text('{"review": "好书"}\n{"review": ""}\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    task = TokenLabelsSpec(labels=tag_names(("LOC", "PER"), "BIO"))
    return export_tiny_classifier(tmp_path_factory.mktemp("tagger") / "tagger", task=task)


@pytest.fixture
def refused(data, tmp_path, tiny_model_dir, monkeypatch, capsys):
    """Run a recipe with a changed setting; gives its error, which came before any training."""

    def run(verb, *changes):
        given = chain_settings(tiny_model_dir)
        if verb == "distill":
            given = [s for s in given if s.startswith(("data.", "scaling."))]
            given = [s for s in given if not s.startswith("data.unlabelled")]
        settings = [*given, *SMALL[verb], "training.num_epochs=1", *changes]
        options = [word for setting in settings for word in ("--set", setting)]
        arguments = [verb, RECIPES[verb], *options, "--quiet", "--storage", data]
        message = error_of([*arguments, "--output", tmp_path / "run"], monkeypatch, capsys)
        assert not list(tmp_path.rglob("train"))
        return message

    return run


@pytest.mark.parametrize("wrong", ["nan", "unknown"])
def test_label_refuses_a_wrong_label_and_leaves_no_output(
    data, tiny_model_dir, tmp_path, monkeypatch, capsys, wrong
):
    arguments = ["label", tiny_model_dir, data / f"{wrong}.jsonl", *COLUMNS, "--output",
                 tmp_path / "out", "--engine", "onnxruntime", "--quiet"]  # fmt: skip
    message = error_of(arguments, monkeypatch, capsys)
    assert f"{wrong}.jsonl:4: label 'kind' is " in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["class", "number"])
def test_augment_refuses_a_label_that_is_nan_and_leaves_no_output(
    data, tmp_path, monkeypatch, capsys, form
):
    arguments = ["augment", data / "nan.jsonl", *COLUMNS, "--label-form", form, "--copies", "1",
                 "--output", tmp_path / "out.jsonl", "--quiet"]  # fmt: skip
    message = error_of(arguments, monkeypatch, capsys)
    assert "nan.jsonl:" in message
    assert "label 'kind' is " in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", RECIPES)
def test_a_file_that_is_not_there_is_one_clear_line(refused, verb):
    message = refused(verb, "data.train=absent.jsonl")
    assert "absent.jsonl: no such file or folder" in message


@pytest.mark.parametrize("verb", RECIPES)
def test_a_label_that_is_nan_is_one_clear_line(refused, verb):
    assert "nan.jsonl:4: label 'kind' is NaN" in refused(verb, "data.train=nan.jsonl")


@pytest.mark.parametrize("verb", ["slim", "tiny"])
def test_an_unlabelled_row_without_a_text_is_said_before_the_first_stage(refused, tmp_path, verb):
    message = refused(verb, 'data.unlabelled=["more.jsonl", "blank.jsonl"]')
    assert "data.unlabelled: " in message
    assert "blank.jsonl:2: " in message
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("verb", ["slim", "tiny"])
def test_a_teacher_that_is_not_there_or_answers_otherwise_is_one_clear_line(refused, tagger, verb):
    assert "absent: no such file or folder" in refused(verb, "teacher.model=absent")
    assert "token_labels" in refused(verb, f"teacher.model={tagger}")


def test_a_column_that_no_training_row_has_is_one_clear_line(refused):
    assert "'colour' is missing" in refused("distill", "data.label_column=colour")
    message = refused("distill", "data.teacher_logits_column=logits")
    assert "no row has the column 'logits'" in message
