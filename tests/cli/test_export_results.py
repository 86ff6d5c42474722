"""`alphabench export-results` as a user types it, with a hub on this machine to push to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Shell
from tests.support.hub_uploads import Uploads, serve_uploads

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub() -> Iterator[Uploads]:
    with serve_uploads() as uploads:
        yield uploads


@pytest.fixture
def scored(alphabench: Shell) -> Shell:
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--limit", "2", "--out", "run")
    return alphabench


def test_tables_and_the_hubs_form_are_written_and_nothing_is_uploaded(
    scored: Shell, hub: Uploads
) -> None:
    assert "wrote exported-results/verdicts.csv" in scored("export-results", "run").out
    said = scored("export-results", "run", "--out", "h", "--format", "hub").out
    assert "nothing was uploaded" in said
    assert (scored.folder / "h" / "scores.md").is_file()
    assert hub.requests == []


def test_a_push_is_asked_for(scored: Shell, hub: Uploads) -> None:
    words = ("export-results", "run", "--out", "h", "--format", "hub", "--push", "me/m")
    assert f"pushed to {hub.address}/me/m (private)" in scored(*words).out
    assert list(hub.files["me/m"]) == ["README.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--push", "me/m"), "are about the hub"),
        (("run", "--format", "hub", "--public"), "--public is about --push"),
        (("run", "--format", "hub", "--dataset", "x"), "names no dataset of a benchmark"),
        (("nowhere",), "there is no folder 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    scored: Shell, words: tuple[str, ...], said: str
) -> None:
    assert said in scored("export-results", *words, "--out", "o", code=2).err
