import gzip
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.errors import DataError
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_formats import MAX_FIELD_CHARS, MAX_LINE_BYTES
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.rows import check_rows, read_rows
from tests.row_texts import SCHEMA, SENTIMENT, texts, write

BAD_RECORDS = {
    "missing text": ({"label": 1}, r"'text' is missing .*there is 'label'"),
    "missing label": ({"text": "x"}, "'label' is missing"),
    "null text": ({"text": None, "label": 1}, "'text' is null"),
    "number as text": ({"text": 5, "label": 1}, r"'text' is a int \(5\), not a text"),
    "list as text": ({"text": ["x"], "label": 1}, "'text' is a list"),
    "empty text": ({"text": "", "label": 1}, "'text' is empty"),
    "blank text": ({"text": " \u3000\n", "label": 1}, "'text' is empty"),
    "too long": ({"text": "x" * (MAX_FIELD_CHARS + 1), "label": 1}, "131,073 characters"),
    "surrogate": ({"text": "a\ud800", "label": 1}, "surrogate pair at character 1"),
    "unknown label": ({"text": "x", "label": "2"}, "'2', which is none of '0', '1'"),
    "NaN label": ({"text": "x", "label": float("nan")}, "label 'label' is NaN"),
    "null label": ({"text": "x", "label": None}, "label 'label' is null"),
    "float label": ({"text": "x", "label": 1.0}, r"label 'label' is a float \(1.0\)"),
    "bool label": ({"text": "x", "label": True}, r"label 'label' is a bool \(True\)"),
    "empty label": ({"text": "x", "label": " "}, "label 'label' is empty"),
    "label list": ({"text": "x", "label": ["1"]}, "label 'label' is a list"),
}


