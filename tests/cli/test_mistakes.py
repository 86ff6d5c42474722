"""Each mistake is one sentence with what to do next, exit code 2, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.cli import main
from alphabench.store import sha256_of
from tests.cli.conftest import Shell


def refused(shell: Shell, *words: str | Path) -> str:
    """The sentence and its hint; makes sure that there is nothing more."""
    said = shell(*words, code=2)
    assert said.out == ""
    return said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "genevla", "--ckpt", "scene:"), "did you mean 'geneval'"),
        (("run", "geneval:minni", "--ckpt", "scene:"), "did you mean 'mini'"),
        (("run", "geneval@7:mini", "--ckpt", "scene:"), "version"),
        (("run", "geneval:mini:x", "--ckpt", "scene:"), "name[@version][:split]"),
        (("run", "geneval:mini", "--ckpt", "scen:"), "did you mean"),
        (("run", "geneval:mini", "--ckpt", "scene:?eror=0.2"), "did you mean 'error'"),
        (("run", "geneval:mini", "--ckpt", "scene:?error=2"), "not between 0 and 1"),
        (("run", "geneval:mini", "--ckpt", "scene:?error=lots"), "a number"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--set", "error"), "key=value"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--lora", "x"), "leave out --lora"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--evaluator", "nanno"), "mean 'nano'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--limit", "0"), "--limit cannot be 0"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--devices", "9"), "no device 'cuda:9'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--protocol", "offical"), "official"),
        (("run", "geneval:mini", "--ckpt", "/no/such/folder"), "/no/such/folder"),
        (("run", "geneval:mini", "--ckpt", "images:/no/such/folder"), "/no/such/folder"),
        (("run", "geneval:mini", "--ckpt", "python:no.such:thing"), "no.such"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--frobnicate"), "--frobnicate"),
        (("rum", "geneval:mini"), "run"),
        (("fetch", "genval"), "did you mean"),
        (("score", "nowhere"), "not a run folder"),
        (("show", "nothing"), "nothing"),
        (("list", "benchmark"), "benchmarks"),
        (("leaderboard", "nowhere"), "nowhere"),
        (("summarise", "geneval", "--official", "nothing.jsonl"), "nothing.jsonl"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(
    words: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as exit_:
        main(words)
    said = capsys.readouterr()
    assert exit_.value.code == 2
    assert expected in said.err
    assert said.out == ""
    assert not list(tmp_path.iterdir())


def test_unfetched_data_names_the_command_and_the_split_that_needs_none(alphabench: Shell) -> None:
    said = refused(alphabench, "run", "geneval", "--ckpt", "scene:")
    assert "alphabench fetch geneval" in said
    assert "geneval:mini" in said


def test_a_file_with_another_digest_is_refused(alphabench: Shell, fetched: Path) -> None:
    copy = alphabench.cache
    for path in fetched.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(fetched)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    victim = next(copy.rglob("evaluation_metadata.jsonl"))
    victim.write_text(victim.read_text().replace("bench", "bunch", 1))
    assert "not the official file" in refused(alphabench, "run", "geneval", "--ckpt", "scene:")


def test_a_tampered_source_is_not_fetched(alphabench: Shell, shared: Path) -> None:
    theirs = shared / "upstream/djghosh13/geneval/prompts/evaluation_metadata.jsonl"
    ours = alphabench.folder / "mirror/djghosh13/geneval/prompts/evaluation_metadata.jsonl"
    ours.parent.mkdir(parents=True)
    ours.write_bytes(theirs.read_bytes().replace(b"bench", b"bunch", 1))
    said = alphabench("fetch", "geneval", "--from", "mirror", code=2)
    assert "refused" in said.err
    assert "MIT" in said.out
    assert not list(alphabench.cache.rglob("*.jsonl"))


def test_a_folder_of_images_with_gaps_lists_them(alphabench: Shell) -> None:
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--limit", "6", "--out", "run")
    alphabench("summarise", "run", "--export", "theirs")
    paths = sorted((alphabench.folder / "theirs" / "images").glob("*/samples/0002.png"))
    paths[0].unlink()
    paths[3].unlink()
    said = refused(
        alphabench, "run", "geneval:mini", "--ckpt", "images:theirs/images",
        "--layout", "geneval", "--limit", "6", "--out", "again",
    )  # fmt: skip
    for path in (paths[0], paths[3]):
        assert path.parts[-3] in said
    assert not (alphabench.folder / "again").exists()


def test_a_changed_option_is_refused_by_the_folder_it_would_spoil(alphabench: Shell) -> None:
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--limit", "6", "--out", "run")
    before = {p: sha256_of(p) for p in (alphabench.folder / "run").rglob("*") if p.is_file()}
    said = refused(
        alphabench, "run", "geneval:mini", "--ckpt", "scene:?error=0.5", "--limit", "6",
        "--out", "run",
    )  # fmt: skip
    assert "checkpoint.error: '0.0' -> '0.5'" in said
    assert "--out" in said
    after = {p: sha256_of(p) for p in (alphabench.folder / "run").rglob("*") if p.is_file()}
    assert after == before
