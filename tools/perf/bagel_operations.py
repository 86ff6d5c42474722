"""Counts the operations of BAGEL's decoder: `python -m tools.perf.bagel_operations`.

Eager PyTorch starts every operation by itself, so on a GPU their number decides how long a short
forward pass takes: decoding a token reads all weights once, in milliseconds, while thousands of
small operations wait for each other. This counts what PyTorch dispatches: all operations, and those
that compute or copy something (views cost the processor time but start no kernel). The model has
random weights in bfloat16, with and without a LoRA on all linear layers; the figures of a layer are
differences between two depths. A count does not depend on the machine. A norm's forward pass counts
as one, as PyTorch 2.9 and later run it on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.model import Bagel, Grid, ImageMarks
from alphabench.models.bagel.sampler import GuidedVelocity, new_contexts, with_text
from alphabench.models.bagel.text_decoding import generate_text
from alphagrpo.policies.unified_policy import EXPERTS
from alphatrainers.lora_adapters import held_casts, select_trainable
from alphatrainers.settings import LoraSettings
from tools.perf.bagel_sampling import small

LAYERS: Final = (4, 8)
ROWS: Final = 4
GRID: Final = Grid(4, 4)
VIEWS: Final = frozenset(
    [
        "_unsafe_view",
        "alias",
        "as_strided",
        "detach",
        "expand",
        "permute",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
        "view",
        "unbind",
        "chunk",
        "view_as",
        "narrow",
        "_reshape_alias",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """How many were dispatched."""

    all: float
    computing: float
    """Without views."""
    casts: float

    def minus(self, other: Operations, *, divided: float) -> Operations:
        """The difference, in equal parts."""
        return Operations(
            all=(self.all - other.all) / divided,
            computing=(self.computing - other.computing) / divided,
            casts=(self.casts - other.casts) / divided,
        )


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: Counter[str] = Counter()
        self.in_norm = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not self.in_norm:
            self.by_name[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class _FusedNorms(TorchFunctionMode):
    """Counts a norm as the one operation that it is on a GPU; on a CPU it is eight."""

    def __init__(self, counting: _Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not functional.rms_norm:
            return func(*args, **(kwargs or {}))
        self.counting.by_name["_fused_rms_norm"] += 1
        self.counting.in_norm = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.counting.in_norm = False


def counted(work: Callable[[], object]) -> Operations:
    """What `work` dispatches."""
    counting = _Counting()
    with counting, _FusedNorms(counting):
        work()
    found = counting.by_name
    return Operations(
        all=found.total(),
        computing=sum(n for name, n in found.items() if name not in VIEWS),
        casts=found["_to_copy"],
    )


def a_model(layers: int, *, lora: bool) -> Bagel:
    """Random weights in bfloat16, heads in float32."""
    config, _, _ = small()
    language = replace(config.language, num_hidden_layers=layers)
    torch.manual_seed(0)
    marks = ImageMarks(start=3, end=4)
    model = Bagel(replace(config, language=language), marks).to(torch.bfloat16).eval().hold_heads()
    if lora:
        select_trainable(model, EXPERTS, lora=LoraSettings(), seed=0)
    return model


def token_operations(model: Bagel, *, uneven: bool) -> Operations:
    """Of one decoded token of a batch, whose rows are of one length or not."""
    ids = [[1, *range(10, 20 + (row if uneven else 0)), 2] for row in range(ROWS)]

    def write(tokens: int) -> Operations:
        with torch.no_grad():
            context = model.read_text(model.new_context(ROWS), ids).context
            with held_casts(model):  # as in a rollout
                generate_text(model, context, start=1, end=-1, max_tokens=1)
                return counted(
                    lambda: generate_text(model, context, start=1, end=-1, max_tokens=tokens)
                )

    return write(6).minus(write(2), divided=4)


def step_operations(model: Bagel, *, branches: int) -> Operations:
    """Of one denoising step."""
    ids = [[1, *range(10, 20), 2]] * ROWS
    scale = 4.0 if branches > 1 else 1.0
    with torch.no_grad():
        contexts = with_text(model, new_contexts(model, ROWS), ids)
        guided = GuidedVelocity(model, contexts, [GRID] * ROWS, Guidance(text_scale=scale))
        x_LC = torch.zeros(ROWS * GRID.rows * GRID.columns, model.config.latent_features)
        with held_casts(model):  # as in a rollout
            guided.velocity(x_LC, 0.9)
            return counted(lambda: guided.velocity(x_LC, 0.9))


def training_operations(model: Bagel) -> Operations:
    """Forward and backward of one denoising step without guidance, all LoRA layers trained."""
    ids = [[1, *range(10, 20), 2]] * ROWS
    with torch.no_grad():
        context = model.read_text(model.new_context(ROWS), ids).context
    canvas = model.canvas(context, [GRID] * ROWS)
    x_LC = torch.zeros(ROWS * GRID.rows * GRID.columns, model.config.latent_features)

    def update() -> None:
        velocity_LC = model.velocity(context, canvas, x_LC, torch.full((ROWS,), 0.9))
        velocity_LC.square().mean().backward()  # type: ignore[no-untyped-call]

    update()  # the first one makes the gradients
    return counted(update)


WORK: Final[Mapping[str, Callable[[Bagel], Operations]]] = {
    "decoded token, rows of one length": lambda model: token_operations(model, uneven=False),
    "decoded token, rows of unequal length": lambda model: token_operations(model, uneven=True),
    "denoising step, plain": lambda model: step_operations(model, branches=1),
    "denoising step, guided": lambda model: step_operations(model, branches=2),
    "training step, forward and backward": training_operations,
}


def main() -> None:
    """Print one line of JSON for each kind of work, with LoRA and without."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for lora in (False, True):
        few, many = (a_model(layers, lora=lora) for layers in LAYERS)
        for name, work in WORK.items():
            if work is training_operations and not lora:
                continue
            low, high = work(few), work(many)
            layer = high.minus(low, divided=LAYERS[1] - LAYERS[0])
            rest = low.all - layer.all * LAYERS[0]
            row = {
                "work": name,
                "lora": lora,
                "a_layer": layer.all,
                "computing_a_layer": layer.computing,
                "casts_a_layer": layer.casts,
                "in_28_layers": round(rest + 28 * layer.all),
            }
            sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
