r"""What distillation gains: `python -m benchmarks.slim_quality`.

ChnSentiCorp (train_noleak -> dev, test), teacher: fine-tuned multilingual-e5-small. Students plain,
distilled with augmented rows alone, and with unlabelled reviews added. Everything that can be tuned
is tuned on dev with the first seed, plain and distilled with equally many trials; nothing on test.
The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import command_line, table, write_result
from benchmarks.slim_data import (
    AFQMC,
    CHNSENTICORP,
    NEAR_RULE,
    THUCNEWS,
    add_threads_option,
    place,
    require_data,
    with_held_out_dev,
    write_unlabelled,
)
from ernie_ray.cli.ray_session import connect
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
NUM_HELD_OUT = 2_000
"""Rows of AFQMC's training file that choose checkpoints, since its dev rows are measured."""
LSTM_COPIES, LSTM_COPIES_BESIDE = 9, 1
"""So that an LSTM sees 80,000 rows at most."""
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
                folder = options.folder / name
                held_out = with_held_out_dev(AFQMC, NUM_HELD_OUT, folder / "rows")
                shop = Workshop(held_out, folder, options.threads, metric="positive_f1")
                bodies.append(_augmented_only(shop, ("cnn",), 2))
            # Written after each set: what is there is not lost with what comes.
            path = write_result(
                "slim_quality", TITLE, command_line("slim_quality"), "\n\n".join(bodies)
            )
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
    rows = [_constant(shop), ["teacher", f"{100 * teacher.dev:.2f}", f"{100 * teacher.test:.2f}",
                              "", "", ""]]  # fmt: skip
    for kind in options.students:
        rows += _rows_of_student(shop, kind, _ways(shop, kind, augmented), teacher)
    notes = (
        "Accuracy in percent, mean over seeds, with the spread (largest minus smallest). "
        "Gain: points over the plain student; gap: its share of the way to the teacher. "
        f"{NUM_COPIES} copies of each row (lstm {LSTM_COPIES}), {NUM_COPIES_BESIDE} (lstm "
        f"{LSTM_COPIES_BESIDE}) beside unlabelled reviews, of which there are "
        f"{options.max_unlabelled:,}; {_budgets(options.students)} "
        f"{NEAR_RULE} {counted.read_text(encoding='utf-8')} such reviews were left out."
    )
    header = ["ChnSentiCorp", "dev", "test", "spread", "gain (kit)", "gap closed"]
    return table(header, rows) + "\n\n" + notes


def _ways(shop: Workshop, kind: str, augmented: Path) -> dict[str, tuple[str, bool]]:
    """Rows of each way to train a student, and whether they have the teacher's logits."""
    # Imported late: Ray reads its environment, which `connect` sets.
    from benchmarks.slim_runs import with_first_copies

    mixed = shop.folder / "mixed"
    if kind == "lstm":
        copies, fewer = shop.folder / "lstm-copies.parquet", shop.folder / "lstm-mixed"
        fewer.mkdir(exist_ok=True)
        if not (fewer / "unlabelled.parquet").exists():
            shutil.copyfile(mixed / "unlabelled" / "rows.parquet", fewer / "unlabelled.parquet")
        with_first_copies(augmented, LSTM_COPIES_BESIDE, fewer / "copies.parquet")
        augmented, mixed = with_first_copies(augmented, LSTM_COPIES, copies), fewer
    return {
        "plain": (CHNSENTICORP.train, False),
        "+ augmented": (str(augmented), True),
        "+ augmented + unlabelled": (str(mixed), True),
    }


def _budgets(kinds: Sequence[str], num_seeds: int = 0) -> str:
    parts = (
        f"{kind} {num_seeds or len(SEEDS[kind])} seeds, {MAX_STEPS[kind]:,} steps" for kind in kinds
    )
    return f"at most: {'; '.join(parts)}."


def _constant(shop: Workshop) -> list[str]:
    is_f1 = shop.metric == "positive_f1"
    values = shop.constant_positive_f1() if is_f1 else shop.constant_accuracies()
    return ["constant", *(f"{100 * value:.2f}" for value in values), "", "", ""]


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
        spread = f"{max(tests) - min(tests):.2f}" if len(tests) > 1 else ""
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
                *(() if has_teacher else (PLAIN_EPOCHS,)),
                *(SOFT_TRIALS if has_teacher else PLAIN_TRIALS[kind])[0],
                f"training.max_steps={MAX_STEPS[kind]}",
            )
            name = f"{kind}-{way}"
            if shop.rows.text_pair:
                overrides += ("student.hidden_sizes=[128]",)
            score = shop.student(name, kind, source, overrides, has_teacher=has_teacher)
            rows.append([f"{kind} {way}", f"{100 * score.dev:.2f}", f"{100 * score.test:.2f}"])
    header = [f"{shop.rows.name} ({shop.metric})", "dev", "test"]
    notes = f"{num_copies} copies of each row; one seed and nothing tuned; {_budgets(kinds, 1)}"
    if shop.metric == "positive_f1":
        notes += (
            " F1 of the pairs that match. Test: the set's dev rows; dev: the last "
            f"{NUM_HELD_OUT:,} training rows, which no model learnt from."
        )
    return table(header, rows) + "\n\n" + notes


if __name__ == "__main__":
    main()
