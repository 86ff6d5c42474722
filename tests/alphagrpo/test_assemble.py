"""A whole training of a tiny random BAGEL, as a user types it; nothing of it is good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from alphabench import evaluate, open_benchmark
from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.runs.store import RunFolder
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import make_validation
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.factory import open_policy
from alphagrpo.recipe import PolicySettings, ValidationSettings, load_recipe
from alphagrpo.train_commands import export_command, train_command
from alphatrainers import strict_yaml
from tests.support.tiny_bagel import save_bagel

OWN = {
    "timesteps": 4, "width": 32, "height": 32, "latent_longest": 48, "latent_shortest": 32,
    "patch_longest": 42, "patch_shortest": 28, "think_prompt": "plan", "max_think_tokens": 6,
    "reflect_prompt": "for {prompt} mend", "suggested_evaluator": "nano", "batch_size": 4,
}  # fmt: skip
LIMIT = 3


def recipe_for(folder: Path) -> dict[str, Any]:
    return {
        "about": {"costs": "seconds", "measured": "nothing"},
        "policy": {"checkpoint": str(folder)},
        "task": {
            "kind": "rt2i",
            "draw": {"points": 5, "window": {"size": 2, "high": 3}, "guidance": {}},
            "thought": {"max_tokens": 5},
        },
        "rewards": {
            "dv": {"kind": "dvreward", "judge": "python:tests.support.dvreward_judges:brightness"},
            "tags": {"kind": "think_tags", "credits": "text"},
        },
        "prompts": {"source": "small:?count=6"},
        "validation": [{"benchmark": "geneval:mini", "limit": LIMIT}],
        "panel": 2,
        "training": {
            "steps": 2,
            "prompts_per_step": 2,
            "group_size": 3,
            "rollout_batch": 3,
            "replay_batch": 3,
            "lora": {"rank": 2, "alpha": 4},
            "optimiser": {"lr": 0.01},
            "ema": {"decay": 0.5},
            "validate_every": 2,
            "save_every": 1,
            "logging": {"tensorboard": False},
        },
    }


def verbs() -> typer.Typer:
    app = typer.Typer()
    app.command("train")(train_command)
    app.command("export")(export_command)
    return app


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(verbs(), [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("models") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


@pytest.fixture(scope="module")
def recipe(base: Path) -> Path:
    path = base.parent / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe_for(base)))
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path) -> Path:
    """Two steps without a break."""
    folder = recipe.parent / "whole"
    said = invoke("train", recipe, "--out", folder, "--device", "cpu")
    assert said.exit_code == 0, said.output
    # A model this small earns nothing: no step is better than the base.
    assert "use them: alphabench run geneval:mini --ckpt" in said.output
    assert "--lora" not in said.output.partition("use them: ")[2]
    assert "geneval:mini, held out, weights 'train'" in said.output
    assert "report.html" in said.output
    return folder


def test_refined_images_are_validated_in_a_curve_of_their_own(base: Path, tmp_path: Path) -> None:
    opened = open_policy(PolicySettings(checkpoint=str(base)), device="cpu")
    data = UpstreamData(cache_dir=tmp_path / "data")
    context = AssemblyContext(folder=tmp_path, data=data, device="cpu", report=print)
    points = {}
    for refine in (None, "always"):
        settings = strict_yaml.build_settings(
            ValidationSettings, {"benchmark": "geneval:mini", "limit": 1, "refine": refine}
        )
        benchmark = open_benchmark(settings.benchmark)
        made = make_validation(settings, benchmark, opened, context, {})
        point = made.measure(step=0, view="train")
        assert point is not None
        assert point.folder is not None
        points[made.name] = RunFolder.open(point.folder)
    once, refined = points.values()
    assert list(points) == ["geneval:mini", "geneval:mini, refined always"]
    assert "checkpoint.refine" not in once.manifest.pixels
    assert refined.manifest.pixels["checkpoint.refine"] == "always:1"
    notes = [record.notes for record in refined.images().values()]
    assert all(len(one["refinement"]) == 1 for one in notes)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pixels(run: RunFolder) -> Mapping[str, Any]:
    found = {}
    for name, record in run.images().items():
        with Image.open(run.root / record.path) as picture:
            found[name] = np.asarray(picture)
    return found


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_a_training_draws_scores_learns_and_says_so(trained: Path) -> None:
    steps = rows(trained / "metrics.jsonl")
    assert [row["step"] for row in steps] == [0, 1]
    for row in steps:
        values = row["values"]
        assert values["reward/unscored_share"] == 0.0
        assert values["image/trained_trajectories"] == values["text/trained_trajectories"] == 6.0
        assert values["grad_norm"] > 0.0
    # On policy: the replay is the sampler, to the last bit for images on a CPU.
    assert steps[0]["values"]["image/logprob_diff"] == 0.0
    assert steps[0]["values"]["text/logprob_diff"] < 1e-5
    assert steps[0]["values"]["image/ratio/mean"] == 1.0
    assert load_recipe(str(trained / "recipe.yaml")).training.steps == 2
    assert (trained / "curves.svg").read_text().startswith("<svg")
    assert "2 of 2 training steps" in (trained / "report.html").read_text()
    with Image.open(trained / "panels" / "step-000002.png") as panel:
        assert panel.size == (64, 32)


def test_the_first_point_is_what_a_run_of_the_checkpoint_gives(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    outcome = evaluate("geneval:mini", str(base), limit=LIMIT, out=tmp_path / "run")
    point = RunFolder.open(trained / "validation" / "step-000000-train" / "geneval-mini")
    assert same(pixels(point), pixels(RunFolder.open(outcome.folder)))
    first = rows(trained / "validation.jsonl")[0]
    headline = outcome.report.headline
    assert [first["value"], first["low"], first["high"]] == [
        headline.value, headline.low, headline.high
    ]  # fmt: skip
    (report,) = point.reports().values()
    assert report == outcome.report


def test_every_point_is_an_ordinary_run_folder_that_names_its_weights(trained: Path) -> None:
    names = ["step-000000-train", "step-000002-train"]
    runs = [RunFolder.open(trained / "validation" / name / "geneval-mini") for name in names]
    assert (
        runs[0].manifest.pixels["checkpoint.trained"]
        != (runs[1].manifest.pixels["checkpoint.trained"])
    )
    kept = {k: v for k, v in runs[0].manifest.pixels.items() if k != "checkpoint.trained"}
    assert kept.items() <= runs[1].manifest.pixels.items()
    seeds = [{name: one.seed for name, one in run.images().items()} for run in runs]
    assert seeds[0] == seeds[1]
    assert (runs[1].root / "report.md").is_file()


def test_the_adapter_draws_in_the_harness_what_it_drew_in_validation(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    adapter = trained / "checkpoints" / "step-000002" / "train"
    generator = open_checkpoint(str(base), lora=str(adapter))
    outcome = evaluate("geneval:mini", generator, limit=LIMIT, out=tmp_path / "run")
    point = RunFolder.open(trained / "validation" / "step-000002-train" / "geneval-mini")
    first = RunFolder.open(trained / "validation" / "step-000000-train" / "geneval-mini")
    assert same(pixels(point), pixels(RunFolder.open(outcome.folder)))
    assert not same(pixels(point), pixels(first))


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    trained: Path, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    words: Sequence[str | Path] = ["--out", folder, "--device", "cpu"]
    assert invoke("train", recipe, "training.steps=1", *words).exit_code == 0
    with pytest.raises(AlphaBenchError, match="holds a training"):
        invoke("train", recipe, *words)
    said = invoke("train", recipe, *words, "--resume=yes")
    assert said.exit_code == 0, said.output
    for view in ("train", "ema"):
        file = Path("checkpoints") / "step-000002" / view / "adapter_model.safetensors"
        one, other = load_file(folder / file), load_file(trained / file)
        assert one.keys() == other.keys()
        assert all(bool((one[name] == other[name]).all()) for name in one)
    values = [row["values"] for row in rows(folder / "metrics.jsonl")]
    assert values == [row["values"] for row in rows(trained / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("task.draw.eta=0.3", "task.draw.eta"),
        ("task.kind=t2i", "task.kind"),
        ("validation=[{benchmark: 'geneval:mini', limit: 2}]", "validation"),
    ],
)
def test_a_training_is_not_resumed_as_another_and_keeps_its_recipe(
    trained: Path, recipe: Path, change: str, where: str
) -> None:
    before = (trained / "recipe.yaml").read_text()
    with pytest.raises(AlphaBenchError, match=rf"another training, .*{where}: "):
        invoke("train", recipe, change, "--out", trained, "--device", "cpu", "--resume=yes")
    assert (trained / "recipe.yaml").read_text() == before


def test_nothing_is_resumed_that_was_not_begun(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no training"):
        invoke("train", recipe, "--out", tmp_path / "none", "--resume=yes")


def test_merged_weights_draw_what_the_adapter_draws(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    adapter = trained / "checkpoints" / "step-000002" / "train"
    said = invoke("export", adapter, "--merge", "--ckpt", base, "--out", tmp_path / "merged")
    assert said.exit_code == 0, said.output
    point = RunFolder.open(trained / "validation" / "step-000002-train" / "geneval-mini")
    merged = evaluate("geneval:mini", str(tmp_path / "merged"), limit=LIMIT, out=tmp_path / "run")
    for name, picture in pixels(RunFolder.open(merged.folder)).items():
        # The same sums in another order.
        gap = np.abs(picture.astype(int) - pixels(point)[name].astype(int))
        assert gap.max() <= 2
    with pytest.raises(AlphaBenchError, match="not empty"):
        invoke("export", trained, "--out", tmp_path / "merged")


def test_an_adapter_that_changes_nothing_is_not_merged(trained: Path, tmp_path: Path) -> None:
    adapter = trained / "checkpoints" / "step-000002" / "train"
    blank = tmp_path / "best"
    shutil.copytree(adapter, blank)
    file = blank / "adapter_model.safetensors"
    save_file({name: torch.zeros_like(one) for name, one in load_file(file).items()}, file)
    said = invoke("export", blank, "--out", tmp_path / "adapter")
    assert "changes nothing" in said.output
    with pytest.raises(AlphaBenchError, match=r"changes nothing.*export .*checkpoints"):
        invoke("export", blank, "--merge", "--out", tmp_path / "merged")


def test_the_best_adapter_is_exported_alone(trained: Path, base: Path, tmp_path: Path) -> None:
    said = invoke("export", trained, "--out", tmp_path / "adapter")
    assert f"--ckpt {base} --lora {tmp_path / 'adapter'}" in said.output.replace("\n", "")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    weights = {"adapter_config.json", "adapter_model.safetensors"}
    assert names == {*weights, "README.md", "curves.svg", "training_recipe.yaml"}
    with pytest.raises(AlphaBenchError, match="no adapter"):
        invoke("export", base, "--out", tmp_path / "other")


def test_a_damaged_adapter_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(AlphaBenchError, match=r"'adapter_model.safetensors' .* cannot be read"):
        invoke("export", adapter, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_whose_recipe_has_settings_of_another_age_can_be_exported(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(trained / "best", older / "best")
    recipe = yaml.safe_load((trained / "recipe.yaml").read_text())
    recipe["policy"]["think_words"] = None
    (older / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    said = invoke("export", older, "--out", tmp_path / "adapter")
    assert f"--ckpt {base} --lora {tmp_path / 'adapter'}" in said.output.replace("\n", "")


def test_a_training_of_all_weights_is_exported_complete_and_says_so(
    recipe: Path, base: Path, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    changes = ("training.lora=null", "training.steps=1", "training.validate_every=1")
    said = invoke("train", recipe, *changes, "--out", folder, "--device", "cpu")
    assert f"alphabench export {folder} --out NEW" in said.output
    assert "--lora" not in said.output
    said = invoke("export", folder, "--out", whole)
    assert f"alphabench run ... --ckpt {whole}" in said.output
    best = [row for row in rows(folder / "validation.jsonl") if row["best"]][-1]
    step = folder / "validation" / f"step-{best['step']:06d}-{best['view']}"
    drawn = evaluate("geneval:mini", str(whole), limit=LIMIT, out=tmp_path / "drawn")
    assert same(pixels(RunFolder.open(drawn.folder)), pixels(RunFolder.open(step / "geneval-mini")))
    trained = folder / "checkpoints" / "step-000001" / "train"
    said = invoke("export", trained, "--ckpt", base, "--out", tmp_path / "last")
    stored = load_file(tmp_path / "last" / "ema.safetensors")
    values = load_file(trained / "model.safetensors")
    assert all(bool((stored[name] == value).all()) for name, value in values.items())
    untrained = load_file(base / "ema.safetensors")
    assert any(bool((untrained[name] != value).any()) for name, value in values.items())
    (trained / "model.safetensors").write_bytes((base / "ae.safetensors").read_bytes())
    with pytest.raises(AlphaBenchError, match="does not fit"):
        invoke("export", trained, "--ckpt", base, "--out", tmp_path / "other")
