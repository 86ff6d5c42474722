"""One denoising step: its mean, its spread, and the log-probability of where it led.

Pure: tensors and floats in, tensors out. Samples no noise, moves no device; knows no model, and no
loss. Velocities and latents may be half precision: they are widened here, once (`precision`).

    x_sigma = (1 - sigma) * x0 + sigma * noise      v = noise - x0      sigma falls from 1 to 0
    dt = sigma_next - sigma < 0                     the plain step is x + v * dt

Shapes: B samples, X any axes of one latent (channels, height, width or tokens, channels).
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, get_args

from torch import Tensor

from alphatrainers.algorithms.precision import mean_over_elements, widen

StepKind = Literal["flow_sde", "cps", "dance", "ode"]
Density = Literal["gaussian", "exponent", "squared_error"]
DENSITIES: Final[tuple[Density, ...]] = get_args(Density)


class DenoisingStep(NamedTuple):
    """The distribution of the next latent: normal around `mean_BX`, the same `std` everywhere."""

    mean_BX: Tensor
    std: float
    """Standard deviation of the step; 0 where it is deterministic."""
    spread: float
    """Diffusion coefficient: std / sqrt(-dt) for `flow_sde` and `dance`, std itself for `cps`."""
    dt: float
    """Negative: time runs from noise to image."""
    kind: StepKind


def flow_sde(
    x_BX: Tensor, v_BX: Tensor, *, sigma: float, sigma_next: float, eta: float, sigma_cap: float
) -> DenoisingStep:
    """Flow-GRPO's step (flow_grpo `sd3_sde_with_logprob.py`, `sde_step_with_logprob`, ac4c86e).

    spread = eta * sqrt(sigma / (1 - min(sigma, sigma_cap))).

    Args:
        x_BX: latents at `sigma`.
        v_BX: predicted velocity, noise minus image.
        sigma: noise level, 0 <= sigma_next < sigma <= 1.
        sigma_next: the level after the step.
        eta: noise scale; 0 gives the plain step.
        sigma_cap: the schedule's second level, below 1; it keeps the first step finite.
    """
    dt = _dt(sigma, sigma_next)
    if not 0.0 < sigma_cap < 1.0:
        raise ValueError(f"sigma_cap={sigma_cap!r} is not between 0 and 1")
    spread = eta * math.sqrt(sigma / (1.0 - min(sigma, sigma_cap)))
    pull = spread**2 / (2.0 * sigma)
    x_BX, v_BX = widen(x_BX), widen(v_BX)
    mean_BX = x_BX * (1.0 + pull * dt) + v_BX * ((1.0 + pull * (1.0 - sigma)) * dt)
    return DenoisingStep(mean_BX, spread * math.sqrt(-dt), spread, dt, "flow_sde")


def cps(
    x_BX: Tensor, v_BX: Tensor, *, sigma: float, sigma_next: float, eta: float
) -> DenoisingStep:
    """Coefficients-preserving step: fresh noise replaces predicted noise (Flow-CPS, flow_grpo).

    std = sigma_next * sin(eta * pi / 2), mean = (1 - sigma_next) * x0 + sqrt(sigma_next^2 - std^2)
    * noise, both predicted from x and v. The last step (sigma_next = 0) is deterministic.

    Args:
        x_BX: latents at `sigma`.
        v_BX: predicted velocity, noise minus image.
        sigma: noise level, 0 <= sigma_next < sigma <= 1.
        sigma_next: the level after the step.
        eta: share of fresh noise, 0 (the plain step) to 1 (all of it).
    """
    dt = _dt(sigma, sigma_next)
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta={eta!r} is not between 0 and 1")
    x_BX, v_BX = widen(x_BX), widen(v_BX)
    angle = eta * math.pi / 2.0
    std = sigma_next * math.sin(angle)
    remaining = sigma_next * math.cos(angle)
    clean_BX = x_BX - sigma * v_BX
    noise_BX = x_BX + (1.0 - sigma) * v_BX
    return DenoisingStep((1.0 - sigma_next) * clean_BX + remaining * noise_BX, std, std, dt, "cps")


def dance(
    x_BX: Tensor, v_BX: Tensor, *, sigma: float, sigma_next: float, eta: float
) -> DenoisingStep:
    """DanceGRPO's step (`train_grpo_flux.py`, `flux_step`, 15cc71d): the same spread everywhere.

    score = -(x - (1 - sigma) * x0) / sigma^2; mean = x + v * dt - eta^2 / 2 * score * dt.

    Args:
        x_BX: latents at `sigma`.
        v_BX: predicted velocity, noise minus image.
        sigma: noise level, 0 <= sigma_next < sigma <= 1.
        sigma_next: the level after the step.
        eta: noise scale; 0 gives the plain step.
    """
    dt = _dt(sigma, sigma_next)
    x_BX, v_BX = widen(x_BX), widen(v_BX)
    score_BX = -(x_BX - (1.0 - sigma) * (x_BX - sigma * v_BX)) / sigma**2
    mean_BX = x_BX + v_BX * dt - 0.5 * eta**2 * score_BX * dt
    return DenoisingStep(mean_BX, eta * math.sqrt(-dt), eta, dt, "dance")


def ode(x_BX: Tensor, v_BX: Tensor, *, sigma: float, sigma_next: float) -> DenoisingStep:
    """The plain Euler step x + v * dt, without spread."""
    dt = _dt(sigma, sigma_next)
    return DenoisingStep(widen(x_BX) + widen(v_BX) * dt, 0.0, 0.0, dt, "ode")


def move(step: DenoisingStep, noise_BX: Tensor) -> Tensor:
    """The next latent for a sample of standard normal noise."""
    return step.mean_BX + step.std * widen(noise_BX)


def usual_density(kind: StepKind) -> Density:
    """As published: CPS leaves the variance out, so its clips live on a scale of their own."""
    return "squared_error" if kind == "cps" else "gaussian"


def log_prob(step: DenoisingStep, next_BX: Tensor, *, density: Density | None = None) -> Tensor:
    """Log-probability of the next latent, averaged (not summed) over its elements; shape B.

    gaussian        -(next - mean)^2 / (2 std^2) - ln std - ln(2 pi) / 2
    exponent        the first term alone (AlphaGRPO `sde_step`; the constants cancel in ratios)
    squared_error   -(next - mean)^2, no variance (Flow-CPS)

    Args:
        step: where the latent was expected.
        next_BX: where it went, at the precision in which it is stored.
        density: by default the usual one of the step's kind.

    Raises:
        ValueError: for a step without spread, unless the density is `squared_error`.
    """
    density = density or usual_density(step.kind)
    if density not in DENSITIES:
        raise ValueError(f"density={density!r} is none of {', '.join(DENSITIES)}")
    error_B = mean_over_elements((widen(next_BX) - step.mean_BX) ** 2)
    if density == "squared_error":
        return -error_B
    if step.std <= 0.0:
        raise ValueError(f"a {step.kind!r} step without spread has no {density!r} log-probability")
    exponent_B = -error_B / (2.0 * step.std**2)
    if density == "exponent":
        return exponent_B
    return exponent_B - math.log(step.std) - 0.5 * math.log(2.0 * math.pi)


def _dt(sigma: float, sigma_next: float) -> float:
    if not 0.0 <= sigma_next < sigma <= 1.0:
        raise ValueError(f"a step from sigma={sigma!r} to {sigma_next!r} does not fall within 1..0")
    return sigma_next - sigma
