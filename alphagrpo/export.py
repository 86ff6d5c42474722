"""Exports a training: its best adapter alone, or complete weights.

Complete weights are those of the base with the adapter merged in or, after a training without LoRA,
with the trained values put into it, also those of a checkpoint whose values lie in parts. Beside
the adapter of a diffusers pipeline stands the same one as `load_lora_weights` reads it.
A merged BAGEL is a folder in the released layout; a merged pipeline is what `save_pretrained`
writes. Knows no trainer: it reads the folder of one.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.remote.hub_upload import HubTarget
from alphabench.weights.weight_files import read_header
from alphagrpo.policies.factory import training_adapter
from alphagrpo.policies.pipeline_lora import write_pipeline_lora
from alphagrpo.policies.policy_protocols import ExportableCheckpoint
from alphagrpo.publishing.base_model import checkpoint_kind
from alphagrpo.publishing.publication import Publication, publish
from alphagrpo.publishing.trained_weights import (
    ADAPTER_FILES,
    VALUES_FILE,
    TrainedWeights,
    find_trained_weights,
    section,
)
from alphagrpo.recipe import PolicySettings, load_recipe
from alphatrainers import strict_yaml
from alphatrainers.sharded_files import ShardedWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """Where exported weights go."""

    out: Path
    """A folder that does not exist yet, or is empty."""
    merge: bool = False
    """Write complete weights; otherwise the adapter alone, where one was trained."""
    hub: HubTarget | None = None
    """Also upload the folder to this repository."""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Benchmark -> its dataset on the hub; see `publishing.eval_results`."""


def export_run(run: Path, target: ExportTarget, *, base: str | None) -> list[str]:
    """Writes the best weights of a training, or those of an adapter folder, with a model card.

    Args:
        run: as `find_trained_weights` takes it.
        target: where they go.
        base: the checkpoint they belong to; None takes the training's own.

    Returns:
        Sentences that say what was written, how to use it, and what the card could not state.

    Raises:
        AlphaBenchError: nothing was trained there, no base, the folder is taken, or the folder was
            written and could not be uploaded.
    """
    weights, out = find_trained_weights(run), target.out
    if out.exists() and any(out.iterdir()):
        raise AlphaBenchError(f"{str(out)!r} exists and is not empty", hint="name another --out")
    settings = _policy_of(weights)
    base = base or settings.base
    unchanged = weights.adapter and adapter_of(weights.folder) is None
    if unchanged and target.merge:
        raise AlphaBenchError(
            f"the adapter in {str(weights.folder)!r} changes nothing: it is as before the first "
            "step",
            hint="no validation was better than the one before training; later weights are in "
            f"the training's folder checkpoints/, for example {_later(run, base)}",
        )
    alone = weights.adapter and not target.merge
    if alone:
        out.mkdir(parents=True, exist_ok=True)
        for name in ADAPTER_FILES:
            shutil.copyfile(weights.folder / name, out / name)
        if base is not None and checkpoint_kind(base) == "diffusers":
            write_pipeline_lora(out, base)
        note = "; it is as before the first step and changes nothing" if unchanged else ""
        use = f"alphabench run ... --ckpt {base or 'BASE'} --lora {out}"
        done = f"wrote the adapter to {out}: {use}{note}"
    else:
        done = _write_complete(weights, settings, base, out=out, run=run)
    described = Publication(
        weights=weights, base=base, adapter=alone, unchanged=unchanged, datasets=target.datasets
    )
    return [done, *publish(described, out, target.hub)]


def _write_complete(
    weights: TrainedWeights, settings: _Policy, base: str | None, *, out: Path, run: Path
) -> str:
    """Writes the base with what was trained in it; returns the sentence that says so."""
    if base is None:
        raise AlphaBenchError(
            f"{str(run)!r} does not say which checkpoint it belongs to", hint="add --ckpt BASE"
        )
    adapter = str(weights.folder) if weights.adapter else None
    checkpoint = training_adapter(open_checkpoint(base, options=settings.options, lora=adapter))
    if not isinstance(checkpoint, ExportableCheckpoint):
        raise AlphaBenchError(
            f"{base!r} cannot take what was trained", hint="name the base it was trained on"
        )
    opened = checkpoint.open_weights(device="cpu")
    done = _put_trained(opened.module, weights)
    opened.save(out)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """The checkpoint that was trained, and the options that its weights depend on."""

    base: str | None
    options: Mapping[str, str]


def _policy_of(weights: TrainedWeights) -> _Policy:
    if weights.training is None:
        return _Policy(base=None, options={})
    # No more of it than is needed: recipes change, and what was trained before can still be had.
    found = section(weights.recipe(), "policy")
    known: dict[str, Any] = {key: found[key] for key in ("checkpoint", "options") if key in found}
    policy = strict_yaml.build_settings(PolicySettings, known, where="policy")
    relevant = {"dtype", "revision", "cache_dir", "offline", "variant"}
    options = {key: value for key, value in policy.texts().items() if key in relevant}
    return _Policy(base=policy.checkpoint, options=options)


def _put_trained(model: nn.Module, weights: TrainedWeights) -> str:
    if weights.adapter:
        return f"merged {merge_adapters(model)} modules"
    if weights.in_parts:
        assert weights.view is not None, "a checkpoint in parts is named with a view"
        count = put_parts(model, weights.folder, weights.view)
    else:
        count = put_values(model, weights.folder / VALUES_FILE)
    return f"wrote {count} trained tensors and their base"


def put_values(model: nn.Module, file: Path) -> int:
    """Puts trained values in the places of a model's own.

    Returns:
        How many tensors were put.

    Raises:
        AlphaBenchError: there is not a place of that shape for each.
    """
    from safetensors.torch import load_file

    values = load_file(file)
    places = _places(model, {name: value.shape for name, value in values.items()}, file)
    with torch.no_grad():
        for name, value in values.items():
            places[name].copy_(value)
    return len(values)


def put_parts(model: nn.Module, checkpoint: Path, view: str) -> int:
    """The same for a checkpoint in parts, whose values are read into their places one by one.

    Raises:
        AlphaBenchError: there is not a place of that shape for each, the checkpoint has no such
            view, or it is damaged.
    """
    stored = ShardedWeights(checkpoint)
    places = _places(model, stored.shapes(view), checkpoint)
    with torch.no_grad():
        stored.read(view, places)
    return len(places)


def _places(model: nn.Module, shapes: Mapping[str, torch.Size], source: Path) -> dict[str, Tensor]:
    """The model's own values of these names."""
    known = dict(model.named_parameters())
    for name, shape in shapes.items():
        if name not in known or known[name].shape != shape:
            raise AlphaBenchError(
                f"{name!r} of {str(source)!r} does not fit this model",
                hint="name the base it was trained on",
            )
    return {name: known[name].detach() for name in shapes}


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
