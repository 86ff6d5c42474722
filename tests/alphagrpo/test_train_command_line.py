"""Trainings as a user types them: killed, left by their judge, and what their adapters draw."""

from __future__ import annotations

import hashlib
import json
import math
import queue
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from alphabench.runs.store import RunFolder
from tests.alphagrpo.test_assemble import OWN, recipe_for
from tests.cli.conftest import Said, Shell
from tests.support.forks import Forked
from tests.support.judge_server import Call, JudgeServer, Say, error, serving
from tests.support.tiny_bagel import save_bagel

ROOT = Path(__file__).parents[2]
NANO = "nano?timesteps=5&max_think_tokens=8&think=true"
"""The embedded model in a hurry."""
QUICK = (
    f"policy.checkpoint='{NANO}'",
    "policy.options={think_prompt: Plan it.}",
    "task.draw.points=5",
    "task.draw.window={kind: random, size: 2, low: 0, high: 3}",
    "task.thought.max_tokens=8",
    "prompts.source='small:?count=2'",
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 1}]",
    "panel=0",
    "training.steps=1",
    "training.prompts_per_step=2",
    "training.group_size=3",
    "training.lora={rank: 2, alpha: 4}",
    "training.optimiser.lr=0.02",
    "training.validate_views=[train]",
    "training.logging.tensorboard=false",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("trained") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Path:
    """Without validation: what is trained is tested here."""
    tree = {**recipe_for(base), "validation": [], "panel": 0}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def alphabench(tmp_path: Path) -> Shell:
    return Shell(folder=tmp_path, cache=tmp_path / "cache")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def values(folder: Path) -> list[Mapping[str, float]]:
    return [row["values"] for row in rows(folder / "metrics.jsonl")]


