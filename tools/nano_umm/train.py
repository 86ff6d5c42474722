"""Trains the nano unified model from scratch on small scenes; resumable.

    python -m tools.nano_umm.autoencoder WORK        the autoencoder first
    python -m tools.nano_umm.train WORK

WORK holds cached images and latents, `umm.pt` (the state to resume from) and `umm.log`.
A step depends on its number and the weights alone, so a run that was stopped ends with the weights
of one that was not. `python -m tools.nano_umm.export WORK` makes the checkpoint folder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import alphabench.scenes
from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.config import BagelConfig, BagelTextConfig, BagelVisionConfig
from alphabench.models.bagel.embedding import sine_table
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.models.bagel.parameter_groups import (
    FIXED,
    PARAMETER_GROUPS,
    ParameterGroup,
    train_only,
)
from alphabench.models.bagel.tokenizer import BagelTokens, load_bagel_tokens
from alphabench.scenes.descriptions import facts_key
from tools.cpu_precision import cpu_autocast
from tools.nano_umm.autoencoder import DESIGN as AUTOENCODER
from tools.nano_umm.batches import Batches, Kind
from tools.nano_umm.checkpointing import restore, save_training
from tools.nano_umm.language import VOCABULARY, make_umm_tokenizer
from tools.nano_umm.losses import WEIGHTS, PatchClassifier, losses
from tools.nano_umm.muon import advance, optimizers
from tools.nano_umm.sequences import HeldOut, SequenceWriter

EMA: Final = 0.997
PLAIN: Final = ("embed_tokens", "lm_head", "position_embedding")
"""Tables, for which Muon is unsuitable."""
TRAINABLE: Final = frozenset(PARAMETER_GROUPS) - {FIXED}
MINIS: Final = Path(alphabench.scenes.__file__).parent / "mini"


class Phase(NamedTuple):
    """A range of steps, at the end of which the rate has fallen to 0."""

    steps: int
    peak_rate: float
    sizes: Mapping[Kind, int]
    """Samples of each kind a step."""
    answer_weight: float
    """Weight of answers to questions."""
    trainable: Collection[ParameterGroup] = TRAINABLE
    """The trained groups; the rest is frozen."""


GENERATION_PHASE: Final = Phase(
    steps=1200,
    peak_rate=3e-3,
    sizes={"draw": 64, "tell": 12, "think": 24, "ask": 32, "mend": 18, "see": 96},
    answer_weight=0.4,
)
ANSWER_PHASE: Final = Phase(
    steps=600,
    peak_rate=2e-3,
    sizes={"draw": 16, "tell": 2, "think": 8, "ask": 96, "mend": 8, "see": 64},
    answer_weight=5.0,
    trainable=("understanding", "words", "vit", "connector"),
)
"""Answers need far more weight than generation, whose weights stay frozen here."""


class TrainingScale(NamedTuple):
    """The number of cached scenes and the steps of training."""

    scenes: int = 40_000
    changes: int = 14_000
    phases: tuple[Phase, ...] = (GENERATION_PHASE, ANSWER_PHASE)


FULL: Final = TrainingScale()


class Trained(NamedTuple):
    """Everything that training changes."""

    model: Bagel
    average: Bagel
    cells: PatchClassifier
    steppers: dict[str, torch.optim.Optimizer]

    @property
    def state(self) -> dict[str, Any]:
        modules = {"model": self.model, "average": self.average, "cells": self.cells}
        return {**modules, **self.steppers}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--stop", type=int, help="stop early, at this step of the same schedule")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # The flash kernel's backward pass is slower than plain products for rows as short as these.
    torch.backends.cuda.enable_flash_sdp(False)
    train_umm(arguments.work, stop=arguments.stop)


def train_umm(work: Path, *, stop: int | None = None, scale: TrainingScale = FULL) -> Bagel:
    """The averaged model after `stop` steps or all, from where `work` left off."""
    tokens = tokenizer(work)
    trained = begin(tokens)
    done = restore(work / "umm.pt", trained.state)
    batches = Batches(
        work,
        autoencoder(work),
        SequenceWriter(tokens, held_out()),
        counts=(scale.scenes, scale.changes),
    )
    stop = stop or sum(phase.steps for phase in scale.phases)
    began = time.time()
    for step in range(done, stop):
        values = _step(trained, batches, step, scale.phases)
        if step % 20 == 19:
            pace = (time.time() - began) / (step + 1 - done)
            shown_values = " ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(f"{step + 1} {shown_values} {pace:.2f} s/step", flush=True)
        if step % 100 == 99 or step + 1 == stop:
            save_training(work / "umm.pt", trained.state, step + 1)
    return trained.average.eval()


def _step(
    trained: Trained, batches: Batches, step: int, phases: Sequence[Phase]
) -> dict[str, float]:
    phase, offset = phase_at(step, phases)
    train_only(trained.model, phase.trainable)
    trained.model.zero_grad()
    values: dict[str, float] = {}
    for kind in WEIGHTS:
        with cpu_autocast():
            batch = batches.get(kind, step, phase.sizes[kind])
            parts = losses(trained.model, trained.cells, batch)
        weighted = [WEIGHTS[kind][name] * value for name, value in parts.items()]
        total = torch.stack(weighted).sum() * (phase.answer_weight if kind == "ask" else 1.0)
        torch.autograd.backward(total)
        values |= {f"{kind}.{name}": value.item() for name, value in parts.items()}
    nn.utils.clip_grad_norm_(trained.model.parameters(), 1.0)
    advance(trained.steppers.values(), umm_rate_at(offset, phase))
    _average(trained, min(EMA, (offset + 1) / (offset + 10)))
    return values


@torch.no_grad()
def _average(trained: Trained, decay: float) -> None:
    pairs = zip(trained.average.parameters(), trained.model.parameters(), strict=True)
    for mean, weight in pairs:
        mean.lerp_(weight, 1 - decay)


def phase_at(step: int, phases: Sequence[Phase]) -> tuple[Phase, int]:
    """The phase of this step, and how many of its steps come before this one."""
    for phase in phases:
        if step < phase.steps:
            return phase, step
        step -= phase.steps
    raise ValueError("the step is after the last phase")


def umm_rate_at(step: int, phase: Phase) -> float:
    """Learning rate: 50 steps of warm-up, flat, and down to 0 over the last third."""
    left = 3 * (phase.steps - step) / phase.steps
    return phase.peak_rate * min((step + 1) / 50, 1.0, left)


def begin(tokens: BagelTokens) -> Trained:
    """Untrained weights: normal with the width's scale, outputs of every branch small."""
    torch.manual_seed(0)
    marks = ImageMarks(start=tokens.start_of_image, end=tokens.end_of_image)
    model, average = (Bagel(config(), marks) for _ in range(2))
    for name, weight in model.named_parameters():
        _initialise(name, weight)
    for table in (model.vit_pos_embed, model.latent_pos_embed):
        side = round(len(table.pos_embed) ** 0.5)
        table.pos_embed.data.copy_(sine_table(side, table.pos_embed.shape[1]))
    average.load_state_dict(model.state_dict())
    average.requires_grad_(requires_grad=False)
    cells = PatchClassifier(model.config.language.hidden_size)
    steppers = optimizers(model, GENERATION_PHASE.peak_rate, plain=PLAIN)
    steppers["cells_adamw"] = torch.optim.AdamW(cells.parameters(), weight_decay=0.0)
    return Trained(model, average, cells, steppers)


