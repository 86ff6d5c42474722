"""BAGEL checkpoints for the trainer: policy and export. Knows no task and no reward.

Validations generate with the weights in training, through `LiveHandle`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alphabench.checkpoints.bagel import BagelHandle
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.models.bagel.config import HEADS
from alphabench.models.bagel.loading import MODEL_FILE, LoadedBagel
from alphagrpo.policies.handle import PolicyHandle, trained_digest
from alphagrpo.policies.live_handle import LiveHandle, RefinableHandle
from alphagrpo.policies.policy_protocols import ExportableWeights
from alphagrpo.policies.unified_policy import UMMPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelTraining:
    """A `TrainableCheckpoint` and `ExportableCheckpoint` over an opened BAGEL."""

    checkpoint: UnifiedCheckpoint

    @property
    def handle(self) -> BagelHandle:
        """Its files and settings."""
        handle = self.checkpoint.handle
        assert isinstance(handle, BagelHandle), "open_bagel made it"
        return handle

    def check_trainable(self) -> None:
        """See `TrainableCheckpoint`."""
        if self.handle.adapter is not None:
            raise AlphaBenchError(
                f"{self.handle.name!r} comes with a LoRA, and a training puts its own on",
                hint="merge it first: alphabench export --merge",
            )
        if self.handle.options.compile:
            raise AlphaBenchError(
                "compile=true is for generation: a training needs rollouts that round as its "
                "updates do",
                hint="leave compile out of policy.options",
            )

    def open_policy(self, *, device: str) -> PolicyHandle:
        """See `TrainableCheckpoint`."""
        self.check_trainable()
        handle, umm = self.handle, self._model()
        recipe = handle.sampling
        weights = handle.files.identity()
        policy = UMMPolicy(
            umm,
            identity={
                "kind": "umm",
                "weights": weights,
                "dtype": recipe.dtype,
                "think_prompt": recipe.think_prompt,
                "reflect_prompt": recipe.reflect_prompt,
                "latent_sizes": f"{recipe.latent_shortest}-{recipe.latent_longest}",
                "patch_sizes": f"{recipe.patch_shortest}-{recipe.patch_longest}",
            },
        )

        def live() -> Generator:
            model = umm.loaded.model
            now = LiveHandle(
                base=handle,
                model=partial(_with_settings, umm.loaded),
                trained=trained_digest(model),
                compute_dtype=str(model.vae2llm.weight.dtype).removeprefix("torch."),
            )
            return UnifiedCheckpoint(handle=now, device=device)

        return PolicyHandle(
            name=handle.name,
            policy=policy,
            generator=live,
            size=(recipe.width, recipe.height),
            resize=umm.resized,
            think_prompt=recipe.think_prompt,
            reflect_prompt=recipe.reflect_prompt,
            thinks=True,
            edits=True,
        )

    def open_weights(self, *, device: str) -> ExportableWeights:
        """See `ExportableCheckpoint`."""
        del device  # the checkpoint was opened for one
        model, files = self._model().loaded.model, self.handle.files

        def save(out: Path) -> None:
            from safetensors.torch import save_file

            folder = files.fetch()
            out.mkdir(parents=True, exist_ok=True)
            for name in files.needed:
                if not name.startswith("ema"):
                    shutil.copyfile(folder / name, out / name)
            dtype = model.vae2llm.weight.dtype  # heads are held in float32, and stored as the rest
            tensors = {
                name: (value.to(dtype) if name.rpartition(".")[0] in HEADS else value).contiguous()
                for name, value in model.state_dict().items()
            }
            save_file(tensors, out / MODEL_FILE)

        return ExportableWeights(module=model, save=save)

    def _model(self) -> UnifiedBagel:
        model = self.checkpoint.model()
        assert isinstance(model, UnifiedBagel), "BagelHandle loads it"
        return model


def _with_settings(loaded: LoadedBagel, handle: RefinableHandle) -> UnifiedBagel:
    assert isinstance(handle, BagelHandle), "the handle of a benchmark is of the same class"
    return UnifiedBagel(loaded, handle.sampling)
