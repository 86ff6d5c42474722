"""Scores for a model's repository on the hub: entries, the card's section, and nothing unasked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from alphabench import AlphaBenchError, load_run
from alphabench.remote.hub_upload import hub_target
from alphabench.results.hub_export import (
    card_section,
    hub_scores,
    insert_section,
    push_scores,
    write_hub_folder,
)
from alphabench.types import ImageRequest
from tests.support.hub_uploads import Uploads, serve_uploads
from tests.support.stored_runs import Answer, Made, RunMaker

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
NAMED = {"geneval": "owner/GenEval#full"}
CARD = "---\nlicense: mit\n---\n\n# My model\n\nMade with care.\n"


@pytest.fixture
def make(tmp_path: Path) -> RunMaker:
    (tmp_path / "runs").mkdir()
    return RunMaker(root=tmp_path / "runs")


@pytest.fixture
def hub() -> Iterator[Uploads]:
    with serve_uploads() as uploads:
        yield uploads


def half(request: ImageRequest) -> Answer:
    return float(request.index)


def complete(make: RunMaker, **changes: object) -> Made:
    """A run of the full benchmark by its own evaluator."""
    settings: dict[str, object] = {"split": "", "evaluator": "mask2former", "answer": half}
    return make("/models/of me/my-model", **{**settings, **changes})  # type: ignore[arg-type]


def entries(out: Path) -> list[EvalResultEntry]:
    files = sorted((out / ".eval_results").glob("*.yaml"))
    return [
        one for file in files for one in parse_eval_result_entries(yaml.safe_load(file.read_text()))
    ]


def test_an_entry_says_what_makes_its_value_comparable(make: RunMaker, tmp_path: Path) -> None:
    judged = {"judge.model": "/data/vlm/Qwen3-VL", "judge.kind": "vllm", "self_test": "protocol"}
    pixels = {"benchmark.prompt_style": "rewritten", "checkpoint.think": "on",
              "checkpoint.refine": "self:2"}  # fmt: skip
    made = complete(make, identity=judged, pixels=pixels)
    scores = hub_scores([load_run(made.folder.root)])
    assert write_hub_folder(scores, tmp_path / "out", NAMED) == []
    (entry,) = entries(tmp_path / "out")
    headline = made.report.headline
    assert (entry.dataset_id, entry.task_id) == ("owner/GenEval", "full")
    assert (entry.value, entry.date) == (headline.value, "2026-11-21T21:40:00+00:00")
    assert entry.notes is not None
    for clause in (
        "official protocol, evaluator mask2former", "judge Qwen3-VL",
        "12 prompts (rewritten), images per prompt: 2",
        f"95% interval {headline.low:.3f} to {headline.high:.3f}",
        "chain of thought before each image", "images refined (self:2)", "self-test in part",
    ):  # fmt: skip
        assert clause in entry.notes.split("; ")
    assert "/data" not in entry.notes


def test_scores_that_would_mislead_a_leaderboard_have_no_entry_and_stand_in_the_section(
    make: RunMaker, tmp_path: Path
) -> None:
    runs = [complete(make, limit=6), complete(make, split="mini"), complete(make)]
    scores = hub_scores([load_run(one.folder.root) for one in runs])
    left_out = write_hub_folder(scores, tmp_path / "out", {})
    assert [clause.partition(": ")[2] for clause in left_out] == [
        "the run was limited to 6 samples",
        "it is not comparable with published scores",
        "no dataset of the hub is known for it; --dataset geneval=OWNER/NAME names one",
    ]
    assert entries(tmp_path / "out") == []
    section = (tmp_path / "out" / "scores.md").read_text()
    assert "PARTIAL" in section
    assert "are not comparable with published ones" in section
    assert "of me" not in section


def test_runs_that_differ_in_their_seed_alone_both_keep_their_entry(
    make: RunMaker, tmp_path: Path
) -> None:
    runs = [complete(make, pixels={"seed": seed}) for seed in ("0", "1")]
    write_hub_folder(
        hub_scores([load_run(one.folder.root) for one in runs]), tmp_path / "out", NAMED
    )
    notes = [one.notes or "" for one in entries(tmp_path / "out")]
    assert sorted("seed 0" in note for note in notes) == [False, True]


def test_runs_of_two_checkpoints_are_not_put_on_one_card(make: RunMaker) -> None:
    runs = [make("a", split=""), make("b", split="")]
    with pytest.raises(AlphaBenchError, match="2 checkpoints"):
        hub_scores([load_run(one.folder.root) for one in runs])


def test_the_section_replaces_an_earlier_one_and_leaves_the_rest_of_a_card(
    make: RunMaker,
) -> None:
    section = card_section(hub_scores([load_run(complete(make).folder.root)]))
    once = insert_section(CARD, section)
    assert once.startswith(CARD)
    assert insert_section(once, section) == once
    followed = f"{once}\n## Afterwards\n"
    newer = insert_section(followed, section.replace("0.500", "0.750"))
    assert newer == followed.replace("0.500", "0.750")


def test_a_push_keeps_the_card_and_uploads_only_what_it_wrote(
    make: RunMaker, tmp_path: Path, hub: Uploads
) -> None:
    out = tmp_path / "out"
    scores = hub_scores([load_run(complete(make).folder.root)])
    (out / ".eval_results").mkdir(parents=True)
    (out / "private.txt").write_text("mine")
    (out / ".eval_results" / "old.yaml").write_text("[]")
    write_hub_folder(scores, out, NAMED)
    assert hub.requests == []
    hub.private["me/model"] = False
    hub.files["me/model"] = {"README.md": CARD.encode()}
    with pytest.raises(AlphaBenchError, match="exists and is public"):
        push_scores(scores, out, NAMED, hub_target("me/model", public=False))
    assert hub.files["me/model"] == {"README.md": CARD.encode()}
    assert "(public)" in push_scores(scores, out, NAMED, hub_target("me/model", public=True))
    files = hub.files["me/model"]
    assert len(files) == 2
    assert {name.partition("/")[0] for name in files} == {"README.md", ".eval_results"}
    assert files["README.md"].decode().startswith(CARD)
    assert "## Scores" in files["README.md"].decode()


def test_a_repository_that_is_not_there_yet_gets_a_card(
    make: RunMaker, tmp_path: Path, hub: Uploads
) -> None:
    scores = hub_scores([load_run(complete(make).folder.root)])
    write_hub_folder(scores, tmp_path / "out", NAMED)
    push_scores(scores, tmp_path / "out", NAMED, hub_target("me/new", public=False))
    card = hub.files["me/new"]["README.md"].decode()
    assert "# new" in card
    assert "tags:\n- alphabench" in card
    assert hub.private == {"me/new": True}


def test_a_card_that_cannot_be_read_is_not_replaced(
    make: RunMaker, tmp_path: Path, hub: Uploads
) -> None:
    scores = hub_scores([load_run(complete(make).folder.root)])
    write_hub_folder(scores, tmp_path / "out", NAMED)
    hub.private["me/model"], hub.files["me/model"] = True, {"README.md": CARD.encode()}
    hub.failing["/resolve/"] = (403, "not for you")
    with pytest.raises(AlphaBenchError, match="cannot be read, so nothing was uploaded"):
        push_scores(scores, tmp_path / "out", NAMED, hub_target("me/model", public=False))
    assert hub.files["me/model"] == {"README.md": CARD.encode()}
