"""Open judges that benchmarks prescribe: options that open, sizes that are counted, one page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge
from alphabench.judges.profiles import (
    PROFILES,
    JudgeProfile,
    Prescription,
    describe_profile,
    find_profile,
)
from tools.perf.judge_memory import GIB, judges, weights

PAGE = (Path(__file__).parents[2] / "docs" / "judge_servers.md").read_text(encoding="utf-8")
EVERY = [(profile, one) for profile in PROFILES for one in profile.prescriptions]
NAMED = ("Qwen3.5-9B", "Qwen3.5-35B-A3B", "Qwen3-VL-8B-Instruct", "Qwen3-VL-32B-Instruct",
         "Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-72B-Instruct", "EditScore-7B",
         "UniGenBench-EvalModel-qwen3vl-32b-v1", "UnifiedReward-2.0-qwen-7b")  # fmt: skip


def identifier(value: object) -> str:
    return value.by if isinstance(value, Prescription) else str(getattr(value, "model", value))


@pytest.mark.parametrize("name", NAMED)
def test_a_prescribed_judge_is_found_by_its_short_name(name: str) -> None:
    assert find_profile(name.upper()).model.endswith(name)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="no profile of a judge named") as refused:
        find_profile("Qwen3-VL-8B-Instrukt")
    assert "Qwen3-VL-8B-Instruct" in refused.value.hint


@pytest.mark.parametrize(("profile", "one"), EVERY, ids=identifier)
def test_the_judge_that_is_printed_opens_and_says_its_options(
    profile: JudgeProfile, one: Prescription
) -> None:
    printed = "\n".join(describe_profile(profile))
    specs = re.findall(r"--judge '([^']+)'", printed)
    assert len(specs) == len(profile.prescriptions)
    identity = open_judge(specs[profile.prescriptions.index(one)]).identity
    assert identity["model"] == profile.model
    assert identity.get("thinking") == {"none": None, "on": "True", "off": "False"}[one.thinking]
    assert {f"body.{name}" for name, _ in one.further} <= identity.keys()


@pytest.mark.parametrize(("profile", "one"), EVERY, ids=identifier)
def test_the_page_has_the_same_row(profile: JudgeProfile, one: Prescription) -> None:
    (row,) = [
        line for line in PAGE.splitlines() if line.startswith(f"| `{profile.model}` | {one.by} |")
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    tokens = f"{one.max_tokens:,}" if one.max_tokens else "no bound"
    thinking = "—" if one.thinking == "none" else one.thinking
    options = f"`{profile.options(one)}`" if profile.options(one) else "—"
    assert cells[3:] == [
        tokens, thinking, options, f"{profile.context:,}", f"{profile.size.weights_gib:g}",
    ]  # fmt: skip
    assert cells[2].startswith("not sent" if one.temperature is None else f"{one.temperature:g}")


def sizes_of(model: str) -> list[JudgeProfile]:
    """The profiles that a counted model gives the sizes of, in the page's own words."""
    bases = {
        "Qwen2.5-VL-7B-Instruct": ("EditScore-7B", "UnifiedReward-2.0-qwen-7b"),
        "Qwen3-VL-8B-Instruct": ("UnifiedReward-2.0-qwen3vl-8b",),
        "Qwen3-VL-32B-Instruct": ("UniGenBench-EvalModel-qwen3vl-32b-v1",),
    }
    names = (model, *bases.get(model, ()))
    return [one for one in PROFILES if one.model.rpartition("/")[2] in names]


def check_size(model: str) -> None:
    (judge,) = [one for one in judges() if one.name == model]
    _, size = weights(judge)
    for profile in sizes_of(model):
        assert profile.size.weights_gib == round(size / GIB, 1)
        assert profile.size.kv_mib == round(judge.token_bytes * 1000 / 2**20)
        assert profile.size.state_mib == round(judge.state_bytes / 2**20)
        assert profile.size.pixels_per_token == judge.pixels_per_token


def test_a_size_is_the_one_that_is_counted() -> None:
    check_size("Qwen2.5-VL-7B-Instruct")


@pytest.mark.whole
@pytest.mark.parametrize("model", [one.name for one in judges()])
def test_every_size_is_the_one_that_is_counted(model: str) -> None:
    check_size(model)
