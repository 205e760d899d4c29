"""The protocol of bert-as-service 1.10: ZeroMQ frames, and a client that waits for each answer.

A client pushes ``[client id, payload, request id, number of texts]`` to one port and subscribes to
its id on the next; an answer is ``[client id, JSON header, float bytes, request id]``.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np

from loadtests.dialects import Vectors

VERSION = b"1.10.0"
SHOW_CONFIG = b"SHOW_CONFIG"


def sockets(zmq: Any, context: Any, url: str) -> tuple[Any, Any, bytes]:
    """Connect to a server.

    Args:
        zmq: The module ``zmq`` or ``zmq.green``.
        context: Its context.
        url: ``tcp://host:port``; answers come from ``port + 1``, as bert-as-service has it.

    Returns:
        The socket to send on, the one to receive on, and this client's id.
    """
    host, _, port = url.rpartition(":")
    client_id = uuid.uuid4().hex.encode()
    push = context.socket(zmq.PUSH)
    push.linger = 0
    push.connect(url)
    subscription = context.socket(zmq.SUB)
    subscription.linger = 0
    subscription.setsockopt(zmq.SUBSCRIBE, client_id)
    subscription.connect(f"{host}:{int(port) + 1}")
    return push, subscription, client_id


def request_frames(client_id: bytes, number: int, texts: list[str]) -> list[bytes]:
    """Frames of one request."""
    payload = json.dumps(texts, ensure_ascii=False).encode()
    return [client_id, payload, b"%d" % number, b"%d" % len(texts)]


def answered_vectors(frames: list[bytes]) -> Vectors:
    """Vectors of an answer, [texts, dimensions].

    Raises:
        ValueError: The frames are no answer with vectors.
    """
    if len(frames) != 4:
        raise ValueError(f"an answer has 4 frames, got {len(frames)}")
    header = json.loads(frames[1])
    array: Vectors = np.frombuffer(frames[2], dtype=header["dtype"]).reshape(header["shape"])
    return array.astype(np.float32)


def ask_once(url: str, texts: list[str] | None, timeout_s: float) -> Vectors | None:
    """Ask a server for its configuration and then for vectors, if texts are given.

    Raises:
        TimeoutError: It did not answer in time.
    """
    import zmq

    context = zmq.Context()
    push, subscription, client_id = sockets(zmq, context, url)
    try:
        frames: list[bytes] = []
        # A subscription may arrive after the first answer left, so the question is repeated.
        for _ in range(max(1, int(timeout_s / 0.5))):
            push.send_multipart([client_id, SHOW_CONFIG, b"0", b"0"])
            if subscription.poll(500):
                frames = subscription.recv_multipart()
                break
        if not frames:
            raise TimeoutError(f"{url} did not answer within {timeout_s:g} s")
        if texts is None:
            return None
        push.send_multipart(request_frames(client_id, 1, texts))
        while subscription.poll(int(timeout_s * 1e3)):
            frames = subscription.recv_multipart()
            if frames[-1] == b"1":
                return answered_vectors(frames)
        raise TimeoutError(f"{url} gave no vectors within {timeout_s:g} s")
    finally:
        context.destroy(linger=0)
