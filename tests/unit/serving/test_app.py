import asyncio
import base64
import json

import httpx
import numpy as np
import pytest

from ernie_ray.serving.app import TextService
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest
from tests.unit.serving.asgi_calls import LIMITS, call, post, served, service


def test_vectors_come_back_in_order_with_model_fingerprint_and_stage_times():
    response = post("/v1/vectors", {"texts": ["a", "bcd"]})
    assert response.status_code == 200
    body = response.json()
    assert [vector[0] for vector in body["vectors"]] == [3, 5]
    assert (body["model"], body["fingerprint"]) == ("fake", "f" * 16)
    assert body["usage"] == {"num_tokens": 8}
    for stage in ("tokenize", "queue", "forward", "serialise", "total"):
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
    assert len(model.runner.model.batches) == 1


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


def test_a_text_that_is_empty_or_too_long_does_not_fail_the_others():
    body = post("/v1/infer", {"texts": ["a", " ", "b" * 30, "N", "bcd"]}).json()
    assert [vector and vector[0] for vector in body["vectors"]] == [3, None, None, None, 5]
    assert [score is None for score in body["scores"]] == [False, True, True, True, False]
    assert [(one["index"], one["type"]) for one in body["errors"]] == [
        (1, "empty_text"),
        (2, "text_too_long"),
        (3, "inference_failed"),
    ]


def test_errors_name_texts_by_their_place_in_the_request():
    errors = post("/v1/vectors", {"texts": [" ", "b" * 30, "a"]}).json()["errors"]
    assert [error["message"][:6] for error in errors] == ["text 0", "text 1"]
    first = post("/v1/vectors", {"texts": [" ", "b" * 30]}).json()["error"]
    assert (first["type"], first["message"][:6]) == ("empty_text", "text 0")
    first = post("/v1/vectors", {"texts": ["b" * 30, " "]}).json()["error"]
    assert (first["type"], first["message"][:6]) == ("text_too_long", "text 0")


def test_token_ids_are_an_input_of_their_own():
    ids = post("/v1/infer", {"token_ids": [[1, 97, 2], [1, 2]]}).json()
    assert ids["vectors"][0] == post("/v1/vectors", {"texts": "a"}).json()["vectors"][0]
    both = post("/v1/vectors", {"texts": "a", "token_ids": [[1]]})
    assert (both.status_code, both.json()["error"]["type"]) == (400, "malformed_request")


def test_pooling_and_layers_are_chosen_by_the_request():
    tokens = post("/v1/vectors", {"texts": ["ab", "c"], "pooling": "none"}).json()
    assert [len(one) for one in tokens["vectors"]] == [4, 3]
    assert tokens["vectors"][1][1][:2] == [99, 1]
    joined = post("/v1/infer", {"texts": "ab", "pooling": "mean_max", "layers": [2]}).json()
    assert joined["dimensions"] == 8
    assert joined["vectors"][0][:2] == [49.5, 1.5]
    cut = post("/v1/vectors", {"texts": "ab", "pooling": "max", "dimensions": 1}).json()
    assert cut["vectors"] == [[98]]
    pooler = post("/v1/vectors", {"texts": ["ab", "c"], "pooling": "pooler"}).json()
    assert [vector[0] for vector in pooler["vectors"]] == [-1, -1]
    own = post("/v1/vectors", {"texts": "ab", "pooling": "cls"}).json()
    assert own["vectors"] == post("/v1/vectors", {"texts": "ab"}).json()["vectors"]


def test_own_vectors_come_in_base64_too():
    tokens = {"texts": ["ab", " "], "pooling": "none", "layers": [-1]}
    floats = post("/v1/vectors", tokens).json()
    coded = post("/v1/vectors", {**tokens, "encoding": "base64"}).json()
    assert coded["vectors"][1] is None
    raw = np.frombuffer(base64.b64decode(coded["vectors"][0]), "<f4")
    assert raw.reshape(-1, coded["dimensions"]).tolist() == floats["vectors"][0]


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        ({"pooling": "sum"}, 400, "cls, mean, max, mean_max, none, pooler"),
        ({"pooling": "pooler", "layers": [1]}, 400, "reads the last layer"),
        ({"layers": [3]}, 400, "choose 1 to 2"),
        ({"layers": [0]}, 400, "choose 1 to 2"),
        ({"layers": []}, 400, "a list of layers"),
        ({"layers": [2, -1]}, 400, "once"),
        ({"layers": [2] * 5}, 400, "at most 4"),
        ({"layers": [1]}, 422, "exposed: 2"),
        ({"dimensions": 5}, 400, "choose 1 to 4"),
    ],
)
def test_vectors_that_cannot_be_had_are_refused(extra, status, message):
    response = post("/v1/vectors", {"texts": "a", **extra})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def test_a_reply_that_would_be_huge_is_refused():
    small = LIMITS.model_copy(update={"max_reply_numbers": 10})
    model = ServedModel(LocalRunner(FakeTextModel(manifest())), limits=small)
    response = post("/v1/vectors", {"texts": ["a"] * 3}, TextService(Catalog([model])))
    assert response.status_code == 413
    assert "12 numbers" in response.json()["error"]["message"]
    model = ServedModel(LocalRunner(FakeTextModel(manifest())), limits=small)
    cut = {"texts": ["a"] * 3, "dimensions": 3}
    assert post("/v1/vectors", cut, TextService(Catalog([model]))).status_code == 200


def test_long_texts_are_cut_only_on_request():
    refused = post("/v1/vectors", {"texts": ["b" * 30]})
    assert refused.status_code == 413
    assert "text 0 has more than 16 tokens" in refused.json()["error"]["message"]
    cut = post("/v1/vectors", {"texts": ["a", "b" * 300], "truncate": True}).json()
    assert cut["truncated"] == [1]
    assert cut["vectors"][1][0] == 16
    few_characters = LIMITS.model_copy(update={"max_text_characters": 10})
    model = ServedModel(LocalRunner(FakeTextModel(manifest())), limits=few_characters)
    body = {"texts": [" ", "b" * 10, "b" * 11, " " * 11 + "b"], "truncate": True}
    cut = post("/v1/vectors", body, TextService(Catalog([model]))).json()
    assert cut["truncated"] == [2]
    assert [error["index"] for error in cut["errors"]] == [0, 3]


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
        ("/v1/vectors", b"{}", 400, "malformed_request", 'send either "texts" or "token_ids"'),
        ("/v1/vectors", b'{"texts": "\\ud800"}', 400, "malformed_request", "not JSON"),
        ("/v1/vectors", b'{"texts": ["", " \\n"]}', 400, "empty_text", "text 0 is empty"),
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
    assert call("POST", "/health").headers["allow"] == "GET, HEAD"


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
    model._family.decode = lambda logits, rows: 1 / 0
    response = post("/v1/scores", {"texts": ["a"]}, TextService(Catalog([model])))
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "internal_error"
    assert "zero" not in response.text
    assert "ZeroDivisionError" in caplog.text


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


def test_a_service_below_a_prefix_finds_its_routes():
    async def run():
        app = service()
        transport = httpx.ASGITransport(app, root_path="/models")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/models/health")).status_code == 200
        await app.close()

    asyncio.run(run())
