"""Answers per text, where a batcher gives them per row and a long text has several rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ernie_ray.inference.answers import Answers
from ernie_ray.text.features import TokenIds, rows_of_texts


def answers_of_texts(answers: Answers, rows: Sequence[TokenIds]) -> Answers:
    """Give vectors and errors one entry per text; logits stay those of the rows.

    The vector is that of a text's first row; a text fails if one of its rows did.
    """
    groups = rows_of_texts(rows)
    if len(groups) == len(rows):
        return answers
    errors = {
        text: answers.errors[row]
        for text, group in enumerate(groups)
        for row in group
        if row in answers.errors
    }
    firsts = [group[0] for group in groups]
    vectors = answers.vectors
    chosen = [vectors[i] for i in firsts] if isinstance(vectors, list) else vectors[firsts]
    return replace(answers, vectors=chosen, errors=errors)
