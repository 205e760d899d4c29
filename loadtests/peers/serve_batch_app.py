"""Plain Ray Serve with its own batch decorator, all defaults. Runs in a peer's environment."""

from __future__ import annotations

import signal
import sys
import threading
from itertools import pairwise
from typing import Any

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class Embedding:
    """One replica, sentence-transformers inside."""

    def __init__(self, weights: str) -> None:
        import os

        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(len(os.sched_getaffinity(0)))  # Ray sets 1 for num_cpus=1
        self.model = SentenceTransformer(weights, device="cpu")

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def embed(self, requests: list[list[str]]) -> list[list[list[float]]]:
        """Vectors of every request of a batch."""
        vectors = self.model.encode([text for texts in requests for text in texts]).tolist()
        ends = [0]
        for texts in requests:
            ends.append(ends[-1] + len(texts))
        return [vectors[a:b] for a, b in pairwise(ends)]

    async def __call__(self, request: Request) -> dict[str, Any]:
        """POST /embed, GET /health."""
        if request.url.path == "/health":
            return {"status": "alive"}
        texts = (await request.json())["texts"]
        return {"vectors": await self.embed(texts)}


if __name__ == "__main__":
    stop = threading.Event()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Embedding.bind(sys.argv[1]), route_prefix="/")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
