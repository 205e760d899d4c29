"""The gRPC dialect: messages of `text_service.proto` in and out of the core.

Its methods serve a plain ``grpc.aio`` server and a Ray Serve deployment alike: both hand over a
request and a context with metadata and a status.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2

from ernie_ray.errors import MalformedRequestError, RequestTooLargeError
from ernie_ray.serving.ask import Ask, Call, Result
from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.reply import Problem, Reply, problem_of
from ernie_ray.serving.request_headers import call_of, read_headers
from ernie_ray.serving.served_model import ServedModel

SERVICE = "ernie_ray.v1.TextService"
_ROUTE = "grpc"  # in metrics and logs, beside the paths of HTTP
SERVICER_FUNCTIONS = (
    "ernie_ray.serving.proto.text_service_pb2_grpc.add_TextServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)

_MAX_IN_FLIGHT = 32  # requests of one stream that are inside, or whose replies were not taken yet
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class GrpcContext(Protocol):
    """What the dialect needs of a call's context."""

    def invocation_metadata(self) -> Any:
        """Pairs of names and values."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status."""

    def set_details(self, details: str) -> None:
        """Set its message."""

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Set what follows the reply."""


class GrpcMethods:
    """The methods of the service and of grpc.health.v1."""

    def __init__(self, service: Callable[[], Any]) -> None:
        """Answer for a service.

        Args:
            service: Gives the ``TextService``, or None while it still loads.
        """
        self._service = service

    async def Infer(self, request: pb.InferRequest, grpc_context: GrpcContext) -> pb.InferReply:
        """Answer one request."""
        try:
            call = self._call(grpc_context)
        except Exception as error:  # becomes the call's status
            return self._refuse(error, grpc_context, pb.InferReply())
        answer = await self._answer(request, call)
        if isinstance(answer, Problem):
            return _fail(answer, grpc_context, pb.InferReply())
        return answer

    async def InferStream(
        self, request: AsyncIterator[pb.InferRequest], grpc_context: GrpcContext
    ) -> AsyncIterator[pb.InferReply]:
        """Answer the requests of a stream, each as soon as it is done."""
        try:
            call = self._call(grpc_context)
        except Exception as error:  # becomes the call's status
            yield self._refuse(error, grpc_context, pb.InferReply())
            return
        done: asyncio.Queue[pb.InferReply | None] = asyncio.Queue()
        room = asyncio.Semaphore(_MAX_IN_FLIGHT)

        async def answer(one: pb.InferRequest) -> None:
            found = await self._answer(one, call)
            if isinstance(found, Problem):  # of this request only
                found = pb.InferReply(id=one.id, error=_shown(found))
            await done.put(found)

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    async for one in request:
                        await room.acquire()
                        group.create_task(answer(one))
            finally:
                await done.put(None)

        reader = asyncio.create_task(read())
        try:
            while (reply := await done.get()) is not None:
                yield reply
                # Only now: a client that does not read must not fill the memory with replies.
                room.release()
        finally:
            reader.cancel()

    async def ListModels(
        self, request: pb.ListModelsRequest, grpc_context: GrpcContext
    ) -> pb.ListModelsReply:
        """Describe the models."""
        reply = pb.ListModelsReply()
        try:
            self._call(grpc_context)
        except Exception as error:  # becomes the call's status
            return self._refuse(error, grpc_context, reply)
        for model in self._service().catalog:
            reply.models.add().update({"id": model.name, **model.describe()})
        return reply

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: GrpcContext
    ) -> health_pb2.HealthCheckResponse:
        """Tell whether new requests are taken."""
        if request.service not in ("", SERVICE):
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no service {request.service[:100]}")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=self._health())

    async def List(
        self, request: health_pb2.HealthListRequest, grpc_context: GrpcContext
    ) -> health_pb2.HealthListResponse:
        """Tell it of every service."""
        one = health_pb2.HealthCheckResponse(status=self._health())
        return health_pb2.HealthListResponse(statuses={"": one, SERVICE: one})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: GrpcContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tell it now and whenever it changes."""
        before = None
        while True:
            status = self._health()
            if request.service not in ("", SERVICE):
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != before:
                yield health_pb2.HealthCheckResponse(status=status)
                before = status
            await asyncio.sleep(1)

    def _health(self) -> Any:
        service = self._service()
        is_ready = service is not None and not service.is_closing
        kind = health_pb2.HealthCheckResponse
        return kind.SERVING if is_ready else kind.NOT_SERVING

    def _call(self, context: GrpcContext) -> Call:
        options = self._service().options
        headers = read_headers(
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in context.invocation_metadata()
        )
        options.keys.check(headers.authorization, headers.api_key)
        call = call_of(headers, options.limits)
        # Serve's context does not tell the deadline; there the call is cancelled when it passes.
        time_remaining = getattr(context, "time_remaining", lambda: None)()
        if time_remaining is None:
            return call
        return Call(min(call.timeout_s, max(time_remaining, 0.0)), call.lane, call.request_id)

    def _refuse(self, error: Exception, context: GrpcContext, reply: Any) -> Any:
        problem = problem_of(error)
        self._service().note("", _ROUTE, Reply(problem.status, b"", reason=problem.type), 0.0)
        return _fail(problem, context, reply)

    async def _answer(self, request: pb.InferRequest, call: Call) -> pb.InferReply | Problem:
        """Answer, count and log one request; whatever goes wrong is its problem."""
        started_s = time.monotonic()
        answer: pb.InferReply | Problem
        noted = Reply(499, b"", reason="client_gone")
        try:
            model, result = await self._run(request, call)
            ran_s = time.monotonic()
            answer = _reply(model, request, result)
            serialise_s = time.monotonic() - ran_s
            noted = Reply(200, b"", model=model.name, result=result, serialise_s=serialise_s)
        except Exception as error:
            answer = problem_of(error)
            noted = Reply(answer.status, b"", reason=answer.type)
        finally:  # also where the call was cancelled
            total_s = time.monotonic() - started_s
            self._service().note(call.request_id, _ROUTE, noted, total_s)
        return answer

    async def _run(self, request: pb.InferRequest, call: Call) -> tuple[ServedModel, Result]:
        service = self._service()
        limit = service.options.limits.max_body_bytes
        if request.ByteSize() > limit:
            raise RequestTooLargeError(f"the message is longer than {limit} bytes")
        model: ServedModel = service.catalog.pick(request.model or None)
        if not (request.want_vectors or request.want_scores):
            raise MalformedRequestError("set want_vectors or want_scores, or both")
        if request.want_scores:
            model.require_head()
        return model, await model.run(_ask(model, request, call), call)


