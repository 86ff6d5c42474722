"""Settings of BAGEL that were published for a benchmark: one table, with sources.

Settings that a row leaves out stay as released (50 points, shift 3, 1024x1024). Knows no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.sampling_config import DRAW, EDIT, BagelSampling


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelPreset:
    """How AlphaGRPO's evaluation samples BAGEL for one benchmark."""

    name: str
    source: str
    draw: Guidance = DRAW
    edit: Guidance = EDIT
    temperature: float = 0.0
    """Of thoughts."""
    max_think_tokens: int = 999
    patch_shortest: int = 224

    def over(self, base: BagelSampling) -> BagelSampling:
        """`base` with these settings."""
        return dataclasses.replace(
            base,
            draw=self.draw,
            edit=self.edit,
            temperature=self.temperature,
            max_think_tokens=self.max_think_tokens,
            patch_shortest=self.patch_shortest,
        )


_SCRIPTS: Final = "evaluation scripts of AlphaGRPO (JunyiWuCode/AlphaGRPO)"
_ALWAYS_GUIDED: Final = Guidance(low=0.0)
_ROWS: Final = (
    BagelPreset(name="geneval", draw=_ALWAYS_GUIDED, source=_SCRIPTS),
    BagelPreset(name="dpg", draw=_ALWAYS_GUIDED, source=_SCRIPTS),
    BagelPreset(name="tiif", source=_SCRIPTS),
    # Published without and with a thought; --think chooses. Their limit of 2,048 tokens counts the
    # token that begins the thought.
    BagelPreset(
        name="wise",
        temperature=0.3,
        max_think_tokens=2047,
        source="gen_images_mp_wise.py of BAGEL (ByteDance-Seed/Bagel), the same in AlphaGRPO",
    ),
    BagelPreset(
        name="gedit",
        edit=Guidance(image_scale=1.5, renorm="text_channel"),
        patch_shortest=378,
        source=f"{_SCRIPTS}; patch_shortest: BAGEL's own editing benchmarks",
    ),
    # For refining a generated image, with a thought about what is wrong with it.
    BagelPreset(
        name="reflect",
        edit=Guidance(image_scale=2.0, renorm="text_channel"),
        temperature=0.3,
        max_think_tokens=1023,
        source=_SCRIPTS,
    ),
)
PRESETS: Final[Mapping[str, BagelPreset]] = {row.name: row for row in _ROWS}
"""By the benchmark's name; `reflect` is no benchmark; it is used for refinement, or by name."""
