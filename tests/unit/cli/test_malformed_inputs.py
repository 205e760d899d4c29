"""Whatever is wrong with an input: one line that says so, exit code 1, and never a traceback."""

import sys

import pytest

from ernie_ray.cli import main
from ernie_ray.modeldir import (
    ClassificationSpec,
    PairSpec,
    ReadingSpec,
    TokenLabelsSpec,
    seal_model_dir,
)
from ernie_ray.text.tags import tag_names
from tests.fake_text_model import manifest
from tests.malformed_inputs import Case, malformed_inputs

CASES = malformed_inputs()
TASKS = {
    "classification": ClassificationSpec(labels=("negative", "positive")),
    "regression": PairSpec(),
    "ranking": PairSpec(objective="ranking"),
    "token_labels": TokenLabelsSpec(labels=tag_names(("LOC", "PER"), "BIO")),
    "reading": ReadingSpec(),
}
PAIR = ["--text-column", "text_a", "--text-pair-column", "text_b"]
COLUMNS = {
    "classification": [],
    "regression": PAIR,
    "ranking": [*PAIR, "--query-column", "qid"],
    "token_labels": ["--text-column", "tokens", "--label-column", "labels"],
    "reading": [
        *("--text-column", "question", "--text-pair-column", "context"),
        *("--label-column", "answers"),
    ],
}


@pytest.fixture(scope="module")
def model_dirs(tmp_path_factory):
    """Sealed manifests: rows are refused before a graph would be loaded."""
    folders = {}
    for family, task in TASKS.items():
        folders[family] = tmp_path_factory.mktemp(family)
        seal_model_dir(folders[family], manifest().model_copy(update={"task": task}))
    return folders


def run(arguments, monkeypatch, capsys) -> tuple[int, str]:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["ernie-ray", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr()
    assert output.out == ""
    return end.value.code, output.err


def test_there_are_over_two_hundred_different_inputs():
    assert len({(case.family, case.name, case.content) for case in CASES}) >= 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}-{case.name}")
def test_a_malformed_input_is_one_clear_line_and_a_failed_exit(
    case: Case, model_dirs, tmp_path, monkeypatch, capsys
):
    path = tmp_path / case.name
    path.write_bytes(case.content)
    arguments = ["evaluate", str(model_dirs[case.family]), str(path), *COLUMNS[case.family]]
    code, message = run([*arguments, "--quiet"], monkeypatch, capsys)
    assert code == 1
    assert message.startswith("ernie-ray: DataError: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    assert f"{case.name}:{case.line}: " in message if case.line else case.name in message
    assert case.says in message


def test_a_ranking_without_queries_is_not_measured_as_one_big_query(
    model_dirs, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text_a": "好", "text_b": "坏", "label": 1}\n', "utf-8")
    arguments = ["evaluate", str(model_dirs["ranking"]), str(path), *PAIR]
    code, message = run(arguments, monkeypatch, capsys)
    assert code == 1
    assert message.startswith("ernie-ray: ConfigError: ")
    assert "--query-column" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("family", ["regression", "ranking", "reading"])
def test_a_model_of_pairs_is_not_run_over_single_texts(
    family, command, model_dirs, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "好", "label": 1, "qid": "q1"}\n', "utf-8")
    arguments = [command, str(model_dirs[family]), str(path)]
    if command == "evaluate":
        arguments += ["--query-column", "qid"]
    code, message = run(arguments, monkeypatch, capsys)
    assert code == 1
    assert message.startswith("ernie-ray: ConfigError: ")
    assert "--text-pair-column" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["nothing.jsonl", "*.jsonl", ""])
def test_a_place_without_files_is_one_clear_line(name, model_dirs, tmp_path, monkeypatch, capsys):
    place = str(tmp_path / name)
    code, message = run(["evaluate", str(model_dirs["classification"]), place], monkeypatch, capsys)
    assert code == 1
    assert place in message
    assert len(message.splitlines()) == 1
