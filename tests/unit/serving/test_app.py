import asyncio
import base64
import json
import threading

import httpx
import numpy as np
import pytest

from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.serving.app import TextService
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest

LIMITS = RequestLimits(max_body_bytes=4000, max_texts=8, max_text_characters=200)


def served(*, gate=None, **options):
    return ServedModel(
        FakeTextModel(manifest(**options), gate=gate),
        limits=LIMITS,
        batching=BatchLimits(max_batch_tokens=64, max_queue_tokens=80),
    )


def service():
    return TextService(Catalog([served(), served(name="plain", has_head=False)]), LIMITS)


def call(method, path, app=None, **request):
    """One request through the application, as httpx sees it."""

    async def run():
        target = app or service()
        async with client_of(target) as client:
            response = await client.request(method, path, **request)
        await target.close()
        return response

    return asyncio.run(run())


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def post(path, body, app=None):
    return call("POST", path, app, json=body)


def test_vectors_come_back_in_order_with_model_fingerprint_and_stage_times():
    response = post("/v1/vectors", {"texts": ["a", "bcd"]})
    assert response.status_code == 200
    body = response.json()
    assert [vector[0] for vector in body["vectors"]] == [3, 5]
    assert (body["model"], body["fingerprint"]) == ("fake", "f" * 16)
    assert body["usage"] == {"num_tokens": 8}
    for stage in ("tokenize", "queue", "forward"):
        assert float(response.headers[f"x-{stage}-ms"]) >= 0


def test_one_text_and_pairs_are_texts_too():
    assert len(post("/v1/vectors", {"texts": "ab"}).json()["vectors"]) == 1
    pair = post("/v1/vectors", {"texts": [["ab", "cd"]]}).json()
    assert pair["vectors"][0][0] == 6


def test_vectors_are_scaled_on_request():
    vector = post("/v1/vectors", {"texts": ["a"], "normalize": True}).json()["vectors"][0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_infer_gives_vectors_and_scores_from_one_forward():
    model = served()
    body = post("/v1/infer", {"texts": ["a", "long text"]}, TextService(Catalog([model]))).json()
    assert [score["label"] for score in body["scores"]] == ["short", "long"]
    assert len(body["vectors"]) == 2
    assert len(model.model.batches) == 1


def test_scores_match_those_of_infer():
    texts = {"texts": ["a", "long text"]}
    assert post("/v1/scores", texts).json()["scores"] == post("/v1/infer", texts).json()["scores"]


def test_a_request_names_its_model():
    assert post("/v1/vectors", {"texts": ["a"], "model": "plain"}).json()["model"] == "plain"


def test_a_text_that_fails_is_null_and_does_not_fail_the_others():
    body = post("/v1/infer", {"texts": ["a", "N", "b"]}).json()
    assert body["vectors"][1] is None
    assert body["scores"][1] is None
    assert [body["vectors"][i][0] for i in (0, 2)] == [3, 3]
    assert body["errors"][0]["index"] == 1
    assert body["errors"][0]["type"] == "inference_failed"


def test_a_request_whose_texts_all_fail_is_an_error():
    response = post("/v1/vectors", {"texts": ["N"]})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "inference_failed"


def test_long_texts_are_cut_only_on_request():
    refused = post("/v1/vectors", {"texts": ["a", "b" * 30]})
    assert refused.status_code == 413
    assert "text 1 has more than 16 tokens" in refused.json()["error"]["message"]
    cut = post("/v1/vectors", {"texts": ["a", "b" * 300], "truncate": True}).json()
    assert cut["truncated"] == [1]
    assert cut["vectors"][1][0] == 16


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "message"),
    [
        ("/v1/vectors", b"{", 400, "malformed_request", "not JSON"),
        ("/v1/vectors", b"", 400, "malformed_request", "not JSON"),
        ("/v1/vectors", b'"text"', 400, "malformed_request", "must be a JSON object"),
        ("/v1/vectors", b'{"texts": 5}', 400, "malformed_request", "must be a text, a list"),
        ("/v1/vectors", b'{"texts": []}', 400, "malformed_request", "must be a text, a list"),
        ("/v1/vectors", b'{"texts": [["a"]]}', 400, "malformed_request", "[text, text] pairs"),
        ("/v1/vectors", b'{"text": ["a"]}', 400, "malformed_request", 'unknown field "text"'),
        ("/v1/vectors", b"{}", 400, "malformed_request", '"texts" is missing'),
        ("/v1/vectors", b'{"texts": "\\ud800"}', 400, "malformed_request", "not JSON"),
        ("/v1/vectors", b'{"texts": ["a", " \\n"]}', 400, "empty_text", "text 1 is empty"),
        ("/v1/vectors", b'{"texts": [["a", ""]]}', 400, "empty_text", "text 0 is empty"),
        ("/v1/vectors", b'{"texts": "a", "model": "x"}', 404, "unknown_model", "fake, plain"),
        ("/v1/scores", b'{"texts": "a", "model": "plain"}', 422, "unsupported_task", "no head"),
        ("/v1/infer", b'{"texts": "a", "model": "plain"}', 422, "unsupported_task", "no head"),
        ("/v1/vectors", json.dumps({"texts": ["a"] * 9}).encode(), 413, "request_too_large", "8"),
        ("/v1/vectors", json.dumps({"texts": "a" * 201}).encode(), 413, "text_too_long", "200"),
        ("/v1/vectors", b'{"texts": "' + b"a" * 4000, 413, "request_too_large", "4000 bytes"),
    ],
)
def test_bad_requests_say_what_to_change(path, body, status, kind, message):
    response = call("POST", path, content=body)
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind
    assert message in response.json()["error"]["message"]