@torch.no_grad()
def _initialise(name: str, weight: Tensor) -> None:
    if weight.ndim < 2 or "pos_embed" in name:
        if name.endswith("bias"):
            weight.zero_()
        return
    deviation = 0.5 if "embed_tokens" in name else weight.shape[1] ** -0.5
    if name.endswith(("o_proj.weight", "down_proj.weight", "o_proj_moe_gen.weight", "fc2.weight")):
        deviation *= 0.25
    if "llm2vae" in name:
        deviation = 0.0
    weight.normal_(std=deviation) if deviation else weight.zero_()


def config() -> BagelConfig:
    """The model's sizes: 6.4 million parameters, and 1.3 million of the autoencoder."""
    return BagelConfig(
        language=BagelTextConfig(
            hidden_size=192,
            intermediate_size=480,
            num_hidden_layers=7,
            num_attention_heads=3,
            num_key_value_heads=1,
            vocab_size=VOCABULARY,
            rope_theta=10_000.0,
            rms_norm_eps=1e-6,
        ),
        vision=BagelVisionConfig(
            hidden_size=128,
            intermediate_size=256,
            declared_layers=4,
            num_attention_heads=4,
            patch_size=16,
            image_size=64,
        ),
        autoencoder=AUTOENCODER,
        latent_side=4,
    )


def autoencoder(work: Path) -> Autoencoder:
    """The trained one, with the scale of its latents."""
    statistics = json.loads((work / "autoencoder.json").read_text(encoding="utf-8"))
    loaded = Autoencoder(replace(AUTOENCODER, **statistics))
    stored = load_file(work / "ae.safetensors")
    names = loaded.network.state_dict()
    loaded.network.load_state_dict(
        {name: stored[loaded.stored_name(name)].float() for name in names}
    )
    return loaded


def tokenizer(work: Path) -> BagelTokens:
    """The tokenizer in `work`, created if it is missing."""
    folder = work / "tokenizer"
    if not folder.is_dir():
        make_umm_tokenizer(folder, MINIS)
    return load_bagel_tokens(folder, vocabulary=VOCABULARY)


def held_out() -> HeldOut:
    """Every prompt of the mini splits, and the facts of GenEval's with two or more objects."""
    texts: set[str] = set()
    demands: set[tuple[object, ...]] = set()
    for path in sorted(MINIS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            fields = ("prompt", "short_description", "long_description", "text", "Prompt")
            texts.update(said for field in fields if isinstance(said := sample.get(field), str))
            if path.stem == "geneval" and sample["tag"] != "single_object":
                demands.add(facts_key({"exclude": [], **sample}))
    return HeldOut(texts=frozenset(texts), demands=frozenset(demands))


if __name__ == "__main__":
    main()
