"""Tasks that answer per token, through the batcher: rows of any length, texts of several rows."""

import asyncio

import numpy as np

from ernie_ray.errors import InferenceError
from ernie_ray.inference.batcher import Batcher
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.text_answers import answers_of_texts
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.tasks import family_of
from ernie_ray.text.features import TokenIds, Window
from tests.fake_text_model import VECTOR_SIZE, FakeTextModel, manifest

TASK = TokenLabelsSpec(labels=("O", "B-A", "I-A"))


class FakeTagger(FakeTextModel):
    """Tags every token whose id is 7; padding gets a logit that must never be read."""

    def forward(self, rows):
        longest = max(map(len, rows))
        logits = np.full((len(rows), longest, 3), 99.0, np.float32)
        for i, row in enumerate(rows):
            if 13 in row.input_ids:
                raise RuntimeError("poisoned batch")
            hits = np.array(row.input_ids) == 7
            logits[i, : len(row)] = np.stack([~hits, hits, np.zeros_like(hits)], axis=1) * 9.0
        vectors = np.zeros((len(rows), VECTOR_SIZE), np.float32)
        vectors[:, 0] = [len(row) for row in rows]
        return Outputs(vectors, logits)


def window(ids, start, text, is_first=True):
    offsets = [(start + i, start + i + 1) for i in range(len(ids))]
    return Window(ids, [0] * len(ids), offsets=offsets, text=text, is_first=is_first)


ROWS = [
    window([1, 7, 1], 0, "abcdef"),
    window([1, 1, 7, 1], 2, "abcdef", is_first=False),
    window([7], 0, "x"),
]


def infer(rows):
    async def run():
        model = FakeTagger(manifest().model_copy(update={"task": TASK}))
        batcher = Batcher(model, BatchLimits(max_batch_tokens=16))
        answers = await batcher.infer(rows)
        await batcher.close()
        return answers

    return asyncio.run(run())


def test_logits_of_rows_that_ran_in_any_batch_come_back_with_their_own_length():
    answers = answers_of_texts(infer(ROWS), ROWS)
    assert answers.logits.shape == (3, 4, 3)
    results = family_of(TASK).decode(answers.logits, ROWS)
    assert [[e["text"] for e in result["entities"]] for result in results] == [["b", "e"], ["x"]]


def test_vectors_are_one_per_text_that_of_its_first_row():
    assert answers_of_texts(infer(ROWS), ROWS).vectors[:, 0].tolist() == [3, 1]


def test_a_text_fails_if_one_of_its_rows_does_and_the_others_do_not():
    rows = [ROWS[0], window([13], 3, "abcdef", is_first=False), ROWS[2]]
    answers = answers_of_texts(infer(rows), rows)
    assert list(answers.errors) == [0]
    assert isinstance(answers.errors[0], InferenceError)


def test_rows_that_are_whole_texts_stay_as_they_are():
    rows = [TokenIds([7, 1], [0, 0]), TokenIds([1], [0])]
    answers = infer(rows)
    assert answers_of_texts(answers, rows) is answers
