"""Kills AlphaBench at random moments, resumes it, and compares with one that was left alone.

    python -m tools.faults.kills                                  one hundred kills of four kinds
    python -m tools.faults.kills --kinds train:20 --seed 7 --signal TERM

For each kind: a command that runs undisturbed, then chains of one to four kills of the same command
in one folder, then the command to its end. Reports, verdicts, digests of images and weights must be
those of the undisturbed one, and five seconds after each kill no process may be left. Prints a line
a kind; exit code 1 where anything differed or was left. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.judge_server import Call, JudgeServer, Say, serving
from tests.support.processes import left_of

FULL: Final = "run:30,workers:25,judged:25,train:20"
TINY_TRAINING: Final = (
    "training.steps=4",
    "training.prompts_per_step=2",
    "training.group_size=3",
    "training.validate_every=2",
    "training.validate_views=[train]",
    "training.save_every=1",
    "training.logging.tensorboard=false",
    "prompts.source=small:?count=4&tasks=two_object,colors",
    "policy.options={think: true, text_scale: 1.0, timesteps: 5}",
    "task.draw.points=5",
    "task.thought.max_tokens=16",
    "panel=2",
    'validation=[{benchmark: "geneval:mini", evaluator: nano, limit: 1}]',
)
_CIRCUMSTANCES = re.compile(r"(?s)\| circumstance .*?\n\n|Made by:.*?```\n.*?```")
"""What tells one run's report page from its repetition: times, command lines, the working tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A command to be killed."""

    words: Sequence[str]
    """Without `--out`."""
    results: Callable[[Path], dict[str, str]]
    """Of its folder: name -> what must be equal."""

    def command(self, out: Path) -> list[str]:
        """To begin or to continue what lies at `out`."""
        begun = self.words[0] == "train" and (out / "identity.json").exists()
        return [*self.words, "--out", str(out), *(["--resume"] if begun else [])]


def trials(judge: str) -> dict[str, Trial]:
    """All kinds, by name."""
    geneval = ("run", "geneval:mini", "--ckpt", "scene:?error=0.3")
    dpg = ("run", "dpg:mini", "--ckpt", "scene:?error=0.3")
    return {
        "run": Trial(words=(*geneval, "--limit", "12"), results=results_of_run),
        "workers": Trial(
            words=(*geneval, "--limit", "18", "--workers", "2"), results=results_of_run
        ),
        "judged": Trial(
            words=(*dpg, "--limit", "12", "--judge", judge),
            results=results_of_run,
        ),
        "train": Trial(
            words=("train", "nano-awm", *TINY_TRAINING, "--device", "cpu"),
            results=results_of_training,
        ),
    }


def answer(call: Call) -> Say:
    """By what is asked, so that a judge asked again says the same."""
    return Say(text="no" if len(call.text) % 3 else "yes", seconds=0.02)


def results_of_run(folder: Path) -> dict[str, str]:
    """Digests of all that a run came to."""
    found = {str(path.relative_to(folder)): _digest(path) for path in folder.glob("images/*/*")}
    for path in [*folder.glob("reports/*.json"), folder / "gallery.html"]:
        found[path.name] = _digest(path)
    page = (folder / "report.md").read_text()
    found["report.md"] = _CIRCUMSTANCES.sub("", page)
    for row in _rows(folder / "images.jsonl"):
        found[f"image {row['image_id']}"] = json.dumps([row["sha256"], row["seed"], row["prompt"]])
    for path in folder.glob("verdicts/*.jsonl"):
        for row in _rows(path):
            verdict = row["verdict"]
            name = f"verdict {path.stem} {verdict['image_id']} {verdict['question_id']}"
            found[name] = json.dumps(row, sort_keys=True)
    return found


def results_of_training(folder: Path) -> dict[str, str]:
    """Digests of all that a training came to, but for times and torch's own generators.

    These go on from where models were loaded, which is anew after a kill; no number of a training
    comes from them.
    """
    found = {
        f"step {row['step']}": json.dumps(row["values"]) for row in _rows(folder / "metrics.jsonl")
    }
    for row in _rows(folder / "validation.jsonl"):
        values = {key: value for key, value in row.items() if "second" not in key}
        found[f"validation {len(found)}"] = json.dumps(values)
    kept = [*folder.glob("checkpoints/*/*/*"), *folder.glob("checkpoints/*/optimizer.*")]
    kept += [*folder.glob("panels/*"), *folder.glob("best-*/*")]
    found |= {str(path.relative_to(folder)): _digest(path) for path in kept}
    for path in folder.glob("checkpoints/*/state.json"):
        # It names the runs of its validations by their paths.
        found[str(path.relative_to(folder))] = path.read_text().replace(str(folder), "RUN")
    found["best"] = str((folder / "best").readlink())
    return found


