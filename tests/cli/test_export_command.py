"""`alphabench export` as a user types it, with a hub on this machine to push to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Shell
from tests.support.hub_uploads import TOKEN, Uploads, serve_uploads
from tests.support.page_commands import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
"""What the hub's client says of its own request for large files."""


@pytest.fixture
def hub() -> Iterator[Uploads]:
    with serve_uploads() as uploads:
        yield uploads


@pytest.fixture
def trained(alphabench: Shell) -> Shell:
    """With the recorded training of the compatibility tests, in `trained`."""
    recorded = ROOT / "tests" / "compatibility" / "training_folder"
    shutil.copytree(recorded, alphabench.folder / "trained")
    return alphabench


def test_nothing_is_pushed_unless_that_was_asked(trained: Shell, hub: Uploads) -> None:
    trained("export", "trained", "--out", "adapter")
    assert hub.requests == []
    assert "adapter is this folder" in (trained.folder / "adapter" / "README.md").read_text()


def test_what_was_written_is_pushed_whole_and_the_token_stays_where_it_was(
    trained: Shell, hub: Uploads
) -> None:
    said = trained("export", "trained", "--out", "adapter", "--push", "me/my-model")
    assert f"pushed to {hub.address}/me/my-model (private)" in said.out
    written = {
        path.relative_to(trained.folder / "adapter").as_posix(): path.read_bytes()
        for path in (trained.folder / "adapter").rglob("*")
        if path.is_file()
    }
    assert hub.files["me/my-model"] == written
    card = written["README.md"].decode()
    assert card.partition("\n---\n\n")[2].startswith("# my-model\n")
    assert "--ckpt nano --lora me/my-model" in card
    assert TOKEN not in f"{said.out}{said.err}"
    assert all(TOKEN.encode() not in content for content in written.values())


def test_a_public_repository_is_asked_for(trained: Shell, hub: Uploads) -> None:
    words = ("export", "trained", "--out", "adapter", "--push", "me/m", "--public")
    assert "(public)" in trained(*words).out
    assert hub.private == {"me/m": False}


def test_a_push_that_fails_is_a_sentence_and_leaves_the_folder(
    trained: Shell, hub: Uploads
) -> None:
    said = trained("export", "trained", "--out", "adapter", "--push", "lab/m", code=2)
    error, hint = said.err.strip().splitlines()
    assert error.startswith("error: 'adapter' is complete and was not pushed to 'lab/m': ")
    assert hint.endswith("then upload it with `hf upload lab/m adapter . --private`")
    names = {path.name for path in (trained.folder / "adapter").iterdir()}
    assert {"README.md", "adapter_model.safetensors"} <= names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--push", "model"), "'model' is no name of a repository"),
        (("--public",), "add --push OWNER/NAME"),
        (("--dataset", "geneval"), "write --dataset BENCHMARK=OWNER/NAME"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(
    words: tuple[str, ...], expected: str, trained: Shell
) -> None:
    assert expected in trained("export", "trained", "--out", "new", *words, code=2).err
    assert not (trained.folder / "new").exists()
