"""Prompts of a data set on the hub: of one commit, said and recorded, and of no other."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import alphabench
from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphagrpo.hub_prompts import read_hub_source
from alphagrpo.prompt_pins import with_pinned_prompts
from alphagrpo.prompts import load_prompts
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphagrpo.recipe_names import RECIPE_FILE
from alphatrainers import strict_yaml
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.trajectory import TrainingPrompt
from tests.support.hub_server import COMMIT, ERRORS, hub_clients_at, serve_hub

pytest.importorskip("datasets")

REPO = "tiny/kites-v1.2"
LATER = "f" * 40
Hub = Callable[..., AbstractContextManager[list[str]]]


def rows(folder: Path, split: str, *written: dict[str, Any]) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in written)
    (folder / "data" / f"{split}.jsonl").write_text(lines)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A hub with one data set, at a commit; by default with a caption column and two splits."""
    first = tmp_path / "first"
    facts = {"tag": "counting", "include": [{"class": "dog", "count": 3}], "image": "dog.png"}
    rows(first, "train", {"caption": "three dogs", "n": 1, **facts}, {"caption": "a kite", "n": 2})
    rows(first, "test", {"caption": "a boat"})

    @contextmanager
    def served(folder: Path = first, *, commit: str = COMMIT, cache: str = "c") -> Iterator[Any]:
        with (
            serve_hub(REPO, folder, kind="datasets", commit=commit, before={COMMIT: first}) as (
                address,
                fetched,
            ),
            hub_clients_at(address, tmp_path / cache),
        ):
            yield fetched

    return served


def load(source: str, *, column: str | None = "caption", revision: str | None = COMMIT) -> Any:
    def opened(name: str) -> Any:
        return open_benchmark(name)

    return load_prompts(source, opened, held_out=[], column=column, revision=revision)


def digest(prompts: list[TrainingPrompt]) -> str:
    return PromptStream(prompts, per_step=1, seed=0).digest


def refusal(source: str, **how: Any) -> AlphaBenchError:
    with pytest.raises(AlphaBenchError) as caught:
        load(source, **how)
    return caught.value


def test_rows_of_a_split_are_prompts_with_their_facts(hub: Hub) -> None:
    with hub() as fetched:
        dogs, kite = load(f"hub:{REPO}")
        (boat,) = load(f"hub:{REPO}:test")
    assert (dogs.text, kite.text, boat.text) == ("three dogs", "a kite", "a boat")
    assert [dogs.id, kite.id] == [f"kites-v1.2-train-00000{n}" for n in (0, 1)]
    assert dogs.facts["include"] == [{"class": "dog", "count": 3}]
    assert dogs.facts["group"] == "counting"
    assert not {"caption", "image", "source_image"} & set(dogs.facts)
    assert set(kite.facts) == {"n"}, "a cell without a value is no fact"
    assert "data/train.jsonl" in fetched


def test_without_network_the_cached_commit_is_read_and_no_other(hub: Hub, tmp_path: Path) -> None:
    with hub():
        online = load(f"hub:{REPO}")
    with hub_clients_at("", tmp_path / "c"):
        assert digest(load(f"hub:{REPO}")) == digest(online)
        other = refusal(f"hub:{REPO}", revision=LATER)
        newest = refusal(f"hub:{REPO}", revision=None)
        unknown = refusal("hub:tiny/nothing")
    assert f"cannot be had at commit {LATER[:12]}" in other.message
    assert "the hub was not reached" in newest.message
    assert "prompts.revision" in newest.hint
    assert "'tiny/nothing' is not in the local cache" in unknown.message


def test_a_training_without_a_pin_records_the_newest_commit_and_keeps_it(
    hub: Hub, tmp_path: Path
) -> None:
    changes = [f"prompts={{source: 'hub:{REPO}', column: caption}}"]
    recipe, folder, said = load_recipe("nano-awm", changes), tmp_path / "run", list[str]()
    folder.mkdir()

    def pinned(given: TrainingRecipe) -> TrainingRecipe:
        return with_pinned_prompts(given, folder, said.append)

    with hub():
        begun = pinned(recipe)
        assert begun.prompts.revision == COMMIT
        before = load(f"hub:{REPO}", revision=begun.prompts.revision)
    assert COMMIT in said[0]
    assert "the training resumes with it" in said[0]
    (folder / RECIPE_FILE).write_text(strict_yaml.to_yaml(begun))
    later = tmp_path / "later"
    rows(later, "train", {"caption": "other words"}, {"caption": "a kite"})
    with hub(later, commit=LATER):
        assert pinned(recipe).prompts.revision == COMMIT
        assert RECIPE_FILE in said[1]
        assert pinned(begun) is begun
        chosen = replace(recipe, prompts=replace(recipe.prompts, revision=LATER))
        assert pinned(chosen) is chosen
        # The digest refuses a training that is resumed with them.
        assert digest(load(f"hub:{REPO}", revision=LATER)) != digest(before)
        elsewhere = replace(recipe, prompts=replace(recipe.prompts, source=f"hub:{REPO}:test"))
        assert pinned(elsewhere).prompts.revision == LATER
    assert pinned(load_recipe("nano-awm")).prompts.revision is None


