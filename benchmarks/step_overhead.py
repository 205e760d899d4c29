"""What Ray Train costs per step: `python -m benchmarks.step_overhead`.

One Ray Train worker as `ernie-ray finetune` starts it, beside the same loop in a bare process: same
weights, rows, batches, threads and variables. They take turns, the first changing from pair to
pair; the ratio is formed within a pair.
"""

from __future__ import annotations

import argparse
import tempfile
import uuid
from pathlib import Path

import numpy as np

from benchmarks.report import spread, table, write_result
from benchmarks.training_steps import (
    MODEL,
    Lines,
    LoopJob,
    random_job,
    ratios,
    run_alone,
    seconds_per_step,
    take_turns,
)
from ernie_ray.config import Recipe
from ernie_ray.environment import training_worker_environment

BOUND = 1.03


def main() -> None:
    """Measure the pairs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="at least 7 for a claim")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ernie-ray-overhead-") as name:
        ray_s, alone_s = _pairs(Path(name), args.pairs, args.steps, args.threads)
    found = ratios(ray_s, alone_s)
    rows = [
        ["Ray Train worker", spread([1000 * s for s in ray_s]), spread(found, 3)],
        ["bare process", spread([1000 * s for s in alone_s]), "1"],
    ]
    verdict = "within" if np.median(found) <= BOUND else "above"
    body = (
        table(["", "ms per step", "ratio within a pair"], rows)
        + f"\n\nMedian and quartiles of {args.pairs} pairs; all ratios: "
        + ", ".join(f"{ratio:.3f}" for ratio in sorted(found))
        + f". The median is {verdict} the bound of {BOUND}. {MODEL}; {args.steps} of them, on "
        f"{args.threads} threads; the first window of each run is left out."
    )
    print(body)  # noqa: T201
    command = (
        f"python -m benchmarks.step_overhead --pairs {args.pairs} --steps {args.steps} "
        f"--threads {args.threads}"
    )
    write_result("step-overhead", "Time per step under Ray Train and without", command, body)


def _pairs(
    folder: Path, num_pairs: int, num_steps: int, num_threads: int
) -> tuple[list[float], list[float]]:
    """Seconds per step of each pair: under Ray, and alone."""
    from ernie_ray.cli.ray_session import connect

    job = random_job(folder, num_steps)
    environment = training_worker_environment(num_threads)

    def under_ray() -> float:
        return seconds_per_step(_run_on_ray(job, folder, num_threads))

    def alone() -> float:
        return seconds_per_step(run_alone(job, environment))

    with connect(num_cpus=num_threads + 1):
        ray_s, alone_s = take_turns([under_ray, alone], num_pairs, "pairs")
    return ray_s, alone_s


def _run_on_ray(job: LoopJob, folder: Path, num_threads: int) -> Lines:
    from ernie_ray.jobs.finetune import train_prepared
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.jobs.worker_inputs import Prepared

    recipe = Recipe.model_validate(
        {
            "data": {"train": job.features},
            "model": {"pretrained": job.start},
            "training": job.training,
            "scaling": {"cpus_per_worker": num_threads},
        }
    )
    prepared = Prepared(Path(job.start), Path(job.features), None, "random")
    run = folder / f"run-{uuid.uuid4().hex[:8]}"
    lines: Lines = []
    train_prepared(recipe, str(run), prepared, storage=Storage(), on_line=lines.append)
    return lines


if __name__ == "__main__":
    main()
