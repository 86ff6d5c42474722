"""An image algorithm from outside the package: REINFORCE on the stored denoising steps.

Named in a recipe as `tests.support.own_image_algorithm:REINFORCE`; see examples/image_algorithm.py.
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
    """-A * log p(next latent), without ratio and clip."""
    assert inputs.stored is not None
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
NO_ROW = reinforce_loss
