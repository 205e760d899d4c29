r"""Texts a second of the service in requests of 32, beside its engine offline.

    python -m benchmarks.bulk_throughput

Offline the same engine with the same threads gets all texts at once, in this process. The service
is `ernie-ray serve` with HAProxy and Ray on the same cores, asked over a few kept connections; the
client sends bodies made before and reads answers without parsing them. Both take turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tqdm import trange

from benchmarks.engines import minilm_model_dir
from benchmarks.report import command_line, spread, table, write_result
from ernie_ray.cli.free_ports import free_ports
from ernie_ray.inference.predictor import Predictor

TEXTS = Path("loadtests/texts/english.txt")
TEXTS_PER_REQUEST = 32
CONNECTIONS = (1, 4, 16)
_START_S, _STOP_S = 120.0, 60.0


def main() -> None:
    """Measure and write docs/results/bulk_throughput.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory; default: all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=Path, default=TEXTS, help="a file with a text a line")
    parser.add_argument("--num-texts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    lines = args.texts.read_text(encoding="utf-8").splitlines()
    texts = random.Random(0).choices([line for line in lines if line.strip()], k=args.num_texts)
    model = args.model.absolute() if args.model else minilm_model_dir()
    predictor = Predictor.from_dir(model)
    with _served(model) as port:
        rates = _measure(predictor, port, texts, args.rounds)
    offline = rates.pop("offline")
    rows = [["engine offline", spread(offline, 0), "1"]]
    for way, found in rates.items():
        ratios = [one / base for one, base in zip(found, offline, strict=True)]
        rows.append([way, spread(found, 0), spread(ratios, 2)])
    tokens = sum(map(len, predictor.tokenize(texts))) / len(texts)
    path = write_result(
        "bulk_throughput",
        "The service in requests of 32 texts beside its engine offline",
        command_line("bulk_throughput"),
        f"{predictor.manifest.name}, {predictor.engine} {predictor.precision}; {len(texts):,} "
        f"texts of {tokens:.0f} tokens on average, vectors as base64 or as JSON numbers. Client, "
        "HAProxy, Ray and the replica share the cores. Medians with quartiles over "
        f"{args.rounds} rounds; ratios are formed within a round.\n\n"
        + table(["way", "texts/s", "of the engine offline"], rows),
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def _measure(
    predictor: Predictor, port: int, texts: Sequence[str], num_rounds: int
) -> dict[str, list[float]]:
    """Texts a second of each way, by round."""
    ways = [(encoding, number) for encoding in ("base64", "float") for number in CONNECTIONS]
    bodies = {encoding: _bodies(texts, encoding) for encoding in ("base64", "float")}
    _ask_all(port, bodies["base64"], 4)  # kernels for these shapes
    predictor.run(texts)
    rates: dict[str, list[float]] = {}
    for _ in trange(num_rounds, unit="round"):
        begin_s = time.perf_counter()
        predictor.run(texts)
        rates.setdefault("offline", []).append(len(texts) / (time.perf_counter() - begin_s))
        for encoding, number in ways:
            begin_s = time.perf_counter()
            _ask_all(port, bodies[encoding], number)
            rate = len(texts) / (time.perf_counter() - begin_s)
            rates.setdefault(f"service, {encoding}, {number} connections", []).append(rate)
    return rates


def _bodies(texts: Sequence[str], encoding: str) -> list[bytes]:
    starts = range(0, len(texts), TEXTS_PER_REQUEST)
    groups = [texts[i : i + TEXTS_PER_REQUEST] for i in starts]
    return [json.dumps({"texts": group, "encoding": encoding}).encode() for group in groups]


def _ask_all(port: int, bodies: Sequence[bytes], num_connections: int) -> None:
    """Send every body once; each connection waits for its answer before it sends the next."""

    def ask(mine: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for body in mine:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/vectors", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"the service answered {answer.status}")
        connection.close()

    with ThreadPoolExecutor(num_connections) as pool:
        list(pool.map(ask, [bodies[i::num_connections] for i in range(num_connections)]))


@contextmanager
def _served(model: Path) -> Iterator[int]:
    """The port of a service of that model."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "ernie_ray", "serve", str(model), "--port", str(port)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, port)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=_STOP_S)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.5)
    raise RuntimeError(f"the service was not ready within {_START_S:.0f} s")


if __name__ == "__main__":
    main()
