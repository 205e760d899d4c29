"""Inputs that no task can use: for each family rows and files, broken in every way we know of.

A case is the family, the file's name, its bytes, and what the error must say.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet

NAN, INF = float("nan"), float("inf")
HALF = "\ud83d"
"""Half of a surrogate pair: JSON can write it, UTF-8 cannot."""
GOOD: dict[str, dict[str, Any]] = {
    "classification": {"text": "好书", "label": "positive"},
    "regression": {"text_a": "好", "text_b": "坏", "label": 0.5},
    "ranking": {"text_a": "好", "text_b": "坏", "label": 1, "qid": "q1"},
    "token_labels": {"tokens": ["好", "书"], "labels": ["B-LOC", "I-LOC"]},
    "reading": {
        "question": "谁",
        "context": "好书坏",
        "answers": [{"text": "书", "answer_start": 1}],
    },
}
TEXTS = {
    "classification": "text",
    "regression": "text_b",
    "ranking": "text_a",
    "reading": "context",
}
BAD_VALUES: dict[str, dict[str, list[Any]]] = {
    "classification": {"label": ["", " ", "nope", 7, 0.5, ["positive"], "nan", "Positive", HALF]},
    "regression": {
        "label": ["", "x", "nan", INF, -INF, 1.5, -0.1, "2", [1], "0,5", 1e300, "١/٢", HALF, "0_1"],
    },
    "ranking": {"qid": [None, NAN, "", " ", ["q"], 1.5, False, HALF], "label": [2, -1, "yes"]},
}
LABELS = {"token_labels": "labels", "reading": "answers"}


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        family: Key of ``GOOD``.
        name: File name.
        content: Its bytes.
        says: What the error's text must hold.
        line: The bad row's line; 0: the error is of the whole file, or ``says`` has it.
    """

    family: str
    name: str
    content: bytes
    says: str
    line: int = 0


