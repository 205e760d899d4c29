"""Read SQuAD's JSON (v1.1, v2 and CMRC2018's) as one raw row per question.

The only format that is read as a whole: a JSON document has no rows to stream.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from ernie_ray.errors import DataError
from ernie_ray.text.row_files import DataFile

RawRow = tuple[int, Mapping[str, object] | str]
"""Line (from 1; in parquet, row; in .json, question) and the row's fields or, as a string, what is
wrong with it."""


def read_squad(file: DataFile, stream: IO[bytes]) -> Iterator[RawRow]:
    """Give each question with its context: ``id``, ``question``, ``context``, ``answers``.

    Raises:
        DataError: The file is not UTF-8, not JSON, or has not SQuAD's outer form.
    """
    raw = (gzip.GzipFile(fileobj=stream) if file.is_gzip else stream).read()
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file.name}: not UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start} of "
            "the file); convert it, e.g. iconv -f GB18030 -t UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: not JSON ({error}); one row per line is .jsonl") from error
    number = 0
    for where, paragraph in _paragraphs(file, content):
        if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
            raise DataError(f"{file.name}: {where} has no list 'qas'; SQuAD's form is needed")
        for question in paragraph["qas"]:
            number += 1
            if not isinstance(question, dict):
                yield number, f"a question is a {type(question).__name__}, not an object"
                continue
            context = {"context": paragraph["context"]} if "context" in paragraph else {}
            yield number, {**question, **context}


def _paragraphs(file: DataFile, content: Any) -> Iterator[tuple[str, Any]]:
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        raise DataError(
            f"{file.name}: has no list 'data' of SQuAD's form; rows of other tasks are read from "
            ".jsonl, one object a line"
        )
    for i, article in enumerate(articles):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise DataError(f"{file.name}: data[{i}] has no list 'paragraphs'")
        for j, paragraph in enumerate(paragraphs):
            yield f"data[{i}].paragraphs[{j}]", paragraph
