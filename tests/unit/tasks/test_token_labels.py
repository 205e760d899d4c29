import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.entity_metrics import entity_metrics
from ernie_ray.tasks.merging import merge_windows
from ernie_ray.text.cache import IGNORED
from ernie_ray.text.features import NO_PLACE, Window
from ernie_ray.text.row_schema import Row
from ernie_ray.text.tags import entities_of, tag_names

TAGS = tag_names(("PER", "LOC"), "BIOES")
SENTENCES = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def family(scheme="BIO"):
    return family_of(TokenLabelsSpec(labels=tag_names(("PER", "LOC"), scheme), scheme=scheme))


def window(places, text="", is_first=True):
    return Window(
        [7] * len(places), [0] * len(places), offsets=places, text=text, is_first=is_first
    )


def row(text, entities):
    return Row(0, text, None, json.dumps(entities), "")


@given(SENTENCES, st.integers(1, 8))
@settings(max_examples=80)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:seqeval")
def test_entity_metrics_equal_seqeval(rng, num_sentences):
    lengths = rng.integers(1, 12, num_sentences)
    truth = [rng.choice(TAGS, n).tolist() for n in lengths]
    # Mostly right, so that there is something to count.
    guess = [[t if rng.random() < 0.8 else str(rng.choice(TAGS)) for t in tags] for tags in truth]
    found = entity_metrics([entities_of(tags) for tags in truth], [entities_of(t) for t in guess])
    assert found["entity_f1"] == pytest.approx(f1_score(truth, guess, zero_division=0))
    assert found["precision"] == pytest.approx(precision_score(truth, guess, zero_division=0))
    assert found["recall"] == pytest.approx(recall_score(truth, guess, zero_division=0))
    if any(entities_of(tags) for tags in truth + guess):
        report = classification_report(truth, guess, output_dict=True, zero_division=0)
        kinds = {kind for tags in truth + guess for _, _, kind in entities_of(tags)}
        per_kind = [report[kind]["f1-score"] if kind in report else 0.0 for kind in kinds]
        assert found["macro_f1"] == pytest.approx(np.mean(per_kind))


def test_no_entities_at_all_give_zeros():
    assert set(entity_metrics([[], []], [[], []]).values()) == {0.0}
    assert set(family().metrics([], [], []).values()) == {0.0}


@given(SENTENCES)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:seqeval")
def test_what_the_family_measures_is_seqevals_f1_of_its_tags(rng):
    tagger = family()
    names = np.array(tagger.spec.labels)
    outputs, infos, truth, guess = [], [], [], []
    for _ in range(5):
        length = int(rng.integers(1, 9))
        places = [NO_PLACE, *((i, i + 1) for i in range(length)), NO_PLACE]
        gold, numbers = rng.choice(names, length).tolist(), rng.integers(0, 5, length + 2)
        labelled = row("x" * length, entities_of(gold))
        (example,) = tagger.examples(labelled, [window(places)], measures=True)
        outputs.append(numbers.astype(np.float32))
        infos.append(example.info)
        truth.append(gold)
        guess.append(names[numbers[1:-1]].tolist())
    found = tagger.metrics(outputs, [], infos)
    assert found["entity_f1"] == pytest.approx(f1_score(truth, guess, zero_division=0))


@pytest.mark.parametrize(
    ("scheme", "places", "expected"),
    [
        ("BIO", [(0, 1), (1, 2), (2, 3)], ["B-PER", "I-PER", "O"]),
        ("BIOES", [(0, 1), (1, 2), (2, 3)], ["B-PER", "E-PER", "O"]),
        ("BIOES", [(0, 2), (2, 3)], ["S-PER", "O"]),
        ("BIO", [(1, 2), (2, 3)], ["I-PER", "O"]),  # a window that starts inside an entity
        ("BIOES", [(0, 1)], ["B-PER"]),  # one that ends inside
        ("BIO", [(0, 1), (1, 3)], ["B-PER", "I-PER"]),  # a piece that straddles the edge
        ("BIO", [NO_PLACE, (0, 2), NO_PLACE], [None, "B-PER", None]),
    ],
)
def test_tokens_get_the_tags_of_the_entities_that_they_stand_in(scheme, places, expected):
    tagger = family(scheme)
    (example,) = tagger.examples(row("abc", [[0, 2, "PER"]]), [window(places)], measures=False)
    numbers = [IGNORED if tag is None else tagger.spec.labels.index(tag) for tag in expected]
    assert example.label.tolist() == numbers
    assert example.info == ""


