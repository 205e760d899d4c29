"""Each task family from its rows to predictions, with a tiny network."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_ray.config import load_recipe
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.evaluate import measure
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.predict import PredictRequest, predict
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import row_schema
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import RowSchema
from tests.tiny_tasks import (
    entity_rows,
    ranking_rows,
    reading_rows,
    regression_rows,
    write_jsonl,
)

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture
def train(tiny_embedding_dir, tmp_path):
    """Run a recipe over train and dev files in ``tmp_path``."""

    def run(recipe: str, suffix: str, *changes: str, epochs: int = 8):
        settings = load_recipe(
            recipe,
            [
                f"data.train=train.{suffix}",
                f"data.dev=dev.{suffix}",
                f"data.test=dev.{suffix}",
                f"model.pretrained={tiny_embedding_dir}",
                "model.max_tokens=40",
                "training.global_batch_size=16",
                "training.learning_rate=3e-3",
                "training.head_learning_rate=1e-2",
                "training.dropout=0.0",
                "scaling.cpus_per_worker=1",
                f"training.num_epochs={epochs}",
                *changes,
            ],
        )
        storage = Storage(str(tmp_path))
        result = finetune(settings, str(tmp_path / "run"), storage=storage, show_progress=False)
        return result, settings

    return run


def predicted(tmp_path, result, location, schema, **options):
    request = PredictRequest(result.model, find_files(location), schema)
    output = str(tmp_path / "predicted.jsonl")
    predict(request, storage=Storage(str(tmp_path)), output=output, **options)
    text = (tmp_path / "predicted.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_regression_learns_numbers_on_their_own_scale(train, tmp_path):
    for seed, (name, size) in enumerate({"train": 200, "dev": 60}.items()):
        write_jsonl(tmp_path / f"{name}.jsonl", regression_rows(size, seed))
    result, recipe = train("regression", "jsonl", "task.high=5.0")
    assert result.metrics["test"]["spearman"] > 0.8
    assert result.metrics["test"]["pearson"] == pytest.approx(
        result.metrics["dev"]["pearson"], abs=0.02
    )
    rows = predicted(tmp_path, result, tmp_path / "dev.jsonl", RowSchema("text_a", "text_b"))
    assert len(rows) == 60
    assert all(0 <= row["score"] <= 5 for row in rows)
    assert max(row["score"] for row in rows) > 3
    again = measure(result.model, tmp_path / "dev.jsonl", row_schema(recipe))
    assert again.metrics == result.metrics["test"]


def test_a_ranking_puts_the_right_candidate_first(train, tmp_path):
    for seed, (name, size) in enumerate({"train": 60, "dev": 20}.items()):
        write_jsonl(tmp_path / f"{name}.jsonl", ranking_rows(size, seed))
    result, _ = train("ranking", "jsonl")
    assert set(result.metrics["test"]) == {"mrr", "map", "ndcg@1", "ndcg@3", "ndcg@10"}
    assert result.metrics["test"]["mrr"] > 0.8


def test_a_tagger_finds_entities_in_texts_of_any_length(train, tmp_path):
    for seed, (name, size) in enumerate({"train": 160, "dev": 40}.items()):
        write_jsonl(tmp_path / f"{name}.jsonl", entity_rows(size, seed))
    result, recipe = train("ner", "jsonl", "task.scheme=BIOES")
    assert result.metrics["test"]["entity_f1"] > 0.9
    assert result.metrics["test"] == pytest.approx(result.metrics["dev"], abs=0.05)
    predictor = Predictor.from_dir(result.model)
    assert predictor.manifest.task.scheme == "BIOES"
    # Longer than three windows, with what tokenizers swallow: CRLF, emoji, a combining mark.
    text = "的一\r\n" * 20 + "😀书店" + "不e\u0301了" * 30 + "快慢" + "是" * 50
    (prediction,) = predictor.predict([text])
    found = prediction.result["entities"]
    assert [(e["text"], e["label"]) for e in found] == [("书店", "LOC"), ("快慢", "ORG")]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found)
    assert all(0 < e["score"] <= 1 for e in found)
    rows = predicted(tmp_path, result, tmp_path / "dev.jsonl", RowSchema("tokens"), num_actors=1)
    assert [row["id"] for row in rows] == list(range(40))
    assert {e["text"] for row in rows for e in row["entities"]} >= {"书店", "快慢"}
    assert measure(result.model, tmp_path / "dev.jsonl", row_schema(recipe)).num_rows == 40


def test_a_reader_finds_answers_in_long_contexts_and_knows_when_there_is_none(train, tmp_path):
    for seed, (name, size) in enumerate({"train": 160, "dev": 40}.items()):
        content = reading_rows(size, seed, unanswerable=True)
        (tmp_path / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    result, _ = train("mrc", "json", epochs=10)
    assert result.metrics["test"]["f1"] > 0.8
    predictor = Predictor.from_dir(result.model)
    threshold = predictor.manifest.task.no_answer_threshold
    assert threshold == pytest.approx(result.metrics["dev"]["no_answer_threshold"])
    assert "no_answer_threshold" not in result.metrics["test"]
    context = "的一是不\r\n了" * 20 + "书店" + "送很" * 30
    with_answer, without = (
        p.result for p in predictor.predict([("哪家", context), ("哪家", "一是货" * 9)])
    )
    assert with_answer["answer"] == "书店" == context[with_answer["start"] : with_answer["end"]]
    assert with_answer["nbest"][0]["text"] == "书店"
    assert without["answer"] == ""
    assert without["start"] is None
    rows = predicted(tmp_path, result, tmp_path / "dev.json", RowSchema("question", "context"))
    assert np.mean([row["answer"] in ("书店", "房间", "") for row in rows]) > 0.8


def test_a_warm_start_takes_the_head_too_and_reports_it(train, tmp_path, tiny_model_dir):
    rows = [{"text": "好书", "label": "positive"}, {"text": "差书", "label": "negative"}] * 8
    for name in ("train", "dev"):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    result, _ = train(
        "classify",
        "jsonl",
        f"model.warm_start={tiny_model_dir}",
        "model.trim_vocabulary=false",
        "training.learning_rate=1e-12",
        "training.head_learning_rate=1e-12",
        "training.max_steps=1",
    )
    report = json.loads((result.run / "start" / "warm_start.json").read_text("utf-8"))
    assert "head.weight" in report["taken"]
    assert (report["left"], report["missing"]) == ({}, [])
    wanted = load_file(tiny_model_dir / "weights.safetensors")
    for name, found in load_file(result.model / "weights.safetensors").items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-6, err_msg=name)
    evaluation = json.loads((result.run / "evaluation.json").read_text("utf-8"))
    assert [line["support"] for line in evaluation["tables"]["classes"]] == [8, 8]
    assert sum(map(sum, evaluation["tables"]["confusion"])) == 16
    wrong = round((1 - evaluation["metrics"]["accuracy"]) * 16)
    assert len(evaluation["mistakes"]) == wrong
