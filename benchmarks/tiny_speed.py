r"""Tiny shapes against a 12 x 768 encoder, many texts at once: `python -m benchmarks.tiny_speed`.

Random weights: what a network was taught does not change its speed. ChnSentiCorp test texts, cut to
so many characters that the encoder reads all of each. Sub-words are trained on what a chain trains
them on, training texts and unlabelled reviews; as many as the built-in recipes say, and for the
kit's shape twice as many besides. Same engine, precision and threads, tokenizing included, engine
by engine. Contenders take turns, round by round, and ratios are formed within a round. Models are
kept in `build/benchmarks/tiny-speed-512`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.report import command_line, spread, table, write_result
from benchmarks.slim_data import (
    CHNSENTICORP,
    DATA,
    NEAR_RULE,
    read_texts,
    require_data,
    write_unlabelled,
)
from benchmarks.student_speed import base_encoder

if TYPE_CHECKING:  # imported late: they load Paddle
    import tokenizers

    from ernie_ray.config import TinyStudentSection
    from ernie_ray.inference.predictor import Predictor

BASE = "12 x 768, characters"
_BASE_WIDTH = 768
KIT_RATIO = 4.3
_MAX_TOKENS = 512
FOLDER = Path(f"build/benchmarks/tiny-speed-{_MAX_TOKENS}")
_MAX_CHARACTERS = _MAX_TOKENS - 2
_MANY_PIECES = 100_000
"""For the kit's shape besides: pieces cost memory, not time."""
_NUM_UNLABELLED = 10_000
_ERNIE_TINY = DATA / "vocab" / "ernie_tiny"


@dataclass(frozen=True)
class Contender:
    """A student's shape with random weights, and its vocabulary."""

    shape: TinyStudentSection
    max_pieces: int

    @property
    def name(self) -> str:
        """As the table shows it."""
        shape = self.shape
        return f"{shape.num_layers} x {shape.hidden_size}, {self.max_pieces:,} sub-words"


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--texts", type=int, default=512, help="Texts of a round: enough to fill batches by length."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["openvino:auto", "openvino:int8", "onnxruntime:fp32", "paddle:fp32"],
        help="Engine and precision; a table for each.",
    )
    parser.add_argument("--no-write", action="store_true", help="Print, but write no result.")
    options = parser.parse_args()
    require_data()
    contenders = _contenders()
    vocabularies = {n: _subwords(n) for n in {one.max_pieces for one in contenders}}
    tables = [_measured(options, contenders, *one.split(":")) for one in options.engines]
    note = (
        f"Median of {options.rounds} rounds of {options.texts} texts with quartiles; "
        f"{options.threads} threads. The kit states {KIT_RATIO} for its 3 x 1024. "
        f"Sub-words of the training texts and {_NUM_UNLABELLED:,} unlabelled reviews. {NEAR_RULE} "
        "Such reviews were left out."
    )
    body = "\n\n".join([*tables, note, _lengths(vocabularies)])
    print(body)  # noqa: T201
    if not options.no_write:
        command = command_line("tiny_speed")
        write_result("tiny_speed", "Tiny: throughput and length", command, body)


def _contenders() -> list[Contender]:
    """The built-in recipes' shapes, and the kit's with more sub-words."""
    from ernie_ray.config import TinyRecipe, builtin_recipes, load_recipe_of

    needed = ("teacher.model=x", "data.train=x", "data.dev=x", "data.test=x")
    found = []
    for name in builtin_recipes("tiny"):
        recipe = load_recipe_of(
            TinyRecipe, name, (*needed, "student.start=random"), folder_name="tiny"
        )
        found.append(Contender(recipe.student, recipe.vocabulary.max_pieces))
        if recipe.student.hidden_size > _BASE_WIDTH:
            found.append(Contender(recipe.student, _MANY_PIECES))
    return found


def _measured(
    options: argparse.Namespace, contenders: list[Contender], engine: str, precision: str
) -> str:
    texts = [text[:_MAX_CHARACTERS] for text in read_texts(CHNSENTICORP.test)]
    predictors = _predictors(contenders, engine, precision, options.threads)
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
    contenders: list[Contender], engine: str, precision: str, threads: int
) -> dict[str, Predictor]:
    from ernie_ray.distillation.tiny_start import tiny_start
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.storage import Storage

    base = base_encoder()
    wanted = {BASE: None, **{one.name: one for one in contenders}}
    found = {}
    for name, one in tqdm(wanted.items(), desc="models"):
        folder = (FOLDER / name.replace(" ", "").replace(",", "-")).absolute()
        if not folder.exists():
            encoder = (
                base if one is None else tiny_start(base, _subwords(one.max_pieces), one.shape)
            )
            export_pretrained(encoder, folder, name, max_tokens=_MAX_TOKENS, storage=Storage())
        found[name] = Predictor.from_dir(
            folder, engine=engine, precision=precision, num_threads=threads
        )
    return found


def _subwords(max_pieces: int) -> tokenizers.Tokenizer:
    """Sub-words of the training texts and unlabelled reviews; trained once."""
    from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
    from ernie_ray.text.tokenizer import load_tokenizer

    path = FOLDER / f"tokenizer-{max_pieces}.json"
    if not path.is_file():
        reviews = FOLDER / "unlabelled.jsonl"
        write_unlabelled(CHNSENTICORP, reviews, _NUM_UNLABELLED)
        lines = reviews.read_text(encoding="utf-8").splitlines()
        texts = [*read_texts(CHNSENTICORP.train), *(json.loads(line)["text"] for line in lines)]
        train_subword_tokenizer(texts, max_pieces, lowercase=True).save(str(path))
    return load_tokenizer(path)


def _lengths(trained: dict[int, tokenizers.Tokenizer]) -> str:
    """What each vocabulary saves on whole test texts."""
    from ernie_ray.text.subword_tokenizer import measure_lengths
    from ernie_ray.text.tokenizer_build import WordCut, tokenizer_from_folder

    known = {f"at most {n:,} sub-words": trained[n] for n in sorted(trained)}
    if _ERNIE_TINY.is_dir():
        known["ERNIE Tiny's own"] = tokenizer_from_folder(_ERNIE_TINY, WordCut.BERT)
    lines = [
        f"- {name}: {measure_lengths(tokenizer, read_texts(CHNSENTICORP.test))}"
        for name, tokenizer in known.items()
    ]
    return "\n".join(["Whole test texts, special tokens apart (the kit states 40 %):", *lines])


if __name__ == "__main__":
    main()
