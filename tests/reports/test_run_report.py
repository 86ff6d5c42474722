from __future__ import annotations

import dataclasses
import re
from io import StringIO

import pytest
from rich.console import Console

from alphabench.judges import open_judge
from alphabench.reports.run_report import (
    Stamps,
    coverage_words,
    report_markdown,
    stamps,
    summary_lines,
    summary_table,
)
from alphabench.statistics import Cluster, over_all_groups
from alphabench.types import Estimate, ImageRequest, NotGenerated, Report
from tests.support.stored_runs import Answer, Made, RunMaker


def page_of(made: Made) -> str:
    return report_markdown(made.run, made.scored)


def half(request: ImageRequest) -> float:
    return float(request.index)


def troubled(request: ImageRequest) -> Answer:
    """Of 24 images: 3 refused, 2 failed to be made, 4 failed to be scored, 15 right."""
    number = 2 * int(request.sample.id) + request.index
    if number < 3:
        return NotGenerated(status="refused", reason="the filter | declined\n<b>it</b>")
    if number < 5:
        return NotGenerated(status="failed", reason="out of memory")
    return ("failed", "no `mask`") if number < 9 else 1.0


def nothing(_: ImageRequest) -> Answer:
    return ("failed", "the detector broke")


def test_the_report_opens_with_the_score_and_its_interval(make_run: RunMaker) -> None:
    page = page_of(make_run("scene:?error=0.5", answer=half))
    assert page.startswith("# geneval@1:mini: scene:?error=0.5\n")
    assert "**Score 0.500**, 95% interval 0.368 to 0.632, from 12 samples" in page
    assert re.search(r"\| one +\| +0\.500 \| +\[0\.270, 0\.730\] \| +6 \| +12 / 12 \|", page)


def test_a_complete_report_says_that_nothing_is_lacking(make_run: RunMaker) -> None:
    assert "Nothing: every expected verdict has a value." in page_of(make_run())


def test_every_unscored_image_is_accounted_for_by_its_reason(make_run: RunMaker) -> None:
    page = page_of(make_run(answer=troubled))
    assert re.search(r"\| +3 \| refused \| the filter \\\| declined &lt;b&gt;it&lt;/b&gt; ", page)
    assert re.search(r"\| +2 \| failed +\| out of memory +\| 00001/1, 00002/0", page)
    assert re.search(r"\| +4 \| failed \| no \\`mask\\` \| 00002/1, 00003/0, 00003/1 ", page)
    assert "If every other verdict were the worst possible, it would be 0.625" in page
    assert "if every one were the best, 1.000" in page


def test_nothing_scored_is_a_dash_and_never_a_zero(make_run: RunMaker) -> None:
    made = make_run(answer=nothing)
    texts = [page_of(made), "\n".join(summary_lines(made.report)), printed(made.report)]
    for text in texts:
        assert re.search("—:? +nothing scored", text)
        assert "0.000 [" not in text


@pytest.mark.parametrize(
    ("settings", "stamp"),
    [
        ({"limit": 4}, "**PARTIAL**: the run was limited to 4 samples."),
        (
            {"answer": troubled},
            "**PARTIAL**: 62.5% (15 of 24) of the expected verdicts have a value.",
        ),
        ({"identity": {"self_test": "off"}}, "**SELF-TEST OFF**"),
        ({"identity": {"self_test": "protocol"}}, "the evaluator was checked in part (protocol: "),
        (
            {"split": "", "evaluator": "judge", "identity": {"judge.kind": "nano"}},
            "the `nano` judge knows a small",
        ),
        ({"split": "mini", "evaluator": "mask2former"}, "not comparable with published ones"),
        ({"split": "", "evaluator": "nano"}, "not comparable with published ones"),
    ],
)
def test_what_limits_a_score_is_stamped_above_it(
    make_run: RunMaker, settings: dict[str, object], stamp: str
) -> None:
    page = page_of(make_run(**settings))  # type: ignore[arg-type]
    assert page.index(stamp) < page.index("**Score")


def test_a_full_official_run_carries_no_stamp(make_run: RunMaker) -> None:
    assert "\n> " not in page_of(make_run(split="", evaluator="mask2former"))


def test_the_report_names_all_that_it_rests_on(make_run: RunMaker) -> None:
    made = make_run("hub/model", pixels={"checkpoint.revision": "abc123", "seed": "5"})
    page = page_of(made)
    for words in ("5ab2abe224af3408", "abc123", "tiny", "official", "11.0"):
        assert f" {words} " in page
    assert made.folder.manifest.fingerprint in page


def test_the_command_can_be_given_again_and_shows_no_local_path(make_run: RunMaker) -> None:
    page = page_of(make_run("scene:?a=1&b=2"))
    assert "```\nalphabench run geneval:mini --ckpt 'scene:?a=1&b=2'\n```" in page
    assert "/somewhere" not in page