def killed(recipe: Path, out: Path, *, lines: int) -> None:
    """Begins a long training in a process of its own and kills it after so many steps."""
    command = ("-m", "alphabench", "train", recipe, "training.steps=500")
    process = Forked(
        *command,
        "--out",
        out,
        "--device",
        "cpu",
        cwd=ROOT,
        variables={"ALPHABENCH_CACHE": str(out / "cache")},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240.0
        path = out / "metrics.jsonl"
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_training_goes_on_as_if_it_had_not_been(
    alphabench: Shell, recipe: Path, tmp_path: Path
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    killed(recipe, broken, lines=2)
    done = len(rows(broken / "metrics.jsonl"))
    words = ("train", recipe, f"training.steps={done + 2}", "--device", "cpu", "--out")
    said = alphabench(*words, broken, "--resume")
    assert "resumed at step" in said.out
    alphabench(*words, whole)
    assert len(values(whole)) == done + 2
    assert values(broken) == values(whole)
    for view in ("train", "ema"):
        file = f"checkpoints/step-{done + 2:06d}/{view}/adapter_model.safetensors"
        one, other = load_file(broken / file), load_file(whole / file)
        assert one.keys() == other.keys()
        assert all(bool((one[name] == other[name]).all()) for name in one)


@dataclass
class Moody:
    """Answers by what it is asked; refuses to serve while `refusals` last, from a call on."""

    after: int = 0
    refusals: float = 0

    def __call__(self, call: Call) -> Say:
        if call.number >= self.after and self.refusals > 0:
            self.refusals -= 1
            return error(503, "the model is loading")
        digest = hashlib.sha256(json.dumps(call.body, sort_keys=True).encode()).digest()
        p_yes = (1 + digest[0]) / 257
        return Say(logprobs=[("Yes", math.log(p_yes)), ("No", math.log(1.0 - p_yes))])


def test_a_judge_that_goes_away_is_waited_for_and_changes_no_number(
    alphabench: Shell, recipe: Path, tmp_path: Path
) -> None:
    calm, troubled, moody = tmp_path / "calm", tmp_path / "troubled", Moody()

    def comes_back(text: str) -> None:
        # The training sleeps after this note, so the judge never returns within a batch.
        if "reward 'dv' cannot be reached" in text:
            assert "the model is loading" in text
            moody.refusals = 0

    def train(server: JudgeServer, out: Path, *more: str, code: int = 0) -> Said:
        # It gives up at once; the training is the one to wait.
        spec = f"{server.spec}?handshake=off&patience_seconds=0&attempts=2"
        words: tuple[str | Path, ...] = (
            "train",
            recipe,
            f"rewards.dv.judge='{spec}'",
            "--device",
            "cpu",
            *more,
        )
        return alphabench(*words, "--out", out, code=code, listener=comes_back)

    with serving(JudgeServer(moody)) as server:
        train(server, calm)
        asked = server.n_calls
        # Gone in the middle of the second step, and nobody waits.
        moody.after, moody.refusals = asked + asked // 2 + 1, math.inf
        said = train(server, troubled, "training.guards.judge_patience_seconds=0", code=2)
        assert "reward 'dv' could not be reached" in said.err
        assert "the model is loading" in said.err
        assert "hint: start its judge again" in said.err
        assert values(troubled) == values(calm)[:1]
        # Back after a while, for which is waited.
        moody.refusals = math.inf
        said = train(server, troubled, "--resume")
        assert "reward 'dv' is scored again" in said.out
    assert values(troubled) == values(calm)
    assert rows(troubled / "metrics.jsonl")[1]["seconds"]["judge_unavailable"] >= 1.0


def test_the_command_that_an_interrupted_training_prints_goes_on_with_it(
    alphabench: Shell, recipe: Path, tmp_path: Path
) -> None:
    moody, calls = Moody(), iter(range(10_000))
    processes: queue.Queue[subprocess.Popen[str]] = queue.Queue()

    def interrupting(call: Call) -> Say:
        if next(calls) == 20:
            processes.get().send_signal(signal.SIGINT)
        return moody(call)

    with serving(JudgeServer(interrupting)) as server:
        spec = f"rewards.dv.judge='{server.spec}?handshake=off'"
        words = ("train", recipe, spec, "training.steps=2", "training.seed=4", "--out", "run")
        process = alphabench.start(*words, "--device", "cpu")
        processes.put(process)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 130
        program, *printed = shlex.split(err.partition("to continue: ")[2])
        assert [program, *printed] == shlex.split("alphabench train run --resume --device cpu")
        alphabench(*printed)
    assert len(values(tmp_path / "run")) == 2
    # A stored recipe is gone on with by its file, too, and tells what would be another training.
    alphabench("train", "run/recipe.yaml", "--resume", "--device", "cpu")
    said = alphabench("train", "run", "training.seed=5", "--resume", "--device", "cpu", code=2)
    assert "training.seed: 4 -> 5" in said.err
    said = alphabench("train", "run", "--device", "cpu", code=2)
    assert "alphabench train run --resume" in said.err


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step of the embedded model, with its own judge and detector."""
    folder = tmp_path_factory.mktemp("nano")
    shell = Shell(folder=folder, cache=folder / "cache")
    said = shell("train", "nano-rt2i", *QUICK, "--device", "cpu", "--out", "run")
    (folder / "command.txt").write_text(said.out.partition("use them: ")[2].splitlines()[0])
    (row,) = rows(folder / "run" / "metrics.jsonl")
    assert row["values"]["reward/unscored_share"] == 0.0
    assert row["values"]["image/logprob_diff"] == 0.0
    assert row["values"]["grad_norm"] > 0.0
    return folder / "run"


def pixels(run: RunFolder) -> dict[str, Any]:
    found = {}
    for name, record in run.images().items():
        with Image.open(run.root / record.path) as picture:
            found[name] = np.asarray(picture)
    return found


def test_the_command_that_ends_a_nano_training_draws_what_was_validated(
    alphabench: Shell, nano: Path, tmp_path: Path
) -> None:
    program, *printed = shlex.split((nano.parent / "command.txt").read_text())
    best = [row["step"] for row in rows(nano / "validation.jsonl") if row["best"]][-1]
    # Before the first step the adapter changes nothing, and the base is what was validated.
    lora = ["--lora", "run/best"] if best else []
    words = printed[: len(printed) - len(lora)]
    assert (program, printed) == ("alphabench", [*words, *lora])
    last = ["--lora", str(nano / "checkpoints" / "step-000001" / "train")]
    for step, adapter in {1: last, best: lora and ["--lora", str(nano / "best")]}.items():
        out = tmp_path / f"run-{step}"
        report = alphabench(*words, *adapter, "--limit", "1", "--out", out, "--json").json
        assert report["headline"]["n_scored"] == 4
        validated = nano / "validation" / f"step-{step:06d}-train" / "geneval-mini"
        drawn, expected = (pixels(RunFolder.open(folder)) for folder in (out, validated))
        assert drawn.keys() == expected.keys()
        assert all(np.array_equal(drawn[name], expected[name]) for name in expected)


def test_nano_refines_what_it_finds_wanting_itself(alphabench: Shell, tmp_path: Path) -> None:
    command = ("run", "geneval:mini", "--ckpt", NANO, "--limit", "1", "--refine", "self")
    alphabench(*command, "--out", tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    assert folder.manifest.checkpoint.startswith("refined by its own lights, 1 round")
    assert folder.manifest.pixels["checkpoint.refine"] == "self:1"
    records = list(folder.images().values())
    assert len(records) == 4
    rounds = [one for record in records for one in record.notes.get("refinement", [])]
    assert rounds
    for tried in rounds:
        # Found wanting before, and kept only where it was found better.
        assert tried["before"] < 0.9
        assert tried["kept"] == (tried["after"] is not None and tried["after"] > tried["before"])
