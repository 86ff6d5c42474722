"""`alphabench.evaluate` from Python: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alphabench import AlphaBenchError, evaluate, load_run
from alphabench.cli.run_commands import run_command
from alphabench.upstream import default_cache_dir
from tests.support.fakes import Dots, Reds


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_names_paths_and_judges_are_taken_as_text(here: Path) -> None:
    result = evaluate(
        "dvreward:mini", "scene:", judge="scripted:?answer=0.5", limit=1, out="runs/api"
    )
    assert result.folder == Path("runs/api")
    assert (here / "runs" / "api" / "report.md").is_file()
    assert result.score is not None


def test_the_cache_folder_of_the_environment_is_the_one_of_python(here: Path) -> None:
    assert default_cache_dir() == here / "cache"
    judge = "scripted:?answer=0.5&cache=true"
    evaluate("dvreward:mini", "scene:", judge=judge, limit=1, cache=False)
    assert not (here / "cache" / "answers").exists()
    evaluate("dvreward:mini", "scene:", judge=judge, limit=1, seed=1)
    assert list((here / "cache" / "answers").iterdir())


def test_a_run_can_have_a_name(here: Path) -> None:
    result = evaluate("geneval:mini", "scene:", limit=1, name="first try")
    assert (result.name, result.folder) == ("first try", Path("runs/geneval/first-try"))
    assert "\n  first try, folder" in repr(result)


def test_options_and_devices_are_python_values(here: Path) -> None:
    result = evaluate(
        "geneval:mini",
        "scene:",
        options={"error": 1.0, "size": 64},
        limit=2,
        devices=["cpu"],
        protocol="strict",
        out=here / "run",
    )
    assert result.report.protocol == "strict"
    assert next(iter(result.images.values())).size == (64, 64)
    assert {verdict.value for verdict in result.verdicts} == {0.0}


def red(prompt: str) -> Image.Image:
    return Image.new("RGB", (32, 32), (255, len(prompt) % 256, 0))


def noise(prompt: str, seed: int, *, side: int = 32) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_function_of_a_prompt_is_a_checkpoint(here: Path) -> None:
    result = evaluate("geneval:mini", red, evaluator="nano", limit=2, out="red")
    assert len(result.images) == 8
    name = next(iter(result.images))
    assert result.images[name].getpixel((0, 0)) == (255, len(result.images.prompt(name)), 0)
    assert result.checkpoint == f"{__name__}:red"


def test_a_function_gets_the_seed_of_each_image_and_the_options(here: Path) -> None:
    result = evaluate(
        "geneval:mini", noise, evaluator="nano", options={"side": 48}, limit=1, out="noise"
    )
    pixels = [np.asarray(image) for image in result.images.values()]
    seeds = [image.info["seed"] for image in result.images.values()]
    assert len(set(seeds)) == 4
    assert pixels[0].shape == (48, 48, 3)
    assert np.array_equal(pixels[2], noise("", seeds[2], side=48))
    with pytest.raises(AlphaBenchError, match=r"holds another run \(checkpoint\.option\.side"):
        evaluate("geneval:mini", noise, evaluator="nano", limit=1, out="noise")


def test_a_loaded_pipeline_is_sampled_as_one_from_its_folder(
    pipeline: Callable[[str], Path], here: Path
) -> None:
    from diffusers import DiffusionPipeline

    loader: Any = DiffusionPipeline
    folder = pipeline("sd3")
    loaded = loader.from_pretrained(str(folder))
    options = {"steps": 2, "width": 32, "height": 32}
    given: dict[str, Any] = {"limit": 1, "evaluator": "nano", "devices": "cpu"}
    ours = evaluate("geneval:mini", loaded, options=options, out="loaded", **given)
    theirs = evaluate(
        "geneval:mini", folder, options={**options, "dtype": "float32"}, out="folder", **given
    )
    assert list(ours.images) == list(theirs.images)
    for image_id, image in ours.images.items():
        assert np.array_equal(np.asarray(image), np.asarray(theirs.images[image_id]))
    assert not getattr(loaded, "_progress_bar_config", {}).get("disable")
    with pytest.raises(AlphaBenchError, match="'dtype' has no effect on a pipeline"):
        evaluate("geneval:mini", loaded, options={"dtype": "float16"}, **given)
    weight = next(loaded.transformer.parameters())
    weight.data += 1
    with pytest.raises(AlphaBenchError, match=r"holds another run \(checkpoint\.weights"):
        evaluate("geneval:mini", loaded, options=options, out="loaded", **given)


def test_a_function_named_on_the_command_line_is_a_checkpoint_too(here: Path) -> None:
    (here / "my_images.py").write_text(
        "from PIL import Image\n"
        "def generate(prompt, seed, side: int = 16):\n"
        "    return Image.new('RGB', (side, side), (seed % 256, 0, 0))\n"
    )
    named = "python:my_images:generate?side=24"
    result = evaluate("geneval:mini", named, evaluator="nano", limit=1)
    assert next(iter(result.images.values())).size == (24, 24)
    with pytest.raises(AlphaBenchError, match="'seed' of 'python:my_images:generate' is what each"):
        evaluate("geneval:mini", "python:my_images:generate?seed=1", limit=1)


def test_every_option_of_the_command_is_a_keyword() -> None:
    renamed = {"ckpt": "checkpoint", "settings": "options", "no_cache": "cache"}
    of_the_terminal = {"dry_run", "as_json", "context"}
    options = set(inspect.signature(run_command).parameters) - of_the_terminal
    keywords = set(inspect.signature(evaluate).parameters)
    assert keywords - {"progress"} == {renamed.get(option, option) for option in options}


def test_objects_work_inside_a_running_event_loop_as_in_a_notebook(here: Path) -> None:
    async def cell() -> None:
        evaluate(Reds(), Dots(), limit=2, out="reds")

    asyncio.run(cell())
    result = load_run("reds", benchmark=Reds())
    assert result.benchmark == "reds@1"
    assert len(result.to_pandas()) == 4


def test_a_path_is_a_benchmark_from_a_file(here: Path) -> None:
    prompts = Path(__file__).parents[1] / "examples" / "own_prompts.yaml"
    result = evaluate(prompts, "scene:", judge="nano", limit=1, out="file")
    assert result.benchmark == "fruit-file@1"
    assert len(result.to_pandas()) == 4


class Pipeline:
    """A loaded model of another library."""


class Unsuited:
    """An object with a progress that cannot display any."""


async def slow(prompt: str) -> Image.Image:
    await asyncio.sleep(0)
    return red(prompt)


def needy(prompt: str, model: str) -> Image.Image:
    return red(prompt + model)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"checkpoint": Pipeline()}, "the checkpoint is a Pipeline and no generator"),
        ({"checkpoint": Pipeline}, "the checkpoint is the class Pipeline"),
        ({"checkpoint": None}, "the checkpoint is a NoneType and no generator"),
        ({"checkpoint": Path("nothing")}, "there is no checkpoint 'nothing'"),
        ({"checkpoint": slow}, "'slow' is asynchronous"),
        ({"checkpoint": needy}, "'needy' cannot generate .* required argument: 'model'"),
        ({"checkpoint": red, "options": {"steps": 2}}, "an unexpected keyword argument 'steps'"),
        ({"checkpoint": red, "lora": "x"}, "lora is for a checkpoint that is named"),
        ({"checkpoint": red, "think": True}, "think is for a checkpoint that is named"),
        ({"checkpoint": red, "workers": 2, "devices": "cpu"}, "generates in this process"),
        ({"judge": Pipeline()}, "the judge is a Pipeline and no judge: it has no method ask"),
        ({"judge": ""}, "the judge's name is empty"),
        ({"judge": 3}, "the judge is a int and no judge"),
        ({"benchmark": Pipeline()}, "Pipeline is no benchmark"),
        ({"benchmark": Pipeline}, "Pipeline is no benchmark"),
        ({"limit": 0}, "limit cannot be 0"),
        ({"limit": "3"}, "limit cannot be '3'"),
        ({"seed": 1.5}, "seed cannot be 1.5"),
        ({"out": 3}, "out cannot be 3"),
        ({"name": 3}, "name cannot be 3"),
        ({"out": ""}, "out cannot be ''"),
        ({"options": "steps=3"}, "options cannot be 'steps=3'"),
        ({"options": {"api_key": "sk-123"}}, "api_key"),
        ({"options": {"errors": 0.5}}, "did you mean 'error'"),
        ({"protocol": "strikt"}, "there is no protocol named 'strikt'; did you mean 'strict'"),
        ({"wording": "mine"}, "there is no wording named 'mine'"),
        ({"devices": "cuda:77"}, "this machine has no device 'cuda:77'"),
        ({"devices": []}, r"devices cannot be \[\]"),
        ({"devices": [True]}, r"devices cannot be \[True\]"),
        ({"workers": 0}, "workers cannot be 0"),
        ({"think": "yes"}, "think cannot be 'yes'"),
        ({"cache": None}, "cache cannot be None"),
        ({"budget": -1.0}, "budget cannot be -1.0"),
        ({"progress": Unsuited()}, r"cannot display progress: it has no method begin\(\)"),
        ({"lora": Path("adapter")}, "scene: has no weights that 'adapter' could adapt"),
        ({"layout": "flat"}, "layout is for a folder of images"),
        ({"refine_judge": "nano"}, "refine-judge is given without"),
    ],
)
def test_an_argument_of_another_kind_is_one_sentence(
    wrong: dict[str, Any], words: str, here: Path
) -> None:
    given: dict[str, Any] = {
        "benchmark": "dvreward:mini",
        "checkpoint": "scene:",
        "judge": "scripted:",
        "limit": 1,
        **wrong,
    }
    with pytest.raises(AlphaBenchError, match=words):
        evaluate(given.pop("benchmark"), given.pop("checkpoint"), **given)
    assert not list(here.iterdir())
