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
    page = write_report(run).read_text(encoding="utf-8")
    assert "not finished" in page
    assert page.count("<svg") == 1


def test_the_same_run_gives_the_same_report(run):
    finish(run)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.glob(".*"))
