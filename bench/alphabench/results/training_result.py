"""The result of a training: best weights, and the logs as rows and frames. Knows no trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alphabench.core.data_frames import data_frame
from alphabench.core.errors import unknown_name
from alphabench.reports.markdown import NOTHING, inline, markdown_table, number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingResult:
    """What a training left in its folder; `train` returns it.

    To evaluate the best weights of a LoRA training:
    `evaluate(benchmark, result.checkpoint, lora=result.lora, options=result.options)`.
    """

    folder: Path
    """The folder of the training."""
    steps: int
    """Training steps done."""
    checkpoint: str
    """The checkpoint that was trained, as the recipe names it."""
    options: Mapping[str, str]
    """Its options in the recipe."""
    best: Path | None
    """The folder of the best weights; None without a validation."""
    best_step: int | None
    """The step of the best weights; 0 if no validation was better than the one before training."""
    best_view: str | None
    """Whose weights they are: `train` (raw), `ema` (averaged) or `old`; None where not recorded."""
    lora: Path | None
    """The best weights as a LoRA adapter; None if none changes the checkpoint, or if complete
    weights were trained, which `alphabench export` writes as a checkpoint."""
    report: Path
    """The page with curves, images and validations."""
    metrics: Sequence[Mapping[str, float]]
    """One row for each step, by the names of the log: `reward/mean`, `kl`, `seconds/step`."""
    validations: Sequence[Mapping[str, Any]]
    """One row for each validation: step, benchmark, weights, score with 95% interval."""

    def to_pandas(self, what: Literal["metrics", "validations"] = "metrics") -> pd.DataFrame:
        """A data frame.

        Args:
            what: `metrics`, a row for each training step; `validations`, a row for each
                measurement on held-out prompts.

        Raises:
            AlphaBenchError: no such frame, or pandas is not installed (extra `notebook`).
        """
        frames = {"metrics": self.metrics, "validations": self.validations}
        if what not in frames:
            raise unknown_name("frame", str(what), frames)
        rows = frames[what]
        return data_frame(rows, list(dict.fromkeys(key for row in rows for key in row)))

    def to_markdown(self) -> str:
        """The validations as a table."""
        rows = [
            [
                str(one["step"]),
                inline(one["benchmark"]),
                inline(one["weights"]),
                number(one["score"]),
                NOTHING if one["low"] is None else f"[{number(one['low'])}, {number(one['high'])}]",
                "best" if one["best"] else "",
            ]
            for one in self.validations
        ]
        header = ["step", "benchmark", "weights", "score", "95% interval", ""]
        table = markdown_table(header, rows, ["right", "left", "left", "right", "right", "left"])
        shown = table if rows else "No validation was measured."
        return f"{self.steps} steps, folder {inline(str(self.folder), 400)}\n\n{shown}\n"

    def __repr__(self) -> str:
        view = f" ({self.best_view})" if self.best_view else ""
        best = (
            "no best weights"
            if self.best is None
            else f"best weights of step {self.best_step}{view}"
        )
        scores = [one["score"] for one in self.validations]
        held_out = f", held out {number(scores[0])} to {number(scores[-1])}" if scores else ""
        return f"TrainingResult({self.steps} steps{held_out}, {best}, folder {str(self.folder)!r})"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()
