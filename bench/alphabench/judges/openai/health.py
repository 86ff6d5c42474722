"""Whether a host is down, or only some questions cannot be answered. Sends nothing.

Consecutive faults make a host suspect; then a probe, a question that any chat model can answer,
decides: if it is answered, the questions caused the faults. For a host that does not answer it
either, the run waits up to `patience_seconds`. There is one record per judge and one health per
replica.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from alphabench.core.errors import AlphaBenchError

SUSPECT_AFTER: Final = 8
"""Faults in a row, without an answer between, after which the host is probed."""
_SUSPECT_UNREACHED_AFTER: Final = 3
_LONGEST_SUSPENSE: Final = 512
_STRANGE_AFTER: Final = 4
"""Answers that are no chat completions, before the first that was one."""
_MISTAKEN_AFTER: Final = 2
"""Failures of a kind that waiting seldom helps, before the first answer."""
_NOTE_SECONDS: Final = 60.0
HOPELESS_AT_FIRST: Final = 16
"""Consecutive questions without an answer, before any was answered, that stop the run."""
HOPELESS_LATER: Final = 256


@dataclass(kw_only=True)
class JudgeRecord:
    """Outcomes of a judge's questions in this process; outlives one session."""

    model: str
    replies: int = 0
    failed_in_a_row: int = 0
    """Questions given up in a row."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Of these failures, since the last reply."""

    def replied(self) -> None:
        self.replies += 1
        self.failed_in_a_row = 0
        self.reasons.clear()

    def gave_up(self, reason: str) -> None:
        """Count a question that gets no answer.

        Raises:
            AlphaBenchError: so many in a row that it is not the questions.
        """
        self.failed_in_a_row += 1
        self.reasons[reason] += 1
        if self.failed_in_a_row >= (HOPELESS_LATER if self.replies else HOPELESS_AT_FIRST):
            which = "in a row" if self.replies else "at all"
            raise AlphaBenchError(
                f"the judge {self.model!r} answered none of {self.failed_in_a_row} questions "
                f"{which} ({commonest_reason(self.reasons)})",
                hint="check its options, and whether it takes this many images and tokens; its "
                "answers are saved, and `alphabench summarise RUN` reports on it",
            )


@dataclass(kw_only=True)
class Health:
    """The circuit breaker of one replica."""

    host: str
    address: str = ""
    """With scheme and port, for the user; empty: the host alone is known."""
    patience_seconds: float
    """How long it may answer nothing, not even the probe, before the run stops."""
    note: Callable[[str], None]
    """Shows the user what the run waits for."""
    has_answered: bool = False
    """Ever, in this process."""
    faults_in_a_row: int = 0
    """Faults since it last answered a question or the probe."""
    unreached_in_a_row: int = 0
    strange: int = 0
    """Responses that were no chat completions, in the same period."""
    answered_at: float | None = None
    """When it last answered a question or the probe."""
    failing_since: float | None = None
    noted_at: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    _suspect_after: int = SUSPECT_AFTER

    def answered(self, now: float) -> None:
        """A question was answered."""
        self.has_answered = True
        self._suspect_after = SUSPECT_AFTER
        self._well_again(now)

    def passed_probe(self, now: float) -> None:
        """It answers, so the questions caused the faults; the next probe comes later."""
        self._suspect_after = min(2 * self._suspect_after, _LONGEST_SUSPENSE)
        self._well_again(now)

    def _well_again(self, now: float) -> None:
        if self.noted_at is not None and self.failing_since is not None:
            self.note(
                f"the judge at {self._where} answers again ({now - self.failing_since:.0f} s)"
            )
        self.faults_in_a_row = self.unreached_in_a_row = self.strange = 0
        self.answered_at = now
        self.failing_since = self.noted_at = None
        self.reasons.clear()

    def failed(
        self, reason: str, now: float, *, reached: bool, strange: bool, mistake: str | None
    ) -> None:
        """Count a fault of a question or of the probe.

        Args:
            reason: in one line.
            now: by the clock.
            reached: there was a connection.
            strange: something answered that is no chat endpoint.
            mistake: what the user should look at, where waiting seldom helps.

        Raises:
            AlphaBenchError: it never answered, and is no chat endpoint or cannot be reached
                because of a mistake.
        """
        self.faults_in_a_row += 1
        self.unreached_in_a_row = 0 if reached else self.unreached_in_a_row + 1
        self.strange += strange
        self.reasons[reason] += 1
        self.failing_since = now if self.failing_since is None else self.failing_since
        if self.has_answered:
            return
        if self.strange >= _STRANGE_AFTER:
            raise AlphaBenchError(
                f"the judge at {self.host!r} is no chat endpoint: {reason}",
                hint="check the address, which ends in /v1 as a rule, and whether a login page or "
                "a proxy stands before it",
            )
        if mistake is not None and self.unreached_in_a_row >= _MISTAKEN_AFTER:
            raise AlphaBenchError(
                f"the judge at {self.host!r} cannot be reached: {reason}", hint=mistake
            )

    @property
    def _where(self) -> str:
        return self.address or self.host

    def is_silent_since(self, moment: float | None) -> bool:
        """Whether it has answered nothing from then on."""
        return moment is None or self.answered_at is None or self.answered_at <= moment

    @property
    def is_suspect(self) -> bool:
        """Whether a probe must find out if the host or the questions are at fault."""
        return (
            self.faults_in_a_row >= self._suspect_after
            or self.unreached_in_a_row >= _SUSPECT_UNREACHED_AFTER
        )

    def failed_probe(self, now: float) -> None:
        """The probe got no answer either: show a note until the patience is over.

        Raises:
            AlphaBenchError: it is over.
        """
        silent = now - (now if self.failing_since is None else self.failing_since)
        reason = commonest_reason(self.reasons)
        if silent >= self.patience_seconds:
            raise AlphaBenchError(
                f"the judge at {self.host!r} has answered nothing for {silent:.0f} s ({reason})",
                hint="bring it up and give the same command again; its answers are saved",
            )
        if self.noted_at is None or now - self.noted_at >= _NOTE_SECONDS:
            self.noted_at = now
            self.note(
                f"the judge at {self._where} does not answer ({reason}); trying again for up to "
                f"{self.patience_seconds - silent:.0f} s (the judge's option patience_seconds). "
                "Start it, or stop this with Ctrl-C and correct the address: what was answered so "
                "far is saved"
            )


def commonest_reason(reasons: Counter[str]) -> str:
    """The most frequent reason, with its frequency if there are others."""
    if not reasons:
        return "no reason known"
    ((reason, count),) = reasons.most_common(1)
    total = reasons.total()
    return reason if len(reasons) == 1 else f"{reason}: {count} of {total} times"
