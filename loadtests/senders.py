"""Locust users that can send texts: over HTTP (FastHttpUser), gRPC, to a bert-serving server.

Importing this module imports Locust, which patches the process for gevent: only generator
processes and the locustfile do. A user for another protocol needs one method, ``send_texts``.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import count, cycle
from typing import Any, ClassVar

import gevent
from gevent.event import AsyncResult
from locust import FastHttpUser, User

from loadtests import bert_serving, grpc_service
from loadtests.dialects import Dialect, Vectors
from loadtests.records import OK, TIMEOUT

MAX_IN_FLIGHT = 1000
"""Most requests of one open-loop user at once; a later one waits, and its latency counts that."""
_CHECKED_EVERY = 64
"""One answer in so many is read in full: reading all would cost more than sending."""
_CALLS_PER_CONNECTION = 100
"""Calls that share an HTTP/2 connection: what HAProxy and other servers allow by default."""


class HttpSender(FastHttpUser):
    """Sends JSON over kept-alive connections, without Locust's own timing."""

    abstract = True
    concurrency = MAX_IN_FLIGHT
    dialect: Dialect
    # Without: a reply's headers would be searched for cookies each time.
    _headers: ClassVar = {"Content-Type": "application/json", "Accept-Encoding": "identity"}

    def on_start(self) -> None:
        """Prepare the connection pool."""
        self._number = count()
        self.client.client.cookiejar = None

    def send_texts(self, texts: list[str]) -> str:
        """Send one request and wait for its answer.

        Returns:
            ``ok``, or the kind of error.
        """
        response = self.client.request(
            "POST",
            self.dialect.path,
            data=self.dialect.body(texts),  # type: ignore[arg-type]  # it takes bytes too
            headers=self._headers,
            catch_response=True,  # nothing is reported until the caller does
        )
        if response.status_code == 0:
            return _kind_of(response.request_meta["exception"])
        if response.status_code != 200:
            return f"status {response.status_code}"
        if not response.content:
            return _kind_of(response.request_meta["exception"])
        if next(self._number) % _CHECKED_EVERY == 0:
            return _check(partial(self.dialect.vectors, response.content), len(texts))
        return OK


class GrpcSender(User):
    """Sends to our service over gRPC."""

    abstract = True
    concurrency = MAX_IN_FLIGHT
    network_timeout: float

    def on_start(self) -> None:
        """Open connections of this user's own: many calls share one, as in a real client."""
        self._grpc, self._number = _patched_grpc(), count()
        assert self.host is not None
        self._channels = [
            self._grpc.insecure_channel(
                grpc_service.address(self.host), [("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(math.ceil(self.concurrency / _CALLS_PER_CONNECTION))
        ]
        self._infer = cycle([one.unary_unary(grpc_service.METHOD) for one in self._channels])

    def on_stop(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def send_texts(self, texts: list[str]) -> str:
        """Send one request and wait for its answer; see HttpSender."""
        body = grpc_service.request_body(texts)
        try:
            reply = next(self._infer)(body, timeout=self.network_timeout)
        except self._grpc.RpcError as error:
            is_late = error.code() == self._grpc.StatusCode.DEADLINE_EXCEEDED
            return TIMEOUT if is_late else f"status {error.code().name}"
        if next(self._number) % _CHECKED_EVERY == 0:
            return _check(partial(grpc_service.answered_vectors, reply), len(texts))
        return OK


class BertServingSender(User):
    """Sends to a server that speaks bert-serving's ZeroMQ protocol."""

    abstract = True
    network_timeout: float

    def on_start(self) -> None:
        """Connect, and wait until the server's answers arrive."""
        import zmq.green as zmq

        self._context = zmq.Context()
        assert self.host is not None
        self._push, self._answers, self._id = bert_serving.sockets(zmq, self._context, self.host)
        self._number, self._waiting = count(1), dict[bytes, AsyncResult]()
        self._receiver = gevent.spawn(self._receive)
        for _ in range(20):
            greeting = self._waiting[b"0"] = AsyncResult()
            self._push.send_multipart([self._id, bert_serving.SHOW_CONFIG, b"0", b"0"])
            if greeting.wait(0.25) is not None:
                break

    def on_stop(self) -> None:
        """Close the sockets."""
        self._receiver.kill()
        self._context.destroy(linger=0)

    def send_texts(self, texts: list[str]) -> str:
        """Send one request and wait for its answer; see HttpSender."""
        number = next(self._number)
        key = b"%d" % number
        answer = self._waiting[key] = AsyncResult()
        try:
            self._push.send_multipart(bert_serving.request_frames(self._id, number, texts))
            vectors = bert_serving.answered_vectors(answer.get(timeout=self.network_timeout))
            return OK if len(vectors) == len(texts) else "wrong answer"
        except gevent.Timeout:
            return TIMEOUT
        except ValueError:
            return "wrong answer"
        finally:
            self._waiting.pop(key, None)

    def _receive(self) -> None:
        while True:
            frames = self._answers.recv_multipart()
            waiting = self._waiting.get(frames[-1])
            if waiting is not None:
                waiting.set(frames)


@cache
def _patched_grpc() -> Any:
    """The module ``grpc``, whose calls let other greenlets run."""
    import grpc
    from grpc.experimental import gevent as grpc_gevent

    grpc_gevent.init_gevent()
    return grpc


def _check(vectors: Callable[[], Vectors], num_texts: int) -> str:
    try:
        return OK if len(vectors()) == num_texts else "wrong answer"
    except ValueError:
        return "wrong answer"


def _kind_of(error: Any) -> str:
    error = getattr(error, "original", None) or error  # "retries exceeded" wraps what happened
    if isinstance(error, socket.timeout | TimeoutError | gevent.Timeout):
        return TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    return type(error).__name__ if error else "empty answer"


def now_s() -> float:
    """Seconds of the clock that all processes of one machine share."""
    return time.monotonic()
