"""Reading comprehension: a question and a context to the piece of the context that answers it.

Dimension key: N windows, T tokens.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import ReadingSpec, TaskSpec
from ernie_ray.tasks.answer_metrics import answer_f1, exact_match, is_chinese
from ernie_ray.tasks.answer_spans import (
    Answer,
    Place,
    best_answers,
    best_threshold,
    locate,
    token_span,
)
from ernie_ray.tasks.classification import softmax
from ernie_ray.tasks.example import NO_LABEL, Example, RowArrays
from ernie_ray.tasks.tables import Tables
from ernie_ray.text.features import TokenIds, Window, rows_of_texts
from ernie_ray.text.row_schema import Row, RowSchema

FOUND_ELSEWHERE = "answers not at their stated start, found elsewhere"
DROPPED = "answers not in their context; left out of training"
CUT = "answers that no window holds whole; left out of training"
_NUM_SHOWN = 5


class Reading:
    """Labels, results and metrics of a reader."""

    loss = "span_cross_entropy"
    primary_metric = "f1"
    metric_names: tuple[str, ...] = ("exact_match", "f1")
    is_per_token = True
    takes_pairs = True
    ranks_by_query = False
    label_width = 2

    def __init__(self, spec: ReadingSpec) -> None:
        self.spec = spec

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Expect the answers of a question in the second text."""
        return replace(schema, holds="answers")

    def note(self, row: Row, tokens: Sequence[TokenIds]) -> str:
        """Say whether an answer is not where the row says, or in no window as a whole."""
        answers = json.loads(row.label or "[]")
        if not answers:
            return ""
        place, moved = locate(answers, row.text_pair or "")
        if place is None:
            return DROPPED
        if not any(_spans(tokens, place)):
            return CUT
        return FOUND_ELSEWHERE if moved else ""

    def examples(self, row: Row, tokens: Sequence[TokenIds], *, measures: bool) -> list[Example]:
        """Mark the answer's first and last token in each window that holds all of it.

        Other windows point to their first token, ``[CLS]``. A row whose answer is in none of them
        would teach that it has none, so it gives no example. Of the windows beside one with the
        answer, training takes ``spec.answerless_share``, always the same ones. ``info`` holds the
        tokens' places and, once, context and answers.
        """
        answers = None if row.label is None else json.loads(row.label)
        context = row.text_pair or ""
        place, _ = locate(answers or [], context)
        spans = _spans(tokens, place)
        if answers and not any(spans) and not measures:
            return []
        found = []
        for i, (window, span) in enumerate(zip(tokens, spans, strict=True)):
            assert isinstance(window, Window)
            if not (measures or span) and any(spans) and not self._is_drawn(row, i):
                continue
            label = NO_LABEL if answers is None else np.array(span or (0, 0), dtype=np.float32)
            info: dict[str, Any] = {"places": window.offsets}
            if i == 0:
                info |= {"context": context, "answers": [text for text, _ in answers or []]}
            text = json.dumps(info, ensure_ascii=False, separators=(",", ":")) if measures else ""
            found.append(Example(window, label, text))
        return found

    def _is_drawn(self, row: Row, window: int) -> bool:
        digest = zlib.crc32(f"{window} {row.text} {row.text_pair}".encode())
        return digest < self.spec.answerless_share * 2**32

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn logits [N, T, 2] into the best answers of each question, best first."""
        results = []
        for group in rows_of_texts(rows):
            windows = [rows[i] for i in group]
            parts = [
                (logits[i], window.offsets)
                for i, window in zip(group, windows, strict=True)
                if isinstance(window, Window)
            ]
            context = windows[0].text if isinstance(windows[0], Window) else ""
            results.append(self._result(best_answers(parts, self.spec.max_answer_tokens), context))
        return results

    def kept(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep logits [N, T, 2] as they are."""
        return logits

    def kept_shape(self, num_tokens: int) -> tuple[int, ...]:
        """[T, 2]."""
        return (num_tokens, 2)

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Exact match and F1 over questions, each by the rules of its language.

        Where some questions have no answer and no threshold is set, the one that is best on these
        very rows is used, and given as ``no_answer_threshold``.
        """
        del labels  # places in windows; what counts is the text of the answer
        questions: list[dict[str, Any]] = []
        for output, info in zip(outputs, infos, strict=True):
            content = json.loads(info)
            if "context" in content:
                questions.append({**content, "parts": []})
            questions[-1]["parts"].append((output, [(a, b) for a, b in content["places"]]))
        measured = [self._measured(question) for question in questions]
        threshold = self.spec.no_answer_threshold
        found: dict[str, float] = {}
        if threshold is None and any(not question["answers"] for question in questions):
            threshold = best_threshold([(m["lead"], m["f1"], m["none"]) for m in measured])
            found["no_answer_threshold"] = threshold
        limit = -np.inf if threshold is None else threshold
        for name, key in (("exact_match", "em"), ("f1", "f1")):
            values = [m[key] if m["lead"] >= limit else m["none"] for m in measured]
            found[name] = float(np.mean(values)) if values else 0.0
        return found

    def tables(self, outputs: RowArrays, labels: RowArrays, infos: Sequence[str] = ()) -> Tables:
        """Give no table."""
        del outputs, labels, infos
        return Tables()

    def is_right(self, row: Row, result: Mapping[str, Any]) -> bool:
        """Compare as exact match does."""
        answers = [text for text, _ in json.loads(row.label or "[]")]
        chinese = is_chinese(row.text_pair or "")
        return bool(exact_match(result["answer"], answers, chinese=chinese))

    def tuned(self, metrics: Mapping[str, float]) -> TaskSpec:
        """Take over the threshold that was best on the dev rows."""
        if "no_answer_threshold" not in metrics:
            return self.spec
        threshold = metrics["no_answer_threshold"]
        return self.spec.model_copy(update={"no_answer_threshold": threshold})

    def _measured(self, question: Mapping[str, Any]) -> dict[str, float]:
        found = best_answers(question["parts"], self.spec.max_answer_tokens)
        context, answers = question["context"], question["answers"]
        text = context[found[0].start : found[0].end] if found else ""
        chinese = is_chinese(context)
        return {
            "lead": found[0].lead if found else -np.inf,
            "em": exact_match(text, answers, chinese=chinese),
            "f1": answer_f1(text, answers, chinese=chinese),
            "none": float(not answers),
        }

    def _result(self, found: Sequence[Answer], context: str) -> dict[str, Any]:
        threshold = self.spec.no_answer_threshold
        leads = [answer.lead for answer in found] + ([] if threshold is None else [threshold])
        scores = softmax(np.array(leads, dtype=np.float32)).tolist() if leads else []
        shown = [
            {
                "text": context[answer.start : answer.end],
                "start": answer.start,
                "end": answer.end,
                "score": score,
            }
            for answer, score in zip(found, scores, strict=False)
        ]
        has_answer = bool(found) and (threshold is None or found[0].lead >= threshold)
        none = {"text": "", "start": None, "end": None, "score": scores[-1] if scores else 0.0}
        best = shown[0] if has_answer else none
        return {
            "answer": best["text"],
            "score": best["score"],
            "start": best["start"],
            "end": best["end"],
            "nbest": shown[:_NUM_SHOWN],
        }


def _spans(tokens: Sequence[TokenIds], place: Place | None) -> list[tuple[int, int] | None]:
    """Where an answer stands in each window, None where it does not."""
    windows = [window.offsets if isinstance(window, Window) else [] for window in tokens]
    return [token_span(places, place) for places in windows]
