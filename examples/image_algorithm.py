"""An image algorithm of your own, as one table row: REINFORCE on the stored denoising steps.

    cd examples
    alphabench train nano-rt2i training.steps=2 "validation=[]" \
        training.image.kind=image_algorithm:REINFORCE task.draw.kernel=flow_sde

docs/extending/algorithm.md walks through this file. Shapes: B trajectories of a batch.
"""

from __future__ import annotations

from alphatrainers.image_algorithms import (
    STORED_STEPS,
    ImageAlgorithm,
    ImageLossInput,
    ImageLossSettings,
    ImageLossValues,
)


def reinforce_loss(inputs: ImageLossInput, settings: ImageLossSettings) -> ImageLossValues:
    """-A * log p(next latent), without ratio and clip (Williams, 1992), for one denoising step."""
    assert inputs.stored is not None, "the row trains on stored steps"
    advantage_B = inputs.advantage_B.clamp(-settings.limit, settings.limit)
    logp_B = inputs.stored.logp_B
    return ImageLossValues(-advantage_B * logp_B, monitored={"log_prob": logp_B.detach()})


REINFORCE = ImageAlgorithm(
    loss=reinforce_loss,
    trains_on=STORED_STEPS,
    kl_kinds=("v_mse",),
    kernels=("flow_sde", "dance"),
    densities=("gaussian", "exponent"),
)
