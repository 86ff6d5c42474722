"""The vocabulary as JSON and back. The only place where a verdict or report is a dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from alphabench.types import Estimate, Report, Verdict


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A line of a verdict file."""
    return {
        "image_id": verdict.image_id,
        "question_id": verdict.question_id,
        "value": verdict.value,
        "status": verdict.status,
        "detail": dict(verdict.detail),
    }


def verdict_from_json(content: Mapping[str, Any]) -> Verdict:
    """The inverse of `verdict_to_json`."""
    return Verdict(**content)


def report_to_json(report: Report) -> dict[str, Any]:
    """What `--json` prints, and what a report file holds."""
    return {
        "benchmark": report.benchmark,
        "split": report.split,
        "protocol": report.protocol,
        "evaluator": report.evaluator,
        "headline": asdict(report.headline),
        "groups": {name: asdict(figure) for name, figure in report.groups.items()},
        "coverage": report.coverage,
        "partial": report.partial,
        "bounds": list(report.bounds) if report.bounds else None,
        "statuses": dict(report.statuses),
        "extras": {name: asdict(figure) for name, figure in report.extras.items()},
        "withheld": report.withheld,
        "notes": list(report.notes),
    }


def report_from_json(content: Mapping[str, Any]) -> Report:
    """The inverse of `report_to_json`."""
    bounds = content["bounds"]
    return Report(
        **{
            **content,
            "headline": Estimate(**content["headline"]),
            "groups": {name: Estimate(**one) for name, one in content["groups"].items()},
            "extras": {name: Estimate(**one) for name, one in content["extras"].items()},
            "bounds": (bounds[0], bounds[1]) if bounds else None,
            "notes": tuple(content.get("notes", ())),
        }
    )
