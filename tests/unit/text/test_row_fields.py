import json

import pytest

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import read_rows
from tests.row_texts import jsonl, write


def test_the_kits_folders_of_files_without_suffix_or_header_are_read_with_column_names(tmp_path):
    (tmp_path / "train").mkdir()
    write(tmp_path / "train" / "part.0", "好\t1\n坏\t0\n")
    write(tmp_path / "train" / "1", "行\t1\n")
    write(tmp_path / "train" / ".hidden", "x")
    schema = RowSchema(label="label", header=("text", "label"))
    rows = list(read_rows(tmp_path / "train", schema))
    assert [(row.text, row.label) for row in rows] == [("行", "1"), ("好", "1"), ("坏", "0")]
    with pytest.raises(ConfigError, match=r"'text'.* more than once"):
        RowSchema(label="label", header=("text", "text", "label"))
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
        (
            {"t": "在北京", "l": [{"start": 1, "end": 3, "label": "LOC", "text": "北京"}]},
            "在北京",
            [[1, 3, "LOC"]],
        ),
        ({"t": ["a", "bc"], "l": {"X": {"a bc": [[0, 3]]}}}, "a bc", [[0, 4, "X"]]),
        ({"t": "a b", "l": {"X": {"a": [[0, 1]]}}}, "a b", [[0, 1, "X"]]),
        ({"t": "a b", "l": [{"start": 0, "end": 2, "label": "X"}]}, "a b", [[0, 1, "X"]]),
        ({"t": list("ab"), "l": ["I-X", "I-Y"]}, "ab", [[0, 1, "X"], [1, 2, "Y"]]),
        ({"t": "无", "l": []}, "无", []),
        (
            {"t": ["我", "在", "iPhone", "上"], "l": ["O", "O", "B-X", "O"]},
            "我在iPhone上",
            [[2, 8, "X"]],
        ),
        (
            {"t": ["用", "iPhone", "7", "，", "Mac", "a", "b"], "l": ["O", "B-X", "I-X", *"OOOO"]},
            "用iPhone 7，Mac ab",
            [[1, 9, "X"]],
        ),
        ({"t": ["北京", "大学"], "l": ["B-X", "I-X"]}, "北京大学", [[0, 4, "X"]]),
    ],
)
def test_entities_come_in_several_forms(tmp_path, fields, text, label):
    path = jsonl(tmp_path / "a.jsonl", fields)
    (row,) = read_rows(path, RowSchema("t", label="l", holds="entities"))
    assert row.text == text
    assert json.loads(row.label) == label


def test_an_entity_that_the_text_has_not_at_its_place_is_named_with_what_stands_there(tmp_path):
    label = {"company": {"浙商": [[0, 3]]}}
    path = jsonl(tmp_path / "a.jsonl", {"text": "浙商银行企业", "label": label})
    with pytest.raises(DataError, match="'浙商' at 0 to 4, where the text has '浙商银行'"):
        list(read_rows(path, RowSchema(label="label", holds="entities")))


@pytest.mark.parametrize("label", ["pos", " pos", "pos ", "\tpos\u3000"])
@pytest.mark.parametrize("labels", [None, ("neg", "pos")])
def test_spaces_around_a_class_make_no_other_class(tmp_path, label, labels):
    path = jsonl(tmp_path / "a.jsonl", {"text": "x", "label": label, "q": label})
    (row,) = read_rows(path, RowSchema(label="label", labels=labels, query="q"))
    assert (row.label, row.query) == ("pos", "pos")


def test_a_class_that_the_model_calls_by_a_name_with_spaces_keeps_them(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "x", "label": "pos "})
    (row,) = read_rows(path, RowSchema(label="label", labels=("neg", "pos ")))
    assert row.label == "pos "


