"""Validation between training steps: measures each view, saves the best weights, makes a panel.

The first process measures and writes; the others help it with images and verdicts. Knows no
benchmark: a `Validation` is given the weights in force and returns a number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import torch
from PIL import Image

from alphatrainers.checkpoint import TrainingFolder, WeightsFormat, replace_text
from alphatrainers.distributed import Processes
from alphatrainers.metrics import MetricsLog
from alphatrainers.panels import save_panel
from alphatrainers.protocols import Policy, WeightView
from alphatrainers.reporting.training_page import PANEL_PROMPTS
from alphatrainers.rollout import batches
from alphatrainers.settings import TrainingSettings
from alphatrainers.training_display import TrainingDisplay
from alphatrainers.trajectory import Program
from alphatrainers.validation_curve import MeasuredPoint, ValidationCurves
from alphatrainers.weight_sets import WeightSets


class _PanelImage(NamedTuple):
    prompt: str
    image: Image.Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """Validates one training in its folder."""

    curves: ValidationCurves
    policy: Policy
    panel: Sequence[Program]
    """Generated with the same seeds at every validation, for people to look at."""
    weights: WeightSets
    layout: WeightsFormat
    folder: TrainingFolder
    settings: TrainingSettings
    processes: Processes
    display: TrainingDisplay

    def measure(self, *, step: int, reward: float, log: MetricsLog) -> None:
        """Measures every view; the deciding view chooses the best weights and makes the panel.

        Args:
            step: training steps done.
            reward: moving mean of the training reward; NaN before the first one.
            log: receives the scores and the panel, too.

        Raises:
            TrainingStoppedError: if the held-out score fell while the reward rose, and the
                settings say stop.
        """
        for view in self.settings.validate_views:
            decides = view == self.settings.deciding_view
            with self.weights.view(view), self.weights.gathered():
                points = self.processes.agree(partial(self._points, view, step, reward))
                panel = self._save_panel(step) if decides else None
            for one in points:
                self.display.measured(one.name, one.view, one.point)
            log.write_validation(step, points, panel)
            best = any(point.best and point.name == self.curves.first_name for point in points)
            if decides and any(self.processes.gather(best)):
                values = self.weights.values(view)
                if self.processes.first:
                    self.folder.save_best(step, values, self.layout, view=view)
        self.processes.wait()

    def _points(self, view: WeightView, step: int, reward: float) -> list[MeasuredPoint]:
        if not self.processes.first:
            self.curves.assist()
            return []
        if self.processes.size > 1:  # what is shared is abandoned between batches
            return self.curves.measure(step=step, view=view, reward=reward)
        with self.processes.stop.abandonable():
            return self.curves.measure(step=step, view=view, reward=reward)

    def _save_panel(self, step: int) -> Image.Image | None:
        if not self.panel:
            return None
        size = self.settings.rollout_batch
        every = list(batches(self.panel, program=lambda one: one, most=size, group_size=size))
        # Whole batches, and the same ones as in one process: their images do not depend on it.
        own = self.processes.agree(partial(self._generate, self.processes.share(every)))
        shares = self.processes.gather(own)
        if not self.processes.first:
            return None
        in_turn = [batch for turn in zip_longest(*shares, fillvalue=[]) for batch in turn]
        made = [one for batch in in_turn for one in batch]
        prompts = [one.prompt for one in made]
        replace_text(self.folder.panels / PANEL_PROMPTS, json.dumps(prompts, ensure_ascii=False))
        return save_panel([one.image for one in made], self.folder.panels / f"step-{step:06d}.png")

    @torch.no_grad()
    def _generate(self, shared: Sequence[Sequence[Program]]) -> list[list[_PanelImage]]:
        """The final images of each batch."""
        self.display.begin("panel", total=sum(map(len, shared)), done=0)
        made = []
        for batch in shared:
            with self.processes.stop.abandonable():
                trajectories = self.policy.rollout(batch)
            made.append(
                [
                    _PanelImage(one.program.prompt.text, one.final_images[-1])
                    for one in trajectories
                    if one.final_images
                ]
            )
            self.display.advance(len(batch))
        self.display.end()
        return made
