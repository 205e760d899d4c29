"""What makes training with Paddle on a CPU faster: `python -m benchmarks.cpu_training`.

A training step with and without each of two switches, the layers of `ernie_ray.models.layers` in
the place of Paddle's own, and freed memory that is kept; everything else as a training worker has
it. Every run is a process of its own; both sides take turns, and the ratio is formed within a pair.
To be run on each kind of CPU: on AMD's `MKL_DEBUG_CPU_TYPE` is set, on others it is not.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.report import spread, table, write_result
from benchmarks.training_steps import (
    MODEL,
    random_job,
    ratios,
    run_alone,
    seconds_per_step,
    take_turns,
)
from ernie_ray.environment import this_machine, training_worker_environment

SWITCHES = {"MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0"}


def main() -> None:
    """Measure each switch and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    usual = training_worker_environment(args.threads)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ernie-ray-switches-") as name:
        job = random_job(Path(name), args.steps)

        def measure(environment: dict[str, str], **changes: bool) -> float:
            return seconds_per_step(run_alone(job.model_copy(update=changes), environment))

        for switch, value in SWITCHES.items():
            without = {key: other for key, other in usual.items() if key != switch}
            sides = [partial(measure, without), partial(measure, {**without, switch: value})]
            off_s, on_s = take_turns(sides, args.pairs, switch)
            mark = "" if switch in usual else " (not set here)"
            rows.append([f"{switch}={value}{mark}", *_cells(off_s, on_s)])
        layers = [partial(measure, usual, has_paddles_layers=own) for own in (True, False)]
        rows.append(["layers.py", *_cells(*take_turns(layers, args.pairs, "layers.py"))])
        memory = [partial(measure, usual, keeps_memory=kept) for kept in (False, True)]
        rows.append(["freed_memory.py", *_cells(*take_turns(memory, args.pairs, "memory"))])
    vendor = "AMD" if this_machine().is_amd else "not AMD"
    body = (
        table(["what", "without, ms per step", "with, ms per step", "times as fast"], rows)
        + f"\n\nMedian and quartiles of {args.pairs} pairs on this CPU ({vendor}). {MODEL}; "
        f"{args.steps} of them, on {args.threads} threads."
    )
    print(body)  # noqa: T201
    command = f"python -m benchmarks.cpu_training --pairs {args.pairs} --steps {args.steps}"
    name = "cpu-training-amd" if this_machine().is_amd else "cpu-training"
    write_result(name, "Training on CPUs", command, body)


def _cells(off_s: list[float], on_s: list[float]) -> list[str]:
    times = [spread([1000 * seconds for seconds in side]) for side in (off_s, on_s)]
    return [*times, spread(ratios(off_s, on_s), 2)]


if __name__ == "__main__":
    main()
