"""The card, plot, recipe and entries that `export` writes beside weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from safetensors.torch import save_file

from alphabench.checkpoints.diffusers import open_diffusers
from alphagrpo.export import ExportTarget, export_run
from alphagrpo.policies.diffusers_training import load_family
from alphatrainers import lora_adapters
from alphatrainers.settings import LoraSettings
from tests.support.page_commands import ROOT
from tests.support.tiny_pipelines import save

RECORDED = ROOT / "tests" / "compatibility" / "training_folder"
"""Two steps of nano-awm on four prompts of geneval:mini, by version 0.1."""
EXACT = {"dtype": "float32"}
HOSTILE = '<img src=x onerror="a()">|`b`_c_ [d](http://e)'


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A copy of the recorded training."""
    folder = tmp_path / "secrethost" / "training"
    shutil.copytree(RECORDED, folder, symlinks=True)
    if not (folder / "best").is_symlink():
        (folder / "best").rename(folder / "best-000002")
        (folder / "best").symlink_to("best-000002")
    return folder


def exported(run: Path, out: Path, *, base: str | None = None, merge: bool = False) -> list[str]:
    return export_run(run, ExportTarget(out=out, merge=merge), base=base)


def card_of(out: Path) -> str:
    """Its text, from which no reader learns where it was written."""
    for file in out.rglob("*"):
        if file.suffix in (".md", ".yaml", ".svg"):
            assert "secrethost" not in file.read_text(encoding="utf-8"), file
    return (out / "README.md").read_text(encoding="utf-8")


def change_recipe(training: Path, change: Any) -> None:
    recipe = yaml.safe_load((training / "recipe.yaml").read_text())
    change(recipe)
    (training / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def rows(card: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split(" | ") for line in card.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip(" |") for cell in cells[1:]] for cells in lines}


