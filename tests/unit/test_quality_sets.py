import json

import pytest

from benchmarks.quality_baselines import baselines
from benchmarks.quality_sets import SETS
from ernie_ray.config import load_recipe
from ernie_ray.modeldir import (
    ClassificationSpec,
    PairSpec,
    ReadingSpec,
    TokenLabelsSpec,
)
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.tags import tag_names
from tests.tiny_models import tiny_rows
from tests.tiny_tasks import entity_rows, reading_rows, regression_rows, write_jsonl


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
@pytest.mark.parametrize("is_full", [False, True])
def test_every_quality_recipe_is_valid_and_chooses_nothing_by_measured_rows(one, is_full):
    recipe = load_recipe(one.recipe, one.overrides("/data", is_full=is_full))
    assert recipe.data.dev == ""
    assert recipe.data.train != recipe.data.test
    assert recipe.training.max_steps == (0 if is_full else one.steps)


def test_baselines_of_every_family_learn_what_a_bag_can(tmp_path):
    def measure(task, schema, rows):
        paths = []
        for seed, name in enumerate(("train", "test")):
            content = rows(seed)
            if isinstance(content, list):
                paths.append(write_jsonl(tmp_path / f"{name}.jsonl", content))
            else:
                paths.append(tmp_path / f"{name}.json")
                paths[-1].write_text(json.dumps(content), encoding="utf-8")
        return baselines(task, schema, *paths)

    def reviews(seed):
        return [{"text": text, "label": label} for text, label in tiny_rows(150, seed)]

    labels = ("negative", "positive")
    constant, bag = measure(ClassificationSpec(labels=labels), RowSchema(label="label"), reviews)
    assert constant["accuracy"] < 0.7
    assert constant["macro_f1"] < 0.5
    assert constant["positive_f1"] > 0.5  # who always says yes finds all that there are
    assert bag["accuracy"] > 0.8

    pairs = RowSchema("text_a", "text_b", "label")
    constant, bag = measure(PairSpec(high=5.0), pairs, lambda seed: regression_rows(50, seed))
    assert constant["spearman"] == 0.0
    assert -1 <= bag["spearman"] <= 1

    tags = TokenLabelsSpec(labels=tag_names(("LOC", "ORG"), "BIO"))
    rows = RowSchema("tokens", label="labels")
    constant, bag = measure(tags, rows, lambda seed: entity_rows(50, seed))
    assert constant["entity_f1"] == 0.0
    assert bag["entity_f1"] == 1.0  # the two names are always the same

    questions = RowSchema("question", "context", "answers")
    constant, bag = measure(ReadingSpec(), questions, lambda seed: reading_rows(30, seed))
    assert 0 < constant["f1"] < 1
    assert bag["exact_match"] <= bag["f1"]