@pytest.mark.parametrize(("record", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_row_is_named_with_file_line_and_field(tmp_path, record, message):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(r) for r in ({"text": "good", "label": 1}, record)]
    write(path, "\n".join(lines))
    with pytest.raises(DataError, match=rf"^{path}:2: .*{message}"):
        texts(path, SENTIMENT)
    assert texts(path, SENTIMENT, on_bad="skip") == [("good", "1")]


HALF = "\ud83d"
PAIR = {"text": "谁", "text_pair": "好书"}
HALF_SURROGATES = {
    "label": (RowSchema(label="l"), {"text": "x", "l": HALF}),
    "known label": (RowSchema(label="l", labels=("a", HALF)), {"text": "x", "l": HALF}),
    "one of many labels": (RowSchema(label="l", is_multi_label=True), {"text": "x", "l": [HALF]}),
    "query": (RowSchema(query="l"), {"text": "x", "l": HALF}),
    "answer": (
        RowSchema("text", "text_pair", "l", holds="answers"),
        PAIR | {"l": [{"text": HALF, "answer_start": 0}]},
    ),
    "type of tags": (RowSchema(label="l", holds="entities"), {"text": "x", "l": ["B-" + HALF]}),
    "type of an entity": (
        RowSchema(label="l", holds="entities"),
        {"text": "x", "l": [{"start": 0, "end": 1, "label": HALF}]},
    ),
    "type of places": (
        RowSchema(label="l", holds="entities"),
        {"text": "x", "l": {HALF: {"x": [[0, 0]]}}},
    ),
}


@pytest.mark.parametrize(("schema", "record"), HALF_SURROGATES.values(), ids=HALF_SURROGATES)
def test_half_a_surrogate_pair_is_a_bad_row_wherever_it_stands(tmp_path, schema, record):
    path = write(tmp_path / "a.jsonl", json.dumps(record))
    with pytest.raises(DataError, match=rf"^{path}:1: .*'l'.* half of a surrogate pair"):
        texts(path, schema)


BAD_LINES = {
    "not JSON": (b"{'text': 1}", "not JSON"),
    "half an object": (b'{"text": "x"', "not JSON"),
    "not an object": (b'["x", 1]', "a JSON list, not an object"),
    "nested beyond reason": (b"[" * 100_000, "not JSON"),
    "GB18030": ("很好".encode("gb18030"), r"not UTF-8 \(byte 0xba at position 29 of the file\)"),
    "1 MB": (b'{"text": "' + b"x" * MAX_LINE_BYTES, "longer than 1,000,000 bytes"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_and_the_next_one_is_read(tmp_path, line, message):
    good = b'{"text": "good", "label": 1}'
    path = write(tmp_path / "a.jsonl", b"\n".join([good, line, good]))
    with pytest.raises(DataError, match=rf"^{path}:2: .*{message}"):
        texts(path)
    assert texts(path, on_bad="skip") == [("good", "1")] * 2


def test_a_line_of_the_greatest_length_is_read_and_so_is_the_next_one(tmp_path):
    start = b'{"text": "long", "more": "'
    longest = start + b"x" * (MAX_LINE_BYTES - len(start) - 2) + b'"}'
    path = write(tmp_path / "a.jsonl", longest + b'\n{"text": "next"}\n')
    assert [row.text for row in read_rows(path, RowSchema())] == ["long", "next"]


BAD_TABLE_ROWS = {
    "too few fields": ("csv", "x\n", "1 fields where the header names 2; quote fields"),
    "too many fields": ("csv", "x,y,1\n", "3 fields where the header names 2"),
    "tab in the text": ("tsv", "x\ty\t1\n", "3 fields where the header names 2; check its tabs"),
    "text after a quote": ("csv", '"x"y,1\n', "not a delimited row"),
    "field too long": ("csv", "x" * (MAX_FIELD_CHARS + 1) + ",1\n", "longer than 131,072 char"),
    "NaN": ("csv", "x,NaN\n", "'NaN', a missing number"),
}


@pytest.mark.parametrize(("suffix", "line", "message"), BAD_TABLE_ROWS.values(), ids=BAD_TABLE_ROWS)
def test_a_bad_table_row_is_named_and_the_next_one_is_read(tmp_path, suffix, line, message):
    separator = "," if suffix == "csv" else "\t"
    header = separator.join(("text", "label")) + "\n"
    path = write(tmp_path / f"a.{suffix}", header + line + f"good{separator}1\n")
    with pytest.raises(DataError, match=f"^{path}:2: .*{message}"):
        texts(path)
    assert texts(path, on_bad="skip") == [("good", "1")]


def test_a_bad_question_of_a_squad_file_is_skipped_like_any_other_row(tmp_path):
    answers = [{"text": "书", "answer_start": 1}]
    questions = [{"question": "谁", "answers": answers}, {"question": "哪"}, {"answers": answers}]
    paragraph = {"context": "好书坏", "qas": questions}
    path = write(tmp_path / "dev.json", json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    schema = RowSchema("question", "context", "answers", holds="answers")
    with pytest.raises(DataError, match=rf"^{path}:2: column 'answers' is missing"):
        list(read_rows(path, schema))
    reader = read_rows(path, schema, on_bad="skip")
    assert [row.text for row in reader] == ["谁"]
    assert [bad.origin for bad in reader.skipped] == [f"{path}:2", f"{path}:3"]


def test_an_open_quote_is_an_error_where_the_file_ends(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\ngood,1\n"open,1\nmore,0\n')
    with pytest.raises(DataError, match="ends inside a quoted field"):
        texts(path)


def test_parquet_names_the_row(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["x", None], "label": pa.array([1.0, float("nan")])})
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(DataError, match=rf"{path}:1: label 'label' is a float"):
        texts(path)
    with pytest.raises(DataError, match=rf"{path}:2: 'text' is null"):
        texts(path, RowSchema())


def test_parquet_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    raw = pa.array([b"good", "很".encode("gb18030")], pa.binary())
    column = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    pyarrow.parquet.write_table(pa.table({"text": column}), path)
    with pytest.raises(DataError, match=rf"{path}:2: a text is not UTF-8"):
        texts(path, RowSchema())
    assert texts(path, RowSchema(), on_bad="skip") == [("good", None)]


def gzip_of_rows():
    return gzip.compress(b'{"text": "x", "label": 1}\n' * 1000)


BAD_FILES = {
    "empty": ("a.jsonl", b"", "has no rows"),
    "blank lines": ("a.jsonl", b"\n \n", "has no rows"),
    "header only": ("a.csv", b"text,label\n", "has no rows"),
    "empty csv": ("a.csv", b"", "has no rows"),
    "truncated gzip": ("a.jsonl.gz", gzip_of_rows()[:-20], "gzip data ends early"),
    "empty gzip": ("a.jsonl.gz", b"", "has no rows"),
    "not gzip": ("a.jsonl.gz", b'{"text": "x"}\n', "broken gzip data"),
    "flipped gzip": ("a.jsonl.gz", gzip_of_rows()[:30] + b"\0\0\0" + gzip_of_rows()[33:], "gzip"),
    "not parquet": ("a.parquet", b"PAR1 but no more", "cannot be read"),
    "truncated parquet": ("a.parquet", b"", "cannot be read"),
    "column missing": ("a.csv", b"review,label\nx,1\n", "'text' is missing .*'review'"),
    "column twice": ("a.csv", b"text,text\nx,1\n", "names .'text'. more than once"),
    "UTF-16": ("a.csv", "text,label\nx,1\n".encode("utf-16"), "not UTF-8 .byte 0xff at position 0"),
    "unknown suffix": ("a.xlsx", b"x", "unknown kind of file"),
    "packed parquet": ("a.parquet.gz", b"x", "parquet compresses inside"),
}


@pytest.mark.parametrize("on_bad", ["error", "skip"])
@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read_is_an_error_even_when_skipping(
    tmp_path, name, content, message, on_bad
):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=f"{path}.*{message}") as caught:
        texts(path, on_bad=on_bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["/nowhere/a.jsonl", "/nowhere/*.jsonl", "file:///nowhere/a.jsonl", "what://x/a.jsonl"],
)
def test_a_location_without_files_is_an_error(location):
    with pytest.raises(DataError, match=r"^(/nowhere|file:|what:)") as caught:
        read_rows(location, SCHEMA)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from(["jsonl", "csv", "tsv", "txt", "jsonl.gz"]))
def test_any_bytes_give_rows_or_data_errors_and_nothing_else(tmp_path_factory, content, suffix):
    path = write(tmp_path_factory.mktemp("any") / f"a.{suffix}", content)
    file = DataFile(str(path), suffix.removesuffix(".gz"), "a")
    try:
        rows = list(check_rows(file, RowSchema()))
    except DataError:
        return
    assert all(row.text.strip() for row in rows if isinstance(row, Row))