def _ask(model: ServedModel, request: pb.InferRequest, call: Call) -> Ask:
    if bool(request.texts) == bool(request.token_ids):
        raise MalformedRequestError("send either texts or token_ids")
    choice = None
    if request.want_vectors and (request.pooling or request.layers):
        choice = model.choose(request.pooling or None, list(request.layers) or None)
    texts = [
        (one.text, one.text_pair) if one.HasField("text_pair") else one.text
        for one in request.texts
    ]
    rows = [list(one.ids) for one in request.token_ids]
    return Ask(texts, rows, request.truncate, choice, call.lane)


def _reply(model: ServedModel, request: pb.InferRequest, result: Result) -> pb.InferReply:
    reply = pb.InferReply(
        id=request.id,
        model=model.name,
        fingerprint=result.fingerprint,
        num_tokens=result.num_tokens,
        tokenize_ms=result.tokenize_s * 1e3,
        queue_ms=result.queue_s * 1e3,
        forward_ms=result.forward_s * 1e3,
    )
    answers = [reply.answers.add() for _ in range(result.num_texts)]
    if request.want_vectors:
        normalize = request.normalize if request.HasField("normalize") else None
        vectors = model.vectors(result, normalize=normalize, dimensions=request.dimensions or None)
        reply.dimensions = vectors[0].shape[-1]
        for i, answer in enumerate(answers):
            if i not in result.errors:
                answer.vector.values.extend(vectors[i].ravel().tolist())
    if request.want_scores:
        for answer, score in zip(answers, model.scores(result), strict=True):
            if score is not None:
                answer.result.update(score)
    for i, error in result.errors.items():
        answers[i].error.CopyFrom(_shown(problem_of(error)))
    for i in result.truncated:
        answers[i].truncated = True
    return reply


def _shown(problem: Problem) -> pb.Problem:
    return pb.Problem(type=problem.type, message=problem.message)


def _fail(problem: Problem, context: GrpcContext, reply: Any) -> Any:
    context.set_code(_STATUS.get(problem.status, grpc.StatusCode.INTERNAL))
    context.set_details(f"{problem.type}: {problem.message}")
    if problem.retry_after_s is not None:
        retry_after_ms = str(math.ceil(problem.retry_after_s * 1e3))
        context.set_trailing_metadata([("retry-after-ms", retry_after_ms)])
    return reply
