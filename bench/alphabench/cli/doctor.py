"""Checks the installation: packages, devices, official data and evaluators' self-tests."""

from __future__ import annotations

import importlib.util
import platform
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from alphabench import registry
from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import split_spec
from alphabench.evaluators.metrics.metric_table import METRICS
from alphabench.runs.self_test import require_self_test
from alphabench.upstream import UpstreamData, pinned_names
from alphabench.weights.find import WeightsNotFoundError

EXTRAS: Final = {
    "train": ("tensorboard", "alphabench train"),
    "lora": ("peft", "--lora with PEFT adapters"),
    "data": ("datasets", "GEdit-Bench's images"),
    "ocr": ("rapidocr", "TIIF-Bench's text items, CVTG-2K"),
    "vlm": ("torchvision", "judges through transformers"),
    "vllm": ("vllm", "judges through vLLM, on a GPU"),
    "openclip": ("open_clip", "GenEval's colours by the original library"),
    "mmdet": ("mmdet", "the original detector; better: alphabench doctor --setup mmdet"),
    "notebook": ("pandas", "data frames and progress bars in notebooks"),
}
"""Extra of this package -> a module that it installs, and what it is for."""


TESTED_WITH: Final = "geneval:mini"
"""The benchmark that detectors are tested with; it needs no download."""
ANSWERERS: Final = {"mplug": "dpg:mini"}
"""Evaluators that are no detectors -> the benchmark that they are tested with."""


_DATA: Final = "data "
_REMEDIES: Final = 32
"""Column in which remedies begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    subject: str
    healthy: bool
    text: str
    optional: bool = False
    """Whether its absence is no error."""
    remedy: str = ""
    """What to do about it; empty if nothing has to be done."""

    def __str__(self) -> str:
        mark = "absent" if self.optional else "ok" if self.healthy else "FAILED"
        return f"{mark:<7} {self.subject}: {self.text}"


def absences_text(findings: Sequence[Finding]) -> str:
    """What is optional and absent, each with what installs or fetches it; empty for nothing."""
    absent = [finding for finding in findings if finding.optional]
    if not absent:
        return ""
    rows = [(one.subject, one.remedy) for one in absent if not one.subject.startswith(_DATA)]
    if len(rows) < len(absent):
        rows.append(("official data", "alphabench fetch all, or one: see alphabench fetch --list"))
    lines = ["", "optional, not installed or not fetched:"]
    for subject, remedy in rows:
        first, *rest = textwrap.wrap(
            remedy, 80 - _REMEDIES, break_long_words=False, break_on_hyphens=False
        ) or [""]
        if len(subject) > _REMEDIES - 4:
            lines.append(f"  {subject}")
            lines.append(f"{'':<{_REMEDIES}}{first}")
        else:
            lines.append(f"  {subject:<{_REMEDIES - 2}}{first}")
        lines += [f"{'':<{_REMEDIES}}{line}" for line in rest]
    return "\n".join(lines)


def check_installation(
    evaluator: str | None, data: UpstreamData, *, device: str
) -> Iterator[Finding]:
    """Check everything, or one evaluator alone.

    Args:
        evaluator: `name?key=value&...`, to test this one alone; a missing model is then a fault.
        device: where the self-tests run.
    """
    if evaluator is not None:
        name = split_spec(evaluator)[0]
        known = {*registry.known("evaluator"), *ANSWERERS, *METRICS}
        if name not in known:
            raise unknown_name("evaluator", name, known)
        yield _self_test(evaluator, data, device, optional=False)
        return
    yield from _machine()
    yield from _extras()
    yield from _official_data(data)
    for name in sorted({*registry.known("evaluator"), *ANSWERERS}):
        yield _self_test(name, data, device, optional=name != "nano")


def _machine() -> Iterator[Finding]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    text = f"{platform.python_version()}, torch {torch.__version__}, {', '.join(gpus) or 'no GPU'}"
    yield Finding(subject="python", healthy=True, text=text)


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in EXTRAS.items():
        absent = importlib.util.find_spec(module) is None
        command = f"pip install -e '.[{extra}]'"
        text = f"`{command}` installs it" if absent else "installed"
        yield Finding(
            subject=f"extra {extra}",
            healthy=True,
            text=text,
            optional=absent,
            remedy=f"{command}  # {purpose}" if absent else "",
        )


def _official_data(data: UpstreamData) -> Iterator[Finding]:
    for name in pinned_names():
        missing = data.missing(name)
        text = f"{len(missing)} files to fetch" if missing else "fetched and verified"
        yield Finding(
            subject=f"{_DATA}{name}",
            healthy=True,
            text=text,
            optional=bool(missing),
            remedy=f"alphabench fetch {name}" if missing else "",
        )


def _self_test(spec: str, data: UpstreamData, device: str, *, optional: bool) -> Finding:
    """A model that is not here may be `optional`; one that is here and wrong is a fault."""
    subject = f"evaluator {spec}"
    try:
        name = split_spec(spec)[0]
        benchmark = "metrics" if name in METRICS else ANSWERERS.get(name, TESTED_WITH)
        evaluator = open_benchmark(benchmark, data=data).evaluator(spec, device=device)
        tested = evaluator.identity.get("self_test", "on")  # reads the weights: they must be here
        if tested == "off":
            return Finding(subject=subject, healthy=False, text="not tested (self_test=off)")
        require_self_test(evaluator)
    except WeightsNotFoundError as error:
        return Finding(
            subject=subject,
            healthy=optional,
            text=str(error),
            optional=optional,
            remedy=error.hint,
        )
    except AlphaBenchError as error:
        return Finding(subject=subject, healthy=False, text=str(error), remedy=error.hint)
    note = "" if tested == "on" else f" ({tested})"
    return Finding(subject=subject, healthy=True, text=f"self-test passed{note}")
