import pytest

from ernie_ray.text.uris import is_uri, join, normal, path_of, quoted


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("s3://bucket/x/", "a.jsonl", "s3://bucket/x/a.jsonl"),
        ("s3://bucket", "runs/a", "s3://bucket/runs/a"),
        ("s3://b/x?region=eu&scheme=http", "a", "s3://b/x/a?region=eu&scheme=http"),
        ("s3://b?region=eu", "a", "s3://b/a?region=eu"),
        ("s3://key:secret@b/x", "a", "s3://key:secret@b/x/a"),
        ("hdfs://name:9000/x", "a", "hdfs://name:9000/x/a"),
        ("file:///x", "中 文?#%.txt", "file:///x/中 文%3F%23%25.txt"),
    ],
)
def test_a_name_goes_below_the_path_and_leaves_host_and_options(folder, name, expected):
    assert join(folder, name) == expected


def test_parts_of_a_pattern_can_be_left_out():
    assert join("s3://b/x/*/y-*.jsonl?a=b", "1/y-2.jsonl", above=2) == "s3://b/x/1/y-2.jsonl?a=b"
    assert join("mock:///*.jsonl", "1.jsonl", above=1) == "mock:///1.jsonl"


def test_what_was_written_behind_the_options_belongs_to_the_path():
    assert normal("s3://b/run?host=h:1&x=y/start/model") == "s3://b/run/start/model?host=h:1&x=y"
    for uri in ("s3://b/run?host=h:1", "hdfs://name:9000/a/b", "file:///a?"):
        assert normal(uri) == uri
    far = "s3://b/run?endpoint_override=http://h:9000"
    assert normal(far) == far
    assert normal(f"{far}/model") == "s3://b/run/model?endpoint_override=http://h:9000"


def test_a_slash_at_the_end_and_double_ones_are_left_out():
    assert normal("s3://b/run//model/?host=h") == "s3://b/run/model?host=h"
    for uri in ("s3://b", "s3://b/", "file:///"):
        assert normal(uri) == uri


def test_a_path_is_looked_at_without_its_options():
    assert path_of("s3://b/x.jsonl.gz?region=eu") == "s3://b/x.jsonl.gz"
    assert path_of("/local/what?.jsonl") == "/local/what?.jsonl"
    assert not is_uri("/local/x")


def test_only_what_no_uri_may_hold_is_masked():
    assert quoted("file:///a b/[中]%20#.txt") == "file:///a%20b/%5B%E4%B8%AD%5D%20%23.txt"
    assert quoted("hdfs://name:9000/a*?user=me&x=[1]") == "hdfs://name:9000/a*?user=me&x=[1]"
