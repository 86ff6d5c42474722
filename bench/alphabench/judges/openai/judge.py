"""A judge behind any OpenAI-compatible chat endpoint, or several replicas of one.

Asks as many questions at once as the hosts bear, waits out rate limits and passing faults within
bounds, and hands each reply on as soon as it is there, so that no paid answer is lost. A reply from
another model, an endpoint that stays silent and a used-up budget stop the run. A host can change
the weights behind a name at any time, which no identity shows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill, json_value
from alphabench.judges.openai.budget import Account, Prices
from alphabench.judges.openai.chat_api import OMITTABLE, THINKING_FIELD
from alphabench.judges.openai.deprecations import refuse_if_retired
from alphabench.judges.openai.health import Health, Record
from alphabench.judges.openai.ordered_stream import in_order
from alphabench.judges.openai.rate_limit import Clock, Pace
from alphabench.judges.openai.session import Keep, Session, is_same_model
from alphabench.judges.parsing import unscored
from alphabench.questions import Answer, Capabilities, Question, Reply
from alphabench.remote import credentials
from alphabench.remote.endpoint import Endpoint, parse_endpoint, refuse_older_azure

_LOG: Final = logging.getLogger("alphabench.judges")
"""What a person should know while nothing moves; goes to standard error where nobody minds."""
_OWNER: Final = "an OpenAI-compatible judge"
_OPENAI_DOMAIN: Final = "api.openai.com"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BODY: Final = "body."
_RESERVED: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
     "logprobs", "top_logprobs", "n", "stream", "token_field", "image_detail", "omit",
     "most_logprobs", "extra_tokens"}
)  # fmt: skip
_WINDOW_ROUNDS: Final = 8
"""Questions in hand, in multiples of the concurrency: what a waiting one may hold up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions:
    """Options of the judge. Further fields of the request are written `body.NAME`."""

    concurrency: int = 64
    """Requests under way at once at each replica, at most; fewer where the host objects."""
    timeout_seconds: float = 60.0
    """For one attempt."""
    attempts: int = 6
    """Tries of one question that meets faults, the first included."""
    patience_seconds: float = 180.0
    """How long a judge may answer nothing before the run stops."""
    longest_wait_seconds: float = 120.0
    """A host that asks to wait longer than this stops the run."""
    served_as: str | None = None
    """The name under which the judge answers, where it is not the one it is asked by."""
    images_per_question: int = 8
    """How many images it looks at in one question."""
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
    """What becomes of a closed thought in front of an answer; keep hands it to the answer format,
    as upstream's scripts do."""
    price_in: float = 0.0
    """Dollars for a million tokens of a question."""
    price_out: float = 0.0
    """Dollars for a million tokens of a reply."""
    budget_usd: float | None = None
    """The run stops before it spends more."""
    provider: str | None = None
    """Who serves the model, for the identity; left out, the host's name."""
    revision: str | None = None
    """Of the weights, as you know it; for the identity."""
    key_without_tls: bool = False
    """Send the key over http:// to another machine, where anyone between can read it."""

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


