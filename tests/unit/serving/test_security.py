import asyncio
import logging

import httpx
import orjson
import pytest

from ernie_ray.errors import ConfigError, UnauthorizedError
from ernie_ray.serving.api_keys import ApiKeys, new_api_key
from ernie_ray.serving.app import ServiceOptions, TextService
from ernie_ray.serving.args import RequestLimits, SecurityArgs
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.cors import Cors
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.request_log import RequestLog
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest


def call(method, path, *, keys=(), origins=(), log="none", meters=None, **request):
    async def run():
        options = ServiceOptions(
            RequestLimits(),
            ApiKeys(tuple(keys)),
            Cors(origins),
            RequestLog(log),
            meters or Meters(),
        )
        app = TextService(Catalog([ServedModel(LocalRunner(FakeTextModel(manifest())))]), options)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.request(method, path, **request)
        await app.close()
        return response

    return asyncio.run(run())


def test_without_keys_everyone_may_ask():
    assert call("POST", "/v1/vectors", json={"texts": "a"}).status_code == 200


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_opens_the_service(header):
    key, digest = new_api_key()
    value = f"Bearer {key}" if header == "authorization" else key
    opened = call("GET", "/v1/models", keys=[digest], headers={header: value})
    assert opened.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer x"}, {"authorization": "Basic x"}, {"x-api-key": ""}],
)
@pytest.mark.parametrize("path", ["/v1/vectors", "/v1/embeddings"])
def test_others_get_401_in_the_routes_own_shape(path, headers):
    _, digest = new_api_key()
    refused = call("POST", path, keys=[digest], headers=headers, json={"texts": "a"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "Bearer KEY" in refused.json()["error"]["message"]


def test_the_digest_is_no_key():
    _, digest = new_api_key()
    with pytest.raises(UnauthorizedError):
        ApiKeys((digest,)).check(b"Bearer " + digest.encode(), None)


def test_probes_and_documents_need_no_key():
    _, digest = new_api_key()
    for path in ("/health", "/ready", "/openapi.json", "/docs"):
        assert call("GET", path, keys=[digest]).status_code == 200
    assert call("GET", "/metrics", keys=[digest]).status_code == 401


def test_keys_come_from_file_and_variable(tmp_path):
    (one, first), (two, second) = new_api_key(), new_api_key()
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{first}  # search\n\n")
    args = SecurityArgs(api_keys_file=str(path), api_keys_variable="KEYS")
    keys = ApiKeys.from_args(args, {"KEYS": f"{second}, "})
    keys.check(f"Bearer {one}".encode(), None)
    keys.check(None, two.encode())


def test_a_service_that_should_have_keys_never_opens_without(tmp_path):
    (tmp_path / "empty").write_text("# none\n")
    for args in (
        SecurityArgs(api_keys_file=str(tmp_path / "missing")),
        SecurityArgs(api_keys_file=str(tmp_path / "empty")),
        SecurityArgs(api_keys_variable="NONE"),
    ):
        with pytest.raises(ConfigError, match=r"key|file"):
            ApiKeys.from_args(args, {})
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        ApiKeys(("my-secret-password",))


def test_pages_of_other_origins_are_not_let_in_unless_named():
    headers = {"origin": "https://a.example"}
    closed = call("POST", "/v1/vectors", json={"texts": "a"}, headers=headers)
    assert "access-control-allow-origin" not in closed.headers
    assert call("OPTIONS", "/v1/vectors", headers=headers).status_code == 405
    opened = call("OPTIONS", "/v1/vectors", origins=["https://a.example"], headers=headers)
    assert opened.status_code == 204
    assert opened.headers["access-control-allow-origin"] == "https://a.example"
    other = call("OPTIONS", "/v1/vectors", origins=["https://b.example"], headers=headers)
    assert other.status_code == 403


def test_a_request_is_one_line_of_json_without_its_texts(caplog):
    with caplog.at_level(logging.INFO, logger="ernie_ray.requests"):
        reply = call(
            "POST",
            "/v1/vectors",
            log="all",
            json={"texts": ["secret", "x"]},
            headers={"x-request-id": "r-1"},
        )
    (record,) = caplog.records
    line = orjson.loads(record.message)
    assert line["request_id"] == reply.headers["x-request-id"] == "r-1"
    assert (line["route"], line["status"], line["num_texts"]) == ("/v1/vectors", 200, 2)
    assert line["forward_ms"] >= 0
    assert "secret" not in record.message


def test_errors_are_logged_by_default_and_strange_ids_replaced(caplog):
    with caplog.at_level(logging.INFO, logger="ernie_ray.requests"):
        call("POST", "/v1/vectors", log="errors", json={"texts": "a"})
        call("POST", "/v1/nothing", log="errors", headers={"x-request-id": '"{evil}'})
    (record,) = caplog.records
    line = orjson.loads(record.message)
    assert (line["status"], line["reason"], line["route"]) == (404, "unknown_path", "unknown")
    assert "evil" not in line["request_id"]


def test_metrics_count_stages_batches_and_refusals():
    meters = Meters()
    call("POST", "/v1/vectors", meters=meters, json={"texts": ["a", "bb"]})
    call("POST", "/v1/vectors", meters=meters, content=b"{")
    text = call("GET", "/metrics", meters=meters).text
    assert 'ernie_ray_requests_total{route="/v1/vectors",status="200"} 1' in text
    assert 'ernie_ray_rejections_total{route="/v1/vectors",reason="malformed_request"} 1' in text
    assert 'ernie_ray_stage_seconds_count{model="fake",stage="forward"} 1' in text
    assert 'ernie_ray_stage_seconds_bucket{model="fake",stage="total",le="+Inf"} 1' in text
    assert text.count("# TYPE ernie_ray_stage_seconds histogram") == 1


def test_too_many_header_bytes_and_encoded_bodies_are_refused():
    big = call("POST", "/v1/vectors", json={"texts": "a"}, headers={"x-a": "b" * 20_000})
    assert (big.status_code, big.json()["error"]["type"]) == (431, "headers_too_large")
    packed = call("POST", "/v1/vectors", content=b"x", headers={"content-encoding": "gzip"})
    assert packed.status_code == 415


def test_the_docs_page_needs_no_other_host():
    page = call("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert call("HEAD", "/docs").content == b""
