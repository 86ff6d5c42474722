from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.comparison import ComparisonBasis
from alphabench.reports.leaderboard import INDEX, BasisOf, Leaderboard, rank_runs
from alphabench.reports.published import Published, PublishedRow
from alphabench.runs.serialization import report_from_json
from alphabench.runs.stored_run import StoredRun
from alphabench.types import ImageRequest, ProtocolName
from tests.support.stored_runs import Answer, Made, RunMaker

HOSTILE = "evil | <img src=x onerror=alert(1)>\n# big `code` [x](javascript:1)"


def basis_of(make_run: RunMaker) -> BasisOf:
    return lambda _folder, _protocol: ComparisonBasis(samples=make_run.samples)


def pages_of(make_run: RunMaker, *runs: Made) -> dict[str, str]:
    return rank_runs([run.folder for run in runs], basis_of(make_run)).pages()


def rows(page: str) -> list[list[str]]:
    """Cells of every table row that leads to a report, in order."""
    lines = [line for line in page.split("\n") if "[report][" in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def all_wrong(_: ImageRequest) -> Answer:
    return 0.0


def half(request: ImageRequest) -> Answer:
    return float(request.index)


def one_wrong(request: ImageRequest) -> Answer:
    return float(request.sample.id != "00003")


def test_rows_are_ordered_by_score_with_their_intervals(make_run: RunMaker) -> None:
    runs = (make_run("bad", answer=all_wrong), make_run("good"), make_run("so-so", answer=half))
    page = pages_of(make_run, *runs)["geneval.md"]
    assert [row[:4] for row in rows(page)] == [
        ["1", "good", "1.000", "[0.735, 1.000]"],
        ["2", "so-so", "0.500", "[0.368, 0.632]"],
        ["3", "bad", "0.000", "[0.000, 0.265]"],
    ]
    assert "Brackets are 95% intervals" in page
    assert "±" not in page


def test_runs_that_cannot_be_told_apart_share_a_rank(make_run: RunMaker) -> None:
    runs = (make_run("a"), make_run("b", answer=one_wrong), make_run("c", answer=half))
    page = pages_of(make_run, *runs)["geneval.md"]
    assert [row[0] for row in rows(page)] == ["1=", "1=", "3"]


def test_a_chain_of_small_steps_does_not_tie_the_best_with_the_worst(make_run: RunMaker) -> None:
    """Neighbours differ by two samples of twelve, the ends by eight."""

    def steps(wrong: int) -> Made:
        return make_run(f"w{wrong}", answer=lambda r: float(int(r.sample.id) >= wrong))

    page = pages_of(make_run, *[steps(wrong) for wrong in (0, 2, 4, 6, 8)])["geneval.md"]
    ranks = [row[0] for row in rows(page)]
    assert ranks[0] == ranks[1] == "1="
    assert ranks[-1] != "1="


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": {"benchmark.data_digest": "ffff"}},
        {"pixels": {"benchmark.prompt_style": "rewritten"}},
        {"pixels": {"benchmark.images_per_sample": "1"}},
        {"identity": {"detector": "another"}},
        {"identity": {"protocol": "strict"}},
        {"split": ""},
    ],
)
def test_results_measured_differently_never_share_a_table(
    make_run: RunMaker, change: dict[str, object]
) -> None:
    page = pages_of(make_run, make_run("a"), make_run("b", **change))["geneval.md"]  # type: ignore[arg-type]
    assert [row[0] for row in rows(page)] == ["1", "1"]
    assert page.count("| rank |") == 2


def test_two_tables_of_one_benchmark_say_what_sets_them_apart(make_run: RunMaker) -> None:
    page = pages_of(make_run, make_run("a"), make_run("b", identity={"detector": "another"}))
    assert re.search(r"table above: evaluator\.detector: '\w+' against '\w+'", page["geneval.md"])


@pytest.mark.parametrize(
    ("change", "stamp"),
    [
        ({"limit": 4}, "**PARTIAL (4 samples)**"),
        ({"identity": {"self_test": "off"}}, "**SELF-TEST OFF**"),
        ({"identity": {"self_test": "protocol"}}, "**SELF-TEST IN PART**"),
        ({"answer": lambda _: ("failed", "broke")}, "**PARTIAL (0% scored)** **NOTHING SCORED**"),
        (
            {"answer": lambda r: ("failed", "broke") if r.sample.id == "00001" else 1.0},
            "**PARTIAL (91.7% scored)** **LOW COVERAGE**",
        ),
    ],
)
def test_a_run_that_is_no_full_result_is_stamped_and_unranked(
    make_run: RunMaker, change: dict[str, object], stamp: str
) -> None:
    reserved = make_run("b", **change)  # type: ignore[arg-type]
    page = pages_of(make_run, reserved, make_run("a", answer=half))["geneval.md"]
    assert [(row[0], row[1]) for row in rows(page)] == [("1", "a"), ("—", f"b {stamp}")]


def test_a_run_with_gaps_shows_its_coverage_and_what_the_gaps_could_change(
    make_run: RunMaker,
) -> None:
    def gap(request: ImageRequest) -> Answer:
        return ("refused", "no") if request.sample.id == "00001" else half(request)

    page = pages_of(make_run, make_run("a", answer=gap))["geneval.md"]
    assert rows(page)[0][6] == "91.7% (22 of 24)"
    assert "bounds if all others are worst or best: 0.458 and 0.542." in page


