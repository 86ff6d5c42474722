"""What is absent is told from what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alphabench.cli.doctor import Finding, absences_text, check_installation
from alphabench.evaluators.detection.mask2former.official_weights import OFFICIAL
from alphabench.upstream import UpstreamData
from tests.support import tiny_models
from tests.support.mmdet_tiny import save_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path / "cache")


def test_the_embedded_detector_passes(data: UpstreamData) -> None:
    (finding,) = check_installation("nano", data, device="cpu")
    assert finding.healthy
    assert str(finding) == "ok      evaluator nano: self-test passed"


def test_weights_that_find_nothing_right_are_a_fault_not_an_absence(
    data: UpstreamData, tmp_path: Path
) -> None:
    detector = tiny_models.save_mask2former(tmp_path / "detector")
    clip = tiny_models.save_clip(tmp_path / "clip")
    spec = f"mask2former?detector={detector}&clip={clip}"
    (finding,) = check_installation(spec, data, device="cpu")
    assert not finding.healthy
    assert not finding.optional
    assert str(finding).startswith("FAILED  evaluator mask2former?")


def test_a_metric_is_tested_when_it_is_requested(data: UpstreamData, tmp_path: Path) -> None:
    clip = tiny_models.save_clip(tmp_path / "clip")
    (finding,) = check_installation(f"clipscore?clip={clip}", data, device="cpu")
    assert not finding.healthy
    assert "the photograph of a" in str(finding)


def test_an_evaluator_that_was_requested_and_is_not_here_is_a_fault(data: UpstreamData) -> None:
    (finding,) = check_installation("mmdet", data, device="cpu")
    assert not finding.healthy


def test_everything_is_looked_at_and_what_is_not_here_is_no_fault(data: UpstreamData) -> None:
    findings = list(check_installation(None, data, device="cpu"))
    subjects = {finding.subject.split()[0] for finding in findings}
    assert subjects == {"python", "extra", "data", "evaluator"}
    assert all(finding.healthy for finding in findings)
    assert [f for f in findings if f.optional and f.subject == "data geneval"]


def test_a_fault_is_marked_as_one() -> None:
    assert str(Finding(subject="x", healthy=False, text="broken")) == "FAILED  x: broken"


def test_fetched_weights_that_were_damaged_are_a_fault_not_an_absence(data: UpstreamData) -> None:
    fetched = data.cache_dir / "detectors" / OFFICIAL.name
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"cut short")
    (finding,) = [
        one
        for one in check_installation(None, data, device="cpu")
        if one.subject.endswith(":official")
    ]
    assert not finding.healthy
    assert str(finding).startswith("FAILED  evaluator mask2former:official: the content of")


def test_an_evaluator_whose_self_test_is_off_did_not_pass_it(
    data: UpstreamData, tmp_path: Path
) -> None:
    weights = save_checkpoint(tmp_path / "a.pth", 2)
    clip = tiny_models.save_clip(tmp_path / "clip")
    spec = f"mask2former:official?self_test=off&weights={weights}&clip={clip}"
    (finding,) = check_installation(spec, data, device="cpu")
    assert not finding.healthy
    assert finding.text == "not tested (self_test=off)"


def test_a_build_that_breaks_off_in_a_self_test_is_a_fault(
    data: UpstreamData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conv2d(*_: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    (finding,) = check_installation("nano", data, device="cpu")
    assert not finding.healthy
    assert finding.text.startswith(
        "the self-test could not run: RuntimeError: no kernel image is available"
    )


def test_what_is_absent_is_one_line_each_with_the_command_for_it() -> None:
    findings = [
        Finding(subject="extra a", healthy=True, text="", optional=True, remedy="install a"),
        Finding(subject="data x", healthy=True, text="", optional=True, remedy="fetch x"),
        Finding(subject="data y", healthy=True, text="", optional=True, remedy="fetch y"),
        Finding(subject="evaluator z", healthy=True, text="passed"),
    ]
    lines = absences_text(findings).splitlines()
    assert lines[1] == "optional, not installed or not fetched:"
    assert [line.split()[:2] for line in lines[2:4]] == [["extra", "a"], ["official", "data"]]
    assert "alphabench fetch all" in lines[3]
    assert absences_text(findings[3:]) == ""