def test_each_mistake_is_a_sentence_with_what_to_do(hub: Hub, tmp_path: Path) -> None:
    empty, textless = tmp_path / "empty", tmp_path / "textless"
    empty.mkdir()
    rows(textless, "train", {"caption": "a kite"}, {"caption": " "})
    with hub():
        column = refusal(f"hub:{REPO}", column=None)
        split = refusal(f"hub:{REPO}:tests")
        configuration = refusal(f"hub:{REPO}?config=other")
        names = {word: refusal(f"hub:{repo}") for repo, (_, word) in ERRORS.items()}
    assert column.message == f"the data set {REPO!r} has no column 'prompt'"
    assert "caption, n, tag" in column.hint
    assert (split.message, split.hint) == (
        f"there is no split of {REPO!r} named 'tests'",
        "did you mean 'test'?",
    )
    assert "cannot be read" in configuration.message
    assert "config" in configuration.hint
    assert "is gated" in names["GatedRepo"].message
    assert "hf auth login" in names["GatedRepo"].hint
    assert "knows no data set 'some/unknown'" in names["RepoNotFound"].message
    assert f"has no commit {COMMIT!r}" in names["RevisionNotFound"].message
    with hub(empty, cache="e"):
        assert "doesn't contain any data files" in refusal(f"hub:{REPO}").message
    with hub(textless, cache="t"):
        assert "row 2" in refusal(f"hub:{REPO}").message


@pytest.mark.parametrize("source", ["hub:kites", "hub:a/b/c", "hub:/kites", "hub:a/b?splt=x"])
def test_a_source_that_names_no_data_set_is_refused(source: str) -> None:
    with pytest.raises(AlphaBenchError):
        read_hub_source(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (f"{{source: 'hub:{REPO}', revision: main}}", "is no commit"),
        (f"{{source: a.jsonl, revision: {COMMIT!r}}}", "has none"),
    ],
)
def test_a_revision_is_a_commit_of_a_data_set(change: str, message: str) -> None:
    with pytest.raises(AlphaBenchError, match=message):
        load_recipe("nano-awm", [f"prompts={change}"])


def test_a_machine_without_the_library_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert "alphabench[data]" in refusal(f"hub:{REPO}").hint


@pytest.mark.whole
def test_a_training_resumes_with_the_commit_that_it_began_with(hub: Hub, tmp_path: Path) -> None:
    later, folder = tmp_path / "later", tmp_path / "run"
    rows(later, "train", {"caption": "other words"}, {"caption": "two other words"})
    small = {
        "policy": {"checkpoint": "nano", "options": {"timesteps": 2, "text_scale": 1.0}},
        "task": {"kind": "t2i", "draw": {"points": 3, "window": {"kind": "none"}}},
        "rewards": {
            "bright": {"kind": "python", "factory": "tests.support.bright_reward:mean_brightness"}
        },
        "prompts": {"source": f"hub:{REPO}", "column": "caption"},
        "validation": [],
        "panel": 0,
        "training.text.kind": "none",
        "training.prompts_per_step": 1,
        "training.group_size": 2,
        "training.logging.tensorboard": False,
    }

    def train(**changes: object) -> None:
        alphabench.train("nano-awm", {**small, **changes}, out=folder, resume="auto", device="cpu")

    with hub():
        train(**{"training.steps": 1})
    with hub(later, commit=LATER):
        train(**{"training.steps": 2})
        with pytest.raises(AlphaBenchError, match="prompts"):
            train(
                **{
                    "training.steps": 3,
                    "prompts": {"source": f"hub:{REPO}", "column": "caption", "revision": LATER},
                }
            )
    assert COMMIT in (folder / RECIPE_FILE).read_text()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
