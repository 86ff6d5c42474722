"""What a dry run says: what exists, how images would be made, what a judge is asked, what lacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from alphabench.benchmarks import open_benchmark
from alphabench.interfaces import Generator
from alphabench.judges import open_judge
from alphabench.runs.earlier_runs import EarlierRuns
from alphabench.runs.plan import CheckpointFactory, checkpoint_factory, open_evaluation, plan_run
from alphabench.runs.preview import Preview, preview
from alphabench.runs.run import Work, execute_plan
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights.memory import WeightSize
from tests.support.fakes import Dots, Reds


def fresh_dots(*, device: str) -> Generator:
    return Dots()


class Slow(Dots):
    def generate(self, requests: Sequence[ImageRequest]) -> list[Image.Image | NotGenerated]:
        time.sleep(0.01)
        return super().generate(requests)


def slow_dots(*, device: str) -> Generator:
    return Slow()


@dataclass
class Described(Dots):
    """Dots with settings and weights."""

    settings: Mapping[str, str] | None = None
    default_settings: Mapping[str, str] | None = None
    size: WeightSize | None = None

    def weight_size(self) -> WeightSize | None:
        return self.size


def preview_of(
    generator: Generator | None = None, *, out: Path, limit: int | None = None
) -> Preview:
    def the_one(*, device: str) -> Generator:
        return generator or Dots()

    checkpoint = CheckpointFactory(name="dots", open=the_one)
    plan = plan_run(Reds(), checkpoint, out=out, limit=limit)
    return preview(plan, plan.evaluator, device="cpu")


def test_a_preview_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    shown = preview_of(out=out, limit=6)
    text = str(shown)
    assert "6 (PARTIAL, of 12)" in text
    assert "12 (2 per sample)" in text
    assert "Apache-2.0" in text
    assert (shown.numbers["images"], shown.numbers["images_existing"]) == (12, 0)
    assert not out.exists()


def test_images_that_exist_are_counted_and_tell_how_long_the_rest_takes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = plan_run(Reds(), CheckpointFactory(name="dots", open=slow_dots), out=out, limit=3)
    execute_plan(few, open_evaluation(Reds(), "brightness"), Work())
    shown = preview_of(out=out)
    assert shown.facts["images"] == "24 (2 per sample), 6 of them exist already"
    assert shown.numbers["images_existing"] == 6
    assert "to generate the rest on one device" in shown.facts["time"]
    assert shown.facts["time"].endswith("s an image so far")
    assert not shown.refused


def test_before_the_first_image_the_time_is_that_of_an_earlier_run_or_unknown(
    tmp_path: Path,
) -> None:
    plan = plan_run(
        Reds(), CheckpointFactory(name="dots", open=slow_dots), out=tmp_path / "new", seed=1
    )
    earlier = tmp_path / "runs"
    unknown = preview(plan, "brightness", device="cpu", earlier=EarlierRuns([earlier]))
    assert unknown.facts["time"].startswith("not known before the first image")
    assert "seconds_per_image" not in unknown.numbers
    few = plan_run(
        Reds(), CheckpointFactory(name="dots", open=slow_dots), out=earlier / "dots", limit=3
    )
    execute_plan(few, open_evaluation(Reds(), "brightness"), Work())
    known = preview(plan, "brightness", device="cpu", earlier=EarlierRuns([earlier]))
    assert known.facts["time"].endswith(f"s an image as in {earlier / 'dots'}")
    assert known.numbers["pace_from"] == str(earlier / "dots")


def test_a_folder_that_holds_another_run_is_missing_and_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = plan_run(Reds(), CheckpointFactory(name="dots", open=fresh_dots), out=out, limit=3)
    execute_plan(few, open_evaluation(Reds(), "brightness"), Work())
    shown = preview_of(Dots(name="others"), out=out)
    assert shown.refused
    assert "holds another run" in shown.missing[0]


def test_settings_are_shown_with_those_that_were_changed_first(tmp_path: Path) -> None:
    described = Described(
        settings={"size": "64x64", "steps": "20", "think": "on"},
        default_settings={"size": "64x64", "steps": "50"},
    )
    shown = preview_of(described, out=tmp_path / "run")
    assert shown.facts["settings"] == "steps=20; think=on; size=64x64"
    assert shown.facts["changed"] == "steps=20 (default 50)"
    assert shown.numbers["changed_settings"] == {"steps": "20", "think": "on"}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "size not known before they are on this machine"),
        (
            WeightSize(stored=5 * 2**30, loaded=3 * 2**20),
            "5.0 GiB on disk, 3 MiB in memory without activations; cpu has ",
        ),
    ],
)
def test_the_size_of_weights_is_shown_where_it_is_known(
    tmp_path: Path, size: WeightSize | None, words: str
) -> None:
    described = Described(settings={}, default_settings={}, size=size)
    shown = preview_of(described, out=tmp_path / "run")
    assert shown.facts["weights"].startswith(words)


@dataclass
class Counted(Described):
    """Dots that say how much memory a batch takes."""

    peak: int | None = None

    def peak_bytes(self) -> int | None:
        return self.peak


@pytest.mark.parametrize(
    ("loaded", "peak", "shown_as"),
    [(27 * 2**30, 30 * 2**30, "30.0 GiB, counted"), (2**20, 2**21, ""), (2**31, None, "")],
)
def test_the_peak_of_a_batch_is_shown_for_large_weights(
    tmp_path: Path, loaded: int, peak: int | None, shown_as: str
) -> None:
    size = WeightSize(stored=loaded, loaded=loaded)
    counted = Counted(settings={}, default_settings={}, size=size, peak=peak)
    facts = preview_of(counted, out=tmp_path / "run").facts
    assert facts.get("peak memory", "").startswith(shown_as)
    assert ("peak memory" in facts) == bool(shown_as)


def test_the_embedded_model_shows_its_size_and_settings(tmp_path: Path) -> None:
    checkpoint = checkpoint_factory("nano", options={"timesteps": "20"})
    plan = plan_run(open_benchmark("geneval:mini"), checkpoint, out=tmp_path / "run")
    shown = preview(plan, plan.evaluator, device="cpu")
    assert shown.facts["changed"] == "timesteps=20 (default 13)"
    assert shown.facts["weights"].startswith("15 MiB on disk")
    assert shown.facts["model licences"].startswith("nano: Apache-2.0")


@pytest.mark.parametrize(
    ("name", "n_calls", "tries"), [("tiif:mini", 154, 1), ("gedit:mini", 108, 1)]
)
def test_the_questions_to_a_judge_are_counted(
    tmp_path: Path, name: str, n_calls: int, tries: int
) -> None:
    shown = judged(name, "http://127.0.0.1:9/v1#m", tmp_path / "run")
    assert (shown.numbers["judge_calls"], shown.numbers["judge_tries"]) == (n_calls, tries)
    assert shown.facts["judge calls"].startswith(f"{n_calls} about 5")
    assert shown.numbers["judge_most_usd"] is None
    assert "price_in" in shown.facts["judge cost"]


def test_a_judge_with_prices_has_a_bound_on_its_cost_with_its_assumptions(tmp_path: Path) -> None:
    shown = judged("wise:mini", "http://127.0.0.1:9/v1#m?price_in=10&price_out=0", tmp_path / "run")
    most = shown.numbers["judge_most_usd"]
    assert 36 * 2000 * 10 / 1e6 < most < 3 * 36 * 2000 * 10 / 1e6
    assert shown.facts["judge cost"].startswith(f"at most about ${most:.2f}")
    assert "assumes 2,000 tokens an image" in shown.facts["judge cost"]
    assert "up to 3 times" in shown.facts["judge calls"]


def test_openai_without_a_key_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ALPHABENCH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    url = "https://api.openai.com/v1#gpt-4.1-2025-04-14"
    assert judged("wise:mini", url, tmp_path / "a").refused
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert not judged("wise:mini", url, tmp_path / "b").refused


def test_long_facts_go_on_below_themselves(tmp_path: Path) -> None:
    described = Described(
        settings={f"setting_{n}": "value" for n in range(20)}, default_settings={}
    )
    lines = preview_of(described, out=tmp_path / "run").lines(60)
    assert max(map(len, lines)) <= 60
    begin = next(n for n, line in enumerate(lines) if line.startswith("settings"))
    assert lines[begin + 1].startswith(" " * 16 + "setting_")


def judged(name: str, spec: str, out: Path) -> Preview:
    judge = open_judge(spec)
    plan = plan_run(open_benchmark(name), checkpoint_factory("scene:"), out=out)
    return preview(plan, f"{plan.evaluator}?wording=own", judge=judge, device="cpu")
