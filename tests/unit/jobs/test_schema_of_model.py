"""What a model reads is compared with the columns before it loads."""

import pytest

from ernie_ray.errors import ConfigError
from ernie_ray.jobs.row_blocks import schema_of_model
from ernie_ray.modeldir import TokenLabelsSpec
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.row_schema import RowSchema
from tests.tiny_models import export_tiny_classifier, export_tiny_student

SINGLE, PAIR = RowSchema(), RowSchema(text_pair="other")


def test_a_student_of_pairs_needs_a_column_of_second_texts(tmp_path):
    student = read_manifest(export_tiny_student(tmp_path / "student", "bow", is_pair=True))
    assert schema_of_model(PAIR, student).text_pair == "other"
    with pytest.raises(ConfigError, match="reads pairs of texts; name the column"):
        schema_of_model(SINGLE, student)


def test_other_students_and_taggers_refuse_one(tmp_path):
    task = TokenLabelsSpec(labels=("O", "B-A", "I-A"))
    student = export_tiny_student(tmp_path / "student", "bow")
    for folder in (student, export_tiny_classifier(tmp_path / "tagger", task=task)):
        model = read_manifest(folder)
        assert schema_of_model(SINGLE, model).text_pair is None
        with pytest.raises(ConfigError, match="reads single texts; leave the column 'other'"):
            schema_of_model(PAIR, model)


def test_an_encoder_of_classes_reads_both(tiny_model_dir):
    for schema in (SINGLE, PAIR):
        assert schema_of_model(schema, read_manifest(tiny_model_dir)).text_pair == schema.text_pair