@pytest.mark.parametrize("labels", ["sport|news", "sport | news", " sport||news "])
def test_spaces_around_a_label_are_no_part_of_it(tmp_path, labels):
    path = jsonl(tmp_path / "a.jsonl", {"text": "x", "label": labels})
    (row,) = read_rows(path, RowSchema(label="label", is_multi_label=True))
    assert row.label == "sport|news"


def test_none_of_the_labels_is_not_the_same_as_no_label(tmp_path):
    labels = [[], "|", "", None]
    path = jsonl(tmp_path / "a.jsonl", *({"text": "x", "label": label} for label in labels))
    schema = RowSchema(label="label", is_multi_label=True, is_label_optional=True)
    assert [row.label for row in read_rows(path, schema)] == ["|", "|", None, None]


@pytest.mark.parametrize("labels", [["sport ", " news"], ["sport", "news"]])
def test_spaces_around_a_listed_label_are_no_part_of_it(tmp_path, labels):
    path = jsonl(tmp_path / "a.jsonl", {"text": "x", "label": labels})
    (row,) = read_rows(path, RowSchema(label="label", is_multi_label=True))
    assert row.label == "sport|news"


def test_squads_json_is_one_row_per_question(tmp_path):
    answer, nothing = {"text": "书", "answer_start": 1}, {"text": "", "answer_start": -1}
    questions = [
        {"id": "1", "question": "谁", "answers": [answer]},
        {"id": "2", "question": "哪", "answers": [], "is_impossible": True},
        {"id": "3", "question": "哪", "answers": [nothing], "is_impossible": True},
    ]
    content = {"data": [{"paragraphs": [{"context": "好书坏", "qas": questions}]}]}
    write(tmp_path / "dev.json", json.dumps(content))
    schema = RowSchema("question", "context", "answers", holds="answers")
    rows = list(read_rows(tmp_path, schema))
    assert [(row.text, row.text_pair, row.label) for row in rows] == [
        ("谁", "好书坏", '[["书",1]]'),
        ("哪", "好书坏", "[]"),
        ("哪", "好书坏", "[]"),
    ]
    assert rows[1].origin == f"{tmp_path}/dev.json:2"


def test_optional_columns_may_be_missing_null_or_empty_but_not_wrong(tmp_path):
    path = tmp_path / "rows.jsonl"
    schema = RowSchema(
        label="label", is_label_optional=True, teacher_logits="teacher_logits", copy="copy"
    )
    path.write_text(
        '{"text": "a", "label": "x", "teacher_logits": [1, -2.5], "copy": 3}\n'
        '{"text": "b", "label": null, "teacher_logits": [0, 1]}\n'
        '{"text": "c", "label": "", "teacher_logits": [2, 0]}\n'
        '{"text": "d", "label": "y", "teacher_logits": null}\n',
        encoding="utf-8",
    )
    rows = list(read_rows(path, schema))
    assert [row.label for row in rows] == ["x", None, None, "y"]
    assert [row.teacher_logits for row in rows] == [(1.0, -2.5), (0.0, 1.0), (2.0, 0.0), None]
    assert [row.copy for row in rows] == [3, 0, 0, 0]
    for wrong in (
        '"teacher_logits": null',  # neither: nothing to learn
        *('"teacher_logits": "1"', '"teacher_logits": [true]'),
        *('"teacher_logits": [1e39]', f'"teacher_logits": [1{"0" * 400}]'),
        *('"copy": "x"', '"copy": "1_0"', '"copy": -1', '"copy": 2147483648'),
    ):
        path.write_text(f'{{"text": "a", {wrong}}}\n', encoding="utf-8")
        with pytest.raises(DataError, match=r"rows\.jsonl:1"):
            list(read_rows(path, schema))


def test_a_number_may_be_missing_where_labels_are_optional(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": 2.5}\n{"text": "b", "label": null}\n{"text": "c"}\n')
    schema = RowSchema(label="label", holds="number", low=0, high=5, is_label_optional=True)
    assert [row.label for row in read_rows(path, schema)] == ["2.5", None, None]
