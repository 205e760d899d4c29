import gzip
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.row_formats import MAX_FIELD_CHARS, MAX_LINE_BYTES
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.rows import check_rows, read_rows

SCHEMA = RowSchema(label="label")
SENTIMENT = RowSchema(label="label", labels=("0", "1"))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(path, *records):
    return write(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def texts(location, schema=SCHEMA, **options):
    return [(row.text, row.label) for row in read_rows(location, schema, **options)]


TWO = [("很好", "1"), ("房间很旧", "0")]


def write_two(folder, suffix):
    if suffix == "parquet":
        path = folder / "rows.parquet"
        pyarrow.parquet.write_table(pa.table({"text": ["很好", "房间很旧"], "label": [1, 0]}), path)
        return path
    content = {
        "jsonl": '{"text": "很好", "label": 1}\n{"label": "0", "text": "房间很旧"}\n',
        "csv": 'label,text\r\n1,很好\r\n0,"房间很旧"\r\n',
        "tsv": "text\tlabel\n很好\t1\n房间很旧\t0\n",
    }[suffix.removesuffix(".gz")].encode()
    return write(
        folder / f"rows.{suffix}", gzip.compress(content) if suffix.endswith(".gz") else content
    )


@pytest.mark.parametrize(
    "suffix", ["jsonl", "jsonl.gz", "csv", "csv.gz", "tsv", "tsv.gz", "parquet"]
)
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    assert texts(write_two(tmp_path, suffix)) == TWO


@pytest.mark.parametrize("suffix", ["jsonl.gz", "parquet"])
def test_a_uri_gives_the_same_rows_as_a_path(tmp_path, suffix):
    assert texts(f"file://{write_two(tmp_path, suffix)}") == TWO


def test_rows_know_their_position_and_origin(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "x"}\n\n{"text": "y"}\n')
    assert list(read_rows(path, RowSchema())) == [
        Row(0, "x", None, None, f"{path}:1"),
        Row(1, "y", None, None, f"{path}:3"),
    ]


def test_plain_text_has_a_text_per_line(tmp_path):
    path = write(tmp_path / "a.txt", "one\n two \r\n\nthree")
    assert [row.text for row in read_rows(path, RowSchema())] == ["one", " two ", "three"]


def test_pairs_have_a_second_text(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"q": "谁", "a": "我"})
    (row,) = read_rows(path, RowSchema(text="q", text_pair="a"))
    assert (row.text, row.text_pair) == ("谁", "我")


