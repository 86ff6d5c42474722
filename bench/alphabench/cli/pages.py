"""What `alphabench show` shows: a benchmark, a run, or something that another package lists."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from alphabench import registry
from alphabench.cli.listing import Listing, run_row
from alphabench.cli.printing import ShownPage
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark
from alphabench.reports.markdown import inline, markdown_table
from alphabench.runs.serialization import report_to_json
from alphabench.runs.store import RunFolder
from alphabench.types import Card
from alphabench.upstream import UpstreamData
from alphabench.upstream.fetch import fetchable

_ASK_NO_JUDGE: Final = ("mask2former", "nano", "ocr", "clipscore")
"""Default evaluators of benchmarks that need no `--judge`."""


def listed_page(name: str) -> ShownPage | None:
    """The page of whatever another package lists under a name or in a folder; None if nothing."""
    for kind in sorted(registry.known("listing")):
        listing: Listing = registry.load("listing", kind)
        if (page := listing.page(name)) is not None:
            return page
    return None


def benchmark_page(named: str, benchmark: Benchmark, data: UpstreamData) -> ShownPage:
    """What a benchmark measures, its size, its cost, and where its data comes from.

    Args:
        named: as the user named it.
        benchmark: it.
        data: where official data lies.
    """
    card = benchmark.card
    entry = registry.benchmark_entry(card.name) if card.name in registry.benchmark_names() else None
    listed = _listed_name(card, entry)
    n_prompts = entry.prompts.get(listed) if entry is not None else None
    try:
        n_prompts = len(benchmark.samples())
        absent = ""
    except AlphaBenchError as error:
        absent = f"{error.message}; {error.hint}"
    calls = "" if entry is None else entry.judge_calls.get(listed, entry.judge_calls.get("", ""))
    download = [one for one in fetchable(data) if one.name in (listed, card.name)]
    facts: dict[str, Any] = {
        "benchmark": card.id,
        "title": card.title,
        "measures": "" if entry is None else entry.measures,
        "prompts": n_prompts,
        "images_per_prompt": card.images_per_sample,
        "images": None if n_prompts is None else n_prompts * card.images_per_sample,
        "prompt_style": card.prompt_style,
        "protocols": ["official"] if entry is None else ["official", "strict"],
        "evaluators": list(card.evaluators),
        "judge_calls": calls,
        "splits": [] if entry is None else list(entry.listed),
        "licence": card.licence,
        "data": card.source,
        "download": " + ".join(download[0].sizes) if download and ":mini" not in named else "none",
        "not_here": absent,
        "data_digest": card.data_digest,
        "citation": card.citation,
    }
    return ShownPage(_benchmark_markdown(named, facts), facts)


def _benchmark_markdown(named: str, facts: dict[str, Any]) -> str:
    rows = {
        "benchmark": facts["benchmark"],
        "prompts": "unknown" if facts["prompts"] is None else f"{facts['prompts']:,}",
        "images per prompt": str(facts["images_per_prompt"]),
        "images of a full run": "unknown" if facts["images"] is None else f"{facts['images']:,}",
        "prompts are": facts["prompt_style"],
        "evaluators": ", ".join(facts["evaluators"]),
        "judge calls of a full run": facts["judge_calls"],
        "protocols": ", ".join(facts["protocols"]),
        "splits and editions": ", ".join(facts["splits"]),
        "licence of the data": facts["licence"],
        "data": facts["data"],
        "data sha256": facts["data_digest"],
        "download": _download(named, facts),
        "not on this machine": facts["not_here"] if facts["download"] == "none" else "",
        "paper": facts["citation"],
    }
    table = markdown_table(
        ["what", "value"],
        [[key, inline(str(value), 400)] for key, value in rows.items() if value],
        ["left", "left"],
    )
    name = named.partition("?")[0]
    prompts = "" if facts["prompts"] is not None else " --prompts FILE"
    asks = next(iter(facts["evaluators"]), "") not in _ASK_NO_JUDGE
    judge = " --judge JUDGE" if asks else ""
    return "\n\n".join(
        [
            f"# {inline(facts['title'])}",
            *([facts["measures"]] if facts["measures"] else []),
            table,
            f"Run it: `alphabench run {inline(name)}{prompts} --ckpt CKPT{judge}`\n",
        ]
    )


def _download(named: str, facts: dict[str, Any]) -> str:
    """How much, and with which command where it is not here yet."""
    if facts["download"] == "none" or not facts["not_here"]:
        return str(facts["download"])
    return f"{facts['download']}, not on this machine yet: alphabench fetch {named}"


def _listed_name(card: Card, entry: registry.BenchmarkEntry | None) -> str:
    """The listed name of a card's split or edition; its own name if there is none."""
    names = () if entry is None else entry.listed
    for name in names:
        base, _, split = name.partition(":")
        edition = base.partition("@")[2]
        if split == card.split and (not edition or edition == card.version):
            return name
    return card.name


def run_page(root: Path) -> ShownPage:
    """The report of a run, or what it holds so far.

    Raises:
        AlphaBenchError: there is no run in the folder.
    """
    from alphabench.runs.run_pages import REPORT_FILE

    folder = RunFolder.open(root)
    report = folder.read_page(REPORT_FILE)
    row = run_row(folder)
    text = row.pop("text")
    facts = {
        **row,
        "reports": {name: report_to_json(one) for name, one in folder.reports().items()},
    }
    unscored = f"{text}\nnot scored yet: alphabench score {shlex.quote(str(root))}"
    return ShownPage(report or unscored, facts)
