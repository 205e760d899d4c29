import asyncio

import numpy as np
import pytest
from pydantic import ValidationError

from ernie_ray.errors import ConfigError, InferenceError, MalformedRequestError
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.serving.args import ModelArgs, ServiceArgs
from ernie_ray.serving.ask import Ask, Call, Result
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest

CALL = Call(timeout_s=10)


def result_of(vectors):
    return Result(np.array(vectors, dtype=np.float32), None, {}, 1, [], "")


def test_cut_vectors_are_scaled_after_cutting():
    model = ServedModel(LocalRunner(FakeTextModel(manifest())))
    vectors = model.vectors(result_of([[3, 4, 9, 9]]), normalize=True, dimensions=2)
    np.testing.assert_allclose(vectors, [[0.6, 0.8]], rtol=1e-6)


def test_a_zero_vector_stays_zero_when_scaled():
    model = ServedModel(LocalRunner(FakeTextModel(manifest())))
    assert model.vectors(result_of([[0, 0, 0, 0]]), normalize=True).tolist() == [[0, 0, 0, 0]]


def test_the_manifest_decides_about_scaling_unless_the_request_does():
    plain = manifest()
    scaled = plain.model_copy(
        update={"vector": plain.vector.model_copy(update={"normalize": True})}
    )
    model = ServedModel(LocalRunner(FakeTextModel(scaled)))
    result = result_of([[3, 4, 0, 0]])
    np.testing.assert_allclose(model.vectors(result), [[0.6, 0.8, 0, 0]], rtol=1e-6)
    assert model.vectors(result, normalize=False).tolist() == [[3, 4, 0, 0]]


def test_a_text_of_the_wrong_form_is_named_by_its_place_in_the_request():
    tagger = manifest().model_copy(update={"task": TokenLabelsSpec(labels=("O", "B-A"))})
    model = ServedModel(LocalRunner(FakeTextModel(tagger)))
    with pytest.raises(MalformedRequestError, match="text 1: the model takes a single text"):
        asyncio.run(model.run(Ask([" ", ("a", "b")]), CALL))


def test_batch_equals_single():
    async def run():
        model = ServedModel(LocalRunner(FakeTextModel(manifest())))
        texts = ["a", "bcd", "some more"]
        batch = model.vectors(await model.run(Ask(texts), CALL))
        single = [model.vectors(await model.run(Ask([text]), CALL))[0] for text in texts]
        np.testing.assert_array_equal(batch, single)
        await model.runner.close()

    asyncio.run(run())


def test_a_model_is_warmed_up_by_the_largest_batch():
    async def run():
        runner = LocalRunner(FakeTextModel(manifest()), BatchLimits(max_batch_tokens=70))
        await runner.warm_up()
        assert [[len(row) for row in batch] for batch in runner.model.batches] == [[16] * 4]
        runner.model.forward = lambda rows: 1 / 0
        with pytest.raises(InferenceError, match="division by zero"):
            await runner.check()
        await runner.close()

    asyncio.run(run())


def test_models_of_one_name_are_refused():
    with pytest.raises(ConfigError, match='two models are called "fake"'):
        Catalog([ServedModel(LocalRunner(FakeTextModel(manifest()))) for _ in range(2)])
    with pytest.raises(ValidationError, match="names must be distinct"):
        ServiceArgs(models=(ModelArgs(dir="/a", name="x"), ModelArgs(dir="/b", name="x")))


def test_an_unknown_argument_is_refused_by_name():
    with pytest.raises(ValidationError, match="max_batch_token\n"):
        ServiceArgs.model_validate({"models": [{"dir": "/a", "batching": {"max_batch_token": 5}}]})
