import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_ray.text.features import NO_PLACE
from ernie_ray.text.spans import (
    OUTSIDE,
    PlacingTokenizer,
    align,
    align_batch,
    pooling_matrix,
    shared_units,
)
from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
from ernie_ray.text.tokenizer import TextTokenizer
from tests.tiny_models import tiny_encoder, word_texts

TEXTS = word_texts()


@st.composite
def cuts(draw):
    """A text's length and two cuts of it; some tokens have no place, and the end may be cut off."""
    length = draw(st.integers(1, 30))

    def cut():
        edges = sorted(draw(st.sets(st.integers(1, length - 1)))) if length > 1 else []
        tokens = list(zip([0, *edges], [*edges, length], strict=True))
        tokens = tokens[: draw(st.integers(1, len(tokens)))]
        holes = draw(st.lists(st.integers(0, len(tokens) - 1), max_size=2))
        return [NO_PLACE if i in holes else token for i, token in enumerate(tokens)]

    return cut(), cut()


def characters(tokens, units, unit):
    return {c for token, u in zip(tokens, units, strict=True) if u == unit for c in range(*token)}


@settings(deadline=None)  # a busy machine is no failure
@given(cuts())
def test_a_unit_is_the_same_characters_in_both_cuts(both):
    ours, theirs = both
    first, second, num_units = shared_units(ours, theirs)
    for unit in range(num_units):
        shown = [characters(*side, unit) for side in ((ours, first), (theirs, second))]
        assert min(shown[0]) == min(shown[1])
        assert max(shown[0]) == max(shown[1])


@settings(deadline=None)  # a busy machine is no failure
@given(cuts())
def test_units_are_in_order_and_no_smaller_ones_exist(both):
    ours, theirs = both
    first, second, num_units = shared_units(ours, theirs)
    for tokens, units in ((ours, first), (theirs, second)):
        inside = units[units != OUTSIDE]
        assert (np.diff(inside) >= 0).all()
        assert set(inside) == set(range(num_units))
        assert all(unit == OUTSIDE for token, unit in zip(tokens, units, strict=True)
                   if token == NO_PLACE)  # fmt: skip
    for unit in range(num_units):
        # Inside a unit no boundary is an edge of both cuts: some token reaches across each.
        span = characters(ours, first, unit) | characters(theirs, second, unit)
        for edge in range(min(span) + 1, max(span) + 1):
            assert any(start < edge < end for start, end in [*ours, *theirs])


@settings(deadline=None)  # a busy machine is no failure
@given(cuts())
def test_a_cut_aligned_with_itself_gives_a_unit_for_each_token(both):
    tokens, _ = both
    first, second, num_units = shared_units(tokens, tokens)
    assert first.tolist() == second.tolist()
    assert num_units == sum(token != NO_PLACE for token in tokens)


@settings(deadline=None)  # a busy machine is no failure
@given(cuts())
def test_pooling_averages_the_tokens_of_each_unit(both):
    first, _, num_units = shared_units(*both)
    matrix = pooling_matrix(first, num_units)
    states = np.random.default_rng(0).normal(size=(len(first), 3))
    expected = [states[first == unit].mean(axis=0) for unit in range(num_units)]
    np.testing.assert_allclose(matrix @ states, np.reshape(expected, (num_units, 3)), rtol=1e-5)


def test_a_span_that_one_cut_ends_in_is_left_out():
    first, second, num_units = shared_units([(0, 2), (2, 3), (3, 5)], [(0, 1), (1, 2), (2, 4)])
    assert (first.tolist(), second.tolist(), num_units) == ([0, -1, -1], [0, 0, -1], 1)


@pytest.fixture(scope="module")
def subwords():
    return train_subword_tokenizer(TEXTS, 60, lowercase=True)


def placing(tokenizer, **options):
    return PlacingTokenizer(tokenizer, **({"max_tokens": 32} | options))


def test_two_tokenizers_meet_at_the_edges_that_both_have(subwords):
    text = "房间很干净，服务 good"
    ours = placing(subwords).place([text])[0]
    theirs = placing(tiny_encoder().tokenizer).place([text])[0]
    assert len(ours) < len(theirs)
    first, second, num_units = align(ours, theirs)
    shown = [
        "".join(text[a:b] for (a, b), u in zip(row.offsets[0], units, strict=True) if u == unit)
        for row, units in ((ours, first), (theirs, second))
        for unit in range(1, num_units)
    ]
    assert shown[: num_units - 1] == shown[num_units - 1 :]
    assert "".join(shown[: num_units - 1]) == text.replace(" ", "")
    assert first[0] == second[0] == 0  # the token of the whole row
    assert first[-1] == second[-1] == OUTSIDE


def test_a_prefix_and_the_other_text_of_a_pair_do_not_mix(subwords):
    pair = ("书店", "服务很好")
    ours = placing(subwords).place([pair])[0]
    theirs = placing(tiny_encoder().tokenizer, text_prefix="abc: ").place([pair])[0]
    first, second, num_units = align(ours, theirs)
    for row, units in ((ours, first), (theirs, second)):
        of_text = [
            {u for (start, _), u in zip(places, units, strict=True) if start >= 0}
            for places in row.offsets
        ]
        assert max(of_text[0]) < min(of_text[1])
        assert of_text[0] | of_text[1] == set(range(1, num_units))


def test_places_come_with_the_ids_of_training_and_serving(subwords):
    texts = [*TEXTS[:4], ("好", "书店很好 good")]
    expected = TextTokenizer(subwords, max_tokens=9).encode(texts)
    found = placing(subwords, max_tokens=9).place(texts)
    assert [row.input_ids for row in found] == [row.input_ids for row in expected]
    assert [row.token_type_ids for row in found] == [row.token_type_ids for row in expected]


def test_a_batch_is_padded_like_its_tokens(subwords):
    ours = placing(subwords).place(TEXTS[:3])
    theirs = placing(tiny_encoder().tokenizer, max_tokens=8).place(TEXTS[:3])
    batch = align_batch(ours, theirs)
    assert batch.ours.shape[2] == max(map(len, ours))
    assert batch.theirs.shape[2] == max(map(len, theirs))
    for matrix in (batch.ours, batch.theirs):
        np.testing.assert_allclose(matrix.sum(axis=2), batch.mask, atol=1e-6)
