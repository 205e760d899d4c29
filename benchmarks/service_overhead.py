"""Where the time of one short request goes: in-process ASGI calls, without Ray and sockets.

    python -m benchmarks.service_overhead MODEL_DIR

Every part is timed on its own in a loop, then the whole request; what the parts do not explain is
asyncio and the hand-over to the engine's thread and back.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
import orjson
from tqdm import trange

from ernie_ray.inference.batcher import Batcher
from ernie_ray.inference.lane_queue import Lane
from ernie_ray.inference.predictor import Predictor
from ernie_ray.serving.app import TextService
from ernie_ray.serving.ask import Ask, Call
from ernie_ray.serving.bodies import VectorsBody, parse_body
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.request_headers import read_headers
from ernie_ray.serving.served_model import ServedModel

_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"content-type", b"application/json"),
    (b"content-length", b"40"),
    (b"x-request-id", b"0123456789abcdef"),
]


def _median_us(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin_s)
    return statistics.median(times) * 1e6


async def _median_async_us(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    times = []
    for _ in trange(rounds, leave=False):
        begin_s = time.perf_counter()
        await work()
        times.append(time.perf_counter() - begin_s)
    return statistics.median(times) * 1e6


async def _measure(predictor: Predictor, text: str, rounds: int) -> list[tuple[str, float]]:
    body = orjson.dumps({"texts": text})
    rows = predictor.tokenize([text])
    runner = LocalRunner(predictor)
    model = ServedModel(runner)
    app = TextService(Catalog([model]))
    call = Call(timeout_s=10)
    result = await model.run(Ask([text]), call)
    vectors = model.vectors(result)
    batcher: Batcher = runner.batcher

    async def request() -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/vectors", "headers": _HEADERS}

        parts = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            # As a server does: after the body nothing comes until the client leaves.
            return next(parts, None) or await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200

        await app(scope, receive, send)

    parts = [
        ("headers", _median_us(lambda: read_headers(_HEADERS), rounds)),
        ("parse and check the body", _median_us(lambda: parse_body(VectorsBody, body), rounds)),
        ("tokenize", _median_us(lambda: predictor.tokenize([text]), rounds)),
        ("forward (engine, padding)", _median_us(lambda: predictor.forward(rows), rounds)),
        ("normalise", _median_us(lambda: model.vectors(result), rounds)),
        (
            "write JSON",
            _median_us(
                lambda: orjson.dumps({"vectors": vectors}, option=orjson.OPT_SERIALIZE_NUMPY),
                rounds,
            ),
        ),
    ]
    queued = await _median_async_us(lambda: batcher.infer(rows, lane=Lane.INTERACTIVE), rounds)
    run = await _median_async_us(lambda: model.run(Ask([text]), call), rounds)
    whole = await _median_async_us(request, rounds)
    parts += [
        ("queue, threads, finite check (batcher less forward)", queued - parts[3][1]),
        ("limits, deadline (run less batcher and tokenize)", run - queued - parts[2][1]),
        (
            "routing, metrics, reply (request less run, body, JSON)",
            whole - run - parts[1][1] - parts[4][1] - parts[5][1],
        ),
        ("the whole request", whole),
        ("of it not the engine", whole - parts[3][1]),
    ]
    await app.close()
    return parts


@click.command()
@click.argument("model_dir", type=click.Path(exists=True, file_okay=False))
@click.option("--text", default="How is the weather today?", show_default=True)
@click.option("--rounds", default=300, show_default=True)
@click.option("--num-threads", default=1, show_default=True, help="Compute threads.")
def main(model_dir: str, text: str, rounds: int, num_threads: int) -> None:
    """Print microseconds per part of one request with one short text."""
    predictor = Predictor.from_dir(model_dir, num_threads=num_threads)
    for name, microseconds in asyncio.run(_measure(predictor, text, rounds)):
        click.echo(f"{microseconds:8.1f} us  {name}")


if __name__ == "__main__":
    main()
