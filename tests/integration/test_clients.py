"""Our client, the unmodified openai client and curl ask the same live service."""

import asyncio
import json
import re
import shutil
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

import ernie_ray.client
from ernie_ray.client import ApiError, AsyncClient, Client, Retries
from ernie_ray.serving.api_keys import new_api_key
from tests.integration.live_service import live_service

KEY, DIGEST = new_api_key()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url():
    with live_service(digests=[DIGEST]) as url:
        yield url


def test_our_client_gives_vectors_scores_and_models(url):
    with Client(url, api_key=KEY) as client:
        answer = client.infer(["a", " ", "long text"])
        assert [vector and vector[0] for vector in answer.vectors] == [3, None, 11]
        assert answer.scores[2]["label"] == "long"
        assert list(answer.errors) == [1]
        assert answer.times_ms["total"] > 0
        assert answer.request_id
        assert client.vectors([("ab", "cd")], dimensions=1).vectors == [[6]]
        assert client.scores("a", model="fake").scores[0]["label"] == "short"
        assert [model.name for model in client.models()] == ["fake", "plain"]


def test_our_async_client_gives_the_same(url):
    async def run():
        async with AsyncClient(url, api_key=KEY) as client:
            answers = await asyncio.gather(*(client.infer("a" * n) for n in range(1, 9)))
            assert [answer.vectors[0][0] for answer in answers] == list(range(3, 11))
            assert (await client.scores("a")).scores[0]["label"] == "short"
            assert (await client.vectors("a")).vectors[0][0] == 3
            assert len(await client.models()) == 2
            with pytest.raises(ApiError) as caught:
                await client.infer("a", model="plain")
            assert caught.value.status == 422

    asyncio.run(run())


def test_errors_say_what_the_service_said(url):
    with Client(url, api_key="wrong") as client, pytest.raises(ApiError) as caught:
        client.vectors("a")
    assert (caught.value.status, caught.value.type) == (401, "unauthorized")
    with Client(url, api_key=KEY) as client, pytest.raises(ApiError) as caught:
        client.vectors("a" * 30)
    assert (caught.value.status, caught.value.type) == (413, "text_too_long")
    assert caught.value.request_id


def test_a_service_that_is_not_there_is_an_error_after_some_tries():
    tries = Retries(max_tries=3, first_wait_s=0.01)
    with Client("http://127.0.0.1:9", retries=tries) as client, pytest.raises(ApiError) as caught:
        client.vectors("a")
    assert (caught.value.status, caught.value.type) == (0, "unreachable")


def test_a_full_queue_is_asked_again_after_the_named_time():
    gate = threading.Event()
    with live_service(gate=gate, max_queue_tokens=64) as url:
        blocked = [
            threading.Thread(target=httpx.post, args=(f"{url}/v1/vectors",), kwargs={"json": body})
            for body in ({"texts": "a"}, {"texts": ["abcdefgh"] * 6})
        ]
        for thread in blocked:
            thread.start()
            time.sleep(0.2)
        refused = httpx.post(f"{url}/v1/vectors", json={"texts": "abc"})
        assert refused.status_code == 429
        named_s = int(refused.headers["retry-after-ms"]) / 1e3
        refusals = 'reason="overloaded"} 2'

        def open_the_gate_after_the_next_refusal():
            while refusals not in httpx.get(f"{url}/metrics").text:
                time.sleep(0.02)
            gate.set()

        opener = threading.Thread(target=open_the_gate_after_the_next_refusal)
        opener.start()
        began_s = time.monotonic()
        with Client(url) as client:
            assert client.vectors("abc").vectors[0][0] == 5
        assert time.monotonic() - began_s >= named_s
        opener.join()
        for thread in blocked:
            thread.join()


@pytest.mark.parametrize(
    ("tries", "status", "headers", "wait_s"),
    [
        (1, 200, {}, None),
        (1, 400, {}, None),
        (1, 429, {"retry-after": "2"}, 2.2),
        (1, 429, {"retry-after-ms": "50", "retry-after": "1"}, 0.055),
        (1, 503, {"retry-after": "soon"}, 0.075),
        (2, 503, {}, 0.15),
        (1, 429, {"retry-after": "3600"}, None),
        (5, 429, {"retry-after": "1"}, None),
        (1, 0, {}, 0.075),
        (1, 500, {"content-type": "text/plain"}, 0.075),
        (1, 500, {"content-type": "application/json"}, None),
        (1, 504, {"content-type": "application/json"}, None),
    ],
)
def test_what_is_sent_again_and_when(tries, status, headers, wait_s):
    waited = Retries().wait_s(tries, status, headers, draw=0.5)
    assert waited == (wait_s if wait_s is None else pytest.approx(wait_s))


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
def test_the_openai_client_reads_our_embeddings(url, encoding_format):
    options = {} if encoding_format is None else {"encoding_format": encoding_format}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        found = client.embeddings.create(model="fake", input=["a", "bcd"], **options)
        assert [one.index for one in found.data] == [0, 1]
        if encoding_format != "base64":
            assert [one.embedding[0] for one in found.data] == [3, 5]
        assert found.usage.total_tokens == 8
        ids = client.embeddings.create(model="fake", input=[[1, 97, 2]], dimensions=2)
        assert np.shape(ids.data[0].embedding) == (2,)
        assert [model.id for model in client.models.list()] == ["fake", "plain"]
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.embeddings.create(model="gpt", input="a")


def test_the_async_openai_client_reads_them_too(url):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            asked = (client.embeddings.create(model="fake", input="a" * n) for n in range(1, 6))
            found = await asyncio.gather(*asked)
            assert [one.data[0].embedding[0] for one in found] == [3, 4, 5, 6, 7]

    asyncio.run(run())


def examples(language):
    """Blocks of code in the documents."""
    for path in (ROOT / "README.md", ROOT / "docs" / "serving.md"):
        text = path.read_text(encoding="utf-8")
        yield from re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def open_url():
    with live_service() as url:
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_example_is_answered(open_url):
    lines = [line for block in examples("bash") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("curl")]
    assert len(commands) >= 4
    for command in commands:
        here = command.replace("http://127.0.0.1:8000", open_url)
        run = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=True)
        assert "error" not in json.loads(run.stdout), (command, run.stdout)


def test_every_python_example_runs(open_url, capsys):
    docstring = [line for line in ernie_ray.client.__doc__.splitlines() if line.startswith("    ")]
    programs = [*examples("python"), textwrap.dedent("\n".join(docstring))]
    assert len(programs) >= 2
    for program in programs:
        exec(program.replace("http://127.0.0.1:8000", open_url), {})
        assert capsys.readouterr().out
