"""Checkpoint to model directory: written beside its place, proved, and only then put there.

Knows Paddle through ``training.graph`` and the written folder only through ``Predictor``.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.storage import Location, Storage, staging_path, writing_to
from ernie_ray.modeldir import (
    EmbeddingSpec,
    EncoderConfig,
    InputSpec,
    Lineage,
    Manifest,
    Pooling,
    VectorSpec,
    seal_model_dir,
)
from ernie_ray.modeldir.folder import MANIFEST, TOKENIZER, WEIGHTS, write_golden_texts
from ernie_ray.modeldir.weight_files import write_arrays, write_tokenizer
from ernie_ray.models.build import Network, build_network
from ernie_ray.models.encoder import load_weights
from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.models.start import StartSpec, read_spec
from ernie_ray.models.text_network import TRAINING_ONLY, TextNetwork
from ernie_ray.tasks import family_of
from ernie_ray.text.cutter import cutter_file, read_cutter
from ernie_ray.training.checkpoint import read_checkpoint
from ernie_ray.training.golden import golden_texts, parity_bounds
from ernie_ray.training.graph import layer_names, result_names, write_graphs

_PACKAGES = (
    "ernie-ray", "paddlepaddle", "paddlepaddle-gpu", "paddle2onnx", "onnx", "onnxruntime",
    "openvino", "ray", "tokenizers", "numpy", "jieba",
)  # fmt: skip

_PROVED_ENGINES = ("openvino", "onnxruntime", "paddle")
"""Every engine must pass in fp32 before a model directory is put in place."""


@dataclass(frozen=True)
class ExportLabel:
    """What a model directory says of itself beside the network.

    Attributes:
        name: Name that the service shows.
        lineage: Where the weights come from.
        metrics: Measured values by split.
    """

    name: str
    lineage: Lineage
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def export_checkpoint(
    checkpoint_dir: Path,
    start_dir: Path,
    target: str | Location,
    label: ExportLabel,
    *,
    storage: Storage,
) -> Location:
    """Export a training checkpoint.

    Args:
        checkpoint_dir: A whole checkpoint on this machine.
        start_dir: The run's start folder: network, task, tokenizer.
        target: Where the model directory shall stand; nothing may be there.
        label: Name, lineage, metrics.
        storage: Resolves ``target`` and puts the folder there.

    Returns:
        Where it stands.

    Raises:
        CheckpointError: The checkpoint is damaged or of another network.
        ModelDirError: An engine strays from the checkpoint; nothing was put in place.
    """
    checkpoint = read_checkpoint(checkpoint_dir)
    lineage = label.lineage.model_copy(update={"step": checkpoint.position.step})
    metrics = {**label.metrics, **({"dev": checkpoint.metrics} if checkpoint.metrics else {})}
    staged = ExportLabel(label.name, lineage, metrics)
    spec = read_spec(start_dir)
    tuned = spec.model_copy(update={"task": family_of(spec.task).tuned(checkpoint.metrics)})
    weights = {
        name: value
        for name, value in checkpoint.weights.items()
        if not name.startswith(f"{TRAINING_ONLY}.")
    }
    return _export(tuned, weights, cutter_file(start_dir), (target, staged, storage))


def export_pretrained(
    pretrained: PretrainedEncoder,
    target: str | Location,
    name: str,
    *,
    max_tokens: int,
    storage: Storage,
) -> Location:
    """Export pretrained weights as they are: a model directory that gives vectors only.

    Args:
        pretrained: Encoder and tokenizer.
        target: Where the model directory shall stand; nothing may be there.
        name: Name that the service shows.
        max_tokens: Longest input in tokens.
        storage: Resolves ``target`` and puts the folder there.

    Returns:
        Where it stands.
    """
    spec = StartSpec(
        task=EmbeddingSpec(),
        network=pretrained.config,
        pooling=Pooling(pretrained.pooling),
        normalize=pretrained.normalize,
        text_prefix=pretrained.text_prefix,
        max_tokens=min(max_tokens, pretrained.config.max_positions),
        pretrained=pretrained.source,
    )
    weights = {f"encoder.{key}": value for key, value in pretrained.weights.items()}
    label = ExportLabel(name, Lineage(pretrained=pretrained.source))
    location = storage.resolve(target)
    scratch = staging_path(location)
    try:
        with writing_to(location):
            scratch.mkdir()
            write_tokenizer(scratch / TOKENIZER, pretrained.tokenizer)
        return _export(spec, weights, scratch / TOKENIZER, (target, label, storage))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _export(
    spec: StartSpec,
    weights: Mapping[str, NDArray[np.float32]],
    tokenizer: Path,
    destination: tuple[str | Location, ExportLabel, Storage],
) -> Location:
    target, label, storage = destination
    network = build_network(spec)
    load_weights(network, weights)
    is_pair = not isinstance(spec.network, EncoderConfig) and spec.network.is_pair
    location = storage.resolve(target)
    folder = staging_path(location)
    try:
        with writing_to(location):
            folder.mkdir()
            shutil.copyfile(tokenizer, folder / tokenizer.name)
            write_arrays(folder / WEIGHTS, weights)
            if isinstance(network, TextNetwork):
                write_graphs(network, folder)
        family = family_of(spec.task)
        cutter = read_cutter(
            tokenizer,
            max_tokens=spec.max_tokens,
            text_prefix=spec.text_prefix,
            per_token=family.is_per_token,
        )
        golden = golden_texts(
            network, cutter, spec.network.pad_token_id, is_pair=is_pair or family.takes_pairs
        )
        manifest = _manifest(spec, label, network).model_copy(
            update={"parity": parity_bounds(golden)}
        )
        with writing_to(location):
            write_golden_texts(folder, golden)
            seal_model_dir(folder, manifest)
        for engine in _PROVED_ENGINES if isinstance(network, TextNetwork) else ("numpy",):
            Predictor.from_dir(folder, engine=engine, precision="fp32")
        return storage.publish(folder, target, last=MANIFEST)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _manifest(spec: StartSpec, label: ExportLabel, network: Network) -> Manifest:
    # A student has no graph: its results are those of the numpy engine, its layers have no names.
    layers = layer_names(network) if isinstance(network, TextNetwork) else ()
    return Manifest(
        name=label.name,
        task=spec.task,
        network=spec.network,
        input=InputSpec(
            max_tokens=spec.max_tokens,
            pad_token_id=spec.network.pad_token_id,
            text_prefix=spec.text_prefix,
        ),
        vector=VectorSpec(
            pooling=spec.pooling, size=spec.network.hidden_size, normalize=spec.normalize
        ),
        outputs=result_names(network) + layers,
        layer_nodes=layers,
        parity={},
        lineage=label.lineage.model_copy(update={"pretrained": spec.pretrained}),
        metrics={split: dict(values) for split, values in label.metrics.items()},
        versions=installed_versions(),
    )


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide what a run computes."""
    found: dict[str, Any] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
