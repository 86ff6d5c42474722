"""Checks that several sections of settings share; each refuses by `ValueError`.

A message begins with the field's name: the reader of YAML completes it to the whole path.
"""

from __future__ import annotations

from collections.abc import Mapping


def require_positive(**numbers: float) -> None:
    """Refuses numbers that are not above 0, NaN included."""
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name}={value:g} must be above 0")


def require_not_negative(**numbers: float) -> None:
    """Refuses numbers below 0, and NaN."""
    for name, value in numbers.items():
        if not value >= 0:
            raise ValueError(f"{name}={value:g} cannot be negative")


def require_kl_views(weights: Mapping[str, float]) -> None:
    """Refuses KL weights of unknown weight sets, and negative ones."""
    unknown = set(weights) - {"reference", "old", "ema"}
    if unknown or min(weights.values(), default=0.0) < 0:
        raise ValueError(f"kl_weights={dict(weights)!r}: weights of reference, old or ema")
