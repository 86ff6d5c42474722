"""What is absent is told from what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.doctor import Finding, examine
from alphabench.upstream import UpstreamData
from tests import tiny_models


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path / "cache")


def test_the_embedded_detector_passes(data: UpstreamData) -> None:
    (finding,) = examine("nano", data, device="cpu")
    assert finding.healthy
    assert str(finding) == "ok      evaluator nano: self-test passed"


def test_weights_that_find_nothing_right_are_a_fault_not_an_absence(
    data: UpstreamData, tmp_path: Path
) -> None:
    detector = tiny_models.save_mask2former(tmp_path / "detector")
    clip = tiny_models.save_clip(tmp_path / "clip")
    spec = f"mask2former?detector={detector}&clip={clip}"
    (finding,) = examine(spec, data, device="cpu")
    assert not finding.healthy
    assert not finding.optional
    assert str(finding).startswith("FAILED  evaluator mask2former?")


def test_an_evaluator_that_was_asked_for_and_is_not_here_is_a_fault(data: UpstreamData) -> None:
    (finding,) = examine("mmdet", data, device="cpu")
    assert not finding.healthy


def test_everything_is_looked_at_and_what_is_not_here_is_no_fault(data: UpstreamData) -> None:
    findings = list(examine(None, data, device="cpu"))
    subjects = {finding.subject.split()[0] for finding in findings}
    assert subjects == {"python", "extra", "data", "evaluator"}
    assert all(finding.healthy for finding in findings)
    assert [f for f in findings if f.optional and f.subject == "data geneval"]


def test_a_fault_is_marked_as_one() -> None:
    assert str(Finding(subject="x", healthy=False, words="broken")) == "FAILED  x: broken"
