"""Trains the nano judge on to compare two pictures; can be stopped and goes on.

    python -m tools.nano_judge.train_edits WORK --judge bench/alphabench/nano/judge --steps 1200

A reply about an edit is one number in many tokens, from which comparing is learnt slowly. So the
second picture's tokens also say what the first showed at their place, in the middle of the language
model, and one layer further whether what changed is as asked. The vision encoder stays as it is,
and questions about single pictures are asked along, so that their answers stay. WORK holds the
autoencoder as `ae.safetensors`; it keeps the drawn pictures, `edits.pt` and `edits.log`.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tools.cpu_precision import cpu_autocast
from tools.nano_judge import decoded
from tools.nano_judge.corpus import prose
from tools.nano_judge.design import END, PICTURE
from tools.nano_judge.documents import Document, DocumentWriter
from tools.nano_judge.edits import OUTCOMES, PairShard, pair_shard
from tools.nano_judge.network import (
    FirstPicture,
    Sight,
    language_states,
    scores_at,
)
from tools.nano_judge.packing import packed_rows, patches
from tools.nano_judge.scene_images import Pixels, shard
from tools.nano_judge.train import QUESTIONS, WIDTH, Kind, Log
from tools.nano_judge.view import View
from tools.nano_umm.checkpointing import restore, save_training
from tools.nano_umm.muon import optimizers

SHARDS: Final = {"small": range(3), "common": range(1), "wide": range(1), decoded.KIND: range(1)}
PAIR_SHARDS: Final = {"small": range(12), "common": range(10)}
ASKED: Final = {"small": 4, "common": 1, decoded.KIND: 2}
"""Pictures of a step with questions about one picture."""
EDITS: Final = 24
PEAK_RATE: Final = 1e-3
FIRST_WEIGHT: Final = 0.3
ASKED_WEIGHT: Final = 0.3
MIDDLE: Final = 2
"""The layer whose input says what the first picture showed; that of the next, what is as asked."""
_ROOT: Final = Path(__file__).parents[2]


class AsAsked(nn.Module):
    """Whether each changed cell of the second picture is as asked, and how the edit turned out.

    Read off later states than `FirstPicture`, by which the change is known; for training alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.Linear(width, 1)
        self.outcome = nn.Linear(width, len(OUTCOMES))

    def loss(self, states_PCD: Tensor, cells_P2C3: Tensor, outcomes_P: Tensor) -> Tensor:
        """From the language model's states at the second pictures' tokens.

        An overedited picture's changes are of both sorts, so its cells are left out.
        """
        before_PC3, after_PC3 = cells_P2C3.unbind(1)
        changed_PC = (before_PC3[..., :2] != after_PC3[..., :2]).any(-1)
        told_PC = changed_PC & (outcomes_P != OUTCOMES.index("overedited"))[:, None]
        asked_PC = (outcomes_P == OUTCOMES.index("done"))[:, None].expand_as(told_PC)
        said = functional.cross_entropy(self.outcome(states_PCD.mean(1)).float(), outcomes_P)
        if not told_PC.any():
            return said
        cells = self.cell(states_PCD[told_PC]).float()[:, 0]
        return said + functional.binary_cross_entropy_with_logits(cells, asked_PC[told_PC].float())


class EditMaterial(NamedTuple):
    """What steps are drawn from."""

    kinds: dict[str, Kind]
    pairs: dict[str, list[PairShard]]
    writer: DocumentWriter
    picture_id: int
    end_id: int


class EditBatch(NamedTuple):
    """Documents about single pictures, then those about pairs, and what their cells show."""

    documents: list[Document]
    pixels: list[Pixels]
    pair_cells: list[NDArray[np.uint8]]
    outcomes: list[int]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--judge", type=Path, default=_ROOT / "bench/alphabench/nano/judge")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--export", type=Path, help="write the judge as a folder at the end")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.work.mkdir(parents=True, exist_ok=True)
    network, tokenizer = _train(chosen.work, chosen.judge, steps=chosen.steps)
    if chosen.export is not None:
        from tools.nano_judge.design import save_folder

        save_folder(chosen.export, network.bfloat16(), tokenizer)


def load_edit_material(work: Path, tokenizer: Any) -> EditMaterial:
    """Draws what is not there yet."""
    for number in SHARDS[decoded.KIND]:
        decoded.fill_decoded(work, number)
    pool = work / "judge_pool"
    return EditMaterial(
        kinds={
            name: Kind([shard(pool, name, number) for number in numbers])
            for name, numbers in SHARDS.items()
        },
        pairs={
            name: [pair_shard(work, name, number) for number in numbers]
            for name, numbers in PAIR_SHARDS.items()
        },
        writer=DocumentWriter(tokenizer, prose(_ROOT)),
        picture_id=tokenizer.convert_tokens_to_ids(PICTURE),
        end_id=tokenizer.convert_tokens_to_ids(END),
    )


