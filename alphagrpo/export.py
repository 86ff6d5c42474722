"""What a training leaves to others: its best adapter, or whole weights with the adapter merged in.

A merged BAGEL is a folder in the released layout; a merged pipeline is what `save_pretrained`
writes. Knows no trainer: it reads the folder of one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.bagel import OpenedBagel
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.checkpoints.unified import UnifiedCheckpoint
from alphabench.errors import AlphaBenchError
from alphabench.models.bagel.loading import MODEL_FILE
from alphagrpo.recipe import Recipe
from alphatrainers import config

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
_RECIPE: Final = "recipe.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An adapter and what it belongs to."""

    adapter: Path
    base: str | None
    options: dict[str, str]


def export_run(run: Path, out: Path, *, merge: bool, base: str | None) -> str:
    """Writes the best weights of a training, or an adapter folder's, to a new folder.

    Args:
        run: a training's folder, or an adapter's.
        out: does not exist yet, or is empty.
        merge: whole weights; else the adapter alone.
        base: the checkpoint it belongs to; None takes the training's own.

    Returns:
        A sentence that says what was written and how to use it.

    Raises:
        AlphaBenchError: there is no adapter, no base, or the folder is taken.
    """
    found = _find(run)
    if out.exists() and any(out.iterdir()):
        raise AlphaBenchError(f"{str(out)!r} exists and is not empty", hint="name another --out")
    base = base or found.base
    if not merge:
        out.mkdir(parents=True, exist_ok=True)
        for name in ADAPTER_FILES:
            shutil.copyfile(found.adapter / name, out / name)
        return (
            f"wrote the adapter to {out}: alphabench run ... --ckpt {base or 'BASE'} --lora {out}"
        )
    if base is None:
        raise AlphaBenchError(
            f"{str(run)!r} does not say which checkpoint it belongs to", hint="add --ckpt BASE"
        )
    opened = open_checkpoint(base, options=found.options, lora=str(found.adapter))
    if isinstance(opened, UnifiedCheckpoint) and isinstance(opened.opened, OpenedBagel):
        merged = _merge_bagel(opened, opened.opened, out)
    elif isinstance(opened, DiffusersCheckpoint):
        merged = _merge_pipeline(opened, out)
    else:
        raise AlphaBenchError(f"{base!r} takes no LoRA", hint="name the base it was trained on")
    return f"merged {merged} modules into {out}: alphabench run ... --ckpt {out}"


def _find(run: Path) -> _Found:
    if (run / ADAPTER_FILES[0]).is_file():
        training = run.resolve().parent
        return _Found(adapter=run, **_base_of(training))
    best = run / "best"
    if not (best / ADAPTER_FILES[0]).is_file():
        raise AlphaBenchError(
            f"{str(run)!r} holds no adapter",
            hint="name the folder of a training with LoRA that has validated, or an adapter in it",
        )
    return _Found(adapter=best, **_base_of(run))


def _base_of(training: Path) -> dict[str, Any]:
    if not (training / _RECIPE).is_file():
        return {"base": None, "options": {}}
    recipe = config.build(Recipe, config.read(training / _RECIPE))
    kept = {"dtype", "revision", "cache_dir", "offline", "variant"}
    options = {key: str(value) for key, value in recipe.policy.options.items() if key in kept}
    return {"base": recipe.policy.checkpoint, "options": options}


def _merge_bagel(checkpoint: UnifiedCheckpoint, opened: OpenedBagel, out: Path) -> int:
    from safetensors.torch import save_file

    from alphabench.models.bagel.unified import UnifiedBagel

    umm = checkpoint.model()
    assert isinstance(umm, UnifiedBagel)
    model = umm.loaded.model
    merged = merge_adapters(model)
    folder = opened.files.fetch()
    out.mkdir(parents=True, exist_ok=True)
    for name in opened.files.needed:
        if not name.startswith("ema"):
            shutil.copyfile(folder / name, out / name)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, out / MODEL_FILE)
    return merged


def merge_adapters(model: nn.Module) -> int:
    """Adds every LoRA layer of a model to the weights it stands on, and takes it out.

    Returns:
        How many modules were changed; never 0.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)}
    assert layers, "an opened LoRA binds at least one module"
    with torch.no_grad():
        for name, part in layers.items():
            layer: Any = part
            layer.merge(safe_merge=True)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, layer.get_base_layer())
    return len(layers)


def _merge_pipeline(checkpoint: DiffusersCheckpoint, out: Path) -> int:
    pipeline = checkpoint.pipeline()
    merged = merge_adapters(pipeline.transformer)
    if getattr(pipeline.transformer, "peft_config", None):
        del pipeline.transformer.peft_config
        pipeline.transformer._hf_peft_config_loaded = False
    pipeline.save_pretrained(out)
    return merged
