"""`serve deploy` of the committed application on a running cluster."""

import httpx
import pytest

from ernie_ray.inference.predictor import Predictor
from tests.e2e.serve_deployment import deployed

pytestmark = pytest.mark.timeout(240)


def test_a_deployed_application_answers_as_the_predictor(cluster, tiny_model_dir, tmp_path):
    with deployed(cluster, tiny_model_dir, tmp_path) as url:
        answer = httpx.post(f"{url}/v1/scores", json={"texts": ["好书"]}, timeout=30).json()
    expected = Predictor.from_dir(tiny_model_dir).predict(["好书"])[0].result
    assert answer["scores"][0]["label"] == expected["label"]
    assert answer["scores"][0]["score"] == pytest.approx(expected["score"], abs=1e-5)
