r"""What each part of augmentation is worth: `python -m benchmarks.slim_ablation`.

The bag of words on ChnSentiCorp, with the teacher of `benchmarks.slim_quality` (trained here if it
is not there): no augmentation, each strategy alone, all; hard against soft labels; 1 to 20 copies.
The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import command_line, table, write_result
from benchmarks.slim_data import CHNSENTICORP, add_threads_option, require_data
from ernie_ray.cli.ray_session import connect
from ernie_ray.text.augment import AugmentSettings

if TYPE_CHECKING:
    from benchmarks.slim_runs import Workshop

SEEDS = (1, 2, 3)
COPIES = (1, 5, 10, 20)
NUM_COPIES_OF_STRATEGIES = 5
# Equally many steps for every line, whatever its number of rows.
STEPS = 1_500
TRAINING = (
    "distillation.hard_weight=0.0", f"training.max_steps={STEPS}", "training.num_epochs=100",
    "training.eval_every_steps=500", "training.patience_evaluations=0",
)  # fmt: skip
UNCHANGED = AugmentSettings(
    num_copies=NUM_COPIES_OF_STRATEGIES,
    noise_probability=0.0,
    replace_probability=0.0,
    fragment_probability=0.0,
)
STRATEGIES = {
    "noise words": replace(UNCHANGED, noise_probability=0.1),
    "same part of speech": replace(UNCHANGED, replace_probability=0.1),
    "fragments": replace(UNCHANGED, fragment_probability=1.0),
}


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    add_threads_option(parser)
    options = parser.parse_args()
    require_data()
    with connect(num_cpus=options.threads + 1):
        # Imported late: Ray reads its environment, which `connect` sets.
        from benchmarks.slim_runs import Workshop

        shop = Workshop(CHNSENTICORP, options.folder / "chnsenticorp", options.threads)
        teacher = shop.train_teacher()
        sources = _sources(shop)
        rows = [
            [name, f"{100 * dev:.2f}", f"{100 * test:.2f}", ""]
            for name, dev, test in (
                ("constant", *shop.constant_accuracies()), ("teacher", teacher.dev, teacher.test)
            )
        ]  # fmt: skip
        rows += [_row(shop, name, source) for name, source in sources.items()]
    notes = (
        f"Accuracy in percent, mean over seeds {SEEDS}; spread: largest minus smallest on test. "
        f"Each strategy alone: {NUM_COPIES_OF_STRATEGIES} copies. Temperature 2, no "
        f"hard labels of the rows, {STEPS:,} steps of 128 rows. Hard labels: the teacher's first "
        "choice in place of its logits."
    )
    body = table(["rows", "dev", "test", "spread"], rows) + "\n\n" + notes
    print(write_result(  # noqa: T201
        "slim_ablation", "Slim: what each part of augmentation is worth",
        command_line("slim_ablation"), body,
    ))  # fmt: skip


def _sources(shop: Workshop) -> dict[str, Path]:
    """Labelled rows of every line of the table."""
    from benchmarks.slim_runs import with_first_copies, with_hard_labels

    most = AugmentSettings(num_copies=max(COPIES))
    every = shop.label(shop.augment(f"copies-{most.num_copies}", most), "ablation/copies")
    sources = {"no augmentation": with_first_copies(every, 0)}
    for name, settings in STRATEGIES.items():
        slug = name.replace(" ", "-")
        sources[name] = shop.label(shop.augment(slug, settings), f"ablation/{slug}")
    for n in COPIES:
        sources[f"all three, {n} {'copy' if n == 1 else 'copies'}"] = with_first_copies(every, n)
    sources[f"hard labels, {max(COPIES)} copies"] = with_hard_labels(every)
    return sources


def _row(shop: Workshop, name: str, source: Path) -> list[str]:
    scores = []
    for seed in SEEDS:
        run = f"ablation-{name.replace(' ', '-').replace(',', '')}-seed{seed}"
        overrides = (*TRAINING, f"training.seed={seed}")
        scores.append(shop.student(run, "bow", str(source), overrides, has_teacher=True))
    tests = [100 * score.test for score in scores]
    dev = 100 * np.mean([score.dev for score in scores])
    return [name, f"{dev:.2f}", f"{np.mean(tests):.2f}", f"{max(tests) - min(tests):.2f}"]


if __name__ == "__main__":
    main()
