"""Trains the nano judge from scratch on drawn pictures; can be stopped and goes on.

    python -m tools.nano_judge.train WORK --steps 2000

WORK holds the autoencoder of `tools.nano_umm`, whose softness the judge is to see through; it keeps
the drawn pictures, the tokenizer, `judge.pt` (everything needed to go on) and `judge.log`.
A run that was stopped ends with the weights of one that was not: what a step learns from depends on
its number alone. `tools.nano_judge.export` makes the folder that is shipped.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tools.cpu_precision import cpu_autocast
from tools.nano_judge import decoded
from tools.nano_judge.corpus import prose, texts
from tools.nano_judge.design import END, PICTURE, make_judge_tokenizer, make_network
from tools.nano_judge.documents import Document, DocumentWriter
from tools.nano_judge.edits import PairShard, pair_shard
from tools.nano_judge.network import Sight, TokenCells, answer_scores, ground_of
from tools.nano_judge.packing import packed_rows, patches
from tools.nano_judge.scene_images import Pixels, SceneShard, shard
from tools.nano_judge.view import View
from tools.nano_umm.checkpointing import restore, save_training
from tools.nano_umm.muon import optimizers

SHARDS: Final = {
    "small": range(10), "common": range(10), "wide": range(0, 10, 2), decoded.KIND: range(2),
}  # fmt: skip
PAIR_SHARDS: Final = {"small": range(4), "common": range(4)}
LOOKING: Final = 600
"""Steps in which only the vision tower learns, from what each cell shows."""
SOFT_FROM: Final = 1000
"""First step with pictures from the decoder; before, small scenes stand in for them."""
GRADED_FROM: Final = 1300
"""First step with riddles, grades and pairs of pictures; before, there are yes and no alone."""
LOOKED_AT: Final = 40


class Mixture(NamedTuple):
    """What a step asks about: so many pictures each."""

    asked: dict[str, int]
    """Of yes/no questions, by kind of shard."""
    holistic: int
    looks: int
    edits: int
    orders: int


WHOLE_WORLD: Final = Mixture(
    asked={"small": 4, "common": 4, decoded.KIND: 2}, holistic=2, looks=1, edits=3, orders=1
)
SMALL_WORLD: Final = Mixture(
    asked={"small": 11, "common": 2, decoded.KIND: 5}, holistic=2, looks=0, edits=1, orders=0
)
"""Where things stand and how many there are is learnt last, and from small scenes soonest."""
ALL_KINDS: Final = Mixture(
    asked={"small": 7, "common": 1, decoded.KIND: 3}, holistic=2, looks=3, edits=4, orders=1
)
"""Brings back what the small world's mixture lets fade: how replies with grades look."""
SMALL_FROM: Final = 2500
"""First step of the small world's mixture."""
ALL_FROM: Final = 4400
"""First step of the last mixture."""
QUESTIONS: Final = 14
WIDTH: Final = 220
"""Tokens of a row."""
ANY: Final = {"small": 0.3, "common": 0.35, "wide": 0.1, decoded.KIND: 0.25}
"""How often a picture for other questions is of each kind."""
PEAK_RATE: Final = 2e-3
CELLS_WEIGHT: Final = 0.3
AROUND_WEIGHT: Final = 0.1
_ROOT: Final = Path(__file__).parents[2]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.work.mkdir(parents=True, exist_ok=True)
    _train(chosen.work, steps=chosen.steps)