def test_namesakes_are_told_apart_by_what_differs(make_run: RunMaker) -> None:
    runs = (make_run("m", pixels={"seed": "1"}), make_run("m", pixels={"seed": "2"}))
    names = [row[1] for row in rows(pages_of(make_run, *runs)["geneval.md"])]
    assert sorted(names) == ["m (seed=1)", "m (seed=2)"]


def test_every_row_leads_to_a_copy_of_its_report(make_run: RunMaker) -> None:
    run = make_run("scene:?error=0.2", answer=half)
    pages = pages_of(make_run, run)
    (link,) = re.findall(r"^\[1\.1\]: (\S+)$", pages["geneval.md"], re.MULTILINE)
    assert "**Score 0.500**" in pages[link]
    assert "gallery.html" not in pages[link]
    figures = json.loads(pages[link.removesuffix(".md") + ".json"])
    assert report_from_json(figures) == run.report


def test_the_order_of_folders_changes_nothing(make_run: RunMaker) -> None:
    runs = (make_run("a"), make_run("b", answer=one_wrong), make_run("c", answer=half))
    assert pages_of(make_run, *runs) == pages_of(make_run, *reversed(runs))


def test_hostile_names_stay_inside_their_cell(make_run: RunMaker) -> None:
    pages = pages_of(make_run, make_run(HOSTILE), make_run("a", answer=half))
    ((_, name, *_), _) = rows(pages["geneval.md"])
    assert name.startswith(r"evil \| &lt;img src=x onerror=alert(1)&gt; # big \`code\`")
    outside_code = {
        path: re.sub(r"(?s)^```\n.*?\n```$", "", t, flags=re.MULTILINE) for path, t in pages.items()
    }
    assert all("<img" not in text for path, text in outside_code.items() if path.endswith(".md"))
    assert all(re.fullmatch(r"[A-Za-z0-9./-]+", path) for path in pages)


def test_the_index_names_the_highest_full_result_of_every_table(make_run: RunMaker) -> None:
    runs = (make_run("a", answer=half), make_run("b"), make_run("c", limit=4, split="long"))
    index = pages_of(make_run, *runs)[INDEX]
    mini, long = [line for line in index.split("\n") if "](geneval.md)" in line]
    assert re.search(r"\| +2 \| b +\| +1\.000 \[0\.735, 1\.000\] \|", long + mini)
    assert re.search(r"\| +1 \| — +\| +— \|", mini + long)


def test_published_figures_stand_below_and_are_not_ranked(make_run: RunMaker) -> None:
    row = PublishedRow(
        model="Theirs", prompts="original", overall=0.99, source="README", url="https://x.org/r"
    )
    published = Published(benchmark="geneval", note="Copied.", groups=["one"], rows=[row])
    pages = rank_runs(
        [make_run("ours", answer=half).folder], basis_of(make_run), published=[published]
    ).pages()
    ours, _, theirs = pages["geneval.md"].partition("## Published elsewhere, not ranked with ours")
    assert "Theirs" not in ours
    assert re.search(r"\| Theirs \| +0\.99 \| +— \| \[README\]", theirs)
    assert "Theirs" not in pages[INDEX]


def test_without_the_benchmarks_data_the_table_says_that_ties_were_not_looked_for(
    make_run: RunMaker,
) -> None:
    def unfetched(run: StoredRun, protocol: ProtocolName) -> ComparisonBasis:
        raise AlphaBenchError("the data is not fetched", hint="`alphabench fetch geneval`")

    folders = [make_run("a").folder, make_run("b", answer=one_wrong).folder]
    page = rank_runs(folders, unfetched).pages()["geneval.md"]
    assert [row[0] for row in rows(page)] == ["1", "2"]
    assert "Ties were not tested: the data is not fetched" in page


def test_a_damaged_run_is_passed_over_with_a_note_and_the_others_are_ranked(
    make_run: RunMaker,
) -> None:
    good, row, report = (make_run(name) for name in ("good", "row", "report"))
    (row.folder.root / "verdicts" / f"{row.evaluation}.jsonl").write_text("{}\n")
    (report.folder.root / "reports" / f"{report.evaluation}.json").write_text("{")
    notes: list[str] = []
    folders = [one.folder for one in (row, good, report)]
    pages = rank_runs(folders, basis_of(make_run), note=notes.append).pages()
    assert [cells[1] for cells in rows(pages["geneval.md"])] == ["good"]
    assert len(notes) == 2
    assert all(str(one.folder.root) in note for one, note in zip((row, report), notes, strict=True))


def test_folders_without_a_report_are_refused() -> None:
    with pytest.raises(AlphaBenchError, match="none of these 0 run folders has a report"):
        rank_runs([], lambda _folder, _protocol: ComparisonBasis(samples=[]))


def test_pages_are_written_and_other_files_left_alone(make_run: RunMaker, tmp_path: Path) -> None:
    out = tmp_path / "board"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    index = rank_runs([make_run("a").folder], basis_of(make_run)).write(out)
    assert index == out / "README.md"
    assert (out / "mine.txt").read_text() == "kept"
    assert (out / "geneval.md").is_file()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlphaBenchError, match="cannot be written"):
        Leaderboard(tables=[], published=[], copies={}).write(tmp_path / "file")
