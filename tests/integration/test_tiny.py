"""The whole chain on a tiny teacher: from its layers to an encoder that others fine-tune."""

import json

import numpy as np
import pytest

from ernie_ray.config import TinyRecipe, load_recipe, load_recipe_of
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.comparison import CONSTANT, DISTILLED, PLAIN, TEACHER
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.tiny import tiny
from ernie_ray.modeldir import PairSpec
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.models.pretrained import from_pretrained
from tests.chain_rows import SIZES, chain_settings, stamps, write_chain_rows
from tests.tiny_models import export_tiny_classifier, tiny_rows
from tests.tiny_tasks import entity_rows, write_jsonl

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_chain_rows(tmp_path_factory.mktemp("data"), unlabelled_column="words")


def recipe_for(teacher, *changes):
    settings = [
        *chain_settings(teacher),
        "data.unlabelled_text_column=words",
        # By 3/2 wider than the teacher, as heads of its size allow.
        "student.num_layers=1",
        "student.hidden_size=48",
        "student.num_heads=6",
        "student.ffn_size=96",
        "student.max_tokens=32",
        "vocabulary.max_pieces=80",
        "general.relation_heads=8",
        "general_training.num_epochs=3",
        "general_training.global_batch_size=40",
        "general_training.log_every_steps=1",
        # General distillation asks a teacher in each worker, that of the task the cached logits.
        "distillation.teacher_outputs=cached",
        "distillation.hidden_weight=0",
        "training.num_epochs=1",
        "plain_training.num_epochs=1",
        "report.num_timed_texts=5",
        *changes,
    ]
    return load_recipe_of(TinyRecipe, "3x384", settings, folder_name="tiny")


def test_the_chain_makes_a_short_wide_encoder_and_does_nothing_twice(
    tiny_model_dir, data, tmp_path
):
    run, storage = tmp_path / "tiny", Storage(str(data))

    def chain(*changes):
        recipe = recipe_for(tiny_model_dir, *changes)
        return tiny(recipe, str(run), storage=storage, show_progress=False)

    # Two workers over 201 rows: in the last step one of them has none.
    first = chain("scaling.num_workers=2")
    assert [row.name for row in first.report.rows] == [CONSTANT, TEACHER, PLAIN, DISTILLED]
    assert all(row.p50_ms > 0 and row.test is not None for row in first.report.rows[1:])
    assert f"{100 * first.lengths.saved:.1f} % of the length saved" in first.table
    general = next(run.glob("general-*"))
    losses = [m["loss"] for m in read_metrics(general / "metrics.jsonl") if "loss" in m]
    assert losses[-1] < losses[0]

    # An ordinary encoder: no weight but the network's, an engine of the service, a new start.
    predictor = Predictor.from_dir(first.student, engine="onnxruntime", precision="fp32")
    assert predictor.manifest.network.hidden_size == 48
    assert predictor.predict(["书店很好"])[0].result["label"] in ("negative", "positive")
    encoder = from_pretrained(str(first.stages["general"]))
    assert encoder.config.num_layers == 1
    assert encoder.weights["layers.0.ffn.up.weight"].shape == (48, 96)

    # Whoever fine-tunes takes it as any other, for another task too.
    write_jsonl(tmp_path / "places.jsonl", entity_rows(40, 1))
    places = [
        *(f"data.{split}={tmp_path / 'places.jsonl'}" for split in ("train", "dev", "test")),
        *(f"model.pretrained={first.stages['general']}", "model.max_tokens=32"),
        *("training.max_steps=2", "scaling.cpus_per_worker=1"),
    ]
    tagger = finetune(
        load_recipe("ner", places), str(tmp_path / "tagger"), storage=storage, show_progress=False
    )
    assert 0 <= tagger.metrics["test"]["entity_f1"] <= 1
    assert Predictor.from_dir(tagger.model).manifest.network.num_layers == 1

    before = stamps(run)
    stages = {path.parts[0].partition("-")[0] for path in before}
    assert stages == {"start", "texts", "general", "rows", "labelled", "plain", "distilled"}
    # How many machines work and what is timed decides no stage.
    again = chain("scaling.num_workers=1", "report.num_timed_texts=3")
    assert stamps(run) == before
    assert again.lengths == first.lengths
    assert again.report.row(DISTILLED).test == first.report.row(DISTILLED).test


@pytest.mark.parametrize(
    ("objective", "outputs", "hidden_weight"),
    [("ranking", "cached", 0), ("regression", "worker", 1)],
)
def test_a_teacher_of_pairs_teaches_whether_or_not_rows_are_ranked(
    objective, outputs, hidden_weight, tmp_path
):
    task = PairSpec(objective=objective, low=0.0, high=3.0)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=task)
    for name, size in SIZES.items():
        texts = [text for text, _ in tiny_rows(2 * size, seed=size)]
        rows = [
            {"qid": f"q{i // 4}", "q": texts[2 * i], "review": texts[2 * i + 1], "kind": i % 3}
            for i in range(size)
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    recipe = recipe_for(
        teacher,
        "data.text_column=q",
        "data.text_pair_column=review",
        "data.unlabelled_text_column=",
        f"data.query_column={'qid' if objective == 'ranking' else ''}",
        "general_training.num_epochs=1",
        f"distillation.teacher_outputs={outputs}",
        f"distillation.hidden_weight={hidden_weight}",
    )
    run = str(tmp_path / "tiny")
    result = tiny(recipe, run, storage=Storage(str(tmp_path)), show_progress=False)
    metric = "mrr" if objective == "ranking" else "spearman"
    assert result.report.metric == metric
    assert np.isfinite(result.report.row(DISTILLED).test)
    assert read_manifest(result.student).task == task
    labelled = [path for path in (tmp_path / "tiny").iterdir() if path.name.startswith("labelled")]
    assert bool(labelled) == (outputs == "cached")
