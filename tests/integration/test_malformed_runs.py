"""Malformed inputs through the commands that run long: one clear line before any training."""

import pytest

from tests.command_errors import error_of
from tests.malformed_inputs import GOOD, LABELS, Case, malformed_inputs
from tests.tiny_tasks import write_jsonl

# Ray Data sets its own deprecated options when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

RECIPES = {
    "classification": ("classify", ["task.labels=['negative','positive']"]),
    "regression": ("regression", []),
    "ranking": ("ranking", []),
    "token_labels": ("ner", ["task.labels=['LOC','PER']"]),
    "reading": ("mrc", []),
}
SPLITS = ("train", "dev", "test")


def some(cases: list[Case], step: int) -> list[Case]:
    """Take one case in so many of each family."""
    return [c for family in GOOD for c in [c for c in cases if c.family == family][::step]]


CASES = malformed_inputs()
TRAINED = list(enumerate(some(CASES, 26)))
TEXT_ALONE = [
    c
    for c in CASES
    if c.family == "classification" and LABELS.get(c.family, "label") not in c.says
    and "positive" not in c.says and "'none'" not in c.says
]  # fmt: skip
PREDICTED = TEXT_ALONE[::6]


def assert_says(case: Case, message: str) -> None:
    assert message.startswith("ernie-ray: DataError: ")
    assert len(message) < 700
    assert f"{case.name}:{case.line}: " in message if case.line else case.name in message
    assert case.says in message


def test_the_samples_are_of_every_family_and_split():
    assert {case.family for _, case in TRAINED} == set(GOOD)
    assert len(TRAINED) >= 10
    assert len(PREDICTED) >= 8


@pytest.mark.parametrize(
    ("number", "case"), TRAINED, ids=[f"{SPLITS[i % 3]}-{c.family}-{c.name}" for i, c in TRAINED]
)
def test_finetune_refuses_a_malformed_input_wherever_it_stands_before_training(
    local_ray, tiny_embedding_dir, tmp_path, monkeypatch, capsys, number, case
):
    recipe, changes = RECIPES[case.family]
    (tmp_path / case.name).write_bytes(case.content)
    good = write_jsonl(tmp_path / "good-rows.jsonl", [GOOD[case.family]] * 3)
    files = dict.fromkeys(SPLITS, good) | {SPLITS[number % 3]: tmp_path / case.name}
    settings = [f"data.{split}={path}" for split, path in files.items()]
    settings += [f"model.pretrained={tiny_embedding_dir}", "model.max_tokens=32",
                 "model.trim_vocabulary=false", *changes]  # fmt: skip
    options = [word for setting in settings for word in ("--set", setting)]
    run_folder = tmp_path / "run"
    arguments = ["finetune", recipe, *options, "--output", run_folder, "--quiet"]
    assert_says(case, error_of(arguments, monkeypatch, capsys))
    assert not (run_folder / "train").exists()


@pytest.mark.parametrize("case", PREDICTED, ids=lambda case: case.name)
def test_predict_refuses_a_malformed_input_and_leaves_no_output(
    tiny_model_dir, tmp_path, monkeypatch, capsys, case
):
    path = tmp_path / case.name
    path.write_bytes(case.content)
    arguments = ["predict", tiny_model_dir, path, "--output", tmp_path / "out.jsonl", "--quiet",
                 "--engine", "onnxruntime"]  # fmt: skip
    assert_says(case, error_of(arguments, monkeypatch, capsys))
    assert [p.name for p in tmp_path.iterdir()] == [case.name]
