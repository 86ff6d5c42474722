"""The scores of one model for its repository on the hub: leaderboard entries and a card's section.

The section is markdown between two marks, so that a later export replaces it in the model's card.
Folders and addresses of this machine are left out. Uploads only in `push_scores`.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.public_texts import public_text
from alphabench.core.writing import replace_file
from alphabench.remote.hub_upload import HubTarget, push_folder
from alphabench.reports.hub_entries import (
    HubScore,
    entry_notes,
    entry_path,
    unplaceable,
    write_hub_entries,
)
from alphabench.reports.markdown import NOTHING, Align, inline, interval, markdown_table, number
from alphabench.reports.run_report import coverage_words, missing_parts, not_comparable_reason
from alphabench.results.run_result import RunResult
from alphabench.runs.store import RunFolder
from alphabench.weights.strict_loading import quiet

SECTION_FILE: Final = "scores.md"
CARD_FILE: Final = "README.md"
_BEGIN, _END = "<!-- scores by AlphaBench: begin -->", "<!-- scores by AlphaBench: end -->"


def hub_scores(runs: Sequence[RunResult]) -> list[HubScore]:
    """The headline of each evaluation of each run.

    Raises:
        AlphaBenchError: the runs are of several checkpoints, or one has no report.
    """
    named = sorted({run.checkpoint for run in runs})
    if len(named) > 1:
        raise AlphaBenchError(
            f"the runs are of {len(named)} checkpoints ({', '.join(map(repr, named[:3]))}), and "
            "entries and a card are those of one",
            hint="give the runs of one checkpoint, each with its own --out",
        )
    scores: dict[str, HubScore] = {}
    for run in runs:
        folder = RunFolder.open(run.folder)
        for evaluation in run.evaluations:
            name = _free_name(f"{run.benchmark}-{evaluation}", scores)
            report = run.select(evaluation).report
            scores[name] = HubScore(
                name=name,
                value=report.headline.value,
                low=report.headline.low,
                high=report.headline.high,
                manifest=folder.manifest,
                report=report,
                identity=folder.evaluation_identity(evaluation),
            )
    return list(scores.values())


def _free_name(name: str, taken: Mapping[str, HubScore]) -> str:
    """Two runs may differ in seed or settings alone; neither entry replaces the other."""
    number_of = 2
    free = name
    while free in taken:
        free = f"{name}-{number_of}"
        number_of += 1
    return free


def write_hub_folder(
    scores: Sequence[HubScore], out: Path, datasets: Mapping[str, str]
) -> list[str]:
    """Write the entries and the section; see `write_hub_entries`.

    Returns:
        A clause for each score that has no entry, with the reason.
    """
    left_out = write_hub_entries(out, scores, datasets)
    replace_file(out / SECTION_FILE, card_section(scores))
    return left_out


def card_section(scores: Sequence[HubScore]) -> str:
    """The section of a model card, between its marks."""
    header = ["benchmark", "protocol", "evaluator", "judge", "prompts", "images per prompt",
              "score [95% interval]", "scored"]  # fmt: skip
    align: list[Align] = ["left", "left", "left", "left", "right", "right", "right", "right"]
    table = markdown_table(header, [_row(score) for score in scores], align)
    version = importlib.metadata.version("alphabench")
    remarks = [f"- {_remarks(score)}." for score in scores]
    return (
        "\n\n".join(
            [
                _BEGIN,
                "## Scores",
                table,
                "\n".join(remarks),
                f"Intervals are at 95% (bootstrap over prompts). Exported by AlphaBench {version}.",
                _END,
            ]
        )
        + "\n"
    )


def _row(score: HubScore) -> list[str]:
    report, pixels = score.report, score.manifest.pixels
    value = NOTHING if score.value is None else f"{number(score.value)} {interval(report.headline)}"
    partial = " PARTIAL" if report.partial else ""
    return [
        f"{inline(score.manifest.benchmark)}{partial}",
        report.protocol,
        inline(report.evaluator),
        NOTHING if score.judge is None else inline(public_text(score.judge)),
        f"{report.headline.n_samples} {inline(pixels.get('benchmark.prompt_style', ''))}".strip(),
        pixels["benchmark.images_per_sample"],
        value,
        coverage_words(report),
    ]


def _remarks(score: HubScore) -> str:
    report = score.report
    warnings = [
        missing_parts(report, score.manifest),
        f"no headline: {report.withheld}" if report.withheld else "",
        (not_comparable_reason(report, score.identity) or "").rstrip("."),
    ]
    clauses = [*entry_notes(score), *filter(None, warnings)]
    return "; ".join(inline(public_text(one), 300) for one in clauses)


def insert_section(card: str, section: str) -> str:
    """A card with the section: in the place of an earlier one, or at its end."""
    before, begin, rest = card.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if begin and end:
        return f"{before}{section.strip()}{after}"
    return f"{card.rstrip()}\n\n{section}" if card.strip() else section


def push_scores(
    scores: Sequence[HubScore], out: Path, datasets: Mapping[str, str], target: HubTarget
) -> str:
    """Upload the entries and the model's own card with the section in it, and nothing else.

    Args:
        scores: as they were given to `write_hub_folder`.
        out: as it left the folder; the card is written beside the section.
        datasets: as they were given to it.
        target: the model's repository; one that does not exist is made.

    Returns:
        A clause that says where they are.

    Raises:
        AlphaBenchError: the hub does not take them; the folder is complete then.
    """
    section = (out / SECTION_FILE).read_text(encoding="utf-8")
    card = _present_card(target.repo)
    replace_file(out / CARD_FILE, insert_section(card, section))
    placed = [score for score in scores if unplaceable(score, datasets) is None]
    names = [CARD_FILE, *(entry_path(score.name) for score in placed)]
    version = importlib.metadata.version("alphabench")
    message = f"Scores measured with AlphaBench {version}"
    return push_folder(out, target, message=message, only=names)


def _present_card(repo: str) -> str:
    """The card that the repository has now; a short one where it has none, or cannot be read."""
    from huggingface_hub import HfApi, ModelCard, ModelCardData
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        with (
            tempfile.TemporaryDirectory(prefix="alphabench-card-") as folder,
            quiet("huggingface_hub"),
        ):
            path = HfApi().hf_hub_download(repo, CARD_FILE, local_dir=folder)
            return Path(path).read_text(encoding="utf-8")
    except LocalEntryNotFoundError as error:  # the hub was not reached: there may be a card
        raise _unread_card(repo, error) from error
    except (EntryNotFoundError, RepositoryNotFoundError):
        head = ModelCardData(tags=["alphabench"]).to_yaml()
        return str(ModelCard(f"---\n{head}\n---\n\n# {repo.partition('/')[2]}\n"))
    except Exception as error:  # the client's HTTP library has errors of its own
        raise _unread_card(repo, error) from error


def _unread_card(repo: str, error: Exception) -> AlphaBenchError:
    return AlphaBenchError(
        f"the card of {repo!r} cannot be read, so nothing was uploaded ({type(error).__name__})",
        hint="check the network and the token (`hf auth whoami`), then give the same command "
        "again; the folder is complete",
    )
