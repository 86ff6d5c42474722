"""Refinement of the images of an earlier run, and images that are sampled anew in their place."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from alphabench.benchmarks import open_benchmark
from alphabench.cli import build_app
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.judges.scripted import ScriptedJudge
from alphabench.runs.factories import open_refined
from alphabench.runs.initial_images import open_initial_images
from alphabench.runs.plan import checkpoint_factory, requests_for
from alphabench.runs.store import RunFolder
from alphabench.types import NOTES, ImageRequest, NotGenerated
from tests.support.tiny_bagel import save_bagel

OWN = {
    "timesteps": 3, "width": 32, "height": 32, "latent_longest": 32, "latent_shortest": 32,
    "patch_longest": 28, "patch_shortest": 28, "think_prompt": "plan", "max_think_tokens": 3,
    "reflect_prompt": "for {prompt} mend", "suggested_evaluator": "nano",
}  # fmt: skip


def command(*words: str | Path) -> Result:
    given = [*map(str, words)]
    return CliRunner().invoke(build_app(), given, catch_exceptions=False)


def no_evaluator(*, device: str) -> Evaluator:
    raise AssertionError(f"nothing is evaluated on {device}")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("initial") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


@pytest.fixture(scope="module")
def given(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two prompts by the checkpoint as it is."""
    out = tmp_path_factory.mktemp("given") / "run"
    words: list[str | Path] = [
        "generate",
        "geneval:mini",
        "--ckpt",
        base,
        "--limit",
        "2",
        "--out",
        out,
    ]
    assert command(*words).exit_code == 0
    return out


@pytest.fixture(scope="module")
def requests(given: Path) -> list[ImageRequest]:
    """Those of the images in `given`."""
    made = RunFolder.open(given).images()
    every = open_benchmark("geneval:mini").samples()
    samples = [sample for sample in every if f"{sample.id}/0" in made]
    return requests_for(samples, 4, seed=0)


def pixels(images: Sequence[Image.Image | NotGenerated]) -> list[NDArray[np.uint8]]:
    return [np.asarray(one) for one in images if not isinstance(one, NotGenerated)]


def rising() -> ScriptedJudge:
    """Gives every image more than the ones before it."""
    answers = itertools.count(1)
    return ScriptedJudge(lambda _: next(answers) / 100)


def refined(
    base: Path,
    how: str,
    requests: Sequence[ImageRequest],
    *,
    judge: ScriptedJudge | None = None,
    initial: str | None = None,
) -> list[Image.Image]:
    checkpoint = checkpoint_factory(str(base))
    opened = open_refined(
        checkpoint, how, judge=judge, open_evaluator=no_evaluator, initial=initial
    ).open(device="cpu")
    made = [one for one in opened.generate(requests) if not isinstance(one, NotGenerated)]
    assert len(made) == len(requests)
    return made


def test_images_of_an_earlier_run_are_refined_as_if_they_were_just_generated(
    base: Path, given: Path, requests: list[ImageRequest]
) -> None:
    one = requests[:1]  # as many as the run generated together
    own = pixels(refined(base, "always", one))
    from_run = pixels(refined(base, "always", one, initial=str(given)))
    assert np.array_equal(own[0], from_run[0])


def test_a_swapped_image_is_that_of_another_prompt(
    given: Path, requests: list[ImageRequest]
) -> None:
    own = pixels(open_initial_images(str(given)).open(requests))
    other = pixels(open_initial_images(f"swapped:{given}").open(requests))
    assert all(np.array_equal(own[n], other[(n + 4) % 8]) for n in range(8))
    assert not np.array_equal(own[0], other[0])
    alone = pixels(open_initial_images(f"swapped:{given}").open(requests[:1]))
    assert np.array_equal(alone[0], other[0])


