r"""What distillation gains: `python -m benchmarks.slim_quality`.

ChnSentiCorp (train_noleak -> dev, test), teacher: fine-tuned multilingual-e5-small. Students plain,
distilled with augmented rows alone, and with unlabelled reviews added. Everything that can be tuned
is tuned on dev with the first seed, plain and distilled with equally many trials; nothing on test.
The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import table, write_result
from benchmarks.slim_data import (
    AFQMC,
    CHNSENTICORP,
    NEAR_RULE,
    THUCNEWS,
    add_threads_option,
    place,
    read_texts,
    require_data,
    write_unlabelled,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.jobs.slim_report import constant_accuracy
from ernie_ray.text.augment import AugmentSettings

if TYPE_CHECKING:
    from benchmarks.slim_runs import Score, Workshop

KIT_GAINS = {"bow": 1.3, "cnn": 0.8, "lstm": 2.7}
SEEDS = {"bow": (1, 2, 3), "cnn": (1, 2, 3), "lstm": (1,)}
# Equally many trials for each way of training; chosen on dev with the first seed. What is chosen
# with augmented rows holds with unlabelled ones, too.
PLAIN_TRIALS = {
    "bow": (("student.hidden_sizes=[]", "student.token_dropout=0.0", "training.dropout=0.3"), ()),
    "cnn": ((), ("student.token_dropout=0.0",)),
    "lstm": ((), ("training.dropout=0.5",)),
}
SOFT_TRIALS = (
    ("distillation.temperature=1.0", "distillation.hard_weight=0.0"),
    ("distillation.temperature=2.0", "distillation.hard_weight=0.2"),
)
# The plain student sees a tenth of the rows, so it gets more passes over them.
PLAIN_EPOCHS = "training.num_epochs=12"
# What 2.5 hours allow: two to four passes over the rows, the learning rate falling to 0 at the end.
MAX_STEPS = {"bow": 2_500, "cnn": 3_000, "lstm": 2_000}
SOFT_EVALUATION = ("training.eval_every_steps=500", "training.patience_evaluations=0")
LSTM_LIMITS = ("student.num_units=128", "student.max_tokens=96")
NUM_COPIES, MAX_UNLABELLED = 10, 60_000
# Beside unlabelled reviews, more copies would only take their place in the steps.
NUM_COPIES_BESIDE = 2
TITLE = "Slim: what distillation gains"
SHORT_TEACHER_STEPS = 500
SETS = ("chnsenticorp", "thucnews", "afqmc")


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    parser.add_argument("--students", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--max-unlabelled", type=int, default=MAX_UNLABELLED)
    add_threads_option(parser)
    options = parser.parse_args()
    command = " ".join(["python -m benchmarks.slim_quality", *sys.argv[1:]])
    require_data()
    with connect(num_cpus=options.threads + 1):
        # Imported late: Ray reads its environment, which `connect` sets.
        from benchmarks.slim_runs import Workshop

        bodies: list[str] = []
        for name in options.sets:
            if name == "chnsenticorp":
                shop = Workshop(CHNSENTICORP, options.folder / name, options.threads)
                bodies.append(_chnsenticorp(shop, options))
            elif name == "thucnews":
                shop = Workshop(THUCNEWS, options.folder / name, options.threads)
                bodies.append(_augmented_only(shop, ("bow", "cnn"), 2))
            else:
                shop = Workshop(AFQMC, options.folder / name, options.threads, metric="macro_f1")
                bodies.append(_augmented_only(shop, ("cnn",), 2))
            # Written after each set: what is there is not lost with what comes.
            path = write_result("slim_quality", TITLE, command, "\n\n".join(bodies))
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def _chnsenticorp(shop: Workshop, options: argparse.Namespace) -> str:
    # Imported late: Ray reads its environment, which `connect` sets.
    from benchmarks.slim_runs import with_first_copies

    teacher = shop.train_teacher()
    augmented = shop.label(
        shop.augment("augmented", AugmentSettings(num_copies=NUM_COPIES)), "labelled"
    )
    unlabelled = shop.folder / f"unlabelled-{options.max_unlabelled}.jsonl"
    counted = unlabelled.with_suffix(".near.txt")
    if not (unlabelled.exists() and counted.exists()):
        num_near = write_unlabelled(CHNSENTICORP, unlabelled, options.max_unlabelled)
        counted.write_text(str(num_near), encoding="utf-8")
    shop.label(unlabelled, "mixed/unlabelled")
    with_first_copies(augmented, NUM_COPIES_BESIDE, shop.folder / "mixed" / "copies.parquet")
    ways = {
        "plain": (CHNSENTICORP.train, False),
        "+ augmented": (str(augmented), True),
        "+ augmented + unlabelled": (str(shop.folder / "mixed"), True),
    }
    rows = [_constant(shop), ["teacher", f"{100 * teacher.dev:.2f}", f"{100 * teacher.test:.2f}",
                              "", "", ""]]  # fmt: skip
    for kind in options.students:
        rows += _rows_of_student(shop, kind, ways, teacher)
    notes = (
        "Accuracy in percent, mean over seeds, with the spread (largest minus smallest). "
        "Gain: points over the plain student; gap: its share of the way to the teacher. "
        f"{NUM_COPIES} copies of each row, {NUM_COPIES_BESIDE} beside unlabelled reviews, of which "
        f"there are {options.max_unlabelled:,}. {_budgets(options.students)} "
        f"{NEAR_RULE} {counted.read_text(encoding='utf-8')} such reviews were left out."
    )
    header = ["ChnSentiCorp", "dev", "test", "spread", "gain (kit)", "gap closed"]
    return table(header, rows) + "\n\n" + notes


def _budgets(kinds: list[str]) -> str:
    parts = (f"{kind} {len(SEEDS[kind])} seeds, {MAX_STEPS[kind]:,} steps" for kind in kinds)
    return f"At most: {'; '.join(parts)}."


def _constant(shop: Workshop) -> list[str]:
    labels = {
        split: [str(label) for label in read_texts(name, "label")]
        for split, name in (
            ("train", shop.rows.train), ("dev", shop.rows.dev), ("test", shop.rows.test)
        )
    }  # fmt: skip
    shares = [constant_accuracy(labels["train"], labels[split]) for split in ("dev", "test")]
    return ["constant", *(f"{100 * share:.2f}" for share in shares), "", "", ""]


def _rows_of_student(
    shop: Workshop, kind: str, ways: dict[str, tuple[str, bool]], teacher: Score
) -> list[list[str]]:
    rows = []
    plain_test = 0.0
    chosen: dict[bool, int] = {}
    for way, (source, has_teacher) in ways.items():
        student = partial(_student, shop, kind, way, source, has_teacher)
        if has_teacher not in chosen:
            dev = [student(trial, SEEDS[kind][0]).dev for trial in range(len(SOFT_TRIALS))]
            chosen[has_teacher] = int(np.argmax(dev))
        scores = [student(chosen[has_teacher], seed) for seed in SEEDS[kind]]
        mean_dev, test = (100 * np.mean([getattr(s, x) for s in scores]) for x in ("dev", "test"))
        tests = [100 * score.test for score in scores]
        gain = share = ""
        if not has_teacher:
            plain_test = float(test)
        else:
            points = float(test) - plain_test
            gain = f"{points:+.2f} ({KIT_GAINS[kind]:+.1f})"
            share = f"{100 * points / max(100 * teacher.test - plain_test, 1e-9):.0f} %"
        spread = f"{max(tests) - min(tests):.2f}"
        rows.append([f"{kind} {way}", f"{mean_dev:.2f}", f"{test:.2f}", spread, gain, share])
    return rows


def _student(
    shop: Workshop, kind: str, way: str, source: str, has_teacher: bool, trial: int, seed: int
) -> Score:
    fixed: tuple[str, ...] = SOFT_EVALUATION if has_teacher else (PLAIN_EPOCHS,)
    if kind == "lstm":
        fixed += LSTM_LIMITS
    settings = (SOFT_TRIALS if has_teacher else PLAIN_TRIALS[kind])[trial]
    overrides = (
        *fixed,
        *settings,
        f"training.max_steps={MAX_STEPS[kind]}",
        f"training.seed={seed}",
    )
    slug = way.replace(" ", "").replace("+", "-").removeprefix("-")
    name = f"{kind}-{slug}-trial{trial}-seed{seed}"
    return shop.student(name, kind, source, overrides, has_teacher=has_teacher)


def _augmented_only(shop: Workshop, kinds: tuple[str, ...], num_copies: int) -> str:
    teacher = shop.train_teacher(
        (f"training.max_steps={SHORT_TEACHER_STEPS}", "model.max_tokens=64")
    )
    augmented = shop.label(
        shop.augment("augmented", AugmentSettings(num_copies=num_copies)), "labelled"
    )
    rows = [["teacher", f"{100 * teacher.dev:.2f}", f"{100 * teacher.test:.2f}"]]
    rows.insert(0, _constant(shop)[:3])
    for kind in kinds:
        for way, source, has_teacher in (
            ("plain", place(shop.rows.train), False),
            ("distilled", str(augmented), True),
        ):
            overrides = (
                *(SOFT_TRIALS if has_teacher else PLAIN_TRIALS[kind])[0],
                f"training.max_steps={MAX_STEPS[kind]}",
            )
            name = f"{kind}-{way}"
            if shop.rows.text_pair:
                overrides += ("student.hidden_sizes=[128]",)
            score = shop.student(name, kind, source, overrides, has_teacher=has_teacher)
            rows.append([f"{kind} {way}", f"{100 * score.dev:.2f}", f"{100 * score.test:.2f}"])
    header = [f"{shop.rows.name} ({shop.metric})", "dev", "test"]
    note = "The constant's value is its accuracy." if shop.metric != "accuracy" else ""
    return (table(header, rows) + "\n\n" + note).rstrip()


if __name__ == "__main__":
    main()