def test_the_card_says_what_was_trained_and_measured(training: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    first, *left_out = exported(training, out)
    assert "wrote the adapter" in first
    assert left_out == [
        "no entry for a leaderboard from geneval:mini: the run was limited to 4 samples"
    ]
    best = training / "best"
    assert all((out / file.name).read_bytes() == file.read_bytes() for file in best.iterdir())
    card, head = card_of(out), ModelCard.load(out / "README.md").data.to_dict()
    assert (head["library_name"], head["pipeline_tag"]) == ("peft", "text-to-image")
    assert head["license"] == "apache-2.0"
    assert {"lora", "awm", "dapo", "alphagrpo"} <= set(head["tags"])
    facts = rows(card)
    assert facts["base model"] == ["nano"]
    assert facts["weights"] == ["`train`: as the optimiser left them"]
    assert facts["training step"] == ["2 of 2, the best of the first validation"]
    assert facts["LoRA"] == ["rank 1, alpha 2.0"]
    assert facts["trained with AlphaBench"] == ["0.1.0"]
    assert facts["dvreward"] == ["dvreward", "1.0", "both", "nano"]
    assert facts["geneval:mini"] == [
        "0.875 [0.000, 1.000]", "1.000 [0.000, 1.000]", "+0.125 [-0.120, +0.370]",
        "4",
    ]  # fmt: skip
    assert "**PARTIAL**, geneval:mini: the run was limited to 4 samples" in card
    assert (
        "geneval:mini is geneval@1:mini, official protocol, evaluator nano, images of each "
        "prompt: 4, 100% of the verdicts scored, seed 0, began 2026-"
    ) in card
    assert "so that score is optimistic" in card
    assert "](curves.svg)" in card
    assert "geneval:mini, held out" in (out / "curves.svg").read_text()
    assert not (out / ".eval_results").exists()


def test_its_command_and_its_recipe_are_those_of_the_training(
    training: Path, tmp_path: Path
) -> None:
    exported(training, tmp_path / "adapter")
    card = card_of(tmp_path / "adapter")
    command = "alphabench run geneval:mini --ckpt nano --lora adapter"
    options = "--set=think=true --set=text_scale=1.0 --set=timesteps=3"
    assert f"```bash\n{command} \\\n    {options}\n```" in card
    own = yaml.safe_load((tmp_path / "adapter" / "training_recipe.yaml").read_text())
    recipe = yaml.safe_load((training / "recipe.yaml").read_text())
    # What others measured with the recipe is no result of this training.
    assert "0.983" in recipe.pop("about")["measured"]
    assert own == recipe
    assert "0.983" not in card


def test_weights_of_a_checkpoint_find_their_training_and_their_own_scores(
    training: Path, tmp_path: Path
) -> None:
    step = training / "checkpoints" / "step-000002"
    exported(step / "train", tmp_path / "train")
    card = card_of(tmp_path / "train")
    assert rows(card)["training step"] == ["2 of 2"]
    assert "geneval:mini" in rows(card)
    assert "optimistic" not in card, "nobody chose them by their score"
    exported(step / "ema", tmp_path / "ema")
    card = card_of(tmp_path / "ema")
    assert rows(card)["weights"] == ["`ema`: the moving average of the trained weights"]
    assert "These weights were not validated, so no score is stated." in card
    assert "geneval:mini" not in rows(card)
    assert "validations and rewards, at other steps or of other weights:" in card


@pytest.mark.parametrize("recorded", [True, False])
def test_the_view_of_the_best_weights_is_the_one_that_the_training_chose(
    recorded: bool, training: Path, tmp_path: Path
) -> None:
    def change(recipe: dict[str, Any]) -> None:
        recipe["training"] |= {"validate_views": ["train", "ema"], "best_view": "ema"}

    if recorded:
        (training / "best.json").write_text('{"step": 2, "view": "ema"}')
    else:
        change_recipe(training, change)
    lines = (training / "validation.jsonl").read_text().splitlines()
    other = {**json.loads(lines[1]), "view": "ema", "value": 0.5, "folder": None}
    (training / "validation.jsonl").write_text("\n".join([*lines, json.dumps(other)]) + "\n")
    exported(training, tmp_path / "adapter")
    found = rows(card_of(tmp_path / "adapter"))
    assert found["weights"] == ["`ema`: the moving average of the trained weights"]
    assert found["geneval:mini"][1] == "0.500 [0.000, 1.000]"


def test_what_cannot_be_read_is_said_and_never_a_number(training: Path, tmp_path: Path) -> None:
    shutil.rmtree(training / "validation")
    lines = (training / "validation.jsonl").read_text().splitlines()
    gap = {**json.loads(lines[0]), "value": None, "low": None, "high": None}
    (training / "validation.jsonl").write_text(f"{json.dumps(gap)}\n{lines[1]}\n")
    said = exported(training, tmp_path / "adapter")
    assert "its run folder cannot be read" in said[1]
    assert rows(card_of(tmp_path / "adapter"))["geneval:mini"] == [
        "not measured", "1.000 [0.000, 1.000]", "+0.125 [-0.120, +0.370]", "4",
    ]  # fmt: skip
    unknown = "geneval:mini: how it was measured is unknown, as its run folder cannot be read."
    assert unknown in card_of(tmp_path / "adapter")
    (training / "validation.jsonl").write_text(f"broken\n{lines[1]}\n")
    said = exported(training, tmp_path / "other")
    assert "the curves and scores are left out: line 1 of" in said[1]
    card = card_of(tmp_path / "other")
    assert "&gt; " not in card
    assert "> the curves and scores are left out: line 1 of" in card
    assert "not validated" not in card


def test_an_adapter_without_a_training_has_a_card_of_what_is_known(
    training: Path, tmp_path: Path
) -> None:
    shutil.copytree(training / "best-000002", tmp_path / "alone")
    exported(tmp_path / "alone", tmp_path / "adapter")
    card = card_of(tmp_path / "adapter")
    assert "a base model that its training's records do not name" in card
    assert "--ckpt BASE --lora adapter" in card
    assert "## Recipe" not in card
    assert "base_model" not in card
    exported(tmp_path / "alone", tmp_path / "named", base="some/model@main?timesteps=3")
    head = ModelCard.load(tmp_path / "named" / "README.md").data.to_dict()
    assert (head["base_model"], head["base_model_relation"]) == ("some/model", "adapter")
    assert "license" not in head
    assert "--ckpt some/model@main" in card_of(tmp_path / "named")


def test_what_a_user_wrote_cannot_become_markup_and_names_no_folder_of_the_machine(
    training: Path, tmp_path: Path
) -> None:
    def change(recipe: dict[str, Any]) -> None:
        recipe["prompts"]["source"] = "/secrethost/of me/prompts.jsonl"
        recipe["task"]["kind"] = HOSTILE
        recipe["rewards"][HOSTILE] = recipe["rewards"].pop("dvreward")
        recipe["rewards"][HOSTILE]["judge"] = "http://secrethost:8000,secrethost2:8000/v1#Qwen/Q"
        recipe["rewards"]["tags"]["kind"] = "python:/secrethost/rewards.py:tags"
        recipe["policy"]["options"]["think_prompt"] = "```\n</details><script>c()</script>"

    change_recipe(training, change)
    exported(training, tmp_path / "a`b<i>|c")
    card = card_of(tmp_path / "a`b<i>|c")
    body = card.partition("\n---\n\n")[2]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert re.findall(r"<(?:img|script|i|a)\b[^>]*>", html) == [
        '<a href="https://arxiv.org/abs/2605.12495">',
        '<img src="curves.svg" alt="Validations and rewards of the training" />',
        '<a href="training_recipe.yaml">',
    ]
    assert html.count("</details>") == 1
    assert html.count("<table>") == html.count("</table>") == 3
    assert all(row.count("<td") in (2, 5) for row in html.split("<tr>")[1:] if "<td" in row)
    assert "Qwen/Q" in card
    assert rows(card)["prompts"] == ["prompts.jsonl"]


def test_the_licence_of_the_base_is_that_of_its_card(training: Path, tmp_path: Path) -> None:
    base = tmp_path / "secrethost" / "My-BAGEL"
    base.mkdir()
    (base / "ema.safetensors").write_bytes(b"")
    (base / "README.md").write_text(
        "---\nlicense: other\nlicense_name: research-only\nlicense_link: LICENSE\n---\n# It\n"
    )
    exported(training, tmp_path / "adapter", base=str(base))
    head = ModelCard.load(tmp_path / "adapter" / "README.md").data.to_dict()
    named = [head[key] for key in ("license", "license_name", "license_link")]
    assert named == ["other", "research-only", "LICENSE"]
    facts = rows(card_of(tmp_path / "adapter"))
    assert facts["base model"] == ["My-BAGEL"]
    assert facts["licence of the base model"] == ["research-only"]


@pytest.fixture(scope="module")
def pipeline_adapter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny random SD3 pipeline and a LoRA of it, as a training stores it."""
    root = tmp_path_factory.mktemp("secrethost")
    base = save("sd3", root / "sd3")
    module = (
        open_diffusers(str(base), options=EXACT, lora=None, device="cpu").pipeline().transformer
    )
    experts = load_family("StableDiffusion3Pipeline").experts
    settings = LoraSettings(rank=2, alpha=4.0)
    bound = lora_adapters.select_trainable(module, experts, lora=settings, seed=0)
    torch.manual_seed(1)
    values = {name: 0.2 * torch.randn(one.parameter.shape) for name, one in bound.items()}
    written: Any = lora_adapters.peft_settings(lora_adapters.target_names(values), settings)
    written.save_pretrained(root / "lora")
    save_file(lora_adapters.exported(values), root / "lora" / "adapter_model.safetensors")
    return base, root / "lora"


@pytest.mark.parametrize("merge", [False, True])
def test_the_python_code_of_a_pipelines_card_loads_what_was_trained(
    merge: bool, pipeline_adapter: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = pipeline_adapter
    exported(adapter, tmp_path / "out", base=str(base), merge=merge)
    card = card_of(tmp_path / "out")
    head = ModelCard.load(tmp_path / "out" / "README.md").data.to_dict()
    assert head["library_name"] == "diffusers"
    code = card.partition("```python\n")[2].partition("```")[0]
    code = code.replace('"BASE"', repr(str(base))).replace('"out"', repr(str(tmp_path / "out")))
    names: dict[str, Any] = {}
    exec(code.replace("bfloat16", "float32"), names)
    assert names["image"].size == (32, 32)
    trained = open_diffusers(str(base), options=EXACT, lora=str(adapter), device="cpu").pipeline()
    plain = open_diffusers(str(base), options=EXACT, lora=None, device="cpu").pipeline()
    ours, wanted, untrained = (
        velocity(one.transformer) for one in (names["pipeline"], trained, plain)
    )
    # Merged weights are stored in the base's own float16.
    trained_by = (wanted - untrained).abs().max()
    assert trained_by > 0.05
    assert (ours - wanted).abs().max() < trained_by * (0.05 if merge else 1e-4)


def velocity(transformer: Any) -> torch.Tensor:
    """What the network answers to fixed noise; float32."""
    config, generator = transformer.config, torch.Generator().manual_seed(0)
    size = config.sample_size
    with torch.no_grad():
        found: torch.Tensor = transformer(
            hidden_states=torch.randn(1, config.in_channels, size, size, generator=generator),
            encoder_hidden_states=torch.randn(
                1, 4, config.joint_attention_dim, generator=generator
            ),
            pooled_projections=torch.randn(1, config.pooled_projection_dim, generator=generator),
            timestep=torch.tensor([500.0]),
        ).sample
    return found
