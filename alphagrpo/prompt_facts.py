"""What is known of a training prompt, and the prompt as evaluators of the harness know it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from alphabench.types import Sample
from alphatrainers.trajectory import TrainingPrompt

SOURCE: Final = "source_image"
"""Key in `TrainingPrompt.facts`: path of the image that is to be edited."""
GROUP: Final = "group"
"""Key in `TrainingPrompt.facts`: the group that the prompt is reported under."""


def evaluator_sample(prompt: TrainingPrompt) -> Sample:
    """The prompt as a benchmark's sample, with its facts."""
    facts = {key: value for key, value in prompt.facts.items() if key not in (SOURCE, GROUP)}
    source = prompt.facts.get(SOURCE)
    return Sample(
        id=hashlib.sha256(prompt.id.encode()).hexdigest()[:16],
        prompt=prompt.text,
        group=str(prompt.facts.get(GROUP, "all")),
        facts=facts,
        source_image=Path(str(source)) if source is not None else None,
    )