@dataclass(kw_only=True, eq=False)
class OpenAIJudge:
    """Can be pickled; connections open in `ask` and close with it."""

    replicas: tuple[Endpoint, ...]
    options: OpenAIOptions = OpenAIOptions()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request, as JSON values."""
    find_key: Callable[[str], str | None] = field(default=credentials.api_key, repr=False)
    """Host -> key; called for each request, and the key is not kept."""
    clock: Clock = field(default_factory=Clock, repr=False)
    account: Account = field(init=False, repr=False)
    """What this process has spent."""
    paces: list[Pace] = field(init=False, repr=False)
    """How fast each replica is asked, as learnt so far."""
    healths: list[Health] = field(init=False, repr=False)
    """Whether each replica answers."""
    record: Record = field(init=False, repr=False)
    answered_as: str | None = field(default=None, init=False, repr=False)
    """The model that the replies so far say they come from."""

    def __post_init__(self) -> None:
        prices = Prices(tokens_in=self.options.price_in, tokens_out=self.options.price_out)
        self.account = Account(
            prices=prices,
            budget_usd=self.options.budget_usd,
            extra_tokens=self.options.extra_tokens,
        )
        self.paces = [Pace(most=self.options.concurrency) for _ in self.replicas]
        patience = self.options.patience_seconds
        self.healths = [
            Health(host=one.host, patience_seconds=patience, note=_LOG.warning)
            for one in self.replicas
        ]
        self.record = Record(model=self.model)

    @property
    def model(self) -> str:
        return self.replicas[0].model

    @property
    def identity(self) -> Mapping[str, str]:
        options = self.options
        optional = {
            "revision": options.revision,
            "served_as": options.served_as,
            "image_detail": options.image_detail,
            "token_field": options.token_field,
            "extra_tokens": options.extra_tokens or None,
            "top_logprobs": options.top_logprobs,
            "thinking": options.thinking,
            "thoughts": None if options.thoughts == "strip" else options.thoughts,
            **dict.fromkeys(options.omitted, "omit"),
        }
        return {
            "kind": "openai",
            "provider": options.provider or _provider(self.replicas),
            "model": self.model,
            **{key: str(value) for key, value in optional.items() if value is not None},
            **{f"{_BODY}{key}": json.dumps(value) for key, value in self.extra.items()},
        }

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images_per_question=self.options.images_per_question, logprobs=self.options.logprobs
        )

    @property
    def fixed_fields(self) -> Mapping[str, Any]:
        """For `chat.request_body`."""
        newer = any(endpoint.host.endswith(_OPENAI_DOMAIN) for endpoint in self.replicas)
        bound = self.options.token_field or ("max_completion_tokens" if newer else "max_tokens")
        fields = dict(self.extra)
        if self.options.thinking is not None:
            own = fields.get(THINKING_FIELD)
            switch = {"enable_thinking": self.options.thinking}
            fields[THINKING_FIELD] = {**(own if isinstance(own, dict) else {}), **switch}
        return {
            **fields,
            "token_field": bound,
            "image_detail": self.options.image_detail,
            "omit": self.options.omitted,
            "most_logprobs": self.options.top_logprobs,
            "extra_tokens": self.options.extra_tokens,
        }

    def check_model(self, said: str) -> None:
        """Refuse a reply of another model; a host that does not say is believed.

        Raises:
            AlphaBenchError: another name than was asked for, or than answered before.
        """
        expected = self.options.served_as or self.model
        if said and not is_same_model(said, expected):
            raise AlphaBenchError(
                f"the judge {expected!r} was asked, and {said!r} answered",
                hint=f"if they are the same, add the judge's option served_as={said}",
            )
        if said and self.answered_as not in (None, said):
            raise AlphaBenchError(
                f"the judge changed from {self.answered_as!r} to {said!r} within one run",
                hint="name the dated model behind #, and give the same command again",
            )
        self.answered_as = self.answered_as or said or None

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        return self.ask_and_keep(questions, _keep_nothing)

    def ask_and_keep(self, questions: Iterable[Question], keep: Keep) -> Iterator[Answer]:
        """`ask`, with every reply given to `keep` at once, before and whether or not it is used."""

        async def open_session() -> Session:
            return Session(self, keep)

        window = _WINDOW_ROUNDS * self.options.concurrency * len(self.replicas)
        return in_order(questions, open_session, window=window, missed=_not_reached)


def open_openai(location: str, *, options: Mapping[str, str], device: str) -> OpenAIJudge:
    """`http://host:8000/v1#model`, or several addresses with commas between; asks nothing yet.

    Raises:
        AlphaBenchError: a malformed address, an unknown option, a retired model, or a key that
            others could read.
    """
    del device
    refuse_older_azure(location, options)
    extra = {k.removeprefix(_BODY): v for k, v in options.items() if k.startswith(_BODY)}
    own = {k: v for k, v in options.items() if not k.startswith(_BODY)}
    if reserved := sorted(extra.keys() & _RESERVED):
        raise AlphaBenchError(
            f"the field {reserved[0]!r} belongs to the question and cannot be an option",
            hint=f"write {reserved[0]}=omit to send none"
            if reserved[0] in OMITTABLE
            else f"leave out {_BODY}{reserved[0]}",
        )
    judge = OpenAIJudge(
        replicas=parse_replicas(location),
        options=fill(OpenAIOptions, own, owner=_OWNER),
        extra={key: json_value(value) for key, value in sorted(extra.items())},
    )
    _check_keys(judge)
    _refuse_retired(judge, datetime.now(UTC).date())
    return judge


def parse_replicas(location: str) -> tuple[Endpoint, ...]:
    """`"http://a/v1,http://b/v1#model"` -> one endpoint each, all with that model.

    Raises:
        AlphaBenchError: a malformed address, or replicas of different models.
    """
    addresses = location.split(",")
    _, _, model = addresses[-1].partition("#")
    found = []
    for address in addresses:
        place, _, own_model = address.strip().partition("#")
        place = place.rstrip("/").removesuffix("/chat/completions")
        found.append(parse_endpoint(f"{place}#{own_model or model}"))
    if len({endpoint.model for endpoint in found}) > 1:
        raise AlphaBenchError(
            f"{location!r} names replicas of different models",
            hint="name the model once, behind the last address",
        )
    return tuple(found)


def _check_keys(judge: OpenAIJudge) -> None:
    for endpoint in judge.replicas:
        key = judge.find_key(endpoint.host)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise AlphaBenchError(
                f"the API key for {endpoint.host!r} holds characters that no header can carry",
                hint="copy it again, without quotes or line breaks",
            )
        if key is not None and not (endpoint.is_private or judge.options.key_without_tls):
            raise AlphaBenchError(
                f"the API key would travel unencrypted to {endpoint.host!r}",
                hint="use https://, unset the key, or add the judge's option key_without_tls=true",
            )


def _refuse_retired(judge: OpenAIJudge, today: date) -> None:
    for endpoint in judge.replicas:
        refuse_if_retired(endpoint.model, today, host=endpoint.host)


def _provider(replicas: Sequence[Endpoint]) -> str:
    """Names without ports: where a model is served on one's own machines decides no answer."""
    names = {"local" if one.host in _LOOPBACK else one.host for one in replicas}
    return ",".join(sorted(names))


def _not_reached(question: Question) -> Answer:
    return unscored(question, "missing", "the judge was stopped before it answered")


def _keep_nothing(replies: Sequence[tuple[Question, Reply]]) -> None:
    del replies
