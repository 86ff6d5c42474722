"""Uploads to a real server that answers as the hub does; see `tests.support.hub_uploads`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.remote.hub_upload import hub_target, push_folder
from tests.support.hub_uploads import TOKEN, Uploads, serve_uploads

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
"""What the hub's client says of its own request for large files."""
FILES = {
    "README.md": b"---\ntags:\n- x\n---\n\n# card\n",
    "adapter_model.safetensors": b"weights " * 100,
    ".eval_results/geneval.yaml": b"- value: 1\n",
}


@pytest.fixture
def hub() -> Iterator[Uploads]:
    with serve_uploads() as uploads:
        yield uploads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    return tmp_path / "out"


def push(folder: Path, repo: str = "me/model", *, public: bool = False) -> str:
    return push_folder(folder, hub_target(repo, public=public), message="Upload")


def refused(folder: Path, repo: str = "me/model", *, public: bool = False) -> str:
    with pytest.raises(AlphaBenchError) as caught:
        push(folder, repo, public=public)
    said = str(caught.value)
    assert TOKEN not in said
    assert "\n" not in said
    assert f"`hf upload {repo} {folder} ." in caught.value.hint
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    return said


def test_a_folder_is_uploaded_whole_to_a_private_repository(hub: Uploads, folder: Path) -> None:
    assert push(folder) == f"{hub.address}/me/model (private)"
    assert hub.private == {"me/model": True}
    assert hub.files == {"me/model": FILES}
    assert hub.messages == ["Upload"]


def test_a_repository_is_public_only_where_that_was_asked(hub: Uploads, folder: Path) -> None:
    assert push(folder, public=True).endswith("(public)")
    assert hub.private == {"me/model": False}


def test_a_second_upload_goes_to_the_same_repository(hub: Uploads, folder: Path) -> None:
    push(folder)
    (folder / "README.md").write_bytes(b"new")
    assert push(folder, public=True).endswith("(private)"), "it stays as it is"
    assert hub.files["me/model"]["README.md"] == b"new"


def test_nothing_goes_to_a_public_repository_unasked(hub: Uploads, folder: Path) -> None:
    hub.private["me/model"] = False
    assert "exists and is public, so nothing was uploaded" in refused(folder)
    assert hub.files == {}
    assert push(folder, public=True).endswith("(public)")


def test_a_machine_without_a_token_is_told_to_log_in(
    hub: Uploads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "no token of the Hugging Face hub; run `hf auth login`" in refused(folder)
    assert hub.requests == []


def test_a_token_that_is_not_accepted_is_said_and_not_shown(
    hub: Uploads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}0")
    assert "does not accept this machine's token; run `hf auth login`" in refused(folder)


def test_an_account_without_the_right_to_write_is_told_which(hub: Uploads, folder: Path) -> None:
    said = refused(folder, "lab/model")
    assert "may not write there (You don't have the rights to create" in said
    assert "a token with the right to write to lab" in said


@pytest.mark.parametrize(
    ("path", "status", "said", "expected"),
    [
        ("/commit/", 403, "Forbidden: pass a write token", "may not write there (Forbidden"),
        ("/commit/", 400, "license must be one of", "refuses the files (license must be one of"),
        ("/preupload/", 413, "too large", "refuses the files (too large"),
        ("/lfs/", 402, f"no storage left for {TOKEN}", "answered 402 (no storage left for TOKEN"),
        ("/repos/create", 500, "Internal Error", "the hub answered 500 (Internal Error"),
    ],
)
def test_whatever_the_hub_refuses_is_one_sentence_with_its_reason(
    hub: Uploads, folder: Path, path: str, status: int, said: str, expected: str
) -> None:
    hub.failing[path] = (status, said)
    assert expected in refused(folder)


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    hub: Uploads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub was not reached, or the upload broke off (" in refused(folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE switches the hub off; unset it" in refused(folder)


@pytest.mark.parametrize("name", ["model", "me/", "/model", "me/a/b", "me/x y", "me/-x", "me/a..b"])
def test_a_name_that_the_hub_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(AlphaBenchError, match=r"no name of a repository.*OWNER/NAME"):
        hub_target(name, public=False)
