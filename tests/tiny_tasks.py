"""Rows of every task family that a tiny network can learn in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NOISE = list("的一是不了很再来送货")
"""Characters of the tiny vocabulary that mean nothing here."""


def _noise(rng: np.random.Generator, low: int = 1, high: int = 10) -> str:
    return "".join(rng.choice(NOISE, size=rng.integers(low, high)))


def regression_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """The label is 5 if both texts hold the good character, 0 if none does."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        marks = rng.choice(list("好差"), size=2)
        label = 2.5 * int((marks == "好").sum())
        texts = [_noise(rng) + str(mark) + _noise(rng) for mark in marks]
        rows.append({"text_a": texts[0], "text_b": texts[1], "label": label})
    return rows


def ranking_rows(num_queries: int, seed: int) -> list[dict[str, Any]]:
    """Of four candidates one holds the good character."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(num_queries):
        question, best = _noise(rng), rng.integers(4)
        for k in range(4):
            answer = _noise(rng) + ("好" if k == best else "差")
            rows.append(
                {"qid": f"q{i}", "text_a": question, "text_b": answer, "label": int(k == best)}
            )
    return rows


def entity_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """``书店`` is a place, ``快慢`` a shop, each among noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        text, tags = "", []
        for word, kind in rng.permutation([("书店", "LOC"), ("快慢", "ORG")])[: rng.integers(0, 3)]:
            before = _noise(rng)
            text += before + word
            tags += ["O"] * len(before) + [f"B-{kind}", f"I-{kind}"]
        after = _noise(rng)
        rows.append({"tokens": list(text + after), "labels": tags + ["O"] * len(after)})
    return rows


def reading_rows(num_rows: int, seed: int, *, unanswerable: bool = False) -> dict[str, Any]:
    """SQuAD's form; the answer is ``书店`` or ``房间``, whichever is in the context."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(num_rows):
        answer, before = str(rng.choice(["书店", "房间"])), _noise(rng, 3)
        has_answer = not unanswerable or rng.random() < 0.6
        context = before + (answer if has_answer else "好") + _noise(rng, 3)
        given = [{"text": answer, "answer_start": len(before)}] if has_answer else []
        question = {"id": str(i), "question": "哪家", "answers": given}
        if unanswerable:
            question["is_impossible"] = not has_answer
        paragraphs.append({"context": context, "qas": [question]})
    return {"version": "v2.0", "data": [{"paragraphs": paragraphs}]}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
