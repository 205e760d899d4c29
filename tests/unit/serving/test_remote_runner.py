"""Replies of a model's own replicas, which a handle stands in for here."""

import asyncio
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from ray.exceptions import RayActorError, RaySystemError, RayTaskError

from ernie_ray.errors import InferenceError, MalformedRequestError, UnavailableError
from ernie_ray.serving.ask import Ask, Result
from tests.fake_text_model import manifest

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
MANIFEST = manifest()


def result(fingerprint):
    return Result(np.zeros((1, 4), np.float32), None, {}, 3, [], fingerprint)


def ask(*answers):
    """Ask a runner whose replicas give these answers, one a try."""
    left = iter(answers)

    async def remote(_):
        answer = next(left)
        if isinstance(answer, Exception) and not isinstance(answer, MalformedRequestError):
            raise answer
        return answer

    # Importing Serve warns of its own use of pydantic.
    from ernie_ray.serving.remote_runner import RemoteRunner

    handle = SimpleNamespace(infer=SimpleNamespace(remote=remote))
    return asyncio.run(RemoteRunner(handle, MANIFEST, 100).run(Ask(["a"])))


def test_a_replica_that_dies_is_replaced_by_another_one_once():
    same = result(MANIFEST.fingerprint)
    assert ask(RayActorError(), same) is same
    with pytest.raises(UnavailableError, match="ended while it answered"):
        ask(RayActorError(), RayActorError())


def test_replies_of_another_model_under_the_same_name_are_not_read_as_this_ones():
    with pytest.raises(UnavailableError, match="being replaced by another version"):
        ask(result("another"))


def test_a_replicas_own_error_is_not_called_unreachable():
    with pytest.raises(RayTaskError):
        ask(RayTaskError("infer", "ValueError: bug", ValueError("bug")))
    with pytest.raises(MalformedRequestError):
        ask(MalformedRequestError("no such layer"))
    with pytest.raises(UnavailableError, match="cannot be reached"):
        ask(RaySystemError("gone"))


def test_an_answer_that_grpc_does_not_carry_is_an_error_that_says_why():
    none = grpc.aio.Metadata()
    too_large = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, none, none, details="larger than max (9 vs. 4)"
    )
    with pytest.raises(InferenceError, match=r"larger than max \(9 vs\. 4\)"):
        ask(too_large)
