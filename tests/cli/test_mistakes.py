"""Each mistake is one sentence with what to do next, exit code 2, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.cli import main
from alphabench.runs.store import sha256_of
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
        (("run", "geneval:mini", "--ckpt", "scene:?error=lots"), "a finite number"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--set", "error"), "key=value"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--lora", "x"), "leave out --lora"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--evaluator", "nanno"), "mean 'nano'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--limit", "0"), "--limit cannot be 0"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--devices", "9"), "no device 'cuda:9'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--devices", "9"), "without a named device"),
        (("run", "wise:mini", "--ckpt", "scene:"), "or --judge nano for :mini, offline"),
        (("show", "plain"), "no benchmark, recipe or folder named 'plain'"),
        (("show", "genevla"), "did you mean 'geneval'?"),
        (("compare", "a", "b", "--gallery", "--out", "page"), "does not end in .html"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--protocol", "offical"), "official"),
        (("run", "geneval:mini", "--ckpt", "/no/such/folder"), "/no/such/folder"),
        (("run", "geneval:mini", "--ckpt", "images:/no/such/folder"), "/no/such/folder"),
        (("run", "geneval:mini", "--ckpt", "python:no.such:thing"), "no.such"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--frobnicate"), "--frobnicate"),
        (("run", "geneval:mini", "--ckpt", "./nothing"), "the path './nothing' does not exist"),
        (("run", "geneval:mini", "--ckpt", "a/b/c"), "the path 'a/b/c' does not exist"),
        (("run", "geneval:mini", "--ckpt", "~/nothing"), "the path '~/nothing' does not exist"),
        (("run", "geneval:mini", "--ckpt", "C:\\sd"), "the path 'C:\\\\sd' does not exist"),
        (("run", "geneval:mini", "--ckpt", ""), "the checkpoint's name is empty"),
        (("run", "geneval:mini", "--ckpt", "nanoo"), "did you mean 'nano'?"),
        (("run", "geneval:mini", "--ckpt", "imges"), "did you mean 'images:'?"),
        (("run", "geneval:mini", "--ckpt", "localhost:8000/v1#x"), "write http://localhost:8000"),
        (("run", "geneval:mini", "--ckpt", "host.org/v1#x"), "write http://host.org/v1#x"),
        (("run", "geneval:mini", "--ckpt", "scene:?error=nan"), "a finite number"),
        (("run", "geneval:mini", "--ckpt", "python:os:getcwd"), "is a str and no generator"),
        (("run", "geneval:mini", "--ckpt", "nano", "--layout", "flat"), "--ckpt images:DIR"),
        (("run", "geneval:mini", "--ckpt", "images:.", "--layout", "flt"), "mean 'flat'"),
        (("run", "geneval:mini", "--ckpt", "images:."), "name its layout: --layout "),
        (("run", "geneval:mini", "--ckpt", "scene:", "--prompts", "f"), "has its own prompts"),
        (("run", "geneval", "--ckpt", "scene:", "--prompts", "f"), "take `dvreward`"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--evaluator", "judge"), "mask2former, "),
        (("run", "geneval:mini", "--ckpt", "scene:", "--evaluator", ""), "--evaluator is empty"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--evaluator", "?cap=1"), "is empty"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--wording", "own"), "'wording'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--judge", "nano"), "leave out --judge"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--budget", "3"), "no judge is named"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--refine-judge", "nano"), "--refine self"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--refine", "sefl"), "'sefl'"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--limit", "-1"), "--limit cannot be -1"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1e3"), "--limit"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--workers", "0"), "--workers"),
        (("run", "geneval:mini", "--ckpt", "scene:", "--workers", "1000000"), "--workers"),
        (
            ("run", "geneval:mini", "--ckpt", "scene:", "--workers", "2", "--devices", "cpu,cpu"),
            "--workers 2 is for one device",
        ),
        (("run", "geneval:mini", "--ckpt", "scene:", "--devices", ""), "no device ''"),
        # Before the checkpoint is opened, which would say something else.
        (("run", "geneval:mini", "--ckpt", "a/b", "--limit", "0"), "--limit cannot be 0"),
        (("generate", "geneval:mini", "--ckpt", "a/b", "--limit", "0"), "--limit cannot be 0"),
        (("run", "geneval:mini", "--ckpt", "a/b", "--evaluator", "nanno"), "mean 'nano'"),
        (("run", "tiif:mini", "--ckpt", "a/b"), "to a judge"),
        (("run", "tiif:mini", "--ckpt", "a/b", "--evaluator", "judg"), "evaluator of tiif"),
        (("run", "tiif:mini", "--ckpt", "scene:", "--judge", ""), "the judge's name is empty"),
        (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "nanoo"), "did you mean 'nano'?"),
        (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "vlm:x"), "did you mean 'vllm'?"),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "localhost:8000/v1#x"),
            "write http://localhost:8000/v1#x",
        ),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "127.0.0.1:8000"),
            "write http://127.0.0.1:8000",
        ),
        (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "http://h/v1"), "names no model"),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "python:os:getcwd"),
            "is a str and no judge",
        ),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "nano", "--budget", "3"),
            "the judge 'nano' costs nothing",
        ),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "http://h/v1#m", "--budget", "3"),
            "price_in=",
        ),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "http://h/v1#m?price_in=1",
             "--budget", "nan"),
            "--budget cannot be nan",
        ),
        (
            ("run", "tiif:mini", "--ckpt", "scene:", "--judge", "http://h/v1#m?price_in=1",
             "--budget", "0"),
            "--budget cannot be 0",
        ),
        (("rum", "geneval:mini"), "run"),
        (("fetch", ""), "dpg, dvreward, gedit"),
        (("fetch", "geneval:lng"), "did you mean 'long'"),
        (("doctor", "nanno"), "did you mean 'nano'"),
        (("doctor", ""), "known are: "),
        (("doctor", "--setup", "x"), "mmdet"),
        (("score", "/dev/null"), "not a run folder"),
        (("show", "runs/nothing"), "there is no folder 'runs/nothing'"),
        (("compare", "a", "b"), "'a' is not a run folder"),
        (("calibrate", "--judge", "nano", "--seed", "-1"), "the seed cannot be -1"),
        (("calibrate", "--judge", "nano", "--out", "/dev/null/x"), "cannot be a folder"),
        (("calibrate", "--judge", "nano", "--reward", "dvreward"), "no run is named"),
        (("calibrate", "--judge", "nano", "--run", "x"), "--run has no effect without --reward"),
        (
            ("calibrate", "--judge", "nano", "--reward", "holistic", "--scenes", "3"),
            "--scenes has no effect with --reward",
        ),
        (
            ("calibrate", "--judge", "nano", "--reward", "dvrward", "--run", "x"),
            "no reward of a judge named 'dvrward'",
        ),
        (
            ("calibrate", "--judge", "nano", "--reward", "holistic", "--run", "x"),
            "'x' is not a run folder",
        ),
        (("judge", "cache"), "--stats or --clear"),
        (("export", "nothing", "--out", "x"), "holds no adapter"),
        (("train", "nano-rt21"), "did you mean 'nano-rt2i'"),
        (("train", "nothing.yaml"), "'nothing.yaml' cannot be read"),
        (("train", "."), "holds no training"),
        (("train", ""), "known are: "),
        (("train", "nano-rt2i", "--resume"), "no training to continue in 'runs/train/nano-rt2i'"),
        (("train", "nano-rt2i", "--device", "cuda:97"), "no device 'cuda:97'"),
        (("train", "nano-rt2i", "--device", "cpu,cpu"), "--device takes one device"),
        (("train", "nano-rt2i", "steps"), "key=value"),
        (("dvreward", "decompose", "nothing", "--llm", "scripted:", "--out", "q"), "'nothing'"),
        (("fetch", "genval"), "did you mean"),
        (("score", "nowhere"), "not a run folder"),
        (("show", "nothing"), "nothing"),
        (("list", "benchmark"), "benchmarks"),
        (("leaderboard", "nowhere"), "nowhere"),
        (("summarise", "geneval", "--official", "nothing.jsonl"), "nothing.jsonl"),
    ],
    ids=lambda words: " ".join(words)[:60] if isinstance(words, tuple) else "",
)  # fmt: skip
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


def test_benchmarks_without_data_of_their_own_need_no_download(alphabench: Shell) -> None:
    for name in ("dvreward", "geneval:mini", "dvreward:mini"):
        assert "needs no download" in alphabench("fetch", name).out


@pytest.mark.parametrize(
    "words",
    [
        ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "file/run"),
        ("generate", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "file/run"),
        ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "x" * 300),
        ("calibrate", "--judge", "scripted:?answer=0.5", "--scenes", "1", "--out", "file/c"),
        ("summarise", "run", "--export", "file/theirs"),
        ("summarise", "run", "--export", "y" * 300),
        ("leaderboard", "run", "--out", "file/pages"),
        ("export", "trained", "--out", "file/adapter"),
        ("train", "nano-rt2i", "--device", "cpu", "--out", "file/training"),
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be_written_is_a_sentence_with_the_path(
    words: tuple[str, ...], alphabench: Shell
) -> None:
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "run")
    (alphabench.folder / "file").write_text("mine")
    trained = alphabench.folder / "trained"
    trained.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (trained / name).write_text("{}")
    said = alphabench(*words, code=2)
    error, hint = said.err.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert words[-1][:100] in error or "file" in error
    assert "generating" not in said.err
    assert (alphabench.folder / "file").read_text() == "mine"


def test_a_folder_that_was_deleted_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as exit_:
        main(["run", "geneval:mini", "--ckpt", "scene:", "--out", str(tmp_path / "run")])
    assert exit_.value.code == 2
    assert "the current folder was deleted" in capsys.readouterr().err


def test_a_dry_run_that_lacks_something_ends_so(alphabench: Shell) -> None:
    said = alphabench("run", "tiif:mini", "--ckpt", "scene:", "--dry-run", code=2)
    assert "missing: tiif puts its questions to a judge" in said.out
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--dry-run")


def test_score_asks_for_what_scored_the_run_before(alphabench: Shell) -> None:
    run = ("generate", "dvreward:mini", "--ckpt", "scene:", "--limit", "2", "--out", "run")
    alphabench(*run)
    judge = ("--judge", "scripted:?answer=0.5")
    assert "dvreward" in alphabench("score", "run", *judge).out
    alphabench(*run[:-1], "other")
    alphabench("score", "other", *judge, "--evaluator", "holistic", code=None)
    said = alphabench("score", "other", *judge, code=None)
    assert "holistic" in said.out
    assert "| evaluator |" not in (alphabench.folder / "other" / "report.md").read_text()


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
