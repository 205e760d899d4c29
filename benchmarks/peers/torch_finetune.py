"""The training of one job in PyTorch and transformers; runs in an environment of its own.

`python torch_finetune.py FOLDER [--steps N]`. The folder (see ``benchmarks.torch_job``) holds the
first weights in Hugging Face's layout, the batches in their order, and the settings. Writes
``result.json`` (seconds and loss of each step) and, unless ``--steps`` cuts it short,
``logits.npz``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional
from tqdm import tqdm
from transformers import BertModel

_IGNORED = -100


class Network(torch.nn.Module):
    """Encoder, pooling and a linear head."""

    def __init__(self, folder: Path, settings: dict) -> None:
        super().__init__()
        if not settings["is_per_token"] and settings["pooling"] not in ("mean", "cls"):
            raise ValueError(f"pooling {settings['pooling']} is not written here")
        self.encoder = BertModel.from_pretrained(folder / "encoder", add_pooling_layer=False)
        head = load_file(folder / "head.safetensors")
        self.head = torch.nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
        self.head.load_state_dict(head)
        self.pooling = settings["pooling"]
        self.is_per_token = settings["is_per_token"]

    def forward(self, batch: dict) -> torch.Tensor:
        """Logits [B, C], or [B, T, C] for a task that answers per token."""
        states = self.encoder(
            input_ids=batch["input_ids"],
            token_type_ids=batch["token_type_ids"],
            attention_mask=batch["attention_mask"],
        ).last_hidden_state
        if not self.is_per_token:
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            states = mean if self.pooling == "mean" else states[:, 0]
        return self.head(states)


def loss_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over rows; of a row's tokens the mean."""
    labels = labels.long()
    if logits.dim() == 2:
        return functional.cross_entropy(logits, labels[:, 0], reduction="sum")
    losses = functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=_IGNORED, reduction="none"
    )
    return (losses.sum(1) / (labels != _IGNORED).sum(1).clamp(min=1)).sum()


def optimizer_of(network: Network, settings: dict) -> torch.optim.Optimizer:
    """AdamW with two rates, and without decay of biases and LayerNorms."""
    groups = []
    for name, parameter in network.named_parameters():
        is_head = name.startswith("head.") and settings["head_learning_rate"]
        rate = settings["head_learning_rate"] if is_head else settings["learning_rate"]
        decay = settings["weight_decay"] if parameter.dim() > 1 else 0.0
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def share_at(step: int, num_warmup: int, num_steps: int) -> float:
    """Share of the peak learning rate: up to it, then down to 0."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    return (num_steps - step) / max(num_steps - num_warmup, 1)


def batches_of(path: Path) -> list[list[dict]]:
    """Steps, each a list of micro-batches."""
    arrays = np.load(path)
    steps: list[list[dict]] = []
    for name in arrays.files:
        step, micro, key = name.split(".")
        while len(steps) <= int(step):
            steps.append([])
        while len(steps[int(step)]) <= int(micro):
            steps[int(step)].append({})
        steps[int(step)][int(micro)][key] = torch.from_numpy(arrays[name])
    return steps


def train(
    network: Network, steps: list[list[dict]], settings: dict
) -> tuple[list[float], list[float]]:
    """Train on every step; gives seconds and the mean loss of each step's rows."""
    optimizer = optimizer_of(network, settings)
    shares = [share_at(i, settings["num_warmup_steps"], settings["num_steps"])
              for i in range(len(steps))]  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: shares[min(i, len(shares) - 1)]
    )
    seconds, losses = [], []
    network.train()
    for micro_batches in tqdm(steps, desc="PyTorch", unit="step"):
        start = time.perf_counter()
        num_rows = sum(len(batch["labels"]) for batch in micro_batches)
        step_loss = 0.0
        for batch in micro_batches:
            loss = loss_sum(network(batch), batch["labels"]) / num_rows
            loss.backward()
            step_loss += float(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip_norm"])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        losses.append(step_loss)
    return seconds, losses


def main() -> None:
    """Train, and answer the test batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=0)
    args = parser.parse_args()
    settings = json.loads((args.folder / "job.json").read_text())
    torch.manual_seed(settings["seed"])
    torch.set_num_threads(settings["num_threads"])
    network = Network(args.folder, settings)
    steps = batches_of(args.folder / "train.npz")
    seconds, losses = train(network, steps[: args.steps] if args.steps else steps, settings)
    if not args.steps:
        network.eval()
        with torch.no_grad():
            answers = [network(batch).numpy() for (batch,) in batches_of(args.folder / "test.npz")]
        np.savez(args.folder / "logits.npz", **{str(i): a for i, a in enumerate(answers)})
    result = {"seconds": seconds, "losses": losses, "torch": torch.__version__}
    (args.folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
