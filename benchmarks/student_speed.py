r"""Students against a 12 x 768 encoder, one text at a time: `python -m benchmarks.student_speed`.

Random weights: what a network was taught does not change its speed. ChnSentiCorp test texts, both
sides cut at 128 tokens, one thread count for all, tokenizing included for the students (and left
out for the encoder in Paddle's eager mode, which flatters it). Contenders take turns, round by
round, and ratios are formed within a round.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.report import command_line, spread, table, write_result
from benchmarks.slim_data import CHNSENTICORP, read_texts, require_data

if TYPE_CHECKING:  # imported late, after the thread counts are set
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.models.pretrained import PretrainedEncoder
    from ernie_ray.text.tokenizer import Text

EAGER = "12 x 768, Paddle eager"
_PAIR_OF_ROUNDS = 5


@dataclass(frozen=True)
class Student:
    """One student with random weights."""

    recipe: str
    vocabulary: str
    max_tokens: int

    @property
    def name(self) -> str:
        """Kind and vocabulary."""
        return f"{self.recipe.removesuffix('-kit')} {self.vocabulary}" + (
            " (kit)" if self.recipe.endswith("-kit") else ""
        )


# 128 characters have 381 n-grams of orders 1 to 3, so both sides see the same text.
STUDENTS = (
    Student("bow", "characters", 128),
    Student("bow", "subwords", 128),
    Student("bow", "ngrams", 381),
    Student("bow-kit", "words", 128),
    Student("cnn", "characters", 128),
    Student("cnn", "subwords", 128),
    Student("cnn", "ngrams", 381),
    Student("cnn-kit", "words", 128),
    Student("lstm", "characters", 128),
    Student("lstm", "subwords", 128),
    Student("lstm-kit", "words", 128),
)


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--texts", type=int, default=300, help="Texts for each student's round.")
    parser.add_argument("--base-texts", type=int, default=20, help="Texts for the encoder's round.")
    parser.add_argument("--rounds", type=int, default=_PAIR_OF_ROUNDS)
    parser.add_argument("--no-write", action="store_true", help="Print, but write no result.")
    options = parser.parse_args()
    require_data()
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
    if not threads.items() <= os.environ.items():
        # The libraries read them when they load, so this program starts once more.
        os.environ.update(threads)
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.student_speed", *sys.argv[1:]])
    body = _measured(options)
    print(body)  # noqa: T201
    if not options.no_write:
        write_result(
            "student_speed",
            "Students: one text at a time",
            command_line("student_speed"),
            body,
        )


def _measured(options: argparse.Namespace) -> str:
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.jobs.speed import time_base_encoder, time_one_by_one

    texts = list(read_texts(CHNSENTICORP.test))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="ernie-ray-speed-") as name:
        folders = export_students(Path(name))
        predictors = {s: Predictor.from_dir(folder) for s, folder in folders.items()}
        fastest = _fastest_engine(Path(name), options.threads)
        names = [EAGER, "12 x 768, fastest engine", *(s.name for s in STUDENTS)]
        times: dict[str, list[list[float]]] = {name: [] for name in names}
        cutting: dict[str, list[float]] = {s.name: [] for s in STUDENTS}
        for _ in tqdm(range(options.rounds), desc="rounds"):
            chosen = [texts[i] for i in rng.choice(len(texts), options.texts, replace=False)]
            few = chosen[: options.base_texts]
            base = time_base_encoder(few, options.threads)
            times[EAGER].append([base.p50_ms, base.p99_ms])
            times[names[1]].append(_percentiles(time_one_by_one(partial(_answer, fastest), few)))
            for student, model in predictors.items():
                times[student.name].append(
                    _percentiles(time_one_by_one(partial(_answer, model), chosen))
                )
                cut = _percentiles(time_one_by_one(partial(_cut, model), chosen))
                cutting[student.name].append(cut[0])
    rows = [_row(name, times, cutting.get(name), names) for name in names]
    header = ["", "p50 ms", "p99 ms", "cutting, % of p50", "x eager", "x fastest engine"]
    note = (
        f"Median of {options.rounds} rounds with quartiles; {options.threads} threads; fastest "
        f"engine: {fastest.engine} {fastest.precision}. Word students spend their time in jieba's "
        "segmenter. Tokenizing is within all times but those of Paddle's eager mode. Networks and "
        "vocabularies are those of the built-in recipes; these read 256 characters, here it is 128."
    )
    return table(header, rows) + "\n\n" + note


def _answer(model: Predictor, text: Text) -> object:
    return model.predict([text])


def _cut(model: Predictor, text: Text) -> object:
    return model.tokenize([text])


def _row(
    name: str, times: dict[str, list[list[float]]], cutting: list[float] | None, names: list[str]
) -> list[str]:
    p50 = np.array([values[0] for values in times[name]])
    p99 = np.array([values[1] for values in times[name]])
    ratios = [np.array([values[0] for values in times[other]]) / p50 for other in names[:2]]
    share = "" if cutting is None else f"{100 * np.median(np.array(cutting) / p50):.0f}"
    return [
        name,
        spread(p50.tolist(), 3),
        spread(p99.tolist(), 3),
        share,
        *(spread(r.tolist(), 1) for r in ratios),
    ]


def _percentiles(seconds: list[float]) -> list[float]:
    return [1e3 * float(value) for value in np.percentile(seconds, [50, 99])]


def export_students(folder: Path) -> dict[Student, Path]:
    """Export each student with random weights, by the real export."""
    import paddle

    from ernie_ray.config import DistillRecipe, load_recipe_of
    from ernie_ray.jobs.export import ExportLabel, export_checkpoint
    from ernie_ray.jobs.prepare_student import student_network, vocabulary_settings
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.modeldir import ClassificationSpec, Lineage, VocabularySpec
    from ernie_ray.models.build import build_network
    from ernie_ray.models.encoder import read_weights
    from ernie_ray.models.start import StartSpec, write_student_start
    from ernie_ray.text.student_vocabulary import VocabularySettings, build_vocabulary
    from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint

    corpus = list(read_texts(CHNSENTICORP.train))
    task = ClassificationSpec(labels=("0", "1"))
    vocabularies: dict[VocabularySettings, VocabularySpec] = {}
    places = {}
    paddle.seed(0)
    for student in tqdm(STUDENTS, desc="export"):
        settings = ("data.train=x", "data.dev=x", f"student.vocabulary={student.vocabulary}")
        recipe = load_recipe_of(DistillRecipe, student.recipe, settings, folder_name="distill")
        wanted = vocabulary_settings(recipe.student)
        if wanted not in vocabularies:
            vocabularies[wanted] = build_vocabulary(wanted, corpus)
        vocabulary = vocabularies[wanted]
        spec = StartSpec(
            task=task, network=student_network(recipe, vocabulary.size), pooling=None,
            normalize=False, text_prefix="", max_tokens=student.max_tokens, pretrained="",
        )  # fmt: skip
        work = folder / student.name.replace(" ", "-")
        start, checkpoint = work / "start", work / "checkpoint"
        start.mkdir(parents=True)
        checkpoint.mkdir()
        write_student_start(start, spec, vocabulary)
        weights = read_weights(build_network(spec))
        write_checkpoint(checkpoint, Checkpoint(Position(), weights, {}, {}))
        label = ExportLabel(student.name, Lineage(run="random weights"))
        export_checkpoint(checkpoint, start, work / "model", label, storage=Storage())
        places[student] = work / "model"
    return places


def _fastest_engine(folder: Path, threads: int) -> Predictor:
    """A 12 x 768 encoder with random weights in whichever engine answers soonest."""
    from ernie_ray.inference.engines.openvino_engine import openvino_precisions
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.storage import Storage

    model = folder / "base" / "model"
    export_pretrained(base_encoder(), model, "base", max_tokens=128, storage=Storage())
    text = "房间很干净，服务也很热情，下次还会再来。" * 3
    found = []
    for engine, precisions in (("openvino", openvino_precisions()), ("onnxruntime", ["fp32"])):
        for precision in precisions:
            predictor = Predictor.from_dir(
                model, engine=engine, precision=precision, num_threads=threads
            )
            predictor.predict([text])
            start = time.perf_counter()
            for _ in range(5):
                predictor.predict([text])
            found.append((time.perf_counter() - start, predictor))
    return min(found, key=lambda pair: pair[0])[1]


def base_encoder() -> PretrainedEncoder:
    """ERNIE 1.0's shape with random weights, cut by the characters of the training texts."""
    from ernie_ray.modeldir import EncoderConfig, Pooling
    from ernie_ray.models.encoder import Encoder, read_weights
    from ernie_ray.models.pretrained import PretrainedEncoder
    from ernie_ray.text.tokenizer_build import WordCut, wordpiece_tokenizer

    characters = sorted({c for text in read_texts(CHNSENTICORP.train) for c in text.lower()})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(c for c in characters if c.strip())]
    config = EncoderConfig(
        vocab_size=len(vocab), hidden_size=768, num_layers=12, num_heads=12, ffn_size=3072,
        activation="relu", layer_norm_eps=1e-5, max_positions=513, num_token_types=2,
    )  # fmt: skip
    return PretrainedEncoder(
        config=config,
        weights=read_weights(Encoder(config)),
        tokenizer=wordpiece_tokenizer(vocab, WordCut.ERNIE_1),
        pooling=Pooling.CLS,
        normalize=True,
        text_prefix="",
        source="random weights",
    )


if __name__ == "__main__":
    main()