def test_what_was_given_belongs_to_the_identity_wherever_it_lies(
    base: Path, given: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(given, tmp_path / "moved")
    images = [open_initial_images(text) for text in (f"{given}", f"{moved}", f"swapped:{given}")]
    assert images[0].identity == images[1].identity
    assert images[0].identity != images[2].identity
    named = open_refined(
        checkpoint_factory(str(base)), "always", judge=None,
        open_evaluator=no_evaluator, initial=f"swapped:{given}",
    )  # fmt: skip
    assert named.name.startswith("refined always, 1 round, SWAPPED given images (control): ")
    opened = named.open(device="cpu").identity
    assert opened.items() >= images[2].identity.items()


def test_resampling_takes_as_many_images_as_refining_and_sees_none(
    base: Path, given: Path, requests: list[ImageRequest]
) -> None:
    asked, counts = {}, {}
    for mode in ("self", "resample"):
        judge = ScriptedJudge(0.2)
        made = refined(base, mode, requests[:3], judge=judge, initial=str(given))
        asked[mode] = len(judge.asked)
        counts[mode] = [len(one.info[NOTES]["refinement"]) for one in made]
    assert asked["self"] == asked["resample"] > 0
    assert counts["self"] == counts["resample"] == [1, 1, 1]
    good = refined(base, "resample", requests[:1], judge=ScriptedJudge(1.0))
    assert NOTES not in good[0].info
    opened = open_refined(
        checkpoint_factory(str(base)), "resample:2", judge=ScriptedJudge("yes", name="strict"),
        open_evaluator=no_evaluator,
    )  # fmt: skip
    assert opened.name.startswith("resampled by the judge strict, 2 rounds: ")


def test_a_resampled_image_is_another_one_and_is_the_same_from_any_start(
    base: Path, given: Path, requests: list[ImageRequest]
) -> None:
    found: list[NDArray[np.uint8]] = []
    for initial in (str(given), f"swapped:{given}"):
        judge = rising()
        found += pixels(refined(base, "resample", requests[:1], judge=judge, initial=initial))
    plain = pixels(checkpoint_factory(str(base)).open(device="cpu").generate(requests[:1]))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], plain[0])


def test_a_run_refines_given_images_and_says_so(base: Path, given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words: list[str | Path] = ["run", "geneval:mini", "--ckpt", base, "--limit", "1", "--out", out]
    done = command(*words, "--refine", "always", "--refine-from", given)
    assert done.exit_code == 0, done.output
    assert "refined always, 1 round, given images" in (out / "report.md").read_text()
    assert RunFolder.open(out).manifest.pixels["checkpoint.refine.initial"]


def test_images_that_are_not_there_or_not_as_they_were_are_refused_at_once(
    base: Path, given: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = ["run", "geneval:mini", "--ckpt", base, "--out", tmp_path / "out"]
    with pytest.raises(AlphaBenchError, match="given without --refine"):
        command(*words, "--refine-from", given)
    with pytest.raises(AlphaBenchError, match="has no image for 232 of the 240"):
        command(*words, "--refine", "always", "--refine-from", given)
    with pytest.raises(AlphaBenchError):
        command(*words, "--refine", "always", "--refine-from", tmp_path / "nothing")
    altered = shutil.copytree(given, tmp_path / "altered")
    record = next(iter(RunFolder.open(altered).images().values()))
    Image.new("RGB", (32, 32)).save(altered / record.path)
    with pytest.raises(AlphaBenchError, match=r"1 images in .* altered"):
        command(*words, "--refine", "always", "--refine-from", altered)
    assert not (tmp_path / "out").exists()


def test_images_of_other_prompts_are_refused(given: Path, requests: list[ImageRequest]) -> None:
    other = [
        replace(one, sample=replace(one.sample, prompt="a picture of a fox")) for one in requests
    ]
    with pytest.raises(AlphaBenchError, match="not for 'a picture of a fox'"):
        open_initial_images(str(given)).check(other)


def test_a_judge_beside_always_notes_its_scores_and_decides_nothing(
    base: Path, requests: list[ImageRequest]
) -> None:
    answers = itertools.count(1)
    judge = ScriptedJudge(lambda _: 1 / next(answers))
    (noted,) = refined(base, "always", requests[:1], judge=judge)
    (plain,) = refined(base, "always", requests[:1])
    assert np.array_equal(np.asarray(noted), np.asarray(plain))
    (entry,) = noted.info[NOTES]["refinement"]
    assert entry["kept"]
    assert entry["before"] > entry["after"] > 0
    checkpoint = checkpoint_factory(str(base))
    named = open_refined(checkpoint, "always", judge=judge, open_evaluator=no_evaluator)
    assert named.name.startswith("refined always, 1 round: ")
