"""The whole chain on a tiny teacher: from its layers to an encoder that others fine-tune."""

import json

import pytest

from ernie_ray.config import TinyRecipe, load_recipe_of
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.comparison import CONSTANT, DISTILLED, PLAIN, TEACHER
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.tiny import tiny
from ernie_ray.models.pretrained import from_pretrained
from tests.tiny_models import tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows under column names of their own."""
    folder = tmp_path_factory.mktemp("data")
    for seed, (name, size) in enumerate({"train": 120, "dev": 40, "test": 40, "more": 80}.items()):
        rows = [
            {"words": text} if name == "more" else {"review": text, "kind": label}
            for text, label in tiny_rows(size, seed)
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def recipe_for(teacher, *changes):
    settings = [
        f"teacher.model={teacher}",
        "teacher.precision=fp32",
        "teacher.engine=onnxruntime",
        "data.train=train.jsonl",
        "data.dev=dev.jsonl",
        "data.test=test.jsonl",
        'data.unlabelled=["more.jsonl"]',
        "data.unlabelled_text_column=words",
        "data.text_column=review",
        "data.label_column=kind",
        # By 3/2 wider than the teacher, as heads of its size allow.
        "student.num_layers=1",
        "student.hidden_size=48",
        "student.num_heads=6",
        "student.ffn_size=96",
        "student.max_tokens=32",
        "vocabulary.max_pieces=80",
        "general.relation_heads=8",
        "general_training.num_epochs=3",
        "distillation.relation_heads=8",
        "training.num_epochs=1",
        "plain_training.num_epochs=1",
        "report.base_encoder=false",
        "report.num_timed_texts=5",
        *changes,
    ]
    return load_recipe_of(TinyRecipe, "3x384", settings, folder_name="tiny")


def stamps(run):
    """When each file of the stages was written."""
    return {
        path.relative_to(run): path.stat().st_mtime_ns
        for stage in run.iterdir() if "-" in stage.name
        for path in ([stage] if stage.is_file() else stage.rglob("*")) if path.is_file()
    }  # fmt: skip


def test_the_chain_makes_a_short_wide_encoder_and_repeats_only_what_a_change_concerns(
    tiny_model_dir, data, tmp_path
):
    run, storage = tmp_path / "tiny", Storage(str(data))

    def chain(*changes):
        recipe = recipe_for(tiny_model_dir, *changes)
        return tiny(recipe, str(run), storage=storage, show_progress=False)

    # Two workers over 201 rows: in the last step one of them has none.
    first = chain("scaling.num_workers=2", "general_training.global_batch_size=40")
    assert [row.name for row in first.report.rows] == [CONSTANT, TEACHER, PLAIN, DISTILLED]
    assert all(row.p50_ms > 0 and row.test is not None for row in first.report.rows[1:])
    assert f"{100 * first.lengths.saved:.1f} % of the length saved" in first.table
    general = run / str(first.stages["general"]).split("/")[-2]
    losses = [m["loss"] for m in read_metrics(general / "metrics.jsonl") if "loss" in m]
    assert losses[-1] < losses[0]

    # An ordinary encoder: no weight but the network's, an engine of the service, a new start.
    predictor = Predictor.from_dir(first.student, engine="onnxruntime", precision="fp32")
    assert predictor.manifest.network.hidden_size == 48
    assert predictor.predict(["书店很好"])[0].result["label"] in ("negative", "positive")
    encoder = from_pretrained(str(first.stages["general"]))
    assert encoder.config.num_layers == 1

    before = stamps(run)
    changes = ("scaling.num_workers=1", "general_training.global_batch_size=40")
    assert chain(*changes).lengths == first.lengths
    assert stamps(run) == before
    # The teacher's logits from the cache instead: only the last stage is another one.
    cached = chain(*changes, "distillation.teacher_outputs=cached", "distillation.hidden_weight=0")
    new = {path.parts[0].partition("-")[0] for path in stamps(run).keys() - before.keys()}
    assert new == {"labelled", "distilled"}
    assert cached.report.row(PLAIN).test == first.report.row(PLAIN).test
    assert {k: v for k, v in stamps(run).items() if k in before} == before
