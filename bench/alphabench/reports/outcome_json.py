"""What `run`, `score` and `summarise` print with `--json`: the report, and what it rests on.

The object has the keys of a stored report (`benchmark`, `split`, `protocol`, `evaluator`,
`headline`, `groups`, `coverage`, `partial`, `bounds`, `statuses`, `extras`, `withheld`, `notes`)
and one more, `run`:

    folder              the run folder
    report, gallery     paths of both pages; null where they could not be written
    label               from --name; null without one
    checkpoint          as the user named it
    checkpoint_identity all that decides its images
    seed, limit         of the run; a limit of null is the whole benchmark
    shard               number and of; null for all of the run
    images              how many it has
    benchmark           id, name, version, split, data_digest
    protocol            official or strict
    evaluation          name of the evaluation in the run folder
    evaluator_identity  all that decides its verdicts
    judge               kind and model; null without one
    alphabench          version that wrote this, and that made the images: now, images
    stamps              [{"stamp": "PARTIAL", "meaning": "..."}], the most serious first
    unscored            [{"count": 3, "reason": "failed: ..."}], the most frequent first
    cost                what this command asked of a remote judge: usd (null where its prices are
                        not given), replies, tokens_in, tokens_out; null without a remote judge
    complete            whether every expected verdict has a value

With several evaluations, `summarise --json` prints one such object a line.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from alphabench.questions import JudgeUsage
from alphabench.reports.run_report import stamps
from alphabench.runs.run import Outcome
from alphabench.runs.run_pages import GALLERY_FILE, REPORT_FILE
from alphabench.runs.serialization import report_to_json
from alphabench.runs.store import RunFolder
from alphabench.types import Report

_CHECKPOINT: Final = "checkpoint."


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """The object that the module describes."""
    return {**report_to_json(outcome.report), "run": _run(outcome)}


def _run(outcome: Outcome) -> dict[str, Any]:
    pages = {"report": REPORT_FILE, "gallery": GALLERY_FILE}
    return {
        **run_to_json(outcome.folder, outcome.evaluation, outcome.report),
        **{
            key: str(outcome.pages[name]) if name in outcome.pages else None
            for key, name in pages.items()
        },
        "unscored": [{"count": count, "reason": reason} for reason, count in outcome.unscored],
        "cost": None if outcome.usage is None else _cost(outcome.usage),
        "complete": not outcome.incomplete,
    }


def run_to_json(folder: RunFolder, evaluation: str, report: Report) -> dict[str, Any]:
    """What `run` holds of a stored run: all but its pages, `unscored`, `cost` and `complete`."""
    manifest = folder.manifest
    identity = folder.evaluation_identity(evaluation)
    packages = manifest.circumstances.get("packages")
    return {
        "folder": str(folder.root),
        "label": manifest.label or None,
        "checkpoint": manifest.checkpoint,
        "checkpoint_identity": {
            key.removeprefix(_CHECKPOINT): value
            for key, value in manifest.pixels.items()
            if key.startswith(_CHECKPOINT)
        },
        "seed": int(manifest.pixels["seed"]),
        "limit": manifest.limit,
        "shard": None if manifest.shard is None else asdict(manifest.shard),
        "images": len(folder.images()),
        "benchmark": {
            "id": manifest.benchmark,
            "name": report.benchmark,
            "version": manifest.benchmark.partition("@")[2].partition(":")[0],
            "split": report.split,
            "data_digest": manifest.pixels["benchmark.data_digest"],
        },
        "protocol": report.protocol,
        "evaluation": evaluation,
        "evaluator_identity": identity,
        "judge": _judge(identity),
        "alphabench": {
            "now": importlib.metadata.version("alphabench"),
            "images": packages.get("alphabench") if isinstance(packages, dict) else None,
        },
        "stamps": [
            {"stamp": stamp, "meaning": meaning}
            for stamp, meaning in stamps(report, manifest, identity)
        ],
    }


def _judge(identity: Mapping[str, str]) -> dict[str, str | None] | None:
    if "judge.kind" not in identity:
        return None
    return {"kind": identity["judge.kind"], "model": identity.get("judge.model")}


def _cost(usage: JudgeUsage) -> dict[str, Any]:
    return {
        "usd": usage.cost_usd,
        "replies": usage.replies,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
    }
