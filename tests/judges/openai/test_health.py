"""Whether it is the host or the questions."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.health import HOPELESS_AT_FIRST, SUSPECT_AFTER, Health, JudgeRecord


def health(notes: list[str] | None = None, *, has_answered: bool = True) -> Health:
    note = ([] if notes is None else notes).append
    return Health(host="h", patience_seconds=60.0, note=note, has_answered=has_answered)


def fail(
    of: Health,
    now: float = 0.0,
    *,
    times: int = 1,
    reason: str = "HTTP 500",
    reached: bool = True,
    strange: bool = False,
    mistake: str | None = None,
) -> None:
    for _ in range(times):
        of.failed(reason, now, reached=reached, strange=strange, mistake=mistake)


def give_up(record: JudgeRecord, *, times: int) -> None:
    for _ in range(times):
        record.gave_up("HTTP 400")


def test_faults_in_a_row_make_a_host_suspect_and_an_answer_clears_it() -> None:
    of = health()
    seen = []
    for times in (SUSPECT_AFTER - 1, SUSPECT_AFTER):
        fail(of, times=times)
        seen.append(of.is_suspect)
        of.answered(1.0)
        seen.append(of.is_suspect)
    assert seen == [False, False, True, False]


def test_a_host_that_cannot_be_reached_is_suspect_sooner() -> None:
    of = health()
    fail(of, reached=False, times=3)
    assert of.is_suspect


def test_a_host_that_passes_the_control_is_not_doubted_again_soon() -> None:
    of = health()
    faults = []
    for _ in range(4):
        n = 0
        while not of.is_suspect:
            fail(of)
            n += 1
        faults.append(n)
        of.passed_probe(1.0)
    assert faults == [8, 16, 32, 64]
    of.answered(2.0)
    fail(of, times=8)
    assert of.is_suspect


def test_the_user_is_told_at_once_and_every_minute_and_the_end_names_the_commonest_reason() -> None:
    notes: list[str] = []
    of = Health(host="h", patience_seconds=180.0, note=notes.append)
    for second in range(0, 180, 20):
        fail(of, float(second), reason="refused" if second else "HTTP 502", reached=False)
        of.failed_probe(float(second))
    assert notes[0].startswith("the judge at h does not answer (HTTP 502)")
    left = [note.partition("up to ")[2].partition(" (")[0] for note in notes]
    assert left == ["180 s", "120 s", "60 s"]
    with pytest.raises(AlphaBenchError, match=r"nothing for 180 s .refused: 8 of 9 times"):
        of.failed_probe(180.0)


def test_the_user_is_told_when_it_answers_again() -> None:
    notes: list[str] = []
    of = health(notes)
    fail(of, 5.0)
    of.failed_probe(5.0)
    of.passed_probe(30.0)
    assert notes[1] == "the judge at h answers again (25 s)"
    of.answered(31.0)
    assert len(notes) == 2


def test_what_speaks_another_language_is_recognised_before_the_first_answer_and_not_after() -> None:
    later = health()
    fail(later, strange=True, times=20)
    of = health(has_answered=False)
    with pytest.raises(AlphaBenchError, match="no chat endpoint: a web page") as stopped:
        fail(of, strange=True, reason="a web page", times=4)
    assert "/v1" in stopped.value.hint


def test_a_mistake_in_the_address_is_told_at_once_and_an_outage_later_is_waited_for() -> None:
    later = health()
    fail(later, reached=False, mistake="check the spelling", times=20)
    of = health(has_answered=False)
    with pytest.raises(AlphaBenchError, match="cannot be reached: no address") as stopped:
        fail(of, reached=False, reason="no address", mistake="check the spelling", times=2)
    assert stopped.value.hint == "check the spelling"


def test_questions_in_vain_stop_a_judge_that_never_answered_soon_and_another_late() -> None:
    never = JudgeRecord(model="m")
    with pytest.raises(AlphaBenchError, match=r"none of 16 questions at all .HTTP 400"):
        give_up(never, times=HOPELESS_AT_FIRST)
    once = JudgeRecord(model="m")
    once.replied()
    give_up(once, times=200)
    once.replied()
    with pytest.raises(AlphaBenchError, match="none of 256 questions in a row"):
        give_up(once, times=256)
