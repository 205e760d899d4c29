"""Columns of the input that predictions have, too."""

import json

import pyarrow.parquet
import pytest
from click.testing import CliRunner

from ernie_ray.cli.predict import command
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import predict as predict_job
from ernie_ray.modeldir import ReadingSpec
from tests.tiny_models import export_tiny_classifier
from tests.tiny_tasks import reading_rows, write_jsonl

ROWS = [
    {"text": "好书", "id": "a-1", "qid": 7, "more": {"x": [1, None]}},
    {"text": "", "id": "bad", "qid": 8, "more": None},
    {"text": "差书", "id": "c-3", "qid": 10**30, "more": "书"},
]


@pytest.fixture
def predict(tiny_model_dir, tmp_path):
    """The command over ``ROWS``; gives what click knows of it."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)

    def run(*arguments: str, model=tiny_model_dir, rows="rows.jsonl"):
        words = [str(model), rows, "--engine", "onnxruntime", "--quiet", "--bad-rows", "skip"]
        return CliRunner().invoke(command, [*words, "--storage", str(tmp_path), *arguments])

    return run


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_kept_columns_hold_in_json_lines_what_the_rows_held_and_an_own_id_replaces_the_position(
    predict, tmp_path, monkeypatch
):
    monkeypatch.setattr(predict_job, "ROWS_PER_CHUNK", 2)
    done = predict("--keep-columns", "qid,id,more", "--output", "out.jsonl")
    assert done.exit_code == 0, done.output
    lines = read_lines(tmp_path / "out.jsonl")
    assert [{key: line[key] for key in ROWS[0]} for line in lines] == [ROWS[0], ROWS[2]]
    assert list(lines[0])[:4] == ["qid", "id", "more", "text"]
    assert predict("--keep-columns", "qid").stdout.splitlines()[0].startswith('{"id":0,"qid":7,')


def test_a_kept_column_may_be_named_as_our_own_are(predict, tmp_path):
    write_jsonl(tmp_path / "named.jsonl", [{"text": "好书", "kept": "a", "qid": 1}])
    done = predict("--keep-columns", "kept,qid", "--output", "out.jsonl", rows="named.jsonl")
    assert done.exit_code == 0, done.output
    (line,) = read_lines(tmp_path / "out.jsonl")
    assert (line["kept"], line["qid"]) == ("a", 1)


def test_in_parquet_kept_columns_are_texts(predict, tmp_path):
    done = predict("--keep-columns", "id,qid,more", "--output", "out.parquet")
    assert done.exit_code == 0, done.output
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table["id"].to_pylist() == ["a-1", "c-3"]
    assert table["qid"].to_pylist() == ["7", str(10**30)]
    assert table["more"].to_pylist() == ['{"x": [1, null]}', "书"]


def test_answers_by_the_ids_of_a_squad_file_are_what_its_script_reads(predict, tmp_path):
    reader = export_tiny_classifier(tmp_path / "reader", task=ReadingSpec())
    (tmp_path / "dev.json").write_text(json.dumps(reading_rows(3, 0)))
    columns = ["--text-column", "question", "--text-pair-column", "context"]
    options = ["--keep-columns", "id", "--output", "out.jsonl"]
    done = predict(*columns, *options, model=reader, rows="dev.json")
    assert done.exit_code == 0, done.output
    answers = {line["id"]: line["answer"] for line in read_lines(tmp_path / "out.jsonl")}
    assert list(answers) == ["0", "1", "2"]
    assert all(isinstance(answer, str) for answer in answers.values())


def test_a_column_that_predictions_have_themselves_cannot_be_kept(predict):
    done = predict("--keep-columns", "label")
    assert isinstance(done.exception, ConfigError)
    assert "'label' cannot be kept" in str(done.exception)


def test_an_array_of_vectors_keeps_nothing_else(predict):
    done = predict("--keep-columns", "qid", "--vectors", "--output", "v.npy")
    assert done.exit_code == 2
    assert "drop --keep-columns" in done.stderr
