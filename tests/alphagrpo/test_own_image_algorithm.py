"""An image algorithm from outside the package, in a recipe; `tests/examples` trains with one."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphagrpo.recipe import load_recipe

OWN = "training.image.kind=tests.support.own_image_algorithm:REINFORCE"
GAUSSIAN = "task.draw.kernel=flow_sde"


def test_a_recipe_refuses_what_the_row_does_not_accept() -> None:
    with pytest.raises(AlphaBenchError, match=r"kernel=cps .*: use flow_sde or dance"):
        load_recipe("nano-rt2i", [OWN])
    with pytest.raises(
        AlphaBenchError, match=r"stores no steps.* a window, or train with awm, nft or none"
    ):
        load_recipe("nano-rt2i", [OWN, GAUSSIAN, "task.draw.window={kind: none}"])
