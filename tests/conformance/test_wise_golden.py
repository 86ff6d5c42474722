"""WISE against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from alphabench.benchmarks.wise.official_files import summarise_wise_results, wise_results_text
from alphabench.benchmarks.wise.scoring import (
    CATEGORIES,
    BinaryScore,
    ThreeScores,
    official_binary,
    official_scores,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.questions import Reply
from alphabench.types import Report


def _folder(shared: Path, tmp_path: Path, edition: str, culture: str) -> Path:
    for name in (culture, "science", "space_time"):
        shutil.copy(shared / "golden" / edition / f"{name}.jsonl", tmp_path)
    return tmp_path


def _printed_summary(path: Path) -> str:
    text = path.read_text().rstrip("\n")
    return text[text.index("Overall Evaluation Summary") :]


def _our_summary(report: Report) -> str:
    text = wise_results_text(report)
    return text[text.index("Overall Evaluation Summary") :]


def test_legacy_replies_are_read_as_upstream_reads_them(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "wise" / "parse_cases.json").read_text())
    assert len(cases) == 18
    for case in cases:
        assert official_scores(case["text"]) == case["parsed"], case["text"]
        values = ThreeScores(strict=False).parse(Reply(text=case["text"], model="m"))
        assert (values is not None) == case["accepted"], case["text"]
        if values is not None:
            assert values == tuple(case["parsed"].values())


def test_verified_replies_are_read_as_upstream_reads_them(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "wise_verified" / "parse_cases.json").read_text())
    assert len(cases) == 19
    for case in cases:
        assert official_binary(case["text"]) == case["parsed"].get("score"), case["text"]
        values = BinaryScore(strict=False).parse(Reply(text=case["text"], model="m"))
        assert values == (tuple(case["parsed"].values()) or None), case["text"]


@pytest.mark.parametrize(
    ("edition", "culture", "printed", "exact"),
    [
        ("wise", "culture", "stdout_all", "exact_culture"),
        (
            "wise",
            "culture_quirks_complete",
            "stdout_quirks_complete",
            "exact_culture_quirks_complete",
        ),
        ("wise_verified", "culture", "stdout_all", "exact_culture"),
        ("wise_verified", "culture_quirks", "stdout_quirks", "exact_culture_quirks"),
    ],
)
def test_a_published_run_has_upstreams_figures(
    shared: Path, tmp_path: Path, edition: str, culture: str, printed: str, exact: str
) -> None:
    golden = shared / "golden" / edition
    report = summarise_wise_results(_folder(shared, tmp_path, edition, culture))
    assert _our_summary(report) == _printed_summary(golden / f"{printed}.txt")
    wanted = json.loads((golden / f"{exact}.json").read_text())
    assert report.headline.value == pytest.approx(wanted.pop("overall"), abs=1e-12)
    assert set(report.groups) == {name.lower() for name in wanted} == set(CATEGORIES)
    for name, figure in wanted.items():
        ours = report.groups[name.lower()]
        assert ours.value == pytest.approx(figure["mean"], abs=1e-12)
        assert ours.n_scored == figure["n"]
    assert report.partial == (report.coverage < 1), "all ids are there, some without a score"


@pytest.mark.parametrize(
    ("culture", "missing"), [("culture_missing17", 17), ("culture_quirks", 18)]
)
def test_a_missing_id_stops_the_summary_as_it_stops_upstreams(
    shared: Path, tmp_path: Path, culture: str, missing: int
) -> None:
    folder = _folder(shared, tmp_path, "wise", culture)
    with pytest.raises(AlphaBenchError, match=rf"lacks the prompt ids {missing} of wise@legacy"):
        summarise_wise_results(folder)


def test_one_file_has_its_category_and_no_overall_score(shared: Path) -> None:
    golden = shared / "golden" / "wise"
    report = summarise_wise_results(golden / "culture.jsonl")
    assert report.headline.value is None
    assert report.partial
    printed = _printed_summary(golden / "stdout_culture_only.txt")
    assert _our_summary(report).partition("\n\n\n")[0] == printed.partition("\n\n\n")[0]


def test_the_two_editions_cannot_be_mixed(shared: Path, tmp_path: Path) -> None:
    folder = _folder(shared, tmp_path, "wise", "culture")
    shutil.copy(shared / "golden" / "wise_verified" / "science.jsonl", folder / "other.jsonl")
    with pytest.raises(AlphaBenchError, match="mixes scores of wise@verified and wise@legacy"):
        summarise_wise_results(folder)
