"""Names of everything that can be chosen: tables of `module:object`, and entry points.

Listing names imports nothing; loading an object imports its own module alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal

from alphabench.core.errors import AlphaBenchError, unknown_name

Kind = Literal[
    "checkpoint",
    "dataset",
    "evaluator",
    "evaluator_factory",
    "judge",
    "listing",
    "report",
    "trainer",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkEntry:
    """All that is known of a benchmark by name; each part is a `module:object`.

    Another package registers a benchmark as an entry point of the group `alphabench.benchmarks`,
    which names an object of this class, or the factory alone.
    """

    factory: str
    """Called with a split, `version=`, `protocol=` and `data=`, as `open_benchmark` has them."""
    listed: tuple[str, ...] = ()
    """The names that `alphabench list` shows: versions and splits; empty for the name alone."""
    official_formats: Mapping[str, str] = field(default_factory=dict)
    """Split -> `OfficialFormat`; the key "" is for every split without one of its own."""
    folder_layout: str = ""
    """`Layout` of a folder of images as upstream's scripts expect it, for `images:DIR`."""
    dataset: str = ""
    """`Dataset` that `alphabench fetch` downloads, for data that is no set of pinned files."""
    by_hand: str = ""
    """How data is obtained that cannot be verified, which `alphabench fetch` prints; empty: all of
    it is fetched."""
    measures: str = ""
    """What a score says, in two sentences, for `alphabench show`."""
    prompts: Mapping[str, int] = field(default_factory=dict)
    """Listed name -> number of prompts, which is known before anything is fetched."""
    judge_calls: Mapping[str, str] = field(default_factory=dict)
    """Listed name -> calls of the judge in a full run; the key "" is for all others."""
    takes_prompts: bool = False
    """Whether its prompts are the user's, `--prompts FILE`."""


