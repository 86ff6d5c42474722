from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.hub import HubAccess, open_snapshot
from tests.checkpoints.conftest import AskFor
from tests.support.hub_server import COMMIT, ERRORS, serve_hub

FAST = {"steps": "2", "width": "32", "height": "32", "dtype": "float32"}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def cache(pipeline: Callable[[str], Path], tmp_path: Path) -> Path:
    """The hub client's cache with one repository in it, as a download leaves it."""
    repository = tmp_path / "models--tiny--sd3"
    shutil.copytree(pipeline("sd3"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


def test_a_cached_repository_generates_without_the_network(
    cache: Path, pipeline: Callable[[str], Path], ask: AskFor
) -> None:
    options = FAST | {"cache_dir": str(cache), "offline": "true"}
    from_hub = open_checkpoint("tiny/sd3", options=options)
    assert from_hub.identity["weights"] == f"hub:tiny/sd3@{COMMIT}"
    from_folder = open_checkpoint(str(pipeline("sd3")), options=FAST)
    one, two = (np.asarray(c.generate([ask()])[0]) for c in (from_hub, from_folder))
    assert np.array_equal(one, two)


def test_where_the_hub_is_not_reached_the_cache_must_do(cache: Path) -> None:
    snapshot = open_snapshot(
        "tiny/sd3", revision=None, probe="model_index.json", access=HubAccess(cache_dir=cache)
    )
    assert snapshot.commit == COMMIT
    assert snapshot.cached is not None
    assert "transformer/config.json" in snapshot.names


def test_an_incomplete_cache_names_what_is_missing(cache: Path) -> None:
    snapshot = cache / "models--tiny--sd3" / "snapshots" / COMMIT
    (snapshot / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    options = {"cache_dir": str(cache), "offline": "true"}
    with pytest.raises(AlphaBenchError, match="weights of 'transformer' are missing"):
        open_checkpoint("tiny/sd3", options=options)


@pytest.mark.parametrize("spec", ["nobody/nothing", "tiny/sd3@v2"])
def test_a_repository_or_revision_that_is_not_cached_is_refused_with_a_hint(
    spec: str, cache: Path
) -> None:
    options = {"cache_dir": str(cache), "offline": "true"}
    with pytest.raises(AlphaBenchError, match="not in the local cache") as caught:
        open_checkpoint(spec, options=options)
    assert "hf download" in caught.value.hint


def test_a_revision_is_given_once(cache: Path) -> None:
    with pytest.raises(AlphaBenchError, match="already names a revision"):
        open_checkpoint(f"tiny/sd3@{COMMIT}", options={"cache_dir": str(cache), "revision": "main"})


def ask_the_hub(endpoint: str, program: str) -> str:
    """Run a program whose hub client talks to `endpoint`; gives what it prints."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))
    } | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def stocked(pipeline: Callable[[str], Path], tmp_path: Path) -> Path:
    """A repository with more than a run needs: a second form of the weights, images, a script."""
    folder = shutil.copytree(pipeline("sd3"), tmp_path / "stocked")
    (folder / "README.md").write_text("words")
    (folder / "convert.py").write_text("raise SystemExit")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    (weights.with_name("diffusion_pytorch_model.bin")).write_bytes(b"pickle")
    return folder


def test_opening_fetches_small_files_and_generation_only_the_needed_ones(
    stocked: Path, tmp_path: Path
) -> None:
    with serve_hub("tiny/sd3", stocked) as (endpoint, fetched):
        shown = ask_the_hub(
            endpoint,
            f"""
            import warnings; warnings.simplefilter("ignore")
            from alphabench.checkpoints import open_checkpoint
            from alphabench.types import ImageRequest, Sample
            options = {FAST | {"cache_dir": str(tmp_path / "cache")}!r}
            checkpoint = open_checkpoint("tiny/sd3", options=options)
            print(checkpoint.identity["weights"], checkpoint.identity["family"])
            sample = Sample(id="0", prompt="a cat", group="g")
            image = checkpoint.generate([ImageRequest(sample=sample, index=0, seed=1)])[0]
            print(image.size)
            """,
        )
    assert shown.splitlines() == [f"hub:tiny/sd3@{COMMIT} sd3", "(32, 32)"]
    assert fetched[:2] == ["model_index.json", "transformer/config.json"]
    assert "transformer/diffusion_pytorch_model.safetensors" in fetched
    strangers = [name for name in fetched if name.endswith((".py", ".bin", ".md"))]
    assert strangers == []
    assert not any("fp16" in name for name in fetched)
    assert len(fetched) == len(set(fetched)), "something was fetched twice"


def test_each_of_the_hubs_errors_is_a_sentence(stocked: Path, tmp_path: Path) -> None:
    with serve_hub("tiny/sd3", stocked) as (endpoint, _):
        shown = ask_the_hub(
            endpoint,
            f"""
            from alphabench.checkpoints import open_checkpoint
            from alphabench.core.errors import AlphaBenchError
            for name in {[*ERRORS]!r}:
                try:
                    open_checkpoint(name, options={{"cache_dir": {str(tmp_path / "cache")!r}}})
                except AlphaBenchError as error:
                    print(error.message)
            """,
        )
    lines = shown.splitlines()
    words = ["is gated", "knows no repository", "no such revision", "has no file"]
    assert len(lines) == len(ERRORS)
    for line, name, word in zip(lines, ERRORS, words, strict=True):
        assert repr(name) in line
        assert word in line
