"""`alphabench run --refine`, as a user types it, on a tiny random BAGEL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from alphabench.cli import build_app
from alphabench.core.errors import AlphaBenchError
from alphabench.runs.store import RunFolder
from tests.support.tiny_bagel import save_bagel

OWN = {
    "timesteps": 3, "width": 32, "height": 32, "latent_longest": 32, "latent_shortest": 32,
    "patch_longest": 28, "patch_shortest": 28, "think_prompt": "plan", "max_think_tokens": 3,
    "reflect_prompt": "for {prompt} mend", "suggested_evaluator": "nano",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("refine") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


def run(base: Path | str, *words: str | Path) -> Result:
    given = ["run", "geneval:mini", "--ckpt", str(base), "--limit", "1", *map(str, words)]
    return CliRunner().invoke(build_app(), given, catch_exceptions=False)


def test_refined_runs_are_named_so_and_keep_what_was_thought(base: Path, tmp_path: Path) -> None:
    for mode, label in (("always", "refined always"), ("oracle:2", "ORACLE-refined (upper bound)")):
        out = tmp_path / mode.replace(":", "-")
        said = run(base, "--refine", mode, "--out", out)
        assert said.exit_code == 0, said.output
        folder = RunFolder.open(out)
        assert folder.manifest.checkpoint.startswith(label)
        assert label in (out / "report.md").read_text()
        rounds = [len(one.notes["refinement"]) for one in folder.images().values()]
        # Noise is never right: the oracle asks for both rounds.
        assert rounds == [2 if mode == "oracle:2" else 1] * 4


def test_mistakes_are_sentences(base: Path, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="'alway'"):
        run(base, "--refine", "alway", "--out", tmp_path / "a")
    with pytest.raises(AlphaBenchError, match="has no effect"):
        run(base, "--refine", "oracle", "--refine-judge", "scripted:", "--out", tmp_path / "b")
    with pytest.raises(AlphaBenchError, match="cannot refine"):
        run("scene:", "--refine", "always", "--out", tmp_path / "c")
