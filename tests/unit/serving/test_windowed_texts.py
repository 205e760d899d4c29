"""A tagger in the service: long texts of several rows, and refused texts among them."""

import asyncio

import numpy as np

from ernie_ray.errors import TextTooLongError
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.serving.ask import Ask, Call
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.served_model import ServedModel
from ernie_ray.text.features import Window
from tests.fake_text_model import VECTOR_SIZE, FakeTextModel, manifest

TASK = TokenLabelsSpec(labels=("O", "B-A", "I-A"))


class FakeTagger(FakeTextModel):
    """Windows of three characters that overlap by one; "a" is an entity, "!" marks a cut text."""

    def tokenize(self, texts):
        rows = []
        for text in texts:
            for start in range(0, max(len(text) - 1, 1), 2):
                part = text[start : start + 3]
                places = [(start + i, start + i + 1) for i in range(len(part))]
                ids = list(map(ord, part))
                cut = "!" in text
                rows.append(
                    Window(ids, [0] * len(ids), cut, offsets=places, text=text, is_first=start == 0)
                )
        return rows

    def forward(self, rows):
        logits = np.zeros((len(rows), max(map(len, rows)), 3), np.float32)
        for i, row in enumerate(rows):
            hits = np.array(row.input_ids) == ord("a")
            logits[i, : len(row), 0], logits[i, : len(row), 1] = ~hits * 9.0, hits * 9.0
        return Outputs(np.ones((len(rows), VECTOR_SIZE), np.float32), logits)


def ask(texts):
    async def run():
        model = FakeTagger(manifest().model_copy(update={"task": TASK}))
        served = ServedModel(LocalRunner(model))
        result = await served.run(Ask(texts=texts), Call(timeout_s=10))
        await served.runner.close()
        return served, result

    return asyncio.run(run())


def test_entities_have_their_place_in_texts_of_any_length_and_refused_texts_have_none():
    served, result = ask(["xxxxxxa", "", "a", "a!xxx"])
    scores = served.scores(result)
    assert [e["start"] for e in scores[0]["entities"]] == [6]
    assert [e["text"] for e in scores[2]["entities"]] == ["a"]
    assert scores[1] is None
    assert scores[3] is None
    assert isinstance(result.errors[3], TextTooLongError)
    assert len(result.vectors) == 4


def test_without_refused_texts_results_are_one_per_text():
    served, result = ask(["xa", "xxxxa"])
    assert [[e["start"] for e in s["entities"]] for s in served.scores(result)] == [[1], [4]]
    assert result.vectors.shape[0] == 2