def test_the_summary_of_a_partial_run_says_so(make_run: RunMaker) -> None:
    lines = summary_lines(make_run(limit=4).report)
    assert lines[0] == "geneval:mini, official protocol, nano  PARTIAL  (brackets: 95% interval)"
    assert lines[1] == "score  1.000 [0.398, 1.000]  4 samples, 8 of 8 scored"


def test_a_withheld_headline_says_why_and_never_that_nothing_was_scored(
    make_run: RunMaker,
) -> None:
    report = make_run(limit=4).report
    clusters = [
        Cluster(sample_id=str(i), group="one", total=1.0, n_scored=1, n_expected=1) for i in (1, 2)
    ]
    figure, why = over_all_groups(report.headline, clusters, ["one", "two", "three"])
    withheld = dataclasses.replace(report, headline=figure, withheld=why)
    assert why == "2 of 3 groups have no sample"
    assert "score  — no headline: 2 of 3 groups have no sample" in summary_lines(withheld)[1]
    assert "no headline: 2 of 3 groups have no sample" in printed(withheld)
    assert "nothing scored" not in "\n".join(summary_lines(withheld))


@pytest.mark.parametrize("benchmark", ["gedit", "imgedit", "rise"])
def test_a_judge_that_does_not_see_edits_is_named_beside_its_scores(
    make_run: RunMaker, benchmark: str
) -> None:
    made = make_run()
    report = dataclasses.replace(made.report, benchmark=benchmark)
    before = "sha256:5257914ea261595a057d30d31ccf9564e8ac03937bff5226a9c7b4b13ea0f2c5"
    identity = {"judge.kind": "nano", "judge.model": before}
    marks = stamps(report, made.folder.manifest, identity)
    assert any("DOES NOT SEE EDITS" in line for line in summary_lines(report, marks))


def test_the_shipped_judge_sees_edits(make_run: RunMaker) -> None:
    made = make_run()
    report = dataclasses.replace(made.report, benchmark="gedit")
    identity = {f"judge.{key}": text for key, text in open_judge("nano").identity.items()}
    assert identity["judge.model"].startswith("sha256:")
    marks = stamps(report, made.folder.manifest, identity)
    assert not any("DOES NOT SEE EDITS" in line for line in summary_lines(report, marks))


def test_the_terminal_table_shows_the_same_figures(make_run: RunMaker) -> None:
    text = printed(make_run(answer=troubled).report)
    assert "15 / 24" in text
    assert "0.625 to 1.000" in text


def empty(n_expected: int = 0) -> Estimate:
    return Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=n_expected)


def test_groups_without_a_sample_are_one_line_and_no_rows(make_run: RunMaker) -> None:
    made = make_run(limit=4)
    groups = {**made.report.groups, "three": empty(), "four": empty(), "five": empty(2)}
    report = dataclasses.replace(made.report, groups=groups, extras={"more": empty()})
    evaluation = dataclasses.replace(made.scored, report=report)
    texts = {
        "lines": "\n".join(summary_lines(report)),
        "table": printed(report),
        "page": report_markdown(made.run, evaluation),
    }
    for text in texts.values():
        assert f"2 of {len(groups)} groups have no sample in this run" in text
        assert "three" not in text
        assert re.search(r"five.*nothing scored", text)
    assert "1 of 1 metric has no sample in this run." in texts["page"]


@pytest.mark.parametrize("width", [60, 80])
def test_the_terminal_table_fits_and_breaks_no_number(make_run: RunMaker, width: int) -> None:
    made = make_run(limit=4)
    whole = made.report.groups["one"]
    groups = {f"Attribute+Reasoning {kind}": whole for kind in ("short", "long")}
    report = dataclasses.replace(made.report, groups={**groups, "of": empty(4)})
    lines = printed(report, stamps(report, made.folder.manifest), width=width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum("[0.158, 1.000]" in line for line in lines) == 2
    assert any(re.search(r"score +1\.000 +\[0\.398, 1\.000\] +4 +8 / 8", line) for line in lines)
    assert any("PARTIAL: the run was limited to 4 samples" in line for line in lines)


def printed(report: Report, marks: Stamps = (), *, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(summary_table(report, marks))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_coverage_is_never_rounded_up_to_everything(make_run: RunMaker) -> None:
    report = make_run().report
    almost = Estimate(value=1.0, low=1.0, high=1.0, n_samples=553, n_scored=2_211, n_expected=2_212)
    lacking = dataclasses.replace(report, headline=almost, coverage=2_211 / 2_212)
    assert coverage_words(report) == "100% (24 of 24)"
    assert coverage_words(lacking) == "99.9% (2211 of 2212)"
