"""Steady load on a service, and what its replicas are."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.integration.service_process import processes_of

TEXT = "房间很干净，推荐。"


class Load:
    """Clients that ask one after another and note every outcome."""

    def __init__(self, url, num_clients=4):
        self.url, self.num_clients = url, num_clients
        self.outcomes, self.failures = Counter(), []
        self._stop = threading.Event()

    def _ask_until_stopped(self):
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post("/v1/vectors", json={"texts": TEXT})
                    outcome = reply.status_code
                except httpx.TransportError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                if outcome != 200:
                    self.failures.append((time.monotonic(), outcome))

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
