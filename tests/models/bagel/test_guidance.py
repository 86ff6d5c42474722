"""Guidance and the schedule: what scales, floors and intervals promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphabench.models.bagel.guidance import Guidance, Renorm, apply_guidance, intervals

RENORMS: tuple[Renorm, ...] = ("global", "channel", "text_channel")


def velocities(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, 8, generator=generator) for _ in range(3)]


@given(seed=st.integers(0, 999), scale=st.floats(1.1, 9.0), renorm=st.sampled_from(RENORMS))
def test_renormalisation_never_lengthens_a_velocity(
    seed: int, scale: float, renorm: Renorm
) -> None:
    full, free, _ = velocities(seed)
    found = apply_guidance(full, free, None, Guidance(text_scale=scale, renorm=renorm))
    dims = (1, 2) if renorm == "global" else (2,)
    longest = torch.linalg.vector_norm(full, dim=dims)
    assert (torch.linalg.vector_norm(found, dim=dims) <= longest * 1.0001).all()


@given(seed=st.integers(0, 999), renorm=st.sampled_from(RENORMS))
def test_branches_that_agree_are_left_alone(seed: int, renorm: Renorm) -> None:
    full = velocities(seed)[0]
    found = apply_guidance(full, full, full, Guidance(image_scale=2.0, renorm=renorm))
    torch.testing.assert_close(found, full, atol=1e-5, rtol=1e-5)


def test_a_row_is_guided_by_itself_alone() -> None:
    full, free, bare = velocities(1)
    guidance = Guidance(image_scale=1.5)
    both = apply_guidance(full, free, bare, guidance)
    alone = apply_guidance(full[1:], free[1:], bare[1:], guidance)
    torch.testing.assert_close(both[1:], alone)


def test_guidance_acts_above_its_lower_bound_and_up_to_its_upper() -> None:
    guidance = Guidance(low=0.4, high=0.9)
    assert [guidance.branches(t) for t in (0.4, 0.41, 0.9, 0.91)] == [1, 2, 2, 1]


def test_without_guidance_by_text_there_is_none_by_images() -> None:
    assert Guidance(text_scale=1.0, image_scale=2.0).branches(0.9) == 1
    assert Guidance(text_scale=1.1, image_scale=2.0).branches(0.9) == 3


@pytest.mark.parametrize("options", [{"renorm": "local"}, {"renorm_floor": 1.5}])
def test_options_without_a_meaning_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="renorm"):
        Guidance(**options)  # type: ignore[arg-type]


@given(points=st.integers(2, 60), shift=st.floats(0.5, 8.0))
def test_the_steps_lead_from_noise_to_the_image(points: int, shift: float) -> None:
    steps = intervals(points, shift)
    assert len(steps) == points - 1
    assert steps[0].t == pytest.approx(1.0, abs=1e-6)
    assert all(step.width > 0 for step in steps)
    assert sum(step.width for step in steps) == pytest.approx(1.0, abs=1e-5)


def test_one_point_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="at least 2 points"):
        intervals(1, 3.0)
