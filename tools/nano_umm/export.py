"""Writes the trained nano model in the released BAGEL layout, half precision.

python -m tools.nano_umm.export WORK OUT
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import nn

from alphabench.models.bagel.tokenizer import FILES
from tools.nano_umm.checkpointing import restore
from tools.nano_umm.language import REFLECT, THINK
from tools.nano_umm.train import autoencoder, begin, tokenizer

SAMPLING: Final[dict[str, Any]] = {
    "timesteps": 13,
    "shift": 2.0,
    "width": 64,
    "height": 64,
    "latent_longest": 64,
    "latent_shortest": 64,
    "patch_longest": 64,
    "patch_shortest": 64,
    "think_prompt": THINK,
    "reflect_prompt": REFLECT,
    "max_think_tokens": 96,
    "max_answer_tokens": 64,
    "draw": {"text_scale": 3.0, "image_scale": 1.0, "low": 0.0, "renorm_floor": 1.0},
    "edit": {"text_scale": 3.0, "image_scale": 1.0, "low": 0.0, "renorm_floor": 1.0},
    "dtype": "float32",
    "batch_size": 32,
    "suggested_evaluator": "nano",
    "licence": "Apache-2.0",
}
"""The best settings of the model; see the card for the comparison."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    steps = export_umm(arguments.work, arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{arguments.out}: after {steps} steps, {size / 1e6:.1f} MB")


def export_umm(work: Path, out: Path) -> int:
    """Writes the averaged weights and their files; returns the number of training steps."""
    trained = begin(tokenizer(work))
    steps = restore(work / "umm.pt", trained.state)
    encoder = autoencoder(work)
    out.mkdir(parents=True, exist_ok=True)
    save_file(_halved(trained.average), out / "ema.safetensors")
    shutil.copyfile(work / "ae.safetensors", out / "ae.safetensors")
    for name in (*FILES, "tokenizer.json"):
        shutil.copyfile(work / "tokenizer" / name, out / name)
    language, vision = trained.model.config.language, trained.model.config.vision
    sizes = asdict(vision)
    sizes["num_hidden_layers"] = sizes.pop("declared_layers")
    _write(out / "llm_config.json", {**asdict(language), "hidden_act": "silu"})
    _write(out / "vit_config.json", {**sizes, "hidden_act": "gelu_pytorch_tanh"})
    _write(out / "config.json", {"vae_config": asdict(encoder.config), "latent_patch_size": 2})
    _write(out / "alphabench.json", SAMPLING)
    return steps


def _halved(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
