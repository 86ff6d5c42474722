"""GEdit-Bench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alphabench.benchmarks.gedit.official_files import (
    gedit_results_text,
    read_gedit_results,
    summarise_gedit_results,
)
from alphabench.benchmarks.gedit.scoring import GROUPS
from alphabench.benchmarks.gedit.viescore_parser import LowestScore, has_braces, official_list
from alphabench.core.errors import AlphaBenchError
from alphabench.questions import Reply


def test_replies_are_read_as_upstream_reads_them_in_its_first_round(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "gedit" / "parse_cases.json").read_text())
    assert len(cases) == 50
    for case in (one for one in cases if not one["give_up"]):
        wanted = case["result"]["score"] if isinstance(case["result"], dict) else None
        assert official_list(case["text"]) == wanted, case["text"]


def test_what_upstream_guesses_in_later_rounds_is_known_and_never_a_number_here(
    shared: Path,
) -> None:
    cases = json.loads((shared / "golden" / "gedit" / "parse_cases.json").read_text())
    guessed = [c["text"] for c in cases if c["give_up"] and c["result"] == "RANDOM_INT_0_10"]
    read = [c["text"] for c in cases if c["give_up"] and isinstance(c["result"], dict)]
    assert len(guessed) == 10
    assert not any(has_braces(text) for text in guessed)
    assert all(has_braces(text) for text in read)
    for text in ("I'm sorry, I can't assist with that request.", "", "11", "[7]"):
        assert text in guessed
        assert LowestScore(strict=False).parse(Reply(text=text, model="m")) is None


@pytest.mark.parametrize("where", ["", "mymodel", "mymodel/gpt4o/eval_results_new"])
def test_the_english_summary_is_upstreams_to_the_letter(shared: Path, where: str) -> None:
    golden = shared / "golden" / "gedit"
    printed = (golden / "stdout_en.txt").read_text()
    figures = printed[printed.rindex("\nOverall Intersection:\n") :].splitlines()[2:]
    wanted = "\n".join(["Overall:", *figures[: figures.index("[exit 0]")]]).rstrip()
    assert gedit_results_text(summarise_gedit_results(golden / "results" / where)) == wanted


def test_the_chinese_summary_has_the_figures_of_the_fork_that_can_print_it(shared: Path) -> None:
    golden = shared / "golden" / "gedit"
    numbers = re.compile(r"\d+\.\d{3}")
    printed = numbers.findall((golden / "stdout_cn_bagel_fork.txt").read_text())
    text = gedit_results_text(summarise_gedit_results(golden / "results", "cn"))
    assert numbers.findall(text.partition("Intersection")[0]) == printed
    assert len(printed) == 3 * (len(GROUPS) + 1)


def test_the_macro_average_is_not_the_mean_over_pictures(shared: Path) -> None:
    report = summarise_gedit_results(shared / "golden" / "gedit" / "results")
    rows = [
        r for r in read_gedit_results(shared / "golden" / "gedit" / "results") if r.language == "en"
    ]
    assert report.headline.value == pytest.approx(4.687, abs=5e-4)
    assert report.extras["semantics"].value == pytest.approx(4.939, abs=5e-4)
    assert sum(row.overall for row in rows) / len(rows) != pytest.approx(4.687, abs=1e-2)


def test_a_language_that_no_row_is_in_is_refused_where_upstream_prints_nan(shared: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no line in the language 'zh'") as caught:
        summarise_gedit_results(shared / "golden" / "gedit" / "results", "zh")  # type: ignore[arg-type]
    assert "gedit:cn" in str(caught.value.hint)
