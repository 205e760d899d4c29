"""Other servers of the same weights, each in an environment of its own.

Options of all with torch: ``torch_index`` (such as the index of torch's CPU builds) and
``arguments`` (more of the server's own).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from loadtests.environments import peer_python
from loadtests.errors import ScenarioError
from loadtests.fleet import Address
from loadtests.targets.target import Command, Running, Start, Target, free_ports, run_command

_APPS = Path(__file__).parents[1] / "peers"
_QUIET = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
        requirements: What pip installs besides torch.
        arguments: Command line behind the interpreter; ``{weights}``, ``{port}``.
        dialect: How it is asked.
        ready: Path that answers 200 once it serves.
    """

    requirements: tuple[str, ...]
    arguments: tuple[str, ...]
    dialect: str
    ready: str


def _torch_dtype() -> str:
    # Its own choice on a CPU is float32. On a Zen 4 it answered 1.5 times as many requests in bf16.
    path = Path("/proc/cpuinfo")
    cpu = path.read_text(errors="replace") if path.is_file() else ""
    return "bfloat16" if "avx512_bf16" in cpu or "amx_bf16" in cpu else "float32"


def _app(file: str) -> tuple[str, ...]:
    return (str(_APPS / file), "{weights}", "{port}")


def peers() -> dict[str, Peer]:
    """Peers by name."""
    web = ("sentence-transformers>=5", "fastapi", "uvicorn[standard]")
    return {
        "infinity": Peer(
            ("infinity-emb[server,torch]==0.0.78",),
            (
                "-c",
                "from infinity_emb.cli import cli; cli()",
                *("v2", "--model-id", "{weights}", "--port", "{port}", "--host", "127.0.0.1"),
                *("--device", "cpu", "--engine", "torch", "--dtype", _torch_dtype()),
            ),
            "openai-bare",
            "/health",
        ),
        "sentence-transformers": Peer(
            web, _app("sentence_transformers_app.py"), "plain", "/health"
        ),
        "litserve": Peer(
            ("sentence-transformers>=5", "litserve==0.2.19"),
            _app("litserve_app.py"),
            "plain",
            "/health",
        ),
        "serve-batch": Peer(
            ("sentence-transformers>=5", f"ray[serve]=={version('ray')}"),
            _app("serve_batch_app.py"),
            "plain",
            "/health",
        ),
    }


def without_options(arguments: Sequence[str], names: Set[str]) -> list[str]:
    """Leave out options, each with its value: one that is given twice may be an error."""
    kept = []
    left = iter(arguments)
    for one in left:
        if one.startswith("--") and one in names:
            next(left)
        else:
            kept.append(one)
    return kept


class PeerTarget(Target):
    """A peer from the package index."""

    def __init__(self, name: str, start: Start) -> None:
        self.name, self._peer, self._start = name, peers()[name], start
        unknown = set(start.options) - {"torch_index", "arguments"}
        if unknown:
            raise ScenarioError(
                f"{name} has no option {', '.join(unknown)}; it has torch_index, arguments"
            )

    def prepare(self) -> None:
        """Install it."""
        self._python()

    def running(self) -> Iterator[Running]:
        """See Target."""
        port = free_ports()
        url = f"http://127.0.0.1:{port}"
        names = {"weights": str(self._start.weights), "port": str(port)}
        extra = self._start.options.get("arguments", "").split()
        own = without_options(self._peer.arguments, {one.partition("=")[0] for one in extra})
        arguments = [one.format(**names) for one in own]
        yield from run_command(
            self.name,
            Command(
                [str(self._python()), *arguments, *extra],
                Address(url, self._peer.dialect),
                ready=url + self._peer.ready,
                # Its own packages only.
                environment={**_QUIET, "PYTHONPATH": ""},
                replica="ServeReplica" if self.name == "serve-batch" else None,
            ),
        )

    def _python(self) -> Path:
        return peer_python(
            self.name,
            list(self._peer.requirements),
            torch_index=self._start.options.get("torch_index"),
        )


class OneJobOneBatch(Target):
    """The policy of bert-as-service and ERNIE Service on our encoder and engine.

    Speaks bert-serving's protocol, or HTTP to tell the policy's part from the wire's. Runs in this
    environment, so that engine and tokenizer are those that our service uses.
    """

    def __init__(self, name: str, start: Start) -> None:
        self.name, self._start = name, start
        self._protocol = "http" if name.endswith("-http") else "zmq"

    def prepare(self) -> None:
        """Export the weights."""
        self._start.model_dir()

    def running(self) -> Iterator[Running]:
        """See Target."""
        port = free_ports(2)
        is_http = self._protocol == "http"
        url = f"{'http' if is_http else 'tcp'}://127.0.0.1:{port}"
        script = str(_APPS / "one_job_one_batch_app.py")
        arguments = [sys.executable, script, str(self._start.model_dir()), str(port)]
        for key, value in self._start.options.items():
            arguments += [f"--{key.replace('_', '-')}", value]
        address = Address(url, "plain" if is_http else "bert-serving")
        yield from run_command(
            self.name,
            Command(
                [*arguments, "--protocol", self._protocol],
                address,
                ready=f"{url}/health" if is_http else url,
            ),
        )