BENCHMARKS: Final[Mapping[str, BenchmarkEntry]] = {
    "corebench": BenchmarkEntry(
        factory="alphabench.benchmarks.corebench.benchmark:open_corebench",
        listed=("corebench", "corebench:mini"),
        official_formats={"": "alphabench.benchmarks.corebench.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.corebench.official_files:LAYOUT",
        measures="Whether an image has the many elements of a dense prompt, and shows what a "
        "prompt leaves to reasoning, in 4 and 8 dimensions. A judge answers a checklist of yes/no "
        "questions.",
        prompts={"corebench": 1080, "corebench:mini": 22},
        judge_calls={"": "54,144", "corebench:mini": "392"},
    ),
    "cvtg": BenchmarkEntry(
        factory="alphabench.benchmarks.cvtg.benchmark:open_cvtg",
        listed=("cvtg", "cvtg:mini"),
        official_formats={"": "alphabench.benchmarks.cvtg.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.cvtg.official_files:LAYOUT",
        by_hand="its prompts are an archive whose digest is not known: unpack CVTG-2K.zip as "
        "docs/benchmarks/cvtg.md says",
        measures="Whether an image has the texts that a prompt quotes, in two to five places. OCR "
        "reads each image, and its words are compared with those that should be there.",
        prompts={"cvtg": 2000, "cvtg:mini": 24},
        judge_calls={"": "none (OCR)", "cvtg:mini": "108"},
    ),
    "dpg": BenchmarkEntry(
        factory="alphabench.benchmarks.dpg.benchmark:open_dpg",
        listed=("dpg", "dpg:mini"),
        official_formats={"": "alphabench.benchmarks.dpg.official_results:OFFICIAL"},
        folder_layout="alphabench.benchmarks.dpg.official_files:LAYOUT",
        measures="Whether everything that a long, dense prompt names is in the image: objects, "
        "attributes and relations. Each prompt has a graph of yes/no questions; a yes counts only "
        "where the questions that it depends on hold.",
        prompts={"dpg": 1065, "dpg:mini": 14},
        judge_calls={"dpg": "none with mplug; else about 57,560", "dpg:mini": "320"},
    ),
    "gedit": BenchmarkEntry(
        factory="alphabench.benchmarks.gedit.benchmark:open_gedit",
        listed=("gedit:en", "gedit:cn", "gedit:mini"),
        official_formats={
            "": "alphabench.benchmarks.gedit.official_files:OFFICIAL",
            "cn": "alphabench.benchmarks.gedit.official_files:OFFICIAL_CN",
        },
        dataset="alphabench.benchmarks.gedit.dataset:DATASET",
        folder_layout="alphabench.benchmarks.gedit.official_files:LAYOUT",
        measures="Whether an edit does what a user asked for and nothing else, and whether the "
        "result looks natural. A judge scores the source and the edited image (VIEScore).",
        prompts={"gedit:en": 606, "gedit:cn": 606, "gedit:mini": 54},
        judge_calls={"": "1,212", "gedit:mini": "108"},
    ),
    "geneval": BenchmarkEntry(
        factory="alphabench.benchmarks.geneval.benchmark:open_geneval",
        listed=("geneval", "geneval:long", "geneval:mini", "geneval:mini-test"),
        official_formats={"": "alphabench.benchmarks.geneval.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.geneval.official_files:LAYOUT",
        measures="Whether short prompts are followed: one or two objects, counts, colours and "
        "positions. An object detector and CLIP check each image.",
        prompts={
            "geneval": 553,
            "geneval:long": 553,
            "geneval:mini": 60,
            "geneval:mini-test": 200,
        },
        judge_calls={"": "none"},
    ),
    "geneval2": BenchmarkEntry(
        factory="alphabench.benchmarks.geneval2.benchmark:open_geneval2",
        listed=("geneval2", "geneval2:mini"),
        official_formats={"": "alphabench.benchmarks.geneval2.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.geneval2.official_files:LAYOUT",
        measures="Whether every single demand of a compositional prompt is met: objects, "
        "attributes, numbers, positions and actions, 3 to 10 a prompt. A judge's probability of "
        "the right answer is the score of each (Soft-TIFA).",
        prompts={"geneval2": 800, "geneval2:mini": 24},
        judge_calls={"": "6,012", "geneval2:mini": "168"},
    ),
    "imgedit": BenchmarkEntry(
        factory="alphabench.benchmarks.imgedit.benchmark:open_imgedit",
        listed=("imgedit", "imgedit:uge", "imgedit:mini"),
        official_formats={
            "": "alphabench.benchmarks.imgedit.official_files:OFFICIAL",
            "uge": "alphabench.benchmarks.imgedit.official_files:OFFICIAL_UGE",
        },
        folder_layout="alphabench.benchmarks.imgedit.official_files:LAYOUT",
        measures="Whether an edit of one of nine types does what was asked, looks seamless and "
        "stays plausible. A judge scores the source and the edited image by three criteria.",
        prompts={"imgedit": 737, "imgedit:uge": 47, "imgedit:mini": 28},
        judge_calls={"": "737", "imgedit:uge": "47", "imgedit:mini": "28"},
    ),
    "metrics": BenchmarkEntry(
        factory="alphabench.benchmarks.metrics.benchmark:open_metrics",
        listed=("metrics",),
        measures="How much a small model likes images of your own prompts: CLIPScore, PickScore, "
        "HPSv2.1, ImageReward or LAION's aesthetic score. One number for each image, of no fixed "
        "scale across prompts.",
        judge_calls={"": "none"},
        takes_prompts=True,
    ),
    "longtext": BenchmarkEntry(
        factory="alphabench.benchmarks.longtext.benchmark:open_longtext",
        listed=("longtext:en", "longtext:zh", "longtext:mini"),
        official_formats={
            "": "alphabench.benchmarks.longtext.official_files:OFFICIAL",
            "zh": "alphabench.benchmarks.longtext.official_files:OFFICIAL_ZH",
            "mini": "alphabench.benchmarks.longtext.official_files:OFFICIAL_MINI",
        },
        folder_layout="alphabench.benchmarks.longtext.official_files:LAYOUT",
        measures="Whether long texts are written as a prompt asks for them: signs, slides, posters "
        "and five more kinds. A judge writes down what it reads, and the words are counted.",
        prompts={"longtext:en": 160, "longtext:zh": 160, "longtext:mini": 16},
        judge_calls={"": "640", "longtext:mini": "252"},
    ),
    "oneig": BenchmarkEntry(
        factory="alphabench.benchmarks.oneig.benchmark:open_oneig",
        listed=("oneig:en", "oneig:zh", "oneig:mini"),
        official_formats={
            "": "alphabench.benchmarks.oneig.official_files:OFFICIAL",
            "zh": "alphabench.benchmarks.oneig.official_files:OFFICIAL_ZH",
            "mini": "alphabench.benchmarks.oneig.official_files:OFFICIAL_MINI",
        },
        folder_layout="alphabench.benchmarks.oneig.official_files:LAYOUT",
        measures="Whether images show what prompts of several categories name, by a graph of "
        "yes/no questions, and whether a text is written as the prompt asks for it, letter by "
        "letter. Diversity, style and reasoning are not measured.",
        prompts={"oneig:en": 895, "oneig:zh": 1095, "oneig:mini": 16},
        judge_calls={"": "45,724", "oneig:zh": "56,088", "oneig:mini": "248"},
    ),
    "rise": BenchmarkEntry(
        factory="alphabench.benchmarks.rise.benchmark:open_rise",
        listed=("rise", "rise:64", "rise:mini"),
        official_formats={
            "": "alphabench.benchmarks.rise.official_files:OFFICIAL",
            "64": "alphabench.benchmarks.rise.official_files:OFFICIAL_64",
        },
        folder_layout="alphabench.benchmarks.rise.official_files:LAYOUT",
        measures="Whether an edit shows what an instruction implies in time, by cause, in space or "
        "by logic. A judge scores reasoning, consistency and plausibility; an image "
        "counts where all of them are full.",
        prompts={"rise": 360, "rise:64": 64, "rise:mini": 24},
        judge_calls={"": "about 1,000", "rise:64": "176", "rise:mini": "42"},
    ),
    "tiif": BenchmarkEntry(
        factory="alphabench.benchmarks.tiif.benchmark:open_tiif",
        listed=("tiif:testmini", "tiif:test", "tiif:testmini-text", "tiif:test-text", "tiif:mini"),
        official_formats={"": "alphabench.benchmarks.tiif.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.tiif.official_files:LAYOUT",
        measures="Whether instructions of growing difficulty are followed, each as a short and as "
        "a long prompt: attributes, relations, reasoning, text and style. A judge answers "
        "questions about each image; OCR reads the text items.",
        prompts={
            "tiif:testmini": 554,
            "tiif:test": 5076,
            "tiif:testmini-text": 60,
            "tiif:test-text": 600,
            "tiif:mini": 52,
        },
        judge_calls={
            "tiif:testmini": "554; 2,892 with --wording own",
            "tiif:test": "5,076; 24,320 with --wording own",
            "tiif:testmini-text": "none (OCR)",
            "tiif:test-text": "none (OCR)",
            "tiif:mini": "154",
        },
    ),
    "unigenbench": BenchmarkEntry(
        factory="alphabench.benchmarks.unigenbench.benchmark:open_unigenbench",
        listed=(
            "unigenbench:en",
            "unigenbench:zh",
            "unigenbench:en-long",
            "unigenbench:zh-long",
            "unigenbench:mini",
        ),
        official_formats={
            "": "alphabench.benchmarks.unigenbench.official_files:OFFICIAL",
            "zh": "alphabench.benchmarks.unigenbench.official_files:OFFICIAL_ZH",
            "en-long": "alphabench.benchmarks.unigenbench.official_files:OFFICIAL_EN_LONG",
            "zh-long": "alphabench.benchmarks.unigenbench.official_files:OFFICIAL_ZH_LONG",
        },
        folder_layout="alphabench.benchmarks.unigenbench.official_files:LAYOUT",
        measures="Whether an image meets what its prompt tests: 27 kinds of test points in 10 "
        "dimensions, from style to logical reasoning. A judge scores all test points of an image "
        "at once.",
        prompts={
            "unigenbench:en": 600,
            "unigenbench:zh": 600,
            "unigenbench:en-long": 599,
            "unigenbench:zh-long": 600,
            "unigenbench:mini": 24,
        },
        judge_calls={"": "2,400", "unigenbench:en-long": "2,396", "unigenbench:mini": "192"},
    ),
    "wise": BenchmarkEntry(
        factory="alphabench.benchmarks.wise.benchmark:open_wise",
        listed=("wise@verified", "wise@legacy", "wise:mini"),
        official_formats={"": "alphabench.benchmarks.wise.official_files:OFFICIAL"},
        folder_layout="alphabench.benchmarks.wise.official_files:LAYOUT",
        measures="Whether an image shows what a prompt describes without naming it, which takes "
        "knowledge of culture, time, space, biology, physics and chemistry. A judge compares each "
        "image with the prompt and its explanation.",
        prompts={"wise@verified": 1000, "wise@legacy": 1000, "wise:mini": 36},
        judge_calls={"": "1,000", "wise:mini": "36"},
    ),
}
CHECKPOINTS: Final = {
    "bagel": "alphabench.checkpoints.bagel:open_bagel",
    "diffusers": "alphabench.checkpoints.diffusers:open_diffusers",
    "http": "alphabench.checkpoints.http:open_http",
    "images": "alphabench.checkpoints.folder:open_folder",
    "nano": "alphabench.checkpoints.bagel:open_nano_umm",
    "janus": "alphabench.checkpoints.janus:open_janus",
    "python": "alphabench.checkpoints.python_object:open_python_checkpoint",
    "scene": "alphabench.checkpoints.scene:open_scene",
}
EVALUATORS: Final = {
    "mask2former": "alphabench.evaluators.detection.mask2former.hub_detector:open_mask2former",
    "mask2former:official": "alphabench.evaluators.detection.mask2former.official:open_official",
    "mmdet": "alphabench.evaluators.detection.mmdet.mmdet_detector:open_mmdet",
    "nano": "alphabench.evaluators.detection.nano_detector:open_nano_detector",
}
JUDGES: Final = {
    "nano": "alphabench.judges.nano_judge:open_nano_judge",
    "openai": "alphabench.judges.openai.judge:open_openai",
    "python": "alphabench.judges.python_judge:open_python_judge",
    "scripted": "alphabench.judges.scripted:open_scripted",
    "transformers": "alphabench.judges.transformers:open_transformers",
    "vllm": "alphabench.judges.vllm:open_vllm",
}
DATASETS: Final = {
    "mask2former": "alphabench.evaluators.detection.mask2former.official_weights:DATASET",
    "mplug": "alphabench.evaluators.mplug.released_files:DATASET",
}
"""Weights of evaluators that `alphabench fetch` downloads; see `Dataset`."""
EVALUATOR_FACTORIES: Final[Mapping[str, str]] = {}
"""Build an evaluator for the samples of any benchmark from a judge; other packages add them."""
TRAINERS: Final[Mapping[str, str]] = {}
"""What `alphabench.train` calls; other packages add it."""
LISTINGS: Final[Mapping[str, str]] = {}
"""Further kinds of things that `alphabench list` lists and `show` shows, such as recipes: other
packages add them; see `Listing` in `alphabench.cli.listing`."""
REPORTS: Final = {
    "report.md": "alphabench.reports.run_report:report_parts",
    "gallery.html": "alphabench.reports.gallery:gallery_parts",
}
"""File in a run folder -> what writes it after each scoring: called with a stored run, its samples
and `evaluation=`, it returns the text in parts."""
_TABLES: Final[Mapping[Kind, Mapping[str, str]]] = {
    "checkpoint": CHECKPOINTS,
    "dataset": DATASETS,
    "evaluator": EVALUATORS,
    "evaluator_factory": EVALUATOR_FACTORIES,
    "judge": JUDGES,
    "listing": LISTINGS,
    "report": REPORTS,
    "trainer": TRAINERS,
}
_GROUPS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "evaluator_factory": ("alphabench.examiners", "alphabench.evaluator_factories"),
}
"""Groups of entry points that are not `alphabench.<kind>s`; the first is what 0.1 called them."""


def registered(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, of all packages on the import path."""
    return tuple(_installed(tuple(sys.path)).select(group=group))


@cache
def _installed(import_path: tuple[str, ...]) -> Any:
    """All entry points, looked up once: a search reads a file of every installed package."""
    del import_path  # where `entry_points` searches
    return entry_points()


def known(kind: Kind) -> dict[str, str]:
    """Name -> `module:object`; entry points of the group `alphabench.<kind>s` add to the table."""
    groups = _GROUPS.get(kind, (f"alphabench.{kind}s",))
    points = [point for group in groups for point in registered(group)]
    return {**{point.name: point.value for point in points}, **_TABLES[kind]}


def load(kind: Kind, name: str) -> Any:
    """The object of a name.

    Raises:
        AlphaBenchError: no such name; the error names the nearest.
    """
    table = known(kind)
    if name not in table:
        raise unknown_name(kind, name, table)
    return load_object(table[name])


def load_object(reference: str) -> Any:
    """The object that a `module:object` refers to; imports the module."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_entry_point(point: EntryPoint) -> Any:
    """The object that another package registers, or this one in an older installation.

    Raises:
        AlphaBenchError: it cannot be imported.
    """
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist is not None else "its package"
        raise AlphaBenchError(
            f"the entry point {point.name!r} of {package!r} cannot be loaded: {error}",
            hint="install that package again (an editable install too, after an update)",
        ) from error


def benchmark_names() -> list[str]:
    """The names of all benchmarks in alphabetical order, those of other packages included."""
    return sorted({*BENCHMARKS, *_benchmarks_outside()})


def benchmark_entry(name: str) -> BenchmarkEntry:
    """What is registered under a benchmark's name.

    Raises:
        AlphaBenchError: no such benchmark; the error names the nearest.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    outside = _benchmarks_outside()
    if name.endswith((".yaml", ".yml")):
        raise AlphaBenchError(
            f"there is no benchmark named {name!r}",
            hint=f"a benchmark in a YAML file is named file:{name}",
        )
    if name not in outside:
        raise unknown_name("benchmark", name, benchmark_names())
    registered = load_entry_point(outside[name])
    if isinstance(registered, BenchmarkEntry):
        return registered
    return BenchmarkEntry(factory=outside[name].value)


def _benchmarks_outside() -> dict[str, EntryPoint]:
    return {point.name: point for point in registered("alphabench.benchmarks")}
