"""Options of a judge behind an OpenAI-compatible endpoint. Knows neither requests nor hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alphabench.judges.openai.chat_api import OMITTABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions:
    """Options of the judge. Further fields of the request are written `body.NAME`."""

    concurrency: int = 64
    """Concurrent requests at each replica, at most; fewer if the host refuses."""
    timeout_seconds: float = 60.0
    """For one attempt."""
    attempts: int = 6
    """Attempts at one question that meets faults, including the first."""
    patience_seconds: float = 180.0
    """How long a judge may answer nothing before the run stops."""
    longest_wait_seconds: float = 120.0
    """A host that asks to wait longer than this stops the run."""
    served_as: str | None = None
    """The name under which the judge answers, if it differs from the requested one."""
    after_shutdown: Literal["allow"] | None = None
    """allow: ask the model after the day on which its host switches it off; for the identity."""
    images_per_question: int = 8
    """Images that it takes in one question."""
    logprobs: bool = True
    """Whether it gives log-probabilities; the handshake checks."""
    image_detail: Literal["low", "high", "auto"] | None = None
    """Sent with each image, for hosts that know it."""
    token_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Which field bounds the reply; left out, the newer one for OpenAI's own hosts."""
    extra_tokens: int = 0
    """Added to each question's bound on the reply, for judges that think before they answer or
    refuse small bounds."""
    temperature: Literal["omit"] | None = None
    """omit: send none, for judges that accept only their default."""
    top_p: Literal["omit"] | None = None
    """omit: send none."""
    seed: Literal["omit"] | None = None
    """omit: send none."""
    top_logprobs: int | None = None
    """The most alternatives to ask for, for hosts that give fewer than 20; P(yes) of a hedging
    judge is then unparsed more often."""
    thinking: bool | None = None
    """Sent as chat_template_kwargs.enable_thinking, which vLLM and SGLang know; for other hosts see
    body.NAME in docs/judges.md."""
    thoughts: Literal["strip", "keep"] = "strip"
    """Treatment of a closed thought before an answer; keep passes it to the answer format, as
    upstream's scripts do."""
    price_in: float = 0.0
    """Dollars for a million tokens of a question."""
    price_out: float = 0.0
    """Dollars for a million tokens of a reply."""
    budget_usd: float | None = None
    """The run stops before it spends more."""
    provider: str | None = None
    """Who serves the model, for the identity; left out, the host's name."""
    revision: str | None = None
    """Of the weights, as known to the user; for the identity."""
    key_without_tls: bool = False
    """Send the key over http:// to another machine, readable by anyone in between."""

    def __post_init__(self) -> None:
        counts = (self.concurrency, self.attempts, self.images_per_question)
        if min(counts) < 1:
            raise ValueError("concurrency, attempts and images_per_question are 1 or more")
        if self.extra_tokens < 0 or self.top_logprobs not in (None, *range(1, 21)):
            raise ValueError("extra_tokens is 0 or more, top_logprobs 1 to 20")
        if not 0 < self.timeout_seconds <= 3600 or self.patience_seconds < 0:
            raise ValueError("timeout_seconds lies between 0 and 3600, patience_seconds above 0")
        if min(self.price_in, self.price_out, self.longest_wait_seconds) < 0:
            raise ValueError("prices and waits are not negative")
        if self.budget_usd is not None and (self.budget_usd <= 0 or not self.costs_money):
            raise ValueError("budget_usd is above 0 and needs price_in and price_out")

    @property
    def costs_money(self) -> bool:
        return self.price_in > 0 or self.price_out > 0

    @property
    def omitted(self) -> tuple[str, ...]:
        """The fields that are never sent."""
        return tuple(name for name in OMITTABLE if getattr(self, name) == "omit")
