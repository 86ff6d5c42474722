"""From a recipe's `policy` section to a policy and to what tasks and validations need beside it.

The harness opens the checkpoint, so that `--ckpt` and a recipe mean the same, and validations draw
with the very weights that are trained. Knows no task and no reward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.bagel import OpenedBagel
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.unified_model import Abilities
from alphabench.types import Generator
from alphagrpo.policies.handle import OpenedPolicy, digest_of
from alphagrpo.policies.unified_policy import UMMPolicy
from alphagrpo.recipe import GuidanceSettings, PolicySettings

if TYPE_CHECKING:
    from alphabench.checkpoints.diffusers import DiffusersCheckpoint


def guidance(settings: GuidanceSettings | None) -> Guidance | None:
    """As policies take it."""
    if settings is None:
        return None
    return Guidance(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)})


def open_policy(settings: PolicySettings, *, device: str) -> OpenedPolicy:
    """Opens the checkpoint and loads its weights.

    Raises:
        AlphaBenchError: it cannot be had, or is of a kind that cannot be trained.
    """
    generator = open_trainable(settings, device=device)
    if isinstance(generator, UnifiedCheckpoint):
        assert isinstance(generator.opened, OpenedBagel)
        return _open_umm(generator, generator.opened, device=device)
    from alphagrpo.policies.diffusers_policy import open_diffusers_policy

    return open_diffusers_policy(generator, name=settings.checkpoint)


def open_trainable(
    settings: PolicySettings, *, device: str
) -> UnifiedCheckpoint | DiffusersCheckpoint:
    """Opens the checkpoint without its weights.

    Raises:
        AlphaBenchError: it cannot be had, or is of a kind that cannot be trained.
    """
    generator = open_checkpoint(settings.checkpoint, options=settings.texts(), device=device)
    if isinstance(generator, UnifiedCheckpoint) and isinstance(generator.opened, OpenedBagel):
        if generator.opened.adapter is not None:
            raise AlphaBenchError(
                f"{generator.opened.name!r} comes with a LoRA, and a training puts its own on",
                hint="merge it first: alphabench export --merge",
            )
        return generator
    from alphabench.checkpoints.diffusers import DiffusersCheckpoint
    from alphagrpo.policies.diffusers_policy import refuse_other_pipelines

    if isinstance(generator, DiffusersCheckpoint):
        refuse_other_pipelines(generator, name=settings.checkpoint)
        return generator
    raise AlphaBenchError(
        f"{settings.checkpoint!r} cannot be trained",
        hint="train nano, a BAGEL checkpoint or a pipeline of the SD3 family",
    )


def _open_umm(generator: UnifiedCheckpoint, opened: OpenedBagel, *, device: str) -> OpenedPolicy:
    umm = generator.model()
    assert isinstance(umm, UnifiedBagel)
    recipe = opened.recipe
    weights = opened.files.identity()
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
        digest = digest_of(umm.loaded.model)
        now = LiveBagel(opened=opened, loaded=umm.loaded, trained=digest)
        return UnifiedCheckpoint(opened=now, device=device)

    return OpenedPolicy(
        name=opened.name,
        policy=policy,
        generator=live,
        size=(recipe.width, recipe.height),
        resize=umm.resized,
        think_prompt=recipe.think_prompt,
        reflect_prompt=recipe.reflect_prompt,
        thinks=True,
        edits=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBagel:
    """An `OpenedModel` whose weights are those in training, at this moment."""

    opened: OpenedBagel
    loaded: LoadedBagel
    trained: str
    """Digest of the trained weights; the rest is the checkpoint's own."""

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def abilities(self) -> Abilities:
        return self.opened.abilities

    @property
    def think(self) -> bool:
        return self.opened.think

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.opened.identity, "trained": self.trained}

    @property
    def licences(self) -> Mapping[str, str]:
        return self.opened.licences

    @property
    def batch_size(self) -> int:
        return self.opened.batch_size

    @property
    def suggested_evaluator(self) -> str | None:
        return self.opened.suggested_evaluator

    def suited_to(self, benchmark: str) -> LiveBagel:
        """See `OpenedModel`."""
        return dataclasses.replace(self, opened=self.opened.suited_to(benchmark))

    def load(self, device: str) -> UnifiedBagel:
        """The loaded weights with this benchmark's settings; nothing is read."""
        del device
        return UnifiedBagel(self.loaded, self.opened.recipe)