def test_a_folder_is_read_by_name_and_numbered_through(tmp_path):
    for name in ("b", "a", "sub/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        jsonl(tmp_path / f"{name}.jsonl", {"text": name + "1"}, {"text": name + "2"})
    write(tmp_path / "notes.md", "no rows")
    write(tmp_path / ".hidden.jsonl", "no rows")
    reader = read_rows(tmp_path, RowSchema())
    rows = list(reader)
    assert [row.text for row in rows] == ["a1", "a2", "b1", "b2", "sub/c1", "sub/c2"]
    assert [row.index for row in rows] == list(range(6))
    assert list(reader.num_rows.values()) == [2, 2, 2]


@pytest.mark.parametrize("prefix", ["", "file://"], ids=["path", "uri"])
def test_a_glob_chooses_files(tmp_path, prefix):
    for name in ("train-1", "train-2", "dev-1"):
        jsonl(tmp_path / f"{name}.jsonl", {"text": name})
    found = read_rows(f"{prefix}{tmp_path}/train-*.jsonl", RowSchema())
    assert [row.text for row in found] == ["train-1", "train-2"]


def test_csv_keeps_commas_quotes_and_line_breaks_inside_quotes(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\n"a, ""b""\nc",1\nd,0\n')
    assert texts(path) == [('a, "b"\nc', "1"), ("d", "0")]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"open\t1\nend"\t0\n')
    assert texts(path) == [('"open', "1"), ('end"', "0")]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\nx,1\n")
    assert texts(path) == [("x", "1")]


def test_multi_labels_come_as_list_or_text(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl",
        {"text": "x", "label": ["a", "b"]},
        {"text": "y", "label": "b|a"},
        {"text": "z", "label": ""},
        {"text": "w", "label": []},
    )
    schema = RowSchema(label="label", labels=("a", "b"), is_multi_label=True)
    assert [label for _, label in texts(path, schema)] == ["a|b", "b|a", "", ""]


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


def test_skipped_rows_are_counted_and_listed(tmp_path):
    good, bad = {"text": "x"}, {"text": ""}
    path = jsonl(tmp_path / "a.jsonl", good, bad, good, bad)
    reader = read_rows(path, RowSchema(), on_bad="skip")
    assert [row.index for row in reader] == [0, 2]
    assert reader.num_skipped == 2
    assert [(bad.index, bad.origin) for bad in reader.skipped] == [
        (1, f"{path}:2"),
        (3, f"{path}:4"),
    ]


def test_skipping_all_rows_is_an_error(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"txt": "x"}, {"txt": "y"})
    with pytest.raises(DataError, match=r"none of 2 rows can be used; the first: .*:1: .*'txt'"):
        texts(path, on_bad="skip")


def test_rows_stream_before_a_later_file_is_looked_at(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"text": "first"})
    write(tmp_path / "b.jsonl", b"\xff")
    assert next(read_rows(tmp_path, RowSchema())).text == "first"


def test_contradictory_schemas_are_refused():
    with pytest.raises(ConfigError, match="no label column"):
        RowSchema(labels=("a", "b"))
    with pytest.raises(ConfigError, match="must differ"):
        RowSchema(text="x", label="x")


@given(st.binary(max_size=300), st.sampled_from(["jsonl", "csv", "tsv", "txt", "jsonl.gz"]))
def test_any_bytes_give_rows_or_data_errors_and_nothing_else(tmp_path_factory, content, suffix):
    path = write(tmp_path_factory.mktemp("any") / f"a.{suffix}", content)
    file = DataFile(str(path), suffix.removesuffix(".gz"), "a")
    try:
        rows = list(check_rows(file, RowSchema()))
    except DataError:
        return
    assert all(row.text.strip() for row in rows if isinstance(row, Row))


def test_files_are_found_in_one_order_whatever_the_disk_gives(tmp_path):
    for name in ("2", "10", "1"):
        jsonl(tmp_path / f"{name}.jsonl", {"text": name})
    names = [file.name.rpartition("/")[2] for file in find_files(tmp_path)]
    assert names == ["1.jsonl", "10.jsonl", "2.jsonl"]


def test_the_kits_folders_of_files_without_suffix_or_header_are_read_with_column_names(tmp_path):
    (tmp_path / "train").mkdir()
    write(tmp_path / "train" / "part.0", "好\t1\n坏\t0\n")
    write(tmp_path / "train" / "1", "行\t1\n")
    write(tmp_path / "train" / ".hidden", "x")
    schema = RowSchema(label="label", header=("text", "label"))
    rows = list(read_rows(tmp_path / "train", schema))
    assert [(row.text, row.label) for row in rows] == [("行", "1"), ("好", "1"), ("坏", "0")]
    write(tmp_path / "train" / "2", "a\tb\tc\n")
    with pytest.raises(DataError, match=r"2:1: 3 fields where data.columns names 2"):
        list(read_rows(tmp_path / "train", schema))


def test_the_kits_tagged_rows_are_joined_by_byte_two(tmp_path):
    path = write(tmp_path / "a.tsv", "text_a\tlabel\n北\x02京\x02好\tB-LOC\x02I-LOC\x02O\n")
    (row,) = read_rows(path, RowSchema("text_a", label="label", holds="entities"))
    assert (row.text, row.label) == ("北京好", '[[0,2,"LOC"]]')


