"""From `augment` to `tiny`: what is wrong is one clear line, before Ray or a model is started."""

import pytest

from ernie_ray.modeldir import ClassificationSpec, TokenLabelsSpec, seal_model_dir
from ernie_ray.text.tags import tag_names
from tests.command_errors import error_of
from tests.fake_text_model import manifest

TASKS = {
    "teacher": ClassificationSpec(labels=("negative", "positive")),
    "tagger": TokenLabelsSpec(labels=tag_names(("LOC", "PER"), "BIO")),
}
LABEL = ["label", "teacher", "rows.jsonl", "--num-actors", "0"]
ROWS = ["data.train=rows.jsonl", "data.dev=rows.jsonl", "data.test=rows.jsonl"]
RECIPES = {"distill": "bow", "slim": "bow", "tiny": "3x384"}


@pytest.fixture
def folder(tmp_path):
    """Rows, and sealed manifests: what is refused here needs no graph."""
    (tmp_path / "rows.jsonl").write_text('{"text": "好", "label": "positive"}\n', "utf-8")
    for name, task in TASKS.items():
        (tmp_path / name).mkdir()
        seal_model_dir(tmp_path / name, manifest().model_copy(update={"task": task}))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["augment", "absent.jsonl", "--output", "out.jsonl"], "absent.jsonl: no such file"),
        (["augment", "rows.jsonl", "--output", "out.csv"], ".jsonl or .parquet"),
        (
            ["augment", "rows.jsonl", "--output", "out.jsonl", "--label-column", "kind"],
            "no row has the column 'kind'",
        ),
        (["label", "teacher", "absent.jsonl", "--output", "out"], "absent.jsonl: no such file"),
        (["label", "absent", *LABEL[2:], "--output", "out"], "absent: no such file or folder"),
        (["label", "tagger", *LABEL[2:], "--output", "out"], "a token_labels model are of tokens"),
        ([*LABEL, "--output", "out.parquet"], "label writes a folder"),
        ([*LABEL, "--output", "out", "--label-column", "kind"], "no row has the column 'kind'"),
        ([*LABEL, "--output", "rows"], "rows exists already"),
    ],
)
def test_a_wrong_argument_is_one_clear_line_and_leaves_nothing(
    folder, monkeypatch, capsys, arguments, says
):
    (folder / "rows").mkdir()
    (folder / "rows" / "mine.txt").write_text("")
    before = sorted(folder.rglob("*"))
    assert says in error_of([*arguments, "--storage", folder], monkeypatch, capsys)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("verb", RECIPES)
@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("student.colour=1", "unknown key student.colour"),
        ("training.num_epochs=many", "training.num_epochs: "),
        ("data.train=", "data.train: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line_that_names_it(
    folder, monkeypatch, capsys, verb, setting, says
):
    settings = [*ROWS, setting] + (["teacher.model=teacher"] if verb != "distill" else [])
    options = [word for one in settings for word in ("--set", one)]
    arguments = [verb, RECIPES[verb], *options, "--storage", folder]
    assert says in error_of(arguments, monkeypatch, capsys)


@pytest.mark.parametrize("verb", RECIPES)
def test_a_recipe_that_is_not_there_is_one_clear_line(folder, monkeypatch, capsys, verb):
    message = error_of([verb, "colourful", "--storage", folder], monkeypatch, capsys)
    assert "no recipe 'colourful'" in message
    assert RECIPES[verb] in message
