"""Clients that keep asking a service while a test does something to it, and its replicas."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import httpx

from ernie_ray.client.retries import Retries
from tests.integration.service_process import processes_of

TEXT = "房间很干净，推荐。"


class Load:
    """Clients that ask one after another and note every outcome.

    Attributes:
        outcomes: Number of requests by status, or by the name of the error.
        failures: When each failed, and its outcome.
        final: Outcomes of failures that the documentation does not call retryable.
        answered_s: When each good answer came.
    """

    def __init__(self, url, num_clients=4):
        self.url, self.num_clients = url, num_clients
        self.outcomes, self.failures, self.final, self.answered_s = Counter(), [], [], []
        self._stop = threading.Event()

    @property
    def longest_silence_s(self):
        """Longest time between two good answers."""
        times_s = sorted(self.answered_s)
        return max(b - a for a, b in pairwise(times_s))

    def _ask_until_stopped(self):
        retries = Retries()
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                status, headers = 0, {}
                try:
                    reply = client.post("/v1/vectors", json={"texts": TEXT})
                    outcome = status = reply.status_code
                    headers = reply.headers
                except httpx.TransportError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                if outcome == 200:
                    self.answered_s.append(time.monotonic())
                    continue
                self.failures.append((time.monotonic(), outcome))
                if retries.wait_s(1, status, headers) is None:
                    self.final.append(outcome)

    @contextmanager
    def running(self):
        with ThreadPoolExecutor(self.num_clients) as pool:
            asked = [pool.submit(self._ask_until_stopped) for _ in range(self.num_clients)]
            try:
                yield self
            finally:
                self._stop.set()
        for one in asked:
            one.result()


def replica_pids(session_dir, deployment="TextModels"):
    name = f"ray::ServeReplica:ernie-ray:{deployment}".encode()
    return {pid for pid, line in processes_of(session_dir).items() if line.startswith(name)}


def replica_infos(url):
    """Pid and visible GPUs of the replica that answers this request, and thus is ready."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return dict(re.findall(r'ernie_ray_replica_info\{pid="(\d+)",gpus="([^"]*)"\}', text))
