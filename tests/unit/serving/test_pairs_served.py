"""A real model of pairs in the service."""

import asyncio

import httpx
import pytest

from ernie_ray.modeldir import PairSpec, ReadingSpec, TokenLabelsSpec
from ernie_ray.serving.app import TextService
from ernie_ray.serving.args import ModelArgs
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.loading import load_runner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.served_model import ServedModel
from tests.tiny_models import export_tiny_classifier

TASKS = {
    "regression": (PairSpec(), "a pair of texts"),
    "reading": (ReadingSpec(), "a pair of question and context"),
}


@pytest.mark.parametrize("task", [PairSpec(), ReadingSpec(), TokenLabelsSpec(labels=("O", "B-A"))])
def test_token_ids_that_lack_what_the_task_needs_are_refused(tmp_path, task):
    async def run():
        path = export_tiny_classifier(tmp_path / "model", task=task)
        app = TextService(
            Catalog([ServedModel(await load_runner(ModelArgs(dir=str(path)), 1, Meters()))])
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            reply = await client.post("/v1/scores", json={"token_ids": [[1, 2, 3]]})
        await app.close()
        return reply

    reply = asyncio.run(run())
    assert reply.status_code == 400
    assert "takes no token ids; send the texts" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("task", "wanted"), TASKS.values(), ids=TASKS)
def test_a_single_text_is_the_clients_error_and_the_model_is_still_healthy(tmp_path, task, wanted):
    async def run():
        path = export_tiny_classifier(tmp_path / "pairs", task=task)
        runner = await load_runner(ModelArgs(dir=str(path)), 1, Meters())
        await runner.check()
        app = TextService(Catalog([ServedModel(runner)]))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            replies = [
                await client.post(route, json={"texts": texts})
                for route in ("/v1/scores", "/v1/vectors")
                for texts in ([["好书", "很好"]], ["好书"], [["好书", "很好"], "好书"])
            ]
        await app.close()
        return replies

    replies = asyncio.run(run())
    assert [reply.status_code for reply in replies] == [200, 400, 400] * 2
    for reply in (replies[1], replies[2], replies[4], replies[5]):
        assert f"the model takes {wanted}" in reply.text
