"""Exports a training: its best adapter alone, or complete weights.

Complete weights are those of the base with the adapter merged in or, after a training without LoRA,
with the trained values put into it. Beside the adapter of a diffusers pipeline stands the same one
as `load_lora_weights` reads it.
A merged BAGEL is a folder in the released layout; a merged pipeline is what `save_pretrained`
writes. Knows no trainer: it reads the folder of one.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.weight_files import read_header
from alphagrpo.policies.factory import training_adapter
from alphagrpo.policies.pipeline_lora import write_pipeline_lora
from alphagrpo.policies.policy_protocols import ExportableCheckpoint
from alphagrpo.recipe import PolicySettings, load_recipe, read_tree
from alphagrpo.recipe_names import RECIPE_FILE
from alphatrainers import strict_yaml

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
VALUES_FILE: Final = "model.safetensors"
"""Trained values, written instead of an adapter by a training without LoRA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was trained and what it belongs to."""

    folder: Path
    base: str | None
    options: dict[str, str]

    @property
    def adapter(self) -> bool:
        return (self.folder / ADAPTER_FILES[0]).is_file()


def export_run(run: Path, out: Path, *, merge: bool, base: str | None) -> str:
    """Writes the best weights of a training, or those of an adapter folder, to a new folder.

    Args:
        run: a training's folder, or one in it that holds weights.
        out: does not exist yet, or is empty.
        merge: write complete weights; otherwise the adapter alone, where one was trained.
        base: the checkpoint it belongs to; None takes the training's own.

    Returns:
        A sentence that says what was written and how to use it.

    Raises:
        AlphaBenchError: nothing was trained there, no base, or the folder is taken.
    """
    found = _find(run)
    if out.exists() and any(out.iterdir()):
        raise AlphaBenchError(f"{str(out)!r} exists and is not empty", hint="name another --out")
    base = base or found.base
    unchanged = found.adapter and adapter_of(found.folder) is None
    if unchanged and merge:
        raise AlphaBenchError(
            f"the adapter in {str(found.folder)!r} changes nothing: it is as before the first step",
            hint="no validation was better than the one before training; later weights are in "
            f"the training's folder checkpoints/, for example {_later(run, base)}",
        )
    if found.adapter and not merge:
        out.mkdir(parents=True, exist_ok=True)
        for name in ADAPTER_FILES:
            shutil.copyfile(found.folder / name, out / name)
        write_pipeline_lora(out, base)
        note = "; it is as before the first step and changes nothing" if unchanged else ""
        use = f"alphabench run ... --ckpt {base or 'BASE'} --lora {out}"
        return f"wrote the adapter to {out}: {use}{note}"
    if base is None:
        raise AlphaBenchError(
            f"{str(run)!r} does not say which checkpoint it belongs to", hint="add --ckpt BASE"
        )
    adapter = str(found.folder) if found.adapter else None
    checkpoint = training_adapter(open_checkpoint(base, options=found.options, lora=adapter))
    if not isinstance(checkpoint, ExportableCheckpoint):
        raise AlphaBenchError(
            f"{base!r} cannot take what was trained", hint="name the base it was trained on"
        )
    weights = checkpoint.open_weights(device="cpu")
    done = _put_trained(weights.module, found)
    weights.save(out)
    return f"{done} into {out}: alphabench run ... --ckpt {out}"


def _later(run: Path, base: str | None) -> str:
    """The command that exports the weights of a training's newest checkpoint."""
    newest = max(run.glob("checkpoints/step-*"), default=run / "checkpoints" / "STEP")
    words = ["alphabench", "export", str(newest / "train"), "--ckpt", base or "BASE"]
    return f"`{shlex.join([*words, '--out', 'NEW'])}`"


def usage(training: Path, best: Path) -> str:
    """The command that reproduces a training's validation with its best weights."""
    recipe = load_recipe(training)
    first = recipe.validation[0] if recipe.validation else None
    benchmark = first.benchmark if first else "BENCHMARK"
    refine = ["--refine", first.refine] if first and first.refine else []
    given = [f"--set={key}={value}" for key, value in recipe.policy.texts().items()]
    run = ["alphabench", "run", benchmark, *given, *refine]
    if (best / ADAPTER_FILES[1]).is_file():
        lora = ["--lora", str(best)] if adapter_of(best) else []
        return shlex.join([*run, "--ckpt", recipe.policy.checkpoint, *lora])
    command = shlex.join(["alphabench", "export", str(training), "--out", "NEW"])
    return f"{command}, then {shlex.join([*run, '--ckpt', 'NEW'])}"


def adapter_of(best: Path) -> Path | None:
    """The folder of best weights, if it is a LoRA that changes the base; else None."""
    adapter = best / ADAPTER_FILES[1]
    return best if adapter.is_file() and _changes_weights(adapter) else None


def _changes_weights(adapter: Path) -> bool:
    """False before the first step, when one factor of each layer is zero.

    Raises:
        AlphaBenchError: the file is damaged.
    """
    from safetensors.torch import load

    read_header(adapter, name=str(adapter.parent))
    tensors = load(adapter.read_bytes())
    return any(bool(tensor.any()) for name, tensor in tensors.items() if "lora_B" in name)


def _find(run: Path) -> _Found:
    for folder in (run, run / "best"):
        if any((folder / name).is_file() for name in (ADAPTER_FILES[0], VALUES_FILE)):
            return _Found(folder=folder, **_base_of(folder.resolve().parent))
    raise AlphaBenchError(
        f"{str(run)!r} holds no adapter and no trained values",
        hint="name the folder of a training that has validated, or an adapter in it",
    )


def _base_of(training: Path) -> dict[str, Any]:
    if not (training / RECIPE_FILE).is_file():
        return {"base": None, "options": {}}
    # No more of it than is needed: recipes change, and what was trained before can still be had.
    section = read_tree(training / RECIPE_FILE).get("policy")
    known = ("checkpoint", "options")
    section = (
        {key: section[key] for key in known if key in section} if isinstance(section, dict) else {}
    )
    policy = strict_yaml.build_settings(PolicySettings, section, where="policy")
    relevant = {"dtype", "revision", "cache_dir", "offline", "variant"}
    options = {key: value for key, value in policy.texts().items() if key in relevant}
    return {"base": policy.checkpoint, "options": options}


def _put_trained(model: nn.Module, found: _Found) -> str:
    if found.adapter:
        return f"merged {merge_adapters(model)} modules"
    return f"wrote {put_values(model, found.folder / VALUES_FILE)} trained tensors and their base"


def put_values(model: nn.Module, file: Path) -> int:
    """Puts trained values in the places of a model's own.

    Returns:
        How many tensors were put.

    Raises:
        AlphaBenchError: there is not a place of that shape for each.
    """
    from safetensors.torch import load_file

    values, places = load_file(file), dict(model.named_parameters())
    for name, value in values.items():
        if name not in places or places[name].shape != value.shape:
            raise AlphaBenchError(
                f"{name!r} of {str(file)!r} does not fit this model",
                hint="name the base it was trained on",
            )
    with torch.no_grad():
        for name, value in values.items():
            places[name].copy_(value)
    return len(values)


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
