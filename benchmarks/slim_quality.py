r"""What distillation gains: `python -m benchmarks.slim_quality`.

ChnSentiCorp, THUCNews titles and AFQMC pairs; teachers: fine-tuned multilingual-e5-small. Students
plain, distilled with augmented rows alone, and with unlabelled texts added. Everything that can be
tuned is tuned on dev with the first seed, a plain student with as many trials as the distilled one
has in all; nothing on test. Two processes at once, of one thread each, as they use two cores better
than one of two threads does. The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import command_line, write_result
from benchmarks.slim_data import add_threads_option, require_data
from benchmarks.slim_plans import PLANS
from ernie_ray.cli.ray_session import connect

TITLE = "Slim: what distillation gains"
_TABLE = "table.md"


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    parser.add_argument("--sets", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--at-once", type=int, default=2, help="Processes that work side by side.")
    add_threads_option(parser, default=1)
    options = parser.parse_args()
    require_data()
    start = time.monotonic()
    failed = []
    for task, error in _finished(options):
        minutes = (time.monotonic() - start) / 60
        # Of a task that failed the others know nothing: they go on.
        failed += [task.name] if error else []
        print(f"{minutes:.0f} min: {task.name} {error or 'is done'}", flush=True)  # noqa: T201
        if task.kind == _TABLE and not error:
            # With those of earlier calls: no table is lost.
            tables = [options.folder / one / _TABLE for one in PLANS]
            bodies = [one.read_text(encoding="utf-8") for one in tables if one.exists()]
            bodies.append(f"Minutes of this call: {minutes:.0f}.")
            command = command_line("slim_quality")
            path = write_result("slim_quality", TITLE, command, "\n\n".join(bodies))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the same command goes on")
    print(path.read_text(encoding="utf-8"))  # noqa: T201


@dataclass(frozen=True)
class _Task:
    """Work of one process.

    Attributes:
        dataset: Name of the data set.
        kind: Of the students to train; "": the teacher and its labels; ``_TABLE``: the table.
    """

    dataset: str
    kind: str = ""

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.kind or 'teacher'}"

    def run(self, options: argparse.Namespace) -> None:
        """Do it in this process, which has a Ray of its own; what is printed goes into a log."""
        folder: Path = options.folder / self.dataset
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{self.kind or 'teacher'}.log").open("a", encoding="utf-8") as log:
            # The descriptors, as Ray's processes inherit them.
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with connect(num_cpus=options.threads + 1):
            # Imported late: Ray reads its environment, which `connect` sets.
            from benchmarks.slim_contest import Contest

            plan = PLANS[self.dataset]
            contest = Contest(plan, folder, options.threads)
            if not self.kind:
                contest.prepare()
            elif self.kind == _TABLE:
                (folder / _TABLE).write_text(contest.table(), encoding="utf-8")
            else:
                contest.train(self.kind)


def _finished(options: argparse.Namespace) -> Iterator[tuple[_Task, BaseException | None]]:
    """Run all tasks, each when what it needs is there; gives them as they end, with their error."""
    print(f"progress of each task: {options.folder}/DATA SET/*.log", flush=True)  # noqa: T201
    left = {name: set(PLANS[name].students) for name in options.sets}
    with ProcessPoolExecutor(
        options.at_once, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        running: dict[Future[None], _Task] = {}

        def start(*tasks: _Task) -> None:
            running.update({pool.submit(task.run, options): task for task in tasks})

        start(*(_Task(name) for name in options.sets))
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                task, error = running.pop(future), future.exception()
                yield task, error
                if error or task.kind == _TABLE:
                    continue
                if not task.kind:
                    start(*(_Task(task.dataset, kind) for kind in PLANS[task.dataset].students))
                else:
                    left[task.dataset].discard(task.kind)
                    if not left[task.dataset]:
                        start(_Task(task.dataset, _TABLE))


if __name__ == "__main__":
    main()
