"""ImgEdit-Bench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.benchmarks.imgedit.official_files import (
    OFFICIAL,
    OFFICIAL_UGE,
    WITH_STRAYS,
    imgedit_results_text,
    read_imgedit_results,
    summarise_imgedit_results,
)
from alphabench.benchmarks.imgedit.scoring import OVER_EDITS, mean_as_upstream
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.score_lines import scores_in_lines
from alphabench.upstream import UpstreamData


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "imgedit"


@pytest.fixture
def nothing(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path)


def test_replies_are_read_as_upstream_reads_them(golden: Path) -> None:
    cases = json.loads((golden / "parse_cases.json").read_text())
    assert len(cases) == 50
    for case in cases:
        scores = scores_in_lines(case["text"])
        if isinstance(case["average"], dict):  # upstream's script stops there
            assert scores is None
        else:
            assert scores is not None
            assert (mean_as_upstream(scores) if scores else None) == case["average"], case["text"]


def test_scores_of_edits_and_types_are_upstreams_to_the_digit(
    golden: Path, nothing: UpstreamData
) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    scores = read_imgedit_results(golden / "result.json")
    read = {key: score for key, score in scores.items() if score is not None}
    assert read == expected["average_score"]
    assert sorted(scores.keys() - read.keys()) == expected["dropped"]
    report = summarise_imgedit_results(golden / "result.json", nothing)
    assert list(json.loads(imgedit_results_text(report)).items()) == list(
        expected["typescore"].items()
    )
    ours = expected["not_in_upstream"]
    assert report.headline.value == pytest.approx(ours["mean_of_the_types_shown"], abs=1e-12)
    assert report.extras[OVER_EDITS].value == pytest.approx(
        ours["mean_over_edits_with_a_type"], abs=1e-12
    )
    fork = expected["bagel_fork_typescore"]
    assert report.extras[WITH_STRAYS].value == fork.pop("overall")
    assert fork == expected["typescore"]
    dropped = len(expected["dropped"])
    assert report.statuses == {"scored": len(read) - 1, "unparsed": dropped, "missing": 0}
    assert report.notes == ("1 keys are no edits, and are in no type",)


def test_the_suite_of_hard_edits_has_upstreams_one_number(
    golden: Path, nothing: UpstreamData
) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    wanted = expected["uge_final_average_of_the_same_replies"]
    report = OFFICIAL_UGE.summarise(golden / "result.json", nothing)
    assert (report.headline.value, report.split) == (wanted, "uge")
    assert OFFICIAL_UGE.text(report) == str(wanted)


def test_average_scores_are_read_where_upstreams_first_script_has_written_them(
    golden: Path, nothing: UpstreamData, tmp_path: Path
) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    (tmp_path / "average_score.json").write_text(json.dumps(expected["average_score"]))
    (tmp_path / "basic_edit.json").write_bytes((golden / "basic_edit.json").read_bytes())
    report = OFFICIAL.summarise(tmp_path, nothing)
    assert json.loads(OFFICIAL.text(report)) == expected["typescore"]
    assert report.statuses["missing"] == len(expected["dropped"])


def test_a_stored_failure_stops_the_summary_as_it_stops_upstreams_script(
    golden: Path, nothing: UpstreamData, tmp_path: Path
) -> None:
    replies = json.loads((golden / "result.json").read_text())
    (tmp_path / "basic_edit.json").write_bytes((golden / "basic_edit.json").read_bytes())
    for stored in ({"error": "timeout"}, "Prompt Compliance: \u00b2", None, True):
        replies["1000"] = stored
        (tmp_path / "result.json").write_text(json.dumps(replies))
        with pytest.raises(AlphaBenchError, match=r"'1000' in .* neither a reply"):
            summarise_imgedit_results(tmp_path, nothing)
