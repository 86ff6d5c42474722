"""A node that is not as the driver's machine is refused with one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from alphabench.runs.ray_actor import driver_facts, prepare_node


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probe").write_text("token")
    variables = {"HF_HOME": "/shared/hf", "ALPHABENCH_CACHE": "/shared/cache", "SHELL": "/bin/sh"}
    return driver_facts(variables, {str(tmp_path / "probe"): "token"})


def refusal(facts: dict[str, Any]) -> str:
    found = prepare_node(facts, "10.0.0.3")
    return "" if found is None else f"{found.message} / {found.hint}"


def test_a_node_as_the_drivers_takes_over_its_folder_and_the_variables_that_it_lacks(
    facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("ALPHABENCH_CACHE", "/local/cache")
    monkeypatch.setenv("HF_HOME", "")
    monkeypatch.delenv("HF_HOME")
    assert refusal(facts) == ""
    assert Path.cwd() == tmp_path
    assert os.environ["HF_HOME"] == "/shared/hf"
    assert os.environ["ALPHABENCH_CACHE"] == "/local/cache"
    assert "SHELL" not in facts["environment"]


def test_another_version_of_a_package_is_refused(facts: dict[str, Any]) -> None:
    facts["packages"]["torch"] = "1.0"
    assert "10.0.0.3 has torch 2." in refusal(facts)
    assert "and this machine has 1.0" in refusal(facts)


def test_other_code_of_the_same_version_is_refused(facts: dict[str, Any]) -> None:
    facts["code"] = "0" * 64
    assert "10.0.0.3 has other code of alphabench" in refusal(facts)


@pytest.mark.parametrize("content", [None, "an older token"])
def test_a_folder_that_the_node_does_not_share_is_refused(
    facts: dict[str, Any],
    content: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alphabench.runs.ray_actor._SECONDS_FOR_TOKEN", 0.0)
    if content is None:
        (tmp_path / "probe").unlink()
    else:
        (tmp_path / "probe").write_text(content)
    assert f"10.0.0.3 does not see the folder {str(tmp_path)!r}" in refusal(facts)
    assert "--shard 1/2" in refusal(facts)
