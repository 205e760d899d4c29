"""Our gRPC service as far as load needs it: texts in, vectors out, over one call.

The messages are made from a description that holds only the fields sent and read here; the others
are unknown fields, which protobuf passes over. A test compares it with the service's definition.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from loadtests.dialects import Vectors

METHOD = "/ernie_ray.v1.TextService/Infer"
_SCHEMA = """
name: "loadtests" package: "ernie_ray.v1" syntax: "proto3"
message_type { name: "Text"
  field { name: "text" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "InferRequest"
  field { name: "texts" number: 3 type: TYPE_MESSAGE type_name: "Text" label: LABEL_REPEATED }
  field { name: "truncate" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "want_vectors" number: 6 type: TYPE_BOOL label: LABEL_OPTIONAL } }
message_type { name: "Vector"
  field { name: "values" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Answer"
  field { name: "vector" number: 1 type: TYPE_MESSAGE type_name: "Vector" label: LABEL_OPTIONAL } }
message_type { name: "InferReply"
  field { name: "answers" number: 4 type: TYPE_MESSAGE type_name: "Answer" label: LABEL_REPEATED } }
"""


def request_body(texts: list[str]) -> bytes:
    """One request for vectors, as OwnDialect asks for them over HTTP."""
    request = _messages()["InferRequest"](truncate=True, want_vectors=True)
    for text in texts:
        request.texts.add(text=text)
    body: bytes = request.SerializeToString()
    return body


def answered_vectors(reply: bytes) -> Vectors:
    """Vectors of a reply, [texts, dimensions].

    Raises:
        ValueError: It is none, or a text failed.
    """
    answers = _messages()["InferReply"].FromString(reply).answers
    return np.array([answer.vector.values for answer in answers], dtype=np.float32)


def address(url: str) -> str:
    """``host:port`` of ``grpc://host:port``."""
    return url.removeprefix("grpc://")


def ask_once(url: str, texts: list[str], timeout_s: float) -> Vectors:
    """Ask a server for vectors.

    Raises:
        OSError: It does not answer, or with an error.
        ValueError: Its answer holds no vectors.
    """
    import grpc

    with grpc.insecure_channel(address(url)) as channel:
        infer = channel.unary_unary(METHOD)
        try:
            reply = infer(request_body(texts), timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from error
        return answered_vectors(reply)


@cache
def _messages() -> dict[str, Any]:
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()  # not the one of all, which may hold the real ones
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
        for name in (message.name for message in file.message_type)
    }
