"""Any server that runs already: `http://host:port/path`, `grpc://` or `tcp://host:port`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from loadtests.dialects import DIALECTS
from loadtests.errors import ScenarioError
from loadtests.fleet import Address
from loadtests.processes import behind_port
from loadtests.targets.target import Running, Target

_PATHS = {dialect.path: name for name, dialect in DIALECTS.items()}
_PROTOCOLS = {"grpc": "grpc", "tcp": "bert-serving"}
"""Dialects of schemes that have only one."""


class UrlTarget(Target):
    """A server by its address; its path says how it is asked."""

    def __init__(self, url: str) -> None:
        self.name = url
        self.address = address_of(url)

    def prepare(self) -> None:
        """Nothing to install."""

    def running(self) -> Iterator[Running]:
        """It runs already, and goes on."""
        yield Running(self.address, lambda: local_pids(self.address.url))


def address_of(url: str, dialect: str | None = None) -> Address:
    """Read a URL.

    Args:
        url: ``http://host:port`` with the path of a dialect, by default /v1/vectors;
            ``grpc://host:port`` for our gRPC service; ``tcp://host:port`` for bert-serving's
            protocol.
        dialect: Name of a dialect, instead of a path.

    Raises:
        ScenarioError: It is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme in _PROTOCOLS and parts.port:
        return Address(f"{parts.scheme}://{parts.netloc}", _PROTOCOLS[parts.scheme])
    path = parts.path.rstrip("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or (path and path not in _PATHS):
        raise ScenarioError(
            f"{url}: give http://HOST:PORT with one of the paths {', '.join(_PATHS)}, "
            "grpc://HOST:PORT for our gRPC service, or tcp://HOST:PORT for a bert-serving server"
        )
    return Address(f"{parts.scheme}://{parts.netloc}", dialect or _PATHS.get(path, "vectors"))


def local_pids(url: str) -> set[int]:
    """Processes behind a URL if it is one of this machine; else none."""
    parts = urlsplit(url)
    try:
        ip = socket.gethostbyname(parts.hostname or "")
    except OSError:
        return set()
    is_local = ip.startswith("127.") or ip == "0.0.0.0"
    return behind_port(parts.port or 80) if is_local else set()