def leftovers(folder: Path) -> list[str]:
    """Files that a whole run does not have."""
    names = ("**/*.tmp", "**/draft-*", "**/*.draft-*", "**/best-link-*")
    return sorted(str(path.relative_to(folder)) for name in names for path in folder.glob(name))


@dataclass(slots=True)
class Account:
    """What came of the kills of one kind."""

    kills: int = 0
    resumed: int = 0
    different: int = 0
    tracebacks: int = 0
    left_processes: int = 0
    left_files: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.different or self.tracebacks or self.left_processes or self.left_files)


class Shop:
    """Where commands run: a folder, a signal, a source of moments."""

    def __init__(self, folder: Path, by: signal.Signals, seed: int) -> None:
        self.folder = folder
        self.by = by
        self.moments = random.Random(seed)  # noqa: S311  no secret depends on it

    def start(self, words: Sequence[str], cache: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "alphabench", *words],
            env={
                **os.environ,
                "ALPHABENCH_CACHE": str(cache),
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, words: Sequence[str], cache: Path) -> tuple[int, str]:
        """Exit code and standard error of a command that is left alone."""
        process = self.start(words, cache)
        _, said = process.communicate()
        return process.returncode, said

    def kill(self, words: Sequence[str], cache: Path, *, seconds: float) -> tuple[bool, str]:
        """Whether it was still running by then, and what it said."""
        process = self.start(words, cache)
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(self.by)
            _, said = process.communicate()
            return True, said
        return False, said


def tried(name: str, trial: Trial, n_kills: int, shop: Shop) -> Account:
    """Kill one kind so many times."""
    account = Account()
    usual = shop.folder / f"{name}-undisturbed"
    began = time.monotonic()
    code, said = shop.finish(trial.command(usual), shop.folder / f"{name}-cache")
    duration = time.monotonic() - began
    if code not in (0, 1):
        sys.exit(f"{shlex.join(trial.command(usual))} ended with {code}:\n{said}")
    expected = trial.results(usual)
    chain = 0
    while account.kills < n_kills:
        chain += 1
        out, cache = shop.folder / f"{name}-{chain}", shop.folder / f"{name}-{chain}-cache"
        for _ in range(min(shop.moments.randint(1, 4), n_kills - account.kills)):
            # Starting up takes a good part of a command's time; most kills fall on its work.
            early = shop.moments.random() < 0.15
            seconds = duration * shop.moments.uniform(0.0 if early else 0.4, 1.0)
            killed, said = shop.kill(trial.command(out), cache, seconds=seconds)
            account.kills += killed
            _note_end(account, said, cache)
        code, said = shop.finish(trial.command(out), cache)
        account.resumed += 1
        _note_end(account, said, cache)
        _compare(account, out, trial.results(out) if code in (0, 1) else {}, expected, said)
    return account


def _note_end(account: Account, said: str, cache: Path) -> None:
    if "Traceback" in said:
        account.tracebacks += 1
        account.notes.append(said[-1500:])
    left = left_of(f"ALPHABENCH_CACHE={cache}")
    account.left_processes += len(left)
    account.notes += left.values()


def _compare(
    account: Account, out: Path, found: Mapping[str, str], expected: Mapping[str, str], said: str
) -> None:
    names = sorted({*found, *expected})
    if differ := [name for name in names if found.get(name) != expected.get(name)]:
        account.different += 1
        account.notes.append(f"{out}: {len(differ)} differ, such as {differ[:8]}; {said[-600:]}")
    if left := leftovers(out):
        account.left_files += len(left)
        account.notes.append(f"{out}: left {left[:8]}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(words: Sequence[str] | None = None) -> int:
    """Kill what was asked for; 0 where nothing differed and nothing was left."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--kinds", default=FULL, help=f"kind:kills,... (default: {FULL})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM, HUP or INT")
    parser.add_argument("--folder", type=Path, help="keep the runs there (default: a temporary)")
    options = parser.parse_args(words)
    by = signal.Signals[f"SIG{options.signal}"]
    clean = True
    with tempfile.TemporaryDirectory() as temporary, serving(JudgeServer(answer)) as server:
        shop = Shop(options.folder or Path(temporary), by, options.seed)
        known = trials(f"{server.url}#test-vlm?handshake=off")
        for item in options.kinds.split(","):
            name, _, count = item.partition(":")
            began = time.monotonic()
            account = tried(name, known[name], int(count), shop)
            seconds = time.monotonic() - began
            print(
                f"{name}: {account.kills} kills by {by.name}, {account.resumed} resumed, "
                f"{account.different} different, {account.tracebacks} tracebacks, "
                f"{account.left_processes} processes and {account.left_files} files left "
                f"({seconds:.0f} s)",
                flush=True,
            )
            print("".join(f"  {note}\n" for note in account.notes), end="", flush=True)
            clean = clean and account.clean
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
