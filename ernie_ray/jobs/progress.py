"""Training metrics on their way to the person who waits: worker, buffer, file and bar.

Ray Train's own ``report`` makes all workers wait for each other and for the controller's next poll,
so lines of metrics take this side channel and only checkpoints take that one.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from ernie_ray.errors import DataError
from ernie_ray.jobs.storage import Storage, staging_path, writing_to
from ernie_ray.text.row_files import first_line

_POLL_INTERVAL_S = 0.5

OnLine = Callable[[dict[str, float]], None]
"""Takes one line of metrics: of training, with ``loss``, or of an evaluation."""
TakeLines = Callable[[], Sequence[dict[str, float]]]
"""Gives the lines that came since it was called last."""


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
    line takes the place of the old ones. The file of a remote run is written here and brought there
    at each evaluation.

    Attributes:
        location: Where it is, or is brought.
    """

    def __init__(self, name: str, storage: Storage) -> None:
        """Go on with the file, or begin it.

        Args:
            name: Where it is, as ``Storage.resolve`` takes it.
            storage: Resolves it.

        Raises:
            DataError: An earlier file cannot be read.
        """
        self.location = location = storage.resolve(name)
        self._name = name
        self._storage = storage
        self._copies: TemporaryDirectory[str] | None = None
        if isinstance(location, Path):
            self._path = location
        else:
            self._copies = TemporaryDirectory(prefix="ernie-ray-metrics-")
            self._path = Path(self._copies.name) / location.rpartition("/")[2]
            if storage.exists(name):
                shutil.copyfile(storage.fetch(name), self._path)
        self._mend()
        self._may_be_cut_off = False
        known = read_metrics(self._path)
        self._last_step = max((line["step"] for line in known), default=0)
        self._evaluated_step = max((x["step"] for x in known if _is_evaluation(x)), default=-1)

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bring the file to its place.

        Raises:
            DataError: It cannot be written there.
        """
        if self._copies is None:
            return
        try:
            if self._path.is_file():
                self._publish()
        finally:
            self._copies.cleanup()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line, after removing those of later or equal steps if a run was resumed.

        Raises:
            OSError: There is no room for it, say; the same call may come again.
            DataError: The same, if lines had to be removed.
        """
        if self._may_be_cut_off:
            self._mend()
        step, is_evaluation = line["step"], _is_evaluation(line)
        if step < self._last_step or (
            step == self._last_step and (not is_evaluation or step == self._evaluated_step)
        ):
            # The training line of this step stays where the step is measured once more.
            self._rewrite(
                [
                    old
                    for old in read_metrics(self._path)
                    if old["step"] < step
                    or (old["step"] == step and is_evaluation and not _is_evaluation(old))
                ]
            )
        self._may_be_cut_off = True
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_dump([line]))
        self._may_be_cut_off = False
        self._last_step = step
        if is_evaluation:
            self._evaluated_step = step
        if is_evaluation:
            self._bring()

    def regain(self, evaluations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put lines of evaluations in their place, where a driver was killed before it wrote them.

        Args:
            evaluations: As checkpoints know them; those of steps that have a line change nothing.

        Returns:
            The lines that were missing.

        Raises:
            DataError: See ``writing_to``.
        """
        known = read_metrics(self._path)
        steps = {line["step"] for line in known if _is_evaluation(line)}
        missing = [line for line in evaluations if line["step"] not in steps]
        if missing:
            lines = sorted(
                [*known, *missing], key=lambda line: (line["step"], _is_evaluation(line))
            )
            with writing_to(self.location):
                self._rewrite(lines)
            self._last_step = lines[-1]["step"]
            self._evaluated_step = max(x["step"] for x in lines if _is_evaluation(x))
            self._bring()
        return missing

    def _mend(self) -> None:
        """Remove a line that was cut off, or the next one would be glued to it."""
        known = read_metrics(self._path)
        if self._path.is_file() and _text_of(self._path) != _dump(known):
            self._rewrite(known)

    def _rewrite(self, lines: Sequence[dict[str, Any]]) -> None:
        partial = staging_path(self._path)
        try:
            partial.write_text(_dump(lines), encoding="utf-8")
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)

    def _bring(self) -> None:
        if self._copies is not None:
            with suppress(DataError):  # the next evaluation, or the end, tries again
                self._publish()

    def _publish(self) -> None:
        copy = staging_path(self._path)
        try:
            with writing_to(self.location):
                shutil.copyfile(self._path, copy)
            self._storage.publish(copy, self._name)
        finally:
            copy.unlink(missing_ok=True)


def _is_evaluation(line: dict[str, Any]) -> bool:
    return "loss" not in line


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics file; lines that were cut off by a crash are left out."""
    if not path.is_file():
        return []
    found = []
    for text in _text_of(path).splitlines(keepends=True):
        with suppress(json.JSONDecodeError):
            line = json.loads(text)
            if text.endswith("\n") and isinstance(line, dict) and "step" in line:
                found.append(line)
    return found


def lines_of(buffer: Any) -> TakeLines:
    """Make what takes the lines of a ``MetricsBuffer``, given by its handle."""
    return lambda: ray.get(buffer.drain.remote())


@contextmanager
def watch(
    take_lines: TakeLines,
    file: MetricsFile,
    *,
    show_progress: bool,
    on_line: OnLine | None = None,
) -> Iterator[None]:
    """Write lines to a file, and draw them as a bar, while the block runs.

    Lines that find no room wait for it.

    Args:
        take_lines: As from ``lines_of``.
        file: The run's metrics file.
        show_progress: Draw the bar on stderr.
        on_line: Called with each line that was written, in a thread of its own.

    Raises:
        DataError: The block ended well, but lines could not be written until then.
    """
    done = threading.Event()
    with tqdm(desc="train", unit=" steps", disable=not show_progress) as bar:
        watcher = _Watcher(take_lines, file, bar, on_line)
        thread = threading.Thread(target=watcher.run, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
    watcher.check_all_written()


class _Watcher:
    """Takes lines on in the order in which they come, each once."""

    def __init__(
        self, take_lines: TakeLines, file: MetricsFile, bar: Any, on_line: OnLine | None
    ) -> None:
        self._take_lines = take_lines
        self._file = file
        self._bar = bar
        self._on_line = on_line
        self._waiting: deque[dict[str, float]] = deque()
        self._problem = ""

    def run(self, done: threading.Event) -> None:
        """Look for lines until the event is set, and once more."""
        is_last_round = False
        while not is_last_round:
            is_last_round = done.wait(_POLL_INTERVAL_S)
            self._waiting += self._take_lines()
            # A disk that is full now may have room in the next round.
            with suppress(OSError, DataError):
                self._write()

    def check_all_written(self) -> None:
        """Raise ``DataError`` if lines are left."""
        if self._waiting:
            raise DataError(
                f"{self._file.location}: cannot be written: {len(self._waiting)} lines of metrics "
                f"are lost: {self._problem}; make room, and the same command goes on"
            )

    def _write(self) -> None:
        while self._waiting:
            line = self._waiting[0]
            try:
                self._file.write(line)
            except (OSError, DataError) as error:
                self._problem = first_line(error)
                raise
            self._waiting.popleft()
            _draw(self._bar, line)
            if self._on_line is not None:
                self._on_line(line)


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


def _text_of(path: Path) -> str:
    # A disk that lost its power may leave anything at the end.
    return path.read_text(encoding="utf-8", errors="replace")


def _dump(lines: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)
