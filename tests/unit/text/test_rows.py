import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.rows import has_column, read_rows
from tests.remote_files import OPTIONS, serve_folder
from tests.row_texts import jsonl, texts, write

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
    for name in (".hidden.jsonl", ".parts-1/p.jsonl", "_temporary/0/p.jsonl", "sub/.x/p.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, "no rows")
    reader = read_rows(tmp_path, RowSchema())
    rows = list(reader)
    assert [row.text for row in rows] == ["a1", "a2", "b1", "b2", "sub/c1", "sub/c2"]
    assert [row.index for row in rows] == list(range(6))
    assert list(reader.num_rows.values()) == [2, 2, 2]


@pytest.mark.parametrize("pattern", ["rows", "rows/", "rows/*/a b*", "rows/**", "rows/x/中?.jsonl"])
def test_files_of_a_folder_keep_host_and_options_of_its_uri(tmp_path, monkeypatch, pattern):
    far = serve_folder(tmp_path, monkeypatch)
    (tmp_path / "rows" / "x").mkdir(parents=True)
    names = ("x/a b.jsonl.gz", "x/中%.jsonl")
    write(tmp_path / "rows" / names[0], gzip.compress(b'{"text": "one"}\n'))
    jsonl(tmp_path / "rows" / names[1], {"text": "two"})
    write(tmp_path / "rows" / "info.json", "no rows")
    wanted = {"rows/*/a b*": ["one"], "rows/x/中?.jsonl": ["two"]}.get(pattern, ["one", "two"])
    masked = pattern.replace("?", "%3F")
    assert [row.text for row in read_rows(f"{far}/{masked}?{OPTIONS}", RowSchema())] == wanted


def test_a_single_file_may_have_options(tmp_path, monkeypatch):
    far = serve_folder(tmp_path, monkeypatch)
    write(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "one"}\n'))
    (file,) = find_files(f"{far}/a.jsonl.gz?{OPTIONS}")
    assert (file.format, file.is_gzip) == ("jsonl", True)
    assert [row.text for row in read_rows(file.location, RowSchema())] == ["one"]


def test_a_uri_may_name_files_in_any_script(tmp_path):
    path = jsonl(tmp_path / "评 论#[1].jsonl", {"text": "one"})
    assert texts(f"file://{path}", RowSchema()) == [("one", None)]
    assert texts(f"file://{tmp_path}/评*", RowSchema()) == [("one", None)]


@pytest.mark.parametrize("prefix", ["", "file://"], ids=["path", "uri"])
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a"]),
        ("**/*.jsonl", ["a", "sub/b", "sub/deep/c"]),
        ("**", ["a", "sub/b", "sub/deep/c"]),
        ("sub/*", ["sub/b"]),
        ("*/*/*", ["sub/deep/c"]),
        ("_*/*.jsonl", ["_old/d"]),
        (".p*/*", [".parts/e"]),
        ("*/d.jsonl", None),
    ],
)
def test_a_glob_chooses_the_same_files_on_disk_and_at_a_uri(tmp_path, prefix, pattern, expected):
    for name in ("a", "sub/b", "sub/deep/c", "_old/d", ".parts/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        jsonl(tmp_path / f"{name}.jsonl", {"text": name})
    if expected is None:
        with pytest.raises(DataError, match="no data file is there"):
            find_files(f"{prefix}{tmp_path}/{pattern}")
    else:
        found = read_rows(f"{prefix}{tmp_path}/{pattern}", RowSchema())
        assert [row.text for row in found] == expected


@pytest.mark.parametrize("prefix", ["", "file://"], ids=["path", "uri"])
def test_hidden_files_of_a_folder_are_no_rows_wherever_the_folder_stands(tmp_path, prefix):
    folder = tmp_path / ".cache" / "_rows"
    (folder / ".labelled.parts-1").mkdir(parents=True)
    jsonl(folder / "a.jsonl", {"text": "a"})
    jsonl(folder / ".labelled.parts-1" / "part.jsonl", {"text": "a"})
    assert [row.text for row in read_rows(f"{prefix}{folder}", RowSchema())] == ["a"]


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
    assert [label for _, label in texts(path, schema)] == ["a|b", "b|a", "|", "|"]


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
    with pytest.raises(ConfigError, match="'copy' holds the number of an augmented copy"):
        RowSchema(text="copy", copy="copy")


def test_files_are_found_in_one_order_whatever_the_disk_gives(tmp_path):
    for name in ("2", "10", "1"):
        jsonl(tmp_path / f"{name}.jsonl", {"text": name})
    names = [file.name.rpartition("/")[2] for file in find_files(tmp_path)]
    assert names == ["1.jsonl", "10.jsonl", "2.jsonl"]


def test_a_json_file_beside_rows_of_another_format_is_passed_over(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"text": "x"})
    write(tmp_path / "dataset_info.json", "{}")
    assert [file.format for file in find_files(tmp_path)] == ["jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "is_there"),
    [
        ("a.jsonl", b'{"text": "a"}\n{\n{"text": "b", "kind": null}\n', True),
        ("b.jsonl", b'{"text": "a"}\n{"text": "b"}\n', False),
        ("c.csv", b'text,kind\n"a"b,x\na,x\n', True),
        ("d.tsv", b"text\tlabel\na\tx\n", False),
        ("e.txt", b"a\nb\n", False),
    ],
)
def test_a_column_that_rows_may_lack_is_looked_for_in_all_rows(tmp_path, name, content, is_there):
    (tmp_path / name).write_bytes(content)
    assert has_column(find_files(tmp_path / name), "kind", ()) is is_there


def test_a_column_is_looked_for_in_every_file_and_in_the_schema_of_parquet(tmp_path):
    pyarrow.parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    assert not has_column(find_files(tmp_path), "kind", ())
    pyarrow.parquet.write_table(pa.table({"text": ["a"], "kind": ["x"]}), tmp_path / "b.parquet")
    assert has_column(find_files(tmp_path), "kind", ())