@pytest.mark.parametrize(
    ("scheme", "second", "expected"),
    [
        ("BIO", "PER", ["B-PER", "I-PER", "B-PER"]),
        ("BIO", "LOC", ["B-PER", "I-PER", "B-LOC"]),
        ("BIOES", "PER", ["B-PER", "E-PER", "S-PER"]),
    ],
)
def test_neighbours_that_share_a_token_stay_two_entities(scheme, second, expected):
    tagger, places = family(scheme), [(0, 1), (1, 3), (3, 4)]
    labelled = row("abcd", [[0, 2, "PER"], [2, 4, second]])
    (example,) = tagger.examples(labelled, [window(places)], measures=False)
    tags = [tagger.spec.labels[int(number)] for number in example.label]
    assert tags == expected
    assert [kind for _, _, kind in entities_of(tags)] == ["PER", second]


def logits_of(tagger, tags):
    table = np.zeros((len(tags), len(tagger.spec.labels)), np.float32)
    for i, tag in enumerate(tags):
        table[i, tagger.spec.labels.index(tag)] = 9.0
    return table


def test_entities_are_spans_of_the_text_with_label_place_and_score():
    tagger, text = family(), "在 北京\r\n见 Ada"
    places = [NO_PLACE, (0, 1), (2, 3), (3, 4), (6, 7), (8, 11), NO_PLACE]
    tags = ["B-PER", "O", "B-LOC", "I-LOC", "O", "I-PER", "B-PER"]
    (result,) = tagger.decode(logits_of(tagger, tags)[None], [window(places, text)])
    assert [(e["text"], e["label"], e["start"], e["end"]) for e in result["entities"]] == [
        ("北京", "LOC", 2, 4),
        ("Ada", "PER", 8, 11),  # a lone I- begins an entity, as seqeval reads it
    ]
    assert all(0.99 < e["score"] <= 1 for e in result["entities"])


def test_results_come_per_text_and_long_texts_from_several_windows():
    tagger = family()
    rows = [
        window([(0, 1), (1, 2), (2, 3)], "abcd"),
        window([(1, 2), (2, 3), (3, 4)], "abcd", is_first=False),
        window([(0, 1)], "x"),
    ]
    tags = [["O", "O", "O"], ["B-PER", "B-LOC", "I-LOC"], ["B-PER", "O", "O"]]
    logits = np.stack([logits_of(tagger, t) for t in tags])
    first, second = tagger.decode(logits, rows)
    # The first window ends at c, where the second one knows more; at b it is the other way round.
    assert [(e["text"], e["label"]) for e in first["entities"]] == [("cd", "LOC")]
    assert [e["text"] for e in second["entities"]] == ["x"]


def test_merging_takes_each_place_once_from_the_window_with_most_context():
    first = (np.array([1, 2, 3, 4]), [(0, 1), (1, 2), (2, 3), (3, 4)])
    second = (np.array([20, 30, 40, 50]), [(1, 2), (2, 3), (3, 4), (4, 5)])
    values, places = merge_windows([first, second])
    assert places == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert values == [1, 2, 3, 40, 50]
    assert merge_windows([(np.array([1, 2]), [(0, 1), (0, 1)])])[0] == [1]
    # Also where the margin grows from one token of a place to the next.
    places = [(0, 1), (1, 2), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    last = (np.arange(7), places)
    assert merge_windows([(np.array([9]), [(0, 1)]), last])[0][1] == 1
