"""Columns that are passed on as they are, whatever they hold."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import read_rows

KEEPING = RowSchema(keep=("qid", "more"))


@pytest.mark.parametrize(
    "value", ["q1", "", 7, 10**30, 1.5, True, None, ["a", {"b": None}], "书\n"], ids=repr
)
def test_what_a_column_holds_is_kept(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "qid": value, "more": 1}))
    (row,) = read_rows(tmp_path / "a.jsonl", KEEPING)
    assert [json.loads(text) for text in row.kept] == [value, 1]


def test_columns_of_csv_and_parquet_are_kept_and_the_text_column_may_be_one(tmp_path):
    (tmp_path / "a.csv").write_text("text,qid\nx,7\n")
    (row,) = read_rows(tmp_path / "a.csv", RowSchema(keep=("qid", "text")))
    assert row.kept == ('"7"', '"x"')
    day = datetime.date(2020, 1, 2)
    pyarrow.parquet.write_table(pa.table({"text": ["x"], "qid": [day]}), tmp_path / "a.parquet")
    (row,) = read_rows(tmp_path / "a.parquet", RowSchema(keep=("qid",)))
    assert row.kept == ('"2020-01-02"',)


def test_a_date_that_python_cannot_hold_makes_its_row_bad(tmp_path):
    late = pa.array([0, 400_000_000_000], pa.timestamp("s"))
    pyarrow.parquet.write_table(pa.table({"text": ["x", "y"], "qid": late}), tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet", RowSchema(keep=("qid",)), on_bad="skip")
    assert [row.text for row in rows] == ["x"]
    assert "a.parquet:2: a value cannot be read" in str(rows.skipped[0])


def test_an_id_of_a_squad_file_is_kept(tmp_path):
    question = {"id": "56d", "question": "谁", "answers": []}
    content = {"data": [{"paragraphs": [{"context": "好书", "qas": [question]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    schema = RowSchema("question", "context", keep=("id",))
    (row,) = read_rows(tmp_path / "a.json", schema)
    assert row.kept == ('"56d"',)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "x", "qid": 1}', "column 'more' is missing"),
        ('{"text": "x", "qid": NaN, "more": 1}', "'qid' is NaN, which JSON cannot hold"),
        ('{"text": "x", "qid": ["\\ud83d"], "more": 1}', "'qid' is a list"),
    ],
)
def test_a_row_whose_kept_columns_cannot_be_written_is_bad(tmp_path, line, says):
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(DataError, match=f"a.jsonl:1: {says}"):
        list(read_rows(tmp_path / "a.jsonl", KEEPING))


def test_a_column_is_kept_once():
    with pytest.raises(ConfigError, match="must differ"):
        RowSchema(keep=("qid", "qid"))
