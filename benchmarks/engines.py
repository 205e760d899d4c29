r"""One encoder in every engine, side by side: `python -m benchmarks.engines`.

Each contender lives in a process of its own, so that neither thread pools nor environment
variables mix; they take turns, round by round, and ratios are formed within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.report import command_line, spread, table, write_result

Shape = tuple[int, int]

SHAPES: tuple[Shape, ...] = ((1, 16), (1, 128), (32, 64))
BASELINE = "paddle eager"
TUNED = "paddle eager, our switches"
MODEL = Path("build/benchmarks/minilm")
_PAUSE_S = 0.25
"""Between turns: OpenMP threads go on spinning for up to 0.2 s after their last work."""
_TURN_S = 0.3
_MAX_CALLS = 30


@dataclass(frozen=True)
class Contender:
    """One engine at one precision, or Paddle's eager mode: as installed, or with our switches."""

    name: str
    engine: str
    precision: str = "fp32"


def contenders() -> list[Contender]:
    """Paddle eager, then every engine at every precision that this CPU has."""
    from ernie_ray.inference.engines.cpu import cpu_precisions
    from ernie_ray.inference.engines.openvino_engine import openvino_precisions

    precisions = cpu_precisions()
    named = [
        Contender(f"{engine} {precision}", engine, precision)
        for engine, having in (
            ("paddle", precisions),
            ("onnxruntime", ["fp32"]),
            ("openvino", openvino_precisions()),
        )
        for precision in sorted(having, reverse=True)
    ]
    return [Contender(BASELINE, "eager"), Contender(TUNED, "eager"), *named]


def main() -> None:
    """Measure and write docs/results/engines.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of every contender")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        _answer_turns(Contender(**json.loads(args.contender)), args.threads)
        return
    model = minilm_model_dir()
    everyone = contenders()
    times = _take_turns(everyone, args.rounds, args.threads)
    path = write_result(
        "engines",
        "Engines on the CPU",
        command_line("engines"),
        _report(everyone, times, args.threads, model),
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def minilm_model_dir() -> Path:
    """all-MiniLM-L6-v2 as a model directory; exported once."""
    if not MODEL.exists():
        command = [sys.executable, "-m", "ernie_ray", "export", "--pretrained"]
        subprocess.run([*command, "all-MiniLM-L6-v2", str(MODEL.absolute())], check=True)
    return MODEL


def _take_turns(
    everyone: Sequence[Contender], rounds: int, threads: int
) -> dict[str, dict[Shape, list[float]]]:
    """Milliseconds of one call, per contender and shape, one value a round."""
    times: dict[str, dict[Shape, list[float]]] = {
        one.name: {shape: [] for shape in SHAPES} for one in everyone
    }
    with ExitStack() as stack:
        processes = {one.name: _start(one, threads, stack) for one in everyone}
        turns = [(i, s, n) for i in range(rounds) for s in SHAPES for n in processes]
        for _, shape, name in tqdm(turns, desc="turns", unit="turn"):
            time.sleep(_PAUSE_S)
            times[name][shape].append(_ask(processes[name], shape))
    return times


def _start(contender: Contender, threads: int, stack: ExitStack) -> subprocess.Popen[str]:
    from ernie_ray.environment import training_worker_environment

    settings = {"OMP_NUM_THREADS": str(threads)}
    if contender.name == TUNED:
        settings |= training_worker_environment(threads)
    command = [sys.executable, "-m", "benchmarks.engines", "--threads", str(threads)]
    process = subprocess.Popen(
        [*command, "--contender", json.dumps(vars(contender))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **settings},
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _ask(process: subprocess.Popen[str], shape: Shape) -> float:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(shape) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("took "):
            return float(line.split()[1])
    raise RuntimeError("a contender ended early; run it with --contender to see why")


def _answer_turns(contender: Contender, threads: int) -> None:
    forward = _forward(contender, threads)
    for shape in SHAPES:
        forward(*_inputs(shape))
    for line in sys.stdin:
        batch, tokens = json.loads(line)
        print("took", _time_ms(forward, _inputs((batch, tokens))), flush=True)  # noqa: T201


def _time_ms(forward: Callable[..., Any], inputs: Sequence[NDArray[np.int64]]) -> float:
    """Median of as many calls as fit into a turn, at least 3, after one that is not counted."""
    forward(*inputs)
    taken: list[float] = []
    end = time.perf_counter() + _TURN_S
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < _MAX_CALLS):
        start = time.perf_counter()
        forward(*inputs)
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


def _inputs(shape: Shape) -> tuple[NDArray[np.int64], ...]:
    ids = np.random.default_rng(0).integers(1000, 20_000, shape)
    return ids, np.zeros(shape, np.int64), np.ones(shape, np.int64)


def _forward(contender: Contender, threads: int) -> Callable[..., Any]:
    from ernie_ray.modeldir import open_model_dir

    model_dir = open_model_dir(MODEL)
    if contender.engine == "eager":
        return _eager(model_dir)
    from ernie_ray.inference.engines import EngineOptions, RowEngine, load_engine
    from ernie_ray.text.features import FeatureBatch

    options = EngineOptions(precision=contender.precision, num_threads=threads)
    engine = load_engine(model_dir, contender.engine, options)
    assert not isinstance(engine, RowEngine)  # those are for students
    return lambda *arrays: engine.run(FeatureBatch(*arrays))


def _eager(model_dir: Any) -> Callable[..., Any]:
    import paddle
    from safetensors.numpy import load_file

    from ernie_ray.modeldir.folder import WEIGHTS
    from ernie_ray.models.encoder import load_weights
    from ernie_ray.models.text_network import TextNetwork

    paddle.set_device("cpu")  # a GPU build would take the GPU
    manifest = model_dir.manifest
    network = TextNetwork(manifest.network, pooling=manifest.vector.pooling, task=manifest.task)
    load_weights(network, load_file(model_dir.file(WEIGHTS)))
    network.eval()

    def forward(*arrays: NDArray[np.int64]) -> NDArray[np.float32]:
        with paddle.no_grad():
            vector: NDArray[np.float32] = network(*map(paddle.to_tensor, arrays)).vector.numpy()
        return vector

    return forward


def _report(
    everyone: Sequence[Contender],
    times: dict[str, dict[Shape, list[float]]],
    threads: int,
    model: Path,
) -> str:
    from ernie_ray.inference.engines import EngineOptions, load_engine
    from ernie_ray.modeldir import open_model_dir

    default = load_engine(open_model_dir(model), "auto", EngineOptions(num_threads=threads))
    chosen = f"{default.name} {default.precision}"
    header = [
        "ms a call (batch x tokens)", *(f"{b}x{t}" for b, t in SHAPES),
        "eager / it, 1x128", "eager with our switches / it",
    ]  # fmt: skip
    rows = []
    for one in everyone:
        ratios = [
            spread(list(np.divide(times[eager][(1, 128)], times[one.name][(1, 128)])))
            for eager in (BASELINE, TUNED)
        ]
        shown = f"**{one.name}** (default)" if one.name == chosen else one.name
        rows.append([shown, *(spread(times[one.name][s]) for s in SHAPES), *ratios])
    rounds = len(times[BASELINE][SHAPES[0]])
    return (
        f"all-MiniLM-L6-v2 (6 layers of 384), same weights, {threads} threads, {rounds} rounds in "
        "which every contender has one turn; a turn is the median of up to 30 calls. Medians over "
        "the rounds with quartiles; ratios are formed within a round. Our switches are those of "
        "`docs/decisions/0004-paddle-on-cpus.md`.\n\n" + table(header, rows)
    )


if __name__ == "__main__":
    main()
