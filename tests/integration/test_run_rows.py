"""What a run says of its rows: skipped, cut, measured; with a tiny network."""

import json

import pytest
from click.testing import CliRunner

from ernie_ray.cli.finetune import command as finetune_command
from ernie_ray.errors import DataError
from tests.tiny_models import tiny_rows
from tests.tiny_tasks import regression_rows, write_jsonl

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture
def finetune(tiny_embedding_dir, tmp_path):
    """The command, by one short training; gives what click knows of it."""

    def run(recipe: str, *arguments: str):
        settings = [
            f"model.pretrained={tiny_embedding_dir}",
            "model.max_tokens=16",
            "model.trim_vocabulary=false",
            "training.max_steps=2",
            "scaling.cpus_per_worker=1",
        ]
        options = [word for setting in settings for word in ("--set", setting)]
        words = [recipe, *options, "--quiet", "--output", "run", "--storage", str(tmp_path)]
        return CliRunner().invoke(finetune_command, [*words, *arguments])

    return run


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_skipped_and_cut_rows_are_printed_and_kept_and_dev_rows_are_measured_without_a_test(
    finetune, tmp_path, tiny_embedding_dir
):
    rows = regression_rows(40, 0)
    long = {**rows[0], "text_a": "好" * 50}
    write_jsonl(tmp_path / "train.jsonl", [*rows, long, {**rows[0], "label": "x"}])
    write_jsonl(tmp_path / "dev.jsonl", [{**rows[0], "text_b": ""}, *regression_rows(9, 1)])
    arguments = [
        *("--set", "data.train=train.jsonl", "--set", "data.dev=dev.jsonl"),
        *("--set", "task.high=5.0", "--set", f"model.warm_start={tiny_embedding_dir}"),
        *("--bad-rows", "skip"),
    ]
    done = finetune("regression", *arguments)
    assert done.exit_code == 0, done.output
    run = tmp_path / "run"
    facts = read(run / "run.json")
    cut = facts["rows"]["train"]["num_truncated"]
    assert cut >= 1
    assert f"train rows: 41 used; 1 skipped; {cut} truncated" in done.stdout
    assert "dev rows: 9 used; 1 skipped" in done.stdout
    assert "train.jsonl:42: label 'label' is a str ('x')" in done.stderr
    assert "dev.jsonl:1: 'text_b' is empty" in done.stderr
    assert f"warm start: parameters of {tiny_embedding_dir}: " in done.stdout
    assert read(run / "result.json")["rows"] == facts["rows"]
    evaluation = read(run / "evaluation.json")
    assert (evaluation["split"], evaluation["num_rows"]) == ("dev", 9)
    errors = [one["error"] for one in evaluation["mistakes"]]
    assert len(errors) == 9
    assert errors == sorted(errors, reverse=True)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Rows furthest from their label (dev rows)" in page
    assert facts["versions"]["paddlepaddle"] in page
    again = finetune("regression", *arguments)
    assert again.exit_code == 0, again.output
    assert read(run / "result.json")["seconds"] == facts["seconds"]


def test_a_bad_test_row_ends_the_run_before_training_or_is_skipped_as_the_recipe_says(
    finetune, tmp_path
):
    rows = [{"text": text, "label": label} for text, label in tiny_rows(32, 0)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", [*rows[:8], {"text": "好", "label": "meh"}])
    arguments = ["--set", "data.train=train.jsonl", "--set", "data.test=test.jsonl"]
    refused = finetune("classify", *arguments)
    assert isinstance(refused.exception, DataError)
    assert "test.jsonl:9: label 'label' is 'meh'" in str(refused.exception)
    assert not (tmp_path / "run" / "train").exists()
    assert "not finished" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    done = finetune("classify", *arguments, "--bad-rows", "skip")
    assert done.exit_code == 0, done.output
    assert "test rows: 8 used; 1 skipped" in done.stdout
    assert read(tmp_path / "run" / "evaluation.json")["num_rows"] == 8
