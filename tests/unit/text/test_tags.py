import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from ernie_ray.text.tags import entities_of, kinds_of, split_tag, tag_names, tags_of

TAGS = ["O", *(f"{part}-{kind}" for part in "BIES" for kind in ("PER", "LOC"))]


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_any_sequence_of_tags_is_read_as_seqeval_reads_it(tags):
    expected = [(start, last + 1, kind) for kind, start, last in get_entities(tags)]
    assert entities_of(tags) == expected


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from("XY")), max_size=5),
    st.integers(0, 3),
    st.sampled_from(["BIO", "BIOES"]),
)
def test_entities_survive_being_written_as_tags(parts, rest, scheme):
    entities, position = [], 0
    for gap, length, kind in parts:
        entities.append((position + gap, position + gap + length, kind))
        position += gap + length
    assert entities_of(tags_of(entities, position + rest, scheme)) == entities


def test_the_tags_of_some_types_start_with_outside():
    assert tag_names(("PER", "LOC"), "BIO") == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert tag_names(("A",), "BIOES") == ("O", "B-A", "I-A", "E-A", "S-A")
    assert kinds_of(tag_names(("PER", "LOC"), "BIOES")) == ("PER", "LOC")


@pytest.mark.parametrize(
    ("tag", "remedy"),
    [
        ("LOC-B", "write B-LOC"),
        ("LOC_I", "write I-LOC"),
        ("B-", "no tag"),
        ("", "no tag"),
        ("loc", "O, B-TYPE"),
    ],
)
def test_what_is_no_tag_is_refused_with_a_remedy(tag, remedy):
    with pytest.raises(ValueError, match=remedy):
        split_tag(tag)


def test_types_may_hold_dashes():
    assert split_tag("B-GPE-CITY") == ("B", "GPE-CITY")