def edit_batch(step: int, material: EditMaterial) -> EditBatch:
    """What this step learns from; depends on its number alone."""
    rng = np.random.default_rng([71, step])
    batch = EditBatch([], [], [], [])

    def shown(name: str) -> View:
        kind = material.kinds[name]
        pixels, _, view = kind.at(int(rng.integers(len(kind))))
        batch.pixels.append(pixels)
        return view

    def any_kind() -> str:
        return str(rng.choice(["small", "common", "wide", decoded.KIND], p=[0.4, 0.2, 0.05, 0.35]))

    writer = material.writer
    for name, count in ASKED.items():
        for _ in range(count):
            batch.documents.append(writer.yes_no(shown(name), QUESTIONS, rng))
    for _ in range(3):
        batch.documents.append(writer.holistic(shown(any_kind()), rng))
    batch.documents.append(writer.look(shown(any_kind()).shown.grade))
    batch.documents.append(writer.order(shown(any_kind()), shown(any_kind()), rng))
    for _ in range(EDITS):
        shards = material.pairs[str(rng.choice(["small", "common"], p=[0.4, 0.6]))]
        one = shards[int(rng.integers(len(shards)))]
        index = int(rng.integers(len(one.pairs)))
        batch.pixels.extend(one.pixels_N2YX3[index])
        batch.pair_cells.append(one.cells_N2C3[index])
        batch.outcomes.append(OUTCOMES.index(one.pairs[index].outcome))
        batch.documents.append(writer.edit(one.pairs[index], rng))
    return batch


def _train(work: Path, judge: Path, *, steps: int) -> tuple[Any, Any]:
    torch.manual_seed(0)
    library: Any = importlib.import_module("transformers")
    tokenizer = library.AutoTokenizer.from_pretrained(judge)
    network = library.Qwen3VLForConditionalGeneration.from_pretrained(
        judge, dtype=torch.float32, attn_implementation="eager"
    ).train()
    width = network.config.text_config.hidden_size
    network.model.visual.requires_grad_(False)
    whole = torch.nn.ModuleDict(
        {"network": network, "first": FirstPicture(width), "asked": AsAsked(width)}
    )
    state: dict[str, Any] = {"whole": whole}
    plain = ("embed_tokens", "lm_head", "first.", "asked.")
    state |= optimizers(whole, PEAK_RATE, plain=plain)
    done = restore(work / "edits.pt", state)
    material = load_edit_material(work, tokenizer)
    log = Log(work / "edits.log", done)
    for step in range(done, steps):
        rate = PEAK_RATE * min((step + 1) / 50, 1.0, max(steps - step, 0) / (0.4 * steps))
        for name in ("muon", "adamw"):
            for group in state[name].param_groups:
                group["lr"] = rate
        whole.zero_grad()
        with cpu_autocast():
            losses = _losses(whole, edit_batch(step, material), material)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(whole.parameters(), 1.0)
        for name in ("muon", "adamw"):
            state[name].step()
        log.add(step, losses)
        if step % 50 == 49 or step + 1 == steps:
            save_training(work / "edits.pt", state, step + 1)
    return network.eval(), tokenizer


def _losses(whole: Any, made: EditBatch, material: EditMaterial) -> dict[str, Tensor]:
    network, first = whole["network"], whole["first"]
    with torch.no_grad():
        tokens_PCD = Sight(network.model.visual)(patches(np.stack(made.pixels)))
    batch = packed_rows(made.documents, material.picture_id, width=WIDTH, end_id=material.end_id)
    states = language_states(network, batch, tokens_PCD, material.picture_id)
    scores_AV = scores_at(network, batch, states[-1])
    loss_A = functional.cross_entropy(scores_AV, batch.targets_A, reduction="none")
    said = (loss_A * batch.weights_A).sum() / batch.weights_A.sum()
    shown_BT = batch.ids_BT == material.picture_id
    pairs = len(made.pair_cells)
    after_PCD, later_PCD = (
        states[layer][shown_BT].view(*tokens_PCD.shape)[-2 * pairs :][1::2]
        for layer in (MIDDLE, MIDDLE + 1)
    )
    pair_cells = torch.from_numpy(np.stack(made.pair_cells)).long()
    compared = first.loss(after_PCD, pair_cells)
    asked = whole["asked"].loss(later_PCD, pair_cells, torch.tensor(made.outcomes))
    plain = batch.weights_A == 1.0
    right = (scores_AV.argmax(-1) == batch.targets_A).float()
    edits = batch.weights_A > 2.0
    return {
        "loss": said + FIRST_WEIGHT * compared + ASKED_WEIGHT * asked,
        "first": compared.detach(),
        "asked": asked.detach(),
        "yes_no": loss_A[plain].mean().detach(),
        "right": right[plain].mean(),
        "edits": loss_A[edits].mean().detach(),
    }


if __name__ == "__main__":
    main()
