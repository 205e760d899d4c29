"""The tour's service: start it, ask it something, put load on it, stop it.

Speaks to it as any stranger would, over the network.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.errors import ErnieRayError

_QUESTION = "房间很干净，前台热情，早餐也丰富，下次还会住。"
_START_TIMEOUT_S = 180.0
_SHOWN_NUMBERS = 4


@dataclass(frozen=True)
class Load:
    """What the load test measured.

    Attributes:
        qps: Requests a second that waiting clients had answered.
        num_clients: So many clients.
        rate: Requests a second that came, whether or not others waited, for the latencies.
        p50_ms: Median latency at that rate; None: nothing was answered.
        p99_ms: 99th percentile of the same.
    """

    qps: float
    num_clients: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def from_results(cls, results: dict[str, Any]) -> Load:
        """Read what `python -m loadtests run --json` wrote."""
        closed, opened = results["closed"]["lanes"][0], results["opened"]["lanes"][0]
        latencies = opened["p50_ms"], opened["p99_ms"]
        return cls(closed["qps"], round(closed["level"]), opened["level"], *latencies)

    def __str__(self) -> str:
        p50, p99 = ("-" if x is None else f"{x:.1f}" for x in (self.p50_ms, self.p99_ms))
        return (
            f"QPS {self.qps:.1f} with {self.num_clients} waiting clients; "
            f"p50 {p50} ms, p99 {p99} ms at {self.rate:.1f} requests/s"
        )


@contextmanager
def running_service(model: Path) -> Iterator[str]:
    """`ernie-ray serve` in a process of its own; gives its URL while it is ready.

    Raises:
        ErnieRayError: It did not become ready.
    """
    (port,) = free_ports(1)
    command_line = [sys.executable, "-m", "ernie_ray", "serve", str(model), "--port", str(port)]
    process = subprocess.Popen(
        command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            printed = process.stdout.read() if process.stdout else ""
            raise ErnieRayError(f"the service ended before it was ready:\n{printed}")
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ErnieRayError(f"the service was not ready after {_START_TIMEOUT_S:.0f} s")


def ask(url: str) -> tuple[str, str]:
    """Ask one question; gives the curl line and the answer, with few numbers of its vector."""
    body = json.dumps({"texts": [_QUESTION]}, ensure_ascii=False)
    request = urllib.request.Request(f"{url}/v1/infer", data=body.encode())
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer = _shortened(json.load(reply))
    return (
        f"curl -s {url}/v1/infer -d '{body}'",
        json.dumps(answer, ensure_ascii=False, indent=2),
    )


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        is_vector = len(value) > 2 * _SHOWN_NUMBERS and isinstance(value[0], float)
        if is_vector:
            return [*value[:_SHOWN_NUMBERS], f"... {len(value)} numbers"]
        return [_shortened(inner) for inner in value]
    return value


def why_no_load_test() -> str:
    """Say what is missing for a load test; empty if nothing is."""
    missing = [name for name in ("loadtests", "locust") if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"not tested: {missing[0]} is not installed; pip install -e '.[loadtests]'"


def load_test(url: str, seconds: float, results: Path) -> Load:
    """Measure the service with short Chinese texts, in a process that knows only its URL.

    Args:
        url: The service.
        seconds: Length of the test.
        results: Gets everything that was measured, as JSON.

    Raises:
        ErnieRayError: The load test failed; it has said why on stderr.
    """
    command_line = [
        sys.executable, "-m", "loadtests", "run", "--url", f"{url}/v1/infer",
        "--texts", "chinese", "--seconds", str(seconds), "--json", str(results),
    ]  # fmt: skip
    if subprocess.run(command_line, stdout=subprocess.DEVNULL, check=False).returncode:
        raise ErnieRayError("the load test failed; its reason is above, and the rest is kept")
    return Load.from_results(json.loads(results.read_text(encoding="utf-8")))
