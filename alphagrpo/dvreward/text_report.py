"""A verdict as text: the reward, then every question with its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphabench.reports.markdown import number, plain_text
from alphabench.types import Verdict


def verdict_text(verdict: Verdict) -> str:
    """`0.812 (semantic 0.770, quality 0.857)`, and one line for each question."""
    detail = verdict.detail
    if verdict.value is None:
        head = f"no reward, {verdict.status}: {plain_text(str(detail.get('reason', '')))}"
    elif "semantic" in detail:
        parts = f"semantic {number(detail['semantic'])}, quality {number(detail['quality'])}"
        head = f"{number(verdict.value)} ({parts})"
    else:
        head = number(verdict.value)
    return "\n".join([head, *(f"  {_line(entry)}" for entry in detail.get("questions", ()))])


def _line(entry: Mapping[str, Any]) -> str:
    if "question" not in entry:
        grades = entry.get("grades")
        answer = entry["status"] if grades is None else ", ".join(number(g) for g in grades)
        return f"{entry['id']}: {answer}"
    p_yes = entry["p_yes"]
    answer = entry["status"] if p_yes is None else number(p_yes)
    return (
        f"{answer:>8}  {entry['id']:>3} {entry['tag'] or '-':<12} {plain_text(entry['question'])}"
    )
