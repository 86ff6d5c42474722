"""Which reasons are told first."""

from __future__ import annotations

from alphabench.runs.reasons import frequent_reasons


def test_reasons_that_differ_in_numbers_and_ids_count_as_one() -> None:
    reasons = ["HTTP 503: busy, request 1a2b-7", "no key", "HTTP 503: busy, request 99ff-8"]
    assert frequent_reasons(reasons, 1) == [("HTTP 503: busy, request 1a2b-7", 2)]


def test_a_reason_is_one_short_line_without_control_characters() -> None:
    ((reason, count),) = frequent_reasons(["a\nb\x1b[31m" + "c" * 999], 3)
    assert (reason[:8], len(reason), count) == ("a b [31m", 300, 1)
