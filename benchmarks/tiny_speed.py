r"""Tiny shapes against a 12 x 768 encoder, many texts at once: `python -m benchmarks.tiny_speed`.

Random weights: what a network was taught does not change its speed. ChnSentiCorp test texts, cut to
so many characters that the encoder reads all of each; as many sub-words as ERNIE Tiny has, trained
on the training texts. Same engine, precision and threads, tokenizing included, engine by engine.
Contenders take turns, round by round, and ratios are formed within a round. Models are kept in
`build/benchmarks/tiny-speed-512`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.report import command_line, spread, table, write_result
from benchmarks.slim_data import CHNSENTICORP, DATA, read_texts, require_data
from benchmarks.student_speed import base_encoder

if TYPE_CHECKING:  # imported late: they load Paddle
    import tokenizers

    from ernie_ray.config import TinyStudentSection
    from ernie_ray.inference.predictor import Predictor

FOLDER = Path("build/benchmarks/tiny-speed-512")
BASE = "12 x 768, characters"
KIT_RATIO = 4.3
_MAX_TOKENS = 512
_MAX_CHARACTERS = _MAX_TOKENS - 2
_MAX_PIECES = 50_000
_ERNIE_TINY = DATA / "vocab" / "ernie_tiny"


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--texts", type=int, default=512, help="Texts of a round: enough to fill batches by length."
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["openvino:auto", "openvino:int8", "onnxruntime:fp32", "paddle:fp32"],
        help="Engine and precision; a table for each.",
    )
    parser.add_argument("--no-write", action="store_true", help="Print, but write no result.")
    options = parser.parse_args()
    require_data()
    tokenizer = _subwords()
    tables = [_measured(options, tokenizer, *one.split(":")) for one in options.engines]
    note = (
        f"Median of {options.rounds} rounds of {options.texts} texts with quartiles; "
        f"{options.threads} threads. The kit states {KIT_RATIO} for its 3 x 1024."
    )
    body = "\n\n".join([*tables, note, _lengths(tokenizer)])
    print(body)  # noqa: T201
    if not options.no_write:
        command = command_line("tiny_speed")
        write_result("tiny_speed", "Tiny: throughput and length", command, body)


def shapes() -> dict[str, TinyStudentSection]:
    """The student's shapes as the built-in recipes have them, with random weights."""
    from ernie_ray.config import TinyRecipe, builtin_recipes, load_recipe_of

    needed = ("teacher.model=x", "data.train=x", "data.dev=x", "data.test=x")
    found = {}
    for name in builtin_recipes("tiny"):
        recipe = load_recipe_of(
            TinyRecipe, name, (*needed, "student.start=random"), folder_name="tiny"
        )
        found[name.replace("x", " x ") + ", sub-words"] = recipe.student
    return found


def _measured(
    options: argparse.Namespace, tokenizer: tokenizers.Tokenizer, engine: str, precision: str
) -> str:
    texts = [text[:_MAX_CHARACTERS] for text in read_texts(CHNSENTICORP.test)]
    predictors = _predictors(tokenizer, engine, precision, options.threads)
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in tqdm(range(options.rounds), desc="rounds"):
        chosen = [texts[i] for i in rng.choice(len(texts), options.texts, replace=False)]
        for name, predictor in predictors.items():
            predictor.run(chosen[:8])  # wakes the engine's threads
            start = time.perf_counter()
            predictor.run(chosen)
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, predictor in predictors.items():
        took = np.array(seconds[name])
        tokens = np.mean([len(row) for row in predictor.tokenize(texts)])
        rate, ratio = options.texts / took, np.array(seconds[BASE]) / took
        rows.append([name, f"{tokens:.1f}", spread(rate.tolist()), spread(ratio.tolist(), 2)])
    one = predictors[BASE]
    header = [f"{one.engine} {one.precision}", "tokens a text", "texts/s", "x 12 x 768"]
    return table(header, rows)


def _predictors(
    tokenizer: tokenizers.Tokenizer, engine: str, precision: str, threads: int
) -> dict[str, Predictor]:
    from ernie_ray.distillation.tiny_start import tiny_start
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.storage import Storage

    base = base_encoder()
    wanted = {BASE: None, **shapes()}
    found = {}
    for name, shape in tqdm(wanted.items(), desc="models"):
        folder = (FOLDER / name.replace(" ", "").replace(",", "-")).absolute()
        if not folder.exists():
            encoder = base if shape is None else tiny_start(base, tokenizer, shape)
            export_pretrained(encoder, folder, name, max_tokens=_MAX_TOKENS, storage=Storage())
        found[name] = Predictor.from_dir(
            folder, engine=engine, precision=precision, num_threads=threads
        )
    return found


def _subwords() -> tokenizers.Tokenizer:
    """Sub-words of the training texts; trained once."""
    from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
    from ernie_ray.text.tokenizer import load_tokenizer

    path = FOLDER / "tokenizer.json"
    if not path.is_file():
        texts = read_texts(CHNSENTICORP.train)
        path.parent.mkdir(parents=True, exist_ok=True)
        train_subword_tokenizer(texts, _MAX_PIECES, lowercase=True).save(str(path))
    return load_tokenizer(path)


def _lengths(trained: tokenizers.Tokenizer) -> str:
    """What each vocabulary saves on whole test texts."""
    from ernie_ray.text.subword_tokenizer import measure_lengths
    from ernie_ray.text.tokenizer_build import WordCut, tokenizer_from_folder

    known = {"sub-words of the training texts": trained}
    if _ERNIE_TINY.is_dir():
        known["ERNIE Tiny's own"] = tokenizer_from_folder(_ERNIE_TINY, WordCut.BERT)
    lines = [
        f"- {name}: {measure_lengths(tokenizer, read_texts(CHNSENTICORP.test))}"
        for name, tokenizer in known.items()
    ]
    return "\n".join(["Whole test texts, special tokens apart (the kit states 40 %):", *lines])


if __name__ == "__main__":
    main()