def test_unknown_paths_and_wrong_methods_are_json_errors():
    assert call("POST", "/v1/nothing").json()["error"]["type"] == "unknown_path"
    wrong = call("GET", "/v1/vectors")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert call("POST", "/health").headers["allow"] == "GET"


def test_a_body_sent_in_chunks_is_counted_while_it_comes():
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(100):
            sent += 1000
            yield b"x" * 1000

    assert call("POST", "/v1/vectors", content=chunks()).status_code == 413
    assert sent <= 6000


def test_a_bug_is_a_json_error_without_its_details(caplog):
    model = served()
    model.model.decode = lambda logits, rows: 1 / 0
    response = post("/v1/scores", {"texts": ["a"]}, TextService(Catalog([model])))
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "internal_error"
    assert "zero" not in response.text
    assert "ZeroDivisionError" in caplog.text


def test_an_overloaded_service_says_when_to_come_back():
    gate = threading.Event()

    async def run():
        app = TextService(Catalog([served(gate=gate)]))
        async with client_of(app) as client:
            body = {"texts": ["abcdefgh"] * 6}  # 60 tokens
            first = asyncio.create_task(client.post("/v1/vectors", json=body))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(client.post("/v1/vectors", json=body))
            await asyncio.sleep(0.05)
            refused = await client.post("/v1/embeddings", json={"input": body["texts"]})
            gate.set()
            assert (await first).status_code == (await second).status_code == 200
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert int(refused.headers["retry-after-ms"]) >= 100
            assert refused.json()["error"]["code"] == "overloaded"
        await app.close()

    asyncio.run(run())


def test_a_closing_service_is_alive_but_not_ready():
    async def run():
        app = service()
        async with client_of(app) as client:
            assert (await client.get("/ready")).json()["models"] == ["fake", "plain"]
            await app.close()
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/ready")).status_code == 503
            refused = await client.post("/v1/vectors", json={"texts": "a"})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"

    asyncio.run(run())


def test_models_are_described_without_paths_of_the_training_machine():
    response = call("GET", "/v1/models")
    assert "/secret" not in response.text
    first, second = response.json()["data"]
    assert first["id"] == "fake"
    assert first["object"] == "model"
    assert first["task"]["labels"] == ["short", "long"]
    assert first["limits"]["max_tokens"] == 16
    assert first["lineage"]["run"] == "tests"
    assert second["task"] == {"family": "embedding"}


def test_openai_embeddings_are_the_vectors():
    texts = ["a", "bcd"]
    own = post("/v1/vectors", {"texts": texts}).json()
    body = post("/v1/embeddings", {"input": texts, "model": "fake", "user": "me"}).json()
    assert [item["embedding"] for item in body["data"]] == own["vectors"]
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert (body["object"], body["model"], body["fingerprint"]) == ("list", "fake", "f" * 16)


def test_openai_base64_holds_the_same_numbers_as_float():
    floats = post("/v1/embeddings", {"input": "abc"}).json()["data"][0]["embedding"]
    coded = post("/v1/embeddings", {"input": "abc", "encoding_format": "base64"}).json()
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == floats


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_openai_dimensions_cut_the_vector(encoding_format):
    ask = {"input": "abc", "dimensions": 2, "encoding_format": encoding_format}
    embedding = post("/v1/embeddings", ask).json()["data"][0]["embedding"]
    assert len(embedding) == 2 if encoding_format == "float" else len(embedding) == 12


def test_openai_takes_token_ids_of_the_models_own_vocabulary():
    one = post("/v1/embeddings", {"input": [1, 97, 2]}).json()["data"]
    many = post("/v1/embeddings", {"input": [[1, 97, 2], [1, 2]]}).json()["data"]
    text = post("/v1/embeddings", {"input": "a"}).json()["data"]
    assert one == text == many[:1]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": "a", "dimensions": 5}, 400, "malformed_request"),
        ({"input": "a", "dimensions": 0}, 400, "malformed_request"),
        ({"input": "a", "encoding_format": "hex"}, 400, "malformed_request"),
        ({"input": [1, 1000]}, 400, "malformed_request"),
        ({"input": [1, -1]}, 400, "malformed_request"),
        ({"input": [2**70]}, 400, "malformed_request"),
        ({"input": [[1], []]}, 400, "empty_text"),
        ({"input": [1] * 17}, 413, "text_too_long"),
        ({"input": "a" * 30}, 413, "text_too_long"),
        ({"input": [["a"]]}, 400, "malformed_request"),
        ({"input": "a", "model": "gpt"}, 404, "unknown_model"),
        ({"input": ["a", "N"]}, 500, "inference_failed"),
    ],
)
def test_openai_errors_have_the_openai_shape(body, status, code):
    response = post("/v1/embeddings", body)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


def test_a_service_below_a_prefix_finds_its_routes():
    async def run():
        app = service()
        transport = httpx.ASGITransport(app, root_path="/models")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/models/health")).status_code == 200
        await app.close()

    asyncio.run(run())


def test_a_client_that_leaves_gets_no_answer():
    sent = []

    async def run():
        app = service()
        scope = {"type": "http", "method": "POST", "path": "/v1/vectors", "headers": []}

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        await app.close()

    asyncio.run(run())
    assert sent == []