@pytest.mark.parametrize(
    ("fields", "text", "label"),
    [
        ({"t": ["New", "York", "!"], "l": ["B-LOC", "I-LOC", "O"]}, "New York !", [[0, 8, "LOC"]]),
        ({"t": list("C罗好"), "l": ["B-PER", "E-PER", "O"]}, "C罗好", [[0, 2, "PER"]]),
        ({"t": "在北京", "l": [{"start": 1, "end": 3, "label": "LOC"}]}, "在北京", [[1, 3, "LOC"]]),
        ({"t": "在北京", "l": {"LOC": {"北京": [[1, 2]]}}}, "在北京", [[1, 3, "LOC"]]),
        ({"t": "a b", "l": [{"start": 0, "end": 2, "label": "X"}]}, "a b", [[0, 1, "X"]]),
        ({"t": list("ab"), "l": ["I-X", "I-Y"]}, "ab", [[0, 1, "X"], [1, 2, "Y"]]),
        ({"t": "无", "l": []}, "无", []),
    ],
)
def test_entities_come_in_several_forms(tmp_path, fields, text, label):
    path = jsonl(tmp_path / "a.jsonl", fields)
    (row,) = read_rows(path, RowSchema("t", label="l", holds="entities"))
    assert row.text == text
    assert json.loads(row.label) == label


def test_squads_json_is_one_row_per_question(tmp_path):
    answer = {"text": "书", "answer_start": 1}
    questions = [
        {"id": "1", "question": "谁", "answers": [answer]},
        {"id": "2", "question": "哪", "answers": [answer], "is_impossible": True},
    ]
    content = {"data": [{"paragraphs": [{"context": "好书坏", "qas": questions}]}]}
    write(tmp_path / "dev.json", json.dumps(content))
    schema = RowSchema("question", "context", "answers", holds="answers")
    rows = list(read_rows(tmp_path, schema))
    assert [(row.text, row.text_pair, row.label) for row in rows] == [
        ("谁", "好书坏", '[["书",1]]'),
        ("哪", "好书坏", "[]"),
    ]
    assert rows[1].origin == f"{tmp_path}/dev.json:2"


def test_a_json_file_beside_rows_of_another_format_is_passed_over(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"text": "x"})
    write(tmp_path / "dataset_info.json", "{}")
    assert [file.format for file in find_files(tmp_path)] == ["jsonl"]


def test_optional_columns_may_be_missing_null_or_empty_but_not_wrong(tmp_path):
    path = tmp_path / "rows.jsonl"
    schema = RowSchema(
        label="label", is_label_optional=True, teacher_logits="teacher_logits", copy="copy"
    )
    path.write_text(
        '{"text": "a", "label": "x", "teacher_logits": [1, -2.5], "copy": 3}\n'
        '{"text": "b", "label": null}\n'
        '{"text": "c", "label": "", "teacher_logits": null}\n',
        encoding="utf-8",
    )
    rows = list(read_rows(path, schema))
    assert [row.label for row in rows] == ["x", None, None]
    assert [row.teacher_logits for row in rows] == [(1.0, -2.5), None, None]
    assert [row.copy for row in rows] == [3, 0, 0]
    for wrong in ('"teacher_logits": "1"', '"teacher_logits": [true]', '"copy": "x"'):
        path.write_text(f'{{"text": "a", {wrong}}}\n', encoding="utf-8")
        with pytest.raises(DataError, match=r"rows\.jsonl:1"):
            list(read_rows(path, schema))


def test_a_number_may_be_missing_where_labels_are_optional(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": 2.5}\n{"text": "b", "label": null}\n{"text": "c"}\n')
    schema = RowSchema(label="label", holds="number", low=0, high=5, is_label_optional=True)
    assert [row.label for row in read_rows(path, schema)] == ["2.5", None, None]
