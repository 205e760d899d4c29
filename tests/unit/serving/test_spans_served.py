"""A real tagger and a real reader in the service: places in texts that tokenizers change."""

import asyncio
import random

import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from ernie_ray.modeldir import ReadingSpec, TokenLabelsSpec
from ernie_ray.serving.app import TextService
from ernie_ray.serving.args import ModelArgs
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.grpc_dialect import GrpcMethods
from ernie_ray.serving.loading import load_runner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.served_model import ServedModel
from tests.tiny_models import export_tiny_classifier

# What tokenizers drop, join, split or change: composed emoji, combining marks, full width, CRLF.
PIECES = (
    *("好", "书", "店", "房间", "服务差", "\r\n", "\r", "\n", "\t", " ", "\u3000", "\u00a0"),
    *("😀", "👩‍👩‍👧‍👦", "🇨🇳", "e\u0301", "n\u0303o\u0302", "\u0301", "ａ１", "ﬁ", "İ", "ß", "ẞ"),
    *("good", "Bad", "GOODS", "，", "。", "𠀀", "\u200b", "\ufeff", "한", "ไทย", "عربي", "x9"),
)
TASKS = {"tagger": TokenLabelsSpec(labels=("O", "B-A", "I-A")), "reader": ReadingSpec()}


class Context:
    """What the gRPC dialect needs of a call."""

    def __init__(self):
        self.code = None

    def invocation_metadata(self):
        return ()

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Of both models: HTTP's and gRPC's, for the same texts, several windows long among them."""
    rng = random.Random(17)
    texts = ["好" + "".join(rng.choices(PIECES, k=rng.randint(1, 60))) for _ in range(60)]
    asks = {"tagger": texts, "reader": [["good书", text] for text in texts]}
    folders = {
        name: export_tiny_classifier(tmp_path_factory.mktemp(name) / name, name=name, task=task)
        for name, task in TASKS.items()
    }

    async def run():
        runners = [
            await load_runner(ModelArgs(dir=str(path)), 1, Meters()) for path in folders.values()
        ]
        app = TextService(Catalog([ServedModel(runner) for runner in runners]))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            found = {}
            for name, ask in asks.items():
                http = await client.post("/v1/scores", json={"model": name, "texts": ask})
                assert http.status_code == 200, http.text
                single = {"model": name, "texts": [ask[7]]}
                alone = (await client.post("/v1/scores", json=single)).json()
                request = pb.InferRequest(model=name, texts=map(pb_text, ask), want_scores=True)
                grpc = await GrpcMethods(lambda: app).Infer(request, Context())
                found[name] = (http.json(), grpc, alone)
        await app.close()
        return found

    return texts, asyncio.run(run())


def pb_text(text):
    if isinstance(text, str):
        return pb.Text(text=text)
    return pb.Text(text=text[0], text_pair=text[1])


def test_entities_stand_where_the_text_has_them(answers):
    texts, found = answers
    http, _, _ = found["tagger"]
    num_found = 0
    for text, score in zip(texts, http["scores"], strict=True):
        for entity in score["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"] != ""
            num_found += 1
    assert num_found > 200


def test_answers_stand_where_the_context_has_them(answers):
    texts, found = answers
    http, _, _ = found["reader"]
    for text, score in zip(texts, http["scores"], strict=True):
        assert text[score["start"] : score["end"]] == score["answer"] != ""
        assert score["nbest"][0]["text"] == score["answer"]
        for one in score["nbest"]:
            assert text[one["start"] : one["end"]] == one["text"]


@pytest.mark.parametrize("name", TASKS)
def test_grpc_gives_the_results_of_http_and_a_batch_those_of_a_text_alone(answers, name):
    _, found = answers
    http, grpc, alone = found[name]
    assert len(grpc.answers) == len(http["scores"])
    for answer, score in zip(grpc.answers, http["scores"], strict=True):
        assert matches(MessageToDict(answer.result), score)
    assert matches(alone["scores"][0], http["scores"][7])


def matches(one, other):
    """Equal, with numbers that differ by rounding only."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(matches(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(matches, one, other))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(other, float) else other)
