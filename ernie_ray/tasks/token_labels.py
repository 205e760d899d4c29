"""Token labels: a tag for each token, read as entities with their place in the text.

Tags belong to tokens, entities to characters; this is the only place that turns one into the other.

Dimension key: N windows, T tokens, C tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import TaskSpec, TokenLabelsSpec
from ernie_ray.tasks.classification import softmax
from ernie_ray.tasks.entity_metrics import Entity, entity_metrics, entity_tables
from ernie_ray.tasks.example import NO_LABEL, PER_TOKEN, Example, RowArrays
from ernie_ray.tasks.merging import merge_windows
from ernie_ray.tasks.tables import Tables
from ernie_ray.text.cache import IGNORED
from ernie_ray.text.features import NO_PLACE, TokenIds, Window, rows_of_texts
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.tags import OUTSIDE, entities_of, kinds_of

Place = tuple[int, int]


class TokenLabels:
    """Labels, results and metrics of a tagger."""

    loss = "token_cross_entropy"
    primary_metric = "entity_f1"
    metric_names: tuple[str, ...] = ("entity_f1", "precision", "recall", "macro_f1")
    is_per_token = True
    takes_pairs = False
    ranks_by_query = False
    label_width = PER_TOKEN

    def __init__(self, spec: TokenLabelsSpec) -> None:
        self.spec = spec
        self._index = {tag: i for i, tag in enumerate(spec.labels)}

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Expect entities of the task's types."""
        if schema.label is None:
            return replace(schema, holds="entities")
        return replace(schema, holds="entities", labels=kinds_of(self.spec.labels))

    def note(self, row: Row, tokens: Sequence[TokenIds]) -> str:
        """Give no remark."""
        del row, tokens
        return ""

    def examples(self, row: Row, tokens: Sequence[TokenIds], *, measures: bool) -> list[Example]:
        """Tag the tokens of each window; ``info`` holds their places and, once, the entities."""
        entities = None if row.label is None else [tuple(e) for e in json.loads(row.label)]
        found = []
        for i, window in enumerate(tokens):
            assert isinstance(window, Window)
            label = NO_LABEL if entities is None else self._encoded(window.offsets, entities)
            info = {"places": window.offsets, **({"entities": entities} if i == 0 else {})}
            text = json.dumps(info, ensure_ascii=False, separators=(",", ":")) if measures else ""
            found.append(Example(window, label, text))
        return found

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn logits [N, T, C] into the entities of each text."""
        return [
            {"entities": self._entities([(logits[i], rows[i]) for i in group])}
            for group in rows_of_texts(rows)
        ]

    def kept(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep the number of the best tag of each token, [N, T]."""
        return np.argmax(logits, axis=-1).astype(np.float32)

    def kept_shape(self, num_tokens: int) -> tuple[int, ...]:
        """[T]."""
        return (num_tokens,)

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Precision, recall and F1 of entities: right if type, start and end are."""
        del labels  # the tags of windows; what counts are the entities of whole texts
        return entity_metrics(*self._truth_and_guess(outputs, infos))

    def tables(self, outputs: RowArrays, labels: RowArrays, infos: Sequence[str] = ()) -> Tables:
        """Give each type of entity its line."""
        del labels
        return entity_tables(kinds_of(self.spec.labels), *self._truth_and_guess(outputs, infos))

    def _truth_and_guess(
        self, outputs: RowArrays, infos: Sequence[str]
    ) -> tuple[list[list[Entity]], list[list[Entity]]]:
        truth: list[list[Entity]] = []
        parts: list[list[tuple[NDArray[np.float32], Sequence[Place]]]] = []
        for output, info in zip(outputs, infos, strict=True):
            content = json.loads(info)
            if "entities" in content:
                truth.append([(a, b, kind) for a, b, kind in content["entities"] or []])
                parts.append([])
            places = [(a, b) for a, b in content["places"]]
            parts[-1].append((output[: len(places)], places))
        return truth, [self._spans(*merge_windows(part)) for part in parts]

    def is_right(self, row: Row, result: Mapping[str, Any]) -> bool:
        """Compare all entities."""
        wanted = {tuple(entity) for entity in json.loads(row.label or "[]")}
        return wanted == {(e["start"], e["end"], e["label"]) for e in result["entities"]}

    def tuned(self, metrics: Mapping[str, float]) -> TaskSpec:
        """Tune nothing."""
        del metrics
        return self.spec

    def _encoded(self, places: Sequence[Place], entities: Sequence[Any]) -> NDArray[np.float32]:
        """Number the tag of each token; one that two entities share belongs to the first."""
        tags: list[str | None] = [None if place == NO_PLACE else OUTSIDE for place in places]
        for start, end, kind in entities:
            touched = [
                i for i, (a, b) in enumerate(places) if (a, b) != NO_PLACE and a < end and b > start
            ]
            inside = [i for i in touched if tags[i] == OUTSIDE]
            if not inside:
                continue
            # Where an entity before it keeps the first token, it begins at the next one: without
            # that both would be learnt as one. In the middle of an entity only a window begins.
            begins = inside[0] != touched[0] or places[inside[0]][0] <= start
            ends = places[inside[-1]][1] >= end
            for i in inside:
                tags[i] = f"I-{kind}"
            if begins:
                tags[inside[0]] = f"B-{kind}"
            if ends and self.spec.scheme == "BIOES":
                single = begins and len(inside) == 1
                tags[inside[-1]] = f"S-{kind}" if single else f"E-{kind}"
        numbers = [IGNORED if tag is None else self._index[tag] for tag in tags]
        return np.array(numbers, dtype=np.float32)

    def _entities(
        self, parts: Sequence[tuple[NDArray[np.float32], TokenIds]]
    ) -> list[dict[str, Any]]:
        windows = [(logits, row) for logits, row in parts if isinstance(row, Window)]
        if not windows:
            return []
        text = windows[0][1].text
        probabilities, places = merge_windows(
            [(softmax(logits[: len(row)]), row.offsets) for logits, row in windows]
        )
        best = [float(np.max(row)) for row in probabilities]
        tags = [self.spec.labels[int(np.argmax(row))] for row in probabilities]
        return [
            {
                "text": text[places[a][0] : places[b - 1][1]],
                "label": kind,
                "start": places[a][0],
                "end": places[b - 1][1],
                "score": float(np.mean(best[a:b])),
            }
            for a, b, kind in entities_of(tags)
        ]

    def _spans(self, numbers: Sequence[Any], places: Sequence[Place]) -> list[Entity]:
        tags = [self.spec.labels[int(number)] for number in numbers]
        return [(places[a][0], places[b - 1][1], kind) for a, b, kind in entities_of(tags)]
