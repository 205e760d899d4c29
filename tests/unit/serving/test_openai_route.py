import base64

import numpy as np
import pytest

from tests.unit.serving.asgi_calls import post


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
        ({"input": ["a", "a" * 30]}, 413, "text_too_long"),
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
