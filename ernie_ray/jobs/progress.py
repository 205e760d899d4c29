"""Training metrics on their way to the person who waits: worker, buffer, file and bar.

Ray Train's own ``report`` makes all workers wait for each other and for the controller's next poll,
so lines of metrics take this side channel and only checkpoints take that one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

_POLL_INTERVAL_S = 0.5

OnLine = Callable[[dict[str, float]], None]
"""Takes one line of metrics: of training, with ``loss``, or of an evaluation."""


class MetricsBuffer:
    """Keeps lines until the driver takes them; an actor that lives and dies with the driver."""

    def __init__(self) -> None:
        self._lines: list[dict[str, float]] = []

    def append(self, line: dict[str, float]) -> None:
        """Keep a line."""
        self._lines.append(line)

    def drain(self) -> list[dict[str, float]]:
        """Give the lines kept so far, and forget them."""
        lines, self._lines = self._lines, []
        return lines


def start_buffer(name: str) -> Any:
    """Start a ``MetricsBuffer`` as a named actor; gives its handle."""
    return start_beside_driver(MetricsBuffer, name)


def start_beside_driver(kind: type, name: str) -> Any:
    """Start a named actor on the driver's node: the loss of any other must not end the run."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0)(kind)
    return actor.options(name=name, scheduling_strategy=here).remote()


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, one line a step at most of each kind.

    A run that goes on from a checkpoint repeats steps that were logged before it stopped; the new
    line takes the place of the old ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_step = max((line["step"] for line in read_metrics(path)), default=0)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line, after removing those of later or equal steps if a run was resumed."""
        is_evaluation = "loss" not in line
        if line["step"] < self._last_step or (
            line["step"] == self._last_step and not is_evaluation
        ):
            kept = [old for old in read_metrics(self._path) if old["step"] < line["step"]]
            self._path.write_text("".join(map(_dump, kept)), encoding="utf-8")
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_dump(line))
        self._last_step = line["step"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics file; a last line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@contextmanager
def watch(
    buffer: Any, path: Path, *, show_progress: bool, on_line: OnLine | None = None
) -> Iterator[None]:
    """Write a buffer's lines to a file, and draw them as a bar, while the block runs.

    Args:
        buffer: Handle of a ``MetricsBuffer``.
        path: The metrics file.
        show_progress: Draw the bar on stderr.
        on_line: Called with each line that was written, in a thread of its own.
    """
    done = threading.Event()
    arguments = (buffer, path, done, show_progress, on_line)
    thread = threading.Thread(target=_watch, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(
    buffer: Any, path: Path, done: threading.Event, show_progress: bool, on_line: OnLine | None
) -> None:
    file = MetricsFile(path)
    with tqdm(desc="train", unit=" steps", disable=not show_progress) as bar:
        while True:
            is_last_round = done.wait(_POLL_INTERVAL_S)
            for line in ray.get(buffer.drain.remote()):
                file.write(line)
                _draw(bar, line)
                if on_line is not None:
                    on_line(line)
            if is_last_round:
                return


def _draw(bar: Any, line: dict[str, float]) -> None:
    if "loss" in line:
        bar.total = int(line["num_steps"])
        bar.set_postfix_str(
            f"loss {line['loss']:.4f}, {line['rows_per_s']:.0f} rows/s", refresh=False
        )
        # A resumed run starts behind where the bar stood; update() takes steps back, too.
        bar.update(int(line["step"]) - bar.n)
        return
    measured = ", ".join(f"{k} {v:.4f}" for k, v in line.items() if k != "step")
    if measured:
        bar.write(f"step {int(line['step'])}: dev {measured}")


def _dump(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"
