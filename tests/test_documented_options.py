"""The option tables of docs/judges.md and docs/evaluators.md list what the code accepts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.corebench.questions import CoreBenchOptions
from alphabench.benchmarks.dpg.questions import DpgJudgeOptions
from alphabench.benchmarks.gedit.viescore import VieOptions
from alphabench.benchmarks.judged import WordingOptions
from alphabench.benchmarks.tiif.questions import TiifJudgeOptions
from alphabench.benchmarks.unigenbench.questions import UniGenBenchOptions
from alphabench.benchmarks.wise.questions import WiseOptions
from alphabench.evaluators.detection.detection_evaluator import Selection
from alphabench.evaluators.detection.mask2former.hub_detector import Mask2FormerOptions
from alphabench.evaluators.detection.mask2former.official import OfficialOptions
from alphabench.evaluators.detection.mmdet.mmdet_detector import MmdetOptions
from alphabench.evaluators.detection.nano_detector import NanoDetectorOptions
from alphabench.evaluators.mplug.evaluator import MplugOptions
from alphabench.evaluators.ocr_results import OcrOptions
from alphabench.judges import JudgeOptions
from alphabench.judges.nano_judge import NanoJudgeOptions
from alphabench.judges.openai.openai_options import OpenAIOptions
from alphabench.judges.scripted import ScriptedOptions
from alphabench.judges.transformers import TransformersOptions
from alphabench.judges.vllm import VllmOptions
from alphabench.registry import EVALUATORS, JUDGES
from alphagrpo.dvreward.aggregate import AggregationOptions
from alphagrpo.dvreward.verification import VerificationOptions

DOCS = Path(__file__).parents[1] / "docs"
JUDGE_TABLES: dict[str, tuple[type, ...]] = {
    "Every judge": (JudgeOptions,),
    "Endpoints": (OpenAIOptions,),
    "`transformers:MODEL`": (TransformersOptions,),
    "`vllm:MODEL`": (VllmOptions,),
    "`nano`": (NanoJudgeOptions,),
    "`scripted:`": (ScriptedOptions,),
}
EVALUATOR_TABLES: dict[str, tuple[type, ...]] = {
    "Every detector": (Selection,),
    "`mask2former`": (Mask2FormerOptions,),
    "`mask2former:official`": (OfficialOptions,),
    "`mmdet`": (MmdetOptions,),
    "`nano`": (NanoDetectorOptions,),
    "`mplug` (DPG-Bench)": (MplugOptions,),
    "`ocr` (CVTG-2K)": (OcrOptions,),
    "TIIF-Bench": (TiifJudgeOptions,),
    "DPG-Bench": (DpgJudgeOptions,),
    "GenEval 2": (WordingOptions,),
    "T2I-CoReBench": (CoreBenchOptions,),
    "LongText-Bench": (WordingOptions,),
    "OneIG-Bench": (WordingOptions,),
    "UniGenBench++": (UniGenBenchOptions,),
    "WISE": (WiseOptions,),
    "GEdit-Bench": (VieOptions,),
    "ImgEdit-Bench": (WordingOptions,),
    "RISEBench": (WordingOptions,),
    "`dvreward`": (VerificationOptions, AggregationOptions),
}
ROW = re.compile(r"\| `(?P<name>[a-z_0-9]+)` \| (?P<default>[^|]*) \|")
WITHOUT_TABLE = {"python"}
"""Kinds of judge whose options are the parameters of the user's own factory."""


def tables(page: str) -> dict[str, dict[str, str]]:
    """Heading -> option -> default, of every table whose first column is called `option`."""
    found: dict[str, dict[str, str]] = {}
    heading = ""
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| option | default |"):
            assert heading not in found, f"{heading!r} of {page} has two tables of options"
            found[heading] = {}
        elif heading in found and (row := ROW.match(line)):
            found[heading][row["name"]] = row["default"].strip()
    return found


def as_documented(default: Any) -> str:
    if default is None:
        return "—"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def accepted(*options: Any) -> dict[str, str]:
    return {
        field.name: as_documented(field.default)
        for of in options
        for field in dataclasses.fields(of)
    }


@pytest.mark.parametrize(
    ("page", "heading", "options"),
    [
        *(("judges.md", name, options) for name, options in JUDGE_TABLES.items()),
        *(("evaluators.md", name, options) for name, options in EVALUATOR_TABLES.items()),
    ],
)
def test_a_table_lists_every_option_with_its_default(
    page: str, heading: str, options: tuple[type, ...]
) -> None:
    assert tables(page)[heading] == accepted(*options)


def test_no_page_has_a_table_of_options_that_nothing_accepts() -> None:
    assert tables("judges.md").keys() == JUDGE_TABLES.keys()
    assert tables("evaluators.md").keys() == EVALUATOR_TABLES.keys()


def test_every_kind_of_judge_and_every_detector_is_documented() -> None:
    judges = " ".join(JUDGE_TABLES).replace("Endpoints", "openai")
    for kind in JUDGES.keys() - WITHOUT_TABLE:
        assert kind in judges
    for name in EVALUATORS:
        assert f"`{name}`" in EVALUATOR_TABLES