class Kind(NamedTuple):
    """All shards of one kind: `at` finds picture i."""

    shards: list[SceneShard]

    def __len__(self) -> int:
        return sum(len(one.shown) for one in self.shards)

    def at(self, index: int) -> tuple[Pixels, NDArray[np.uint8], View]:
        each = len(self.shards[0].shown)
        one = self.shards[index // each]
        place = index % each
        return one.pixels_NYX3[place], one.cells_NC3[place], View(one.shown[place])


class Material(NamedTuple):
    """What batches are drawn from."""

    work: Path
    pairs: list[PairShard]
    writer: DocumentWriter
    picture_id: int
    end_id: int

    def kind(self, name: str, step: int) -> Kind:
        """The shards of this kind; softened pictures come late, and are drawn when they come."""
        known = "small" if name == decoded.KIND and step < SOFT_FROM else name
        return _kind(self.work, known)


@functools.cache
def _kind(work: Path, name: str) -> Kind:
    if name == decoded.KIND:
        for number in SHARDS[name]:
            decoded.fill_decoded(work, number)
    return Kind([shard(work / "judge_pool", name, number) for number in SHARDS[name]])


class _Batch(NamedTuple):
    """Documents and their pictures in order, and what is known of some of these."""

    documents: list[Document]
    pixels: list[Pixels]
    cells: dict[int, NDArray[np.uint8]]
    grounds: dict[int, tuple[int, int, int]]


def load_judge_tokenizer(work: Path) -> Any:
    """The tokenizer in WORK, made on the first call."""
    library: Any = importlib.import_module("transformers")
    folder = work / "judge_tokenizer"
    if not folder.is_dir():
        pool = work / "judge_pool"
        shown = [one for kind in ("small", "common") for one in shard(pool, kind, 0).shown[:200]]
        make_judge_tokenizer(texts(shown + shard(pool, "wide", 0).shown[:200])).save_pretrained(
            folder
        )
    return library.AutoTokenizer.from_pretrained(folder)


def load_material(work: Path, tokenizer: Any) -> Material:
    """Draws what is not there yet."""
    return Material(
        work=work,
        pairs=[
            pair_shard(work, name, number)
            for name, numbers in PAIR_SHARDS.items()
            for number in numbers
        ],
        writer=DocumentWriter(tokenizer, prose(_ROOT)),
        picture_id=tokenizer.convert_tokens_to_ids(PICTURE),
        end_id=tokenizer.convert_tokens_to_ids(END),
    )


def _train(work: Path, *, steps: int) -> Any:
    """The network after `steps` steps, from where `work` left off."""
    torch.manual_seed(0)
    tokenizer = load_judge_tokenizer(work)
    # Written-out attention: for rows so short the fused kernel's backward pass is slower.
    network = make_network(tokenizer, attention="eager").train()
    cells = TokenCells(network.config.text_config.hidden_size)
    whole = torch.nn.ModuleDict({"network": network, "cells": cells})
    state: dict[str, Any] = {"whole": whole}
    plain = ("embed_tokens", "lm_head", "pos_embed", "cells.")
    state |= optimizers(whole, PEAK_RATE, plain=plain)
    done = restore(work / "judge.pt", state)
    material = load_material(work, tokenizer)
    look = functools.partial(_looked, Sight(network.model.visual), cells, material)
    ask = functools.partial(_asked, network, Sight(network.model.visual), cells, material)
    log = Log(work / "judge.log", done)
    for step in range(done, steps):
        for name in ("muon", "adamw"):
            for group in state[name].param_groups:
                group["lr"] = _rate_at(step, steps)
        whole.zero_grad()
        with cpu_autocast():
            losses = look(step) if step < LOOKING else ask(step)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(whole.parameters(), 1.0)
        for name in ("muon", "adamw"):
            state[name].step()
        log.add(step, losses)
        if step % 100 == 99 or step + 1 == steps:
            save_training(work / "judge.pt", state, step + 1)
    return network.eval()


def _rate_at(step: int, steps: int) -> float:
    """Warm-up at the start of either part, then flat, and down to nothing over the last 30%."""
    since = step if step < LOOKING else step - LOOKING
    return PEAK_RATE * min((since + 1) / 50, 1.0, max(steps - step, 0) / (0.3 * steps))


def _looked(sight: Sight, cells: TokenCells, material: Material, step: int) -> dict[str, Tensor]:
    rng = np.random.default_rng([43, step])
    found = []
    for name in rng.choice(["small", "common", "wide"], size=LOOKED_AT, p=[0.4, 0.4, 0.2]):
        kind = material.kind(name, step)
        found.append(kind.at(int(rng.integers(len(kind)))))
    tokens_PCD = sight(patches(np.stack([one[0] for one in found])))
    truth = torch.from_numpy(np.stack([one[1] for one in found])).long()
    around = torch.tensor([ground_of(one[2].shown) for one in found])
    loss = cells.loss(tokens_PCD, truth) + AROUND_WEIGHT * cells.around(tokens_PCD, around)
    right = (cells.category(tokens_PCD).argmax(-1) == truth[..., 0])[truth[..., 0] > 0]
    return {"loss": loss, "cells": loss.detach(), "seen": right.float().mean()}


def mixture_at(step: int) -> Mixture:
    """What is asked about at this step."""
    if step < SMALL_FROM:
        return WHOLE_WORLD
    return SMALL_WORLD if step < ALL_FROM else ALL_KINDS


def batch_of(step: int, material: Material) -> _Batch:
    """What this step learns from."""
    rng = np.random.default_rng([47, step])
    batch = _Batch([], [], {}, {})

    def shown(name: str) -> View:
        kind = material.kind(name, step)
        pixels, cells, view = kind.at(int(rng.integers(len(kind))))
        batch.cells[len(batch.pixels)] = cells
        batch.grounds[len(batch.pixels)] = ground_of(view.shown)
        batch.pixels.append(pixels)
        return view

    def any_kind() -> str:
        return str(rng.choice(list(ANY), p=list(ANY.values())))

    writer = material.writer
    mixture = mixture_at(step)
    for name, count in mixture.asked.items():
        for _ in range(count):
            riddles = step >= GRADED_FROM
            document = writer.yes_no(shown(name), QUESTIONS, rng, riddles=riddles)
            batch.documents.append(document)
    if step < GRADED_FROM:
        return batch
    for _ in range(mixture.holistic):
        batch.documents.append(writer.holistic(shown(any_kind()), rng))
    for _ in range(mixture.looks):
        batch.documents.append(writer.look(shown(any_kind()).shown.grade))
    for _ in range(mixture.orders):
        batch.documents.append(writer.order(shown(any_kind()), shown(any_kind()), rng))
    for _ in range(mixture.edits):
        one = material.pairs[int(rng.integers(len(material.pairs)))]
        index = int(rng.integers(len(one.pairs)))
        batch.pixels.extend(one.pixels_N2YX3[index])
        batch.documents.append(writer.edit(one.pairs[index], rng))
    return batch


def _asked(
    network: Any, sight: Sight, cells: TokenCells, material: Material, step: int
) -> dict[str, Tensor]:
    made = batch_of(step, material)
    tokens_PCD = sight(patches(np.stack(made.pixels)))
    known = list(made.cells)
    truth = torch.from_numpy(np.stack([made.cells[place] for place in known])).long()
    cell_loss = cells.loss(tokens_PCD[known], truth)
    around = cells.around(tokens_PCD[known], torch.tensor([made.grounds[p] for p in known]))
    batch = packed_rows(made.documents, material.picture_id, width=WIDTH, end_id=material.end_id)
    scores_AV = answer_scores(network, batch, tokens_PCD, material.picture_id)
    loss_A = functional.cross_entropy(scores_AV, batch.targets_A, reduction="none")
    said = (loss_A * batch.weights_A).sum() / batch.weights_A.sum()
    plain = batch.weights_A == 1.0
    right = (scores_AV.argmax(-1) == batch.targets_A).float()
    graded = (batch.weights_A < 0.6) & (batch.weights_A > 0.2)
    opened = (batch.weights_A < 0.9) & (batch.weights_A > 0.6)
    return {
        "loss": said + CELLS_WEIGHT * cell_loss + AROUND_WEIGHT * around,
        "cells": cell_loss.detach(),
        "around": around.detach(),
        "yes_no": loss_A[plain].mean().detach(),
        "right": right[plain].mean(),
        "open": loss_A[opened].mean().detach(),
        "graded": loss_A[graded].mean().detach(),
        "tokens": torch.tensor(float(batch.ids_BT.numel())),
    }


class Log:
    """Means of every 20 steps, on the terminal and in a file."""

    def __init__(self, path: Path, done: int) -> None:
        self.path, self.began, self.since = path, time.time(), done
        self.sums: dict[str, list[float]] = {}

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            self.sums.setdefault(name, []).append(float(value.detach()))
        if step % 20 != 19:
            return
        pace = (time.time() - self.began) / (step + 1 - self.since)
        means = " ".join(f"{name} {np.mean(values):.4f}" for name, values in self.sums.items())
        line = f"{step + 1} {means} {pace:.2f} s/step"
        self.sums = {}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