def bad_fields(family: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes of a good row that make it bad, with the field that the error must name."""
    label = LABELS.get(family, "label")
    for column in GOOD[family]:
        yield {column: ...}, column  # the column is missing
    if family in TEXTS:
        for value in ("", "  \t", 3, 1.5, None, True, ["a"], {"a": 1}, HALF, "x" * 200_000):
            yield {TEXTS[family]: value}, TEXTS[family]
    for value in (None, NAN, True, {"x": 3}):
        yield {label: value}, label
    for column, values in BAD_VALUES.get(family, {}).items():
        for value in values:
            yield {column: value}, column
    if family == "token_labels":
        yield from _bad_tags()
    if family == "reading":
        yield from _bad_answers()


def _bad_tags() -> Iterator[tuple[dict[str, Any], str]]:
    for tags in (
        ["B-LOC"], ["B-LOC", "I-LOC", "O"], [], ["LOC-B", "LOC-I"], ["B-", "O"], ["b-LOC", "O"],
        ["B-CITY", "O"], ["B-" + HALF, "O"], ["", "O"], [1, 2], ["O", None], "B-LOC",
        "B-LOC\x02I-LOC\x02O", 7,
    ):  # fmt: skip
        yield {"labels": tags}, "labels"
    for tokens in ("好\x02\x02书", "\x02好\x02书", "好\x02书\x02"):
        yield {"tokens": tokens, "labels": "B-LOC\x02O\x02O"}, "tokens"
    for tokens in ([], "", ["好", ""], ["好", 3], ["好", None], [" ", " "], 5, {"a": 1}):
        yield {"tokens": tokens}, "tokens"
    place = {"start": 0, "end": 1, "label": "LOC"}
    for change in (
        {"end": 9}, {"start": -1}, {"start": 1, "end": 1}, {"start": 1, "end": 0}, {"end": 1.0},
        {"start": "0"}, {"start": True}, {"end": None}, {"label": None}, {"label": ""},
        {"label": "CITY"}, {"label": 3}, {"label": HALF},
        {"text": "书"}, {"text": "好书"}, {"text": ""}, {"text": 1},
    ):  # fmt: skip
        yield {"tokens": "好书", "labels": [{**place, **change}]}, "labels"
    overlapping = [{**place, "end": 2}, {**place, "start": 1, "end": 2}]
    yield {"tokens": "好书", "labels": overlapping}, "labels"
    yield {"tokens": "好书", "labels": [place, {**place, "end": 2}]}, "labels"
    yield {"tokens": "好 书", "labels": [{**place, "start": 1, "end": 2}]}, "labels"
    for nested in (
        {"LOC": 1},
        {"LOC": {"好": 0}},
        {"LOC": {"好": [[0]]}},
        {"LOC": {"好": [[0, 7]]}},
        {HALF: {"好": [[0, 0]]}},
        {"LOC": {"书": [[0, 0]]}},
        {"LOC": {"好": [[0, 1]]}},
        {"LOC": {"好": [[0, 0], [1, 1]]}},
    ):
        yield {"tokens": "好书", "labels": nested}, "labels"


def _bad_answers() -> Iterator[tuple[dict[str, Any], str]]:
    answer = {"text": "书", "answer_start": 1}
    for change in (
        {"answer_start": 3}, {"answer_start": 99}, {"answer_start": "1"}, {"answer_start": 1.5},
        {"answer_start": None}, {"answer_start": True}, {"text": ""}, {"text": " "}, {"text": 4},
        {"text": None}, {"text": HALF},
    ):  # fmt: skip
        yield {"answers": [{**answer, **change}]}, "answer"
    for answers in ("书", 5, [5], ["书"], {"text": ["书"]}):
        yield {"answers": answers}, "answers"
    for flag in ("no", 0, 1, 1.0, []):
        yield {"is_impossible": flag, "answers": []}, "is_impossible"
    yield {"is_impossible": False, "answers": []}, "answers"
    yield {"is_impossible": True}, "is_impossible"
    yield {"is_impossible": True, "answers": [{**answer, "answer_start": 99}]}, "is_impossible"
    yield {"is_impossible": True, "answers": ["书"]}, "is_impossible"


def changed(family: str, change: dict[str, Any]) -> dict[str, Any]:
    """A good row with some fields replaced, or, by ``...``, left out."""
    row = {**GOOD[family], **change}
    return {key: value for key, value in row.items() if value is not ...}


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def row_cases() -> Iterator[Case]:
    """Bad rows first, in the middle and last, in plain and compressed JSON lines."""
    for family in GOOD:
        for i, (change, field) in enumerate(bad_fields(family)):
            position = i % 3
            rows = [GOOD[family]] * 3
            rows[position] = changed(family, change)
            name = "rows.jsonl" + (".gz" if i % 2 else "")
            content = _lines(rows)
            packed = gzip.compress(content) if i % 2 else content
            yield Case(family, name, packed, field, line=position + 1)


def line_cases() -> Iterator[Case]:
    """Lines that are no rows."""
    good = _lines([GOOD["classification"]])
    for bad in (
        b"{", b"[]", b'"text"', b"3", b"null", b"{'text': 1}", b'{"text": "a", "label": }',
        b"\x00\x01\x02", b"\xff\xfe{", '{"text": "书"}'.encode("gb18030"), b"[" * 100_000,
        b'{"text": "' + b"x" * 1_100_000 + b'"}', '{"text": "书"'.encode("utf-16"),
        b'{"text": "\xe4\xb9"}', b"text,label",
    ):  # fmt: skip
        yield Case("classification", "a.jsonl", bad + b"\n" + good, "a.jsonl:1: ")
        yield Case("classification", "b.jsonl", good + bad + b"\n", "b.jsonl:2: ")
        yield Case("classification", "c.jsonl.gz", gzip.compress(good + bad), "c.jsonl.gz:2: ")


def file_cases() -> Iterator[Case]:
    """Files that cannot be read, of every format and compression."""
    good = _lines([GOOD["classification"]] * 50)
    packed = gzip.compress(good)
    for family in GOOD:
        yield Case(family, "empty.jsonl", b"", "has no rows")
        yield Case(family, "blank.jsonl", b"\n\n \n", "has no rows")
        yield Case(family, "short.jsonl.gz", packed[: len(packed) // 2], "gzip data ends early")
        yield Case(family, "plain.jsonl.gz", good, "broken gzip")
        yield Case(family, "broken.parquet", b"PAR1" + good[:99] + b"PAR1", "broken.parquet")
        yield Case(family, "rows.xlsx", good, "unknown kind of file")
    yield Case(
        "classification", "flip.jsonl.gz", packed[:30] + b"zz" + packed[32:], "flip.jsonl.gz"
    )
    for name, content, says in (
        ("a.tsv", b"text\tlabel\n\xe5\xa5\xbd\n", "1 fields where the header names 2"),
        ("b.tsv", b"text\tlabel\na\tpositive\tx\n", "3 fields"),
        ("c.tsv", b"text\ttext\na\tb\n", "more than once"),
        ("d.tsv", b"txt\tlabel\na\tpositive\n", "'text' is missing"),
        ("e.tsv", b"text\tlabel\n", "has no rows"),
        ("f.tsv", b"text\tlabel\n\xc4\xe3\tpositive\n", "not UTF-8"),
        ("g.tsv", b"text\tlabel\na\tnone\n", "'none'"),
        ("h.tsv", b"text\tlabel\na\tpositive\n\xff\tpositive\n", "h.tsv:3: "),
        ("a.csv", b'text,label\n"a,positive\n', "quote"),
        ("b.csv", b"text,label\na,b,positive\n", "quote fields that hold commas"),
        ("c.csv", b'text,label\n"a"b,positive\n', "c.csv:2: "),
        ("d.csv", b"text,label\n,positive\n", "'text' is empty"),
        ("e.csv", b"text,label\na,\n", "'label' is empty"),
        ("f.csv", b"\xff\xfet\x00e\x00", "not UTF-8"),
        ("g.csv", b"text,label\n" + b"x" * 1_200_000 + b",positive\n", "longer than"),
    ):
        yield Case("classification", name, content, says)
    for columns, says in (
        ({"text": ["a"]}, "'label' is missing"),
        ({"text": ["a", None], "label": ["positive"] * 2}, "'text' is null"),
        ({"text": [1], "label": ["positive"]}, "'text' is a int"),
        ({"text": ["a"], "label": [0.5]}, "'label' is a float"),
        ({"text": ["a"], "label": ["none"]}, "'none'"),
    ):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(columns), buffer)
        yield Case("classification", "rows.parquet", buffer.getvalue(), says)


def squad_cases() -> Iterator[Case]:
    """Documents that have not SQuAD's form."""
    question = {"id": "1", "question": "谁", "answers": [{"text": "书", "answer_start": 1}]}
    paragraph = {"context": "好书坏", "qas": [question]}
    for content, says in (
        ([], "no list 'data'"),
        ({}, "no list 'data'"),
        ({"data": {}}, "no list 'data'"),
        ({"data": []}, "has no rows"),
        ({"data": [3]}, "data[0]"),
        ({"data": [{"paragraphs": 3}]}, "data[0]"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, "no list 'qas'"),
        ({"data": [{"paragraphs": [{"qas": [question]}]}]}, "'context' is missing"),
        ({"data": [{"paragraphs": [{**paragraph, "context": ""}]}]}, "'context' is empty"),
        ({"data": [{"paragraphs": [{**paragraph, "context": 3}]}]}, "'context' is a int"),
        ({"data": [{"paragraphs": [{**paragraph, "qas": [7]}]}]}, ":1: a question is a int"),
        ({"data": [{"paragraphs": [paragraph, {**paragraph, "qas": [{}]}]}]}, ":2: "),
    ):
        yield Case("reading", "dev.json", json.dumps(content).encode(), says)
    whole = json.dumps({"data": [{"paragraphs": [paragraph]}]}, ensure_ascii=False).encode()
    yield Case("reading", "cut.json", whole[: len(whole) // 2], "cut.json: not")
    yield Case("reading", "gbk.json", whole.decode().encode("gb18030"), "not UTF-8")
    yield Case("reading", "cut.json.gz", gzip.compress(whole)[:-12], "gzip data ends early")
    yield Case("reading", "none.json", b"", "not JSON")


def malformed_inputs() -> list[Case]:
    """Every case."""
    return [*row_cases(), *line_cases(), *file_cases(), *squad_cases()]
