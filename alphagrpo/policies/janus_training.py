"""Janus checkpoints for the trainer: policy and export. Knows no task and no reward.

Validations generate with the weights in training, through `LiveHandle`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from alphabench.checkpoints.janus import JanusHandle
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.models.janus.janus_inference import Janus, image_side
from alphagrpo.policies.handle import PolicyHandle, trained_digest
from alphagrpo.policies.janus_policy import JanusPolicy
from alphagrpo.policies.live_handle import LiveHandle
from alphagrpo.policies.policy_protocols import ExportableWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class JanusTraining:
    """A `TrainableCheckpoint` and `ExportableCheckpoint` over an opened Janus."""

    checkpoint: UnifiedCheckpoint

    @property
    def handle(self) -> JanusHandle:
        """Its files and settings."""
        handle = self.checkpoint.handle
        assert isinstance(handle, JanusHandle), "open_janus made it"
        return handle

    def check_trainable(self) -> None:
        """See `TrainableCheckpoint`."""
        if self.handle.adapter is not None:
            raise AlphaBenchError(
                f"{self.handle.name!r} comes with a LoRA, and a training puts its own on",
                hint="merge it first: alphabench export --merge",
            )

    def open_policy(self, *, device: str) -> PolicyHandle:
        """See `TrainableCheckpoint`."""
        self.check_trainable()
        handle, janus = self.handle, self._model()
        side = image_side(janus.network)
        policy = JanusPolicy(
            janus,
            identity={
                "kind": "janus",
                "weights": handle.files.identity(),
                "dtype": handle.options.dtype,
            },
        )

        def live() -> Generator:
            now = LiveHandle(
                base=handle, model=lambda _: janus, trained=trained_digest(janus.network)
            )
            return UnifiedCheckpoint(handle=now, device=device)

        return PolicyHandle(
            name=handle.name,
            policy=policy,
            generator=live,
            size=(side, side),
            resize=lambda image: image,
            think_prompt="",
            reflect_prompt="{prompt}",
            thinks=False,
            edits=False,
            samples_tokens=True,
        )

    def open_weights(self, *, device: str) -> ExportableWeights:
        """See `ExportableCheckpoint`."""
        del device  # the checkpoint was opened for one
        network, files = self._model().network, self.handle.files

        def save(out: Path) -> None:
            folder = files.fetch()
            network.save_pretrained(out)
            # Those of the base: the configuration in memory has AlphaBench's greedy answers.
            for name in files.needed:
                if not name.startswith("model"):
                    shutil.copyfile(folder / name, out / name)

        return ExportableWeights(module=network, save=save)

    def _model(self) -> Janus:
        model = self.checkpoint.model()
        assert isinstance(model, Janus), "JanusHandle loads it"
        return model
