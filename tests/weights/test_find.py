from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.find import find_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline_hub: None) -> Path:
    """The hub's cache with one repository in it, and no network; returns its snapshot."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def found(source: str) -> str:
    return find_weights(source, option="detector", kind="detector").identity


def test_a_cached_repository_is_named_with_its_commit_and_needs_no_network(
    hub_cache: Path,
) -> None:
    (hub_cache / "model.safetensors").write_bytes(b"weights")
    weights = find_weights("owner/name", option="detector", kind="detector")
    assert weights.folder == hub_cache
    assert weights.identity == f"owner/name@{COMMIT}"
    assert found(f"owner/name@{COMMIT}") == weights.identity


def test_a_repository_with_a_pickle_alone_is_refused(hub_cache: Path) -> None:
    (hub_cache / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(AlphaBenchError, match=r"only 'pytorch_model\.bin', a pickle"):
        found("owner/name")


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("source", ["owner/other", "owner/name@nowhere", "owner/not a name"])
def test_a_repository_out_of_reach_is_named_with_the_way_out(source: str) -> None:
    with pytest.raises(AlphaBenchError, match=r"no detector weights: .*detector=FOLDER"):
        found(source)


def test_a_folders_identity_is_its_content_and_not_its_path(tmp_path: Path) -> None:
    identities = []
    for name, content in (("one", b"weights"), ("two", b"weights"), ("three", b"other")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(content)
        (folder / "README.md").write_text(name)
        identities.append(found(str(folder)))
    assert identities[0] == identities[1] != identities[2]


def test_an_empty_folder_has_no_weights(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no weights as safetensors"):
        found(str(tmp_path))
