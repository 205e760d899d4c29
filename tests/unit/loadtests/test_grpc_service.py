"""The messages that load tests describe for themselves, against the service's definition."""

import numpy as np
import pytest

from ernie_ray.serving.grpc_dialect import SERVICE
from ernie_ray.serving.proto import text_service_pb2 as pb
from loadtests import grpc_service


def test_a_request_is_one_of_the_service():
    request = pb.InferRequest.FromString(grpc_service.request_body(["好书", "a"]))
    expected = pb.InferRequest(truncate=True, want_vectors=True)
    expected.texts.extend([pb.Text(text="好书"), pb.Text(text="a")])
    assert request == expected
    assert f"/{SERVICE}/Infer" == grpc_service.METHOD


def test_a_reply_of_the_service_gives_its_vectors():
    vectors = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]
    answers = [pb.Answer(vector=pb.Vector(values=values)) for values in vectors]
    reply = pb.InferReply(id="x", model="m", answers=answers, dimensions=3, queue_ms=1.5)
    np.testing.assert_array_equal(grpc_service.answered_vectors(reply.SerializeToString()), vectors)


def test_a_reply_in_which_a_text_failed_is_no_answer():
    answers = [pb.Answer(vector=pb.Vector(values=[1.0])), pb.Answer(error=pb.Problem(type="x"))]
    with pytest.raises(ValueError, match="shape"):
        grpc_service.answered_vectors(pb.InferReply(answers=answers).SerializeToString())
