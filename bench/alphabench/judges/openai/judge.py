"""A judge behind any OpenAI-compatible chat endpoint, or several replicas of one.

Sends as many questions at once as the hosts accept, waits out rate limits and passing faults
within bounds, and stores each reply on arrival, so that no paid answer is lost. A reply from
another model, an endpoint that stays silent and a used-up budget stop the run. A host can change
the weights behind a name at any time, which no identity shows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill, json_value
from alphabench.judges.openai.batched_store import StoreReplies
from alphabench.judges.openai.budget import Prices, SpendingAccount
from alphabench.judges.openai.chat_api import OMITTABLE, THINKING_FIELD
from alphabench.judges.openai.chat_client import ChatClient
from alphabench.judges.openai.health import Health, JudgeRecord
from alphabench.judges.openai.openai_options import OpenAIOptions
from alphabench.judges.openai.ordered_stream import in_order
from alphabench.judges.openai.rate_limit import Clock, ConcurrencyLimit
from alphabench.judges.openai.session import ReplicaState, Session
from alphabench.judges.parsing import unscored
from alphabench.questions import Answer, Capabilities, JudgeUsage, Question
from alphabench.remote import credentials
from alphabench.remote.answering_model import AnsweringModel
from alphabench.remote.endpoint import LOOPBACK, Endpoint, parse_endpoint, refuse_older_azure
from alphabench.remote.model_listing import ListedModel, check_end, listed_model

_LOG: Final = logging.getLogger("alphabench.judges")
"""Notes for the user while the run waits; written to standard error by default."""
_OWNER: Final = "an OpenAI-compatible judge"
_OPENAI_DOMAIN: Final = "api.openai.com"
_BODY: Final = "body."
_RESERVED: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
     "logprobs", "top_logprobs", "n", "stream", "token_field", "image_detail", "omit",
     "most_logprobs", "extra_tokens"}
)  # fmt: skip
_WINDOW_ROUNDS: Final = 8
"""Questions under way, in multiples of the concurrency: a waiting one holds up no more."""


@dataclass(kw_only=True, eq=False)
class OpenAIJudge:
    """Can be pickled; connections open in `ask` and close with it."""

    replicas: tuple[Endpoint, ...]
    options: OpenAIOptions = field(default_factory=OpenAIOptions)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request, as JSON values."""
    find_key: Callable[[str], str | None] = field(default=credentials.api_key, repr=False)
    """Host -> key; called for each request, and the key is not kept."""
    clock: Clock = field(default_factory=Clock, repr=False)
    account: SpendingAccount = field(init=False, repr=False)
    """What this process has spent."""
    states: tuple[ReplicaState, ...] = field(init=False, repr=False)
    """What is known of each replica so far: how fast it takes requests, whether it answers."""
    record: JudgeRecord = field(init=False, repr=False)
    answering: AnsweringModel = field(init=False, repr=False)
    listed: dict[str, ListedModel | None] = field(default_factory=dict, init=False, repr=False)
    """Host -> what it said about the model's end, where it was asked."""
    notes: set[str] = field(default_factory=set, init=False, repr=False)
    """Sentences that the user was told already."""

    def __post_init__(self) -> None:
        options = self.options
        self.account = SpendingAccount(
            prices=Prices(tokens_in=options.price_in, tokens_out=options.price_out),
            budget_usd=options.budget_usd,
            extra_tokens=options.extra_tokens,
        )
        self.states = tuple(
            ReplicaState(
                endpoint=endpoint,
                limit=ConcurrencyLimit(maximum=options.concurrency),
                health=Health(
                    host=endpoint.host,
                    address=endpoint.base,
                    patience_seconds=options.patience_seconds,
                    note=_LOG.warning,
                ),
            )
            for endpoint in self.replicas
        )
        self.record = JudgeRecord(model=self.model)
        self.answering = AnsweringModel(expected=options.served_as or self.model)

    @property
    def model(self) -> str:
        return self.replicas[0].model

    @property
    def address(self) -> str:
        """All addresses and the model, as `--judge` takes them."""
        return f"{','.join(one.base for one in self.replicas)}#{self.model}"

    @property
    def usage(self) -> JudgeUsage:
        account = self.account
        return JudgeUsage(
            replies=account.replies,
            tokens_in=account.tokens_in,
            tokens_out=account.tokens_out,
            cost_usd=account.spent_usd if self.options.costs_money else None,
        )

    def most_usd(self, question: Question) -> float | None:
        """See `EstimatesCost`: two characters a token, 2,000 tokens an image, full replies."""
        return self.account.most_usd(question) if self.options.costs_money else None

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
            "after_shutdown": options.after_shutdown,
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
            template_fields = fields.get(THINKING_FIELD)
            switch = {"enable_thinking": self.options.thinking}
            fields[THINKING_FIELD] = {
                **(template_fields if isinstance(template_fields, dict) else {}),
                **switch,
            }
        return {
            **fields,
            "token_field": bound,
            "image_detail": self.options.image_detail,
            "omit": self.options.omitted,
            "most_logprobs": self.options.top_logprobs,
            "extra_tokens": self.options.extra_tokens,
        }

    def check_retirement(self, *, asks_host: bool = True) -> None:
        """See `CanBeRetired`; a host is asked once, whatever the number of its replicas."""
        today = datetime.fromtimestamp(self.clock.wall(), UTC).date()
        for host, endpoint in {one.host: one for one in self.replicas}.items():
            if asks_host:
                self.listed[host] = listed_model(endpoint, key=self.find_key(host), today=today)
            check_end(
                endpoint,
                self.listed.get(host),
                today=today,
                part="judge",
                is_allowed=self.options.after_shutdown == "allow",
                note=self._note_once,
            )

    def _note_once(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.add(sentence)
            _LOG.warning(sentence)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`."""
        return self.ask_and_store(questions, lambda _: None)

    def ask_and_store(self, questions: Iterable[Question], store: StoreReplies) -> Iterator[Answer]:
        """`ask`, with every reply given to `store` on arrival, whether or not it is used.

        Raises:
            AlphaBenchError: the model's last day has passed since the handshake.
        """
        self.check_retirement(asks_host=False)

        async def open_session() -> Session:
            client = ChatClient(
                model=self.model,
                fields=self.fixed_fields,
                extra_names=tuple(self.extra),
                options=self.options,
                find_key=self.find_key,
                clock=self.clock,
                record=self.record,
            )
            return Session(
                client,
                self.states,
                account=self.account,
                answering=self.answering,
                record=self.record,
                store=store,
            )

        window = _WINDOW_ROUNDS * self.options.concurrency * len(self.replicas)
        return in_order(questions, open_session, window=window, missed=_not_reached)


def open_openai(location: str, *, options: Mapping[str, str], device: str) -> OpenAIJudge:
    """`http://host:8000/v1#model`, or several addresses with commas between; asks nothing yet.

    Raises:
        AlphaBenchError: a malformed address, an unknown option, or a key that others could read.
    """
    del device
    refuse_older_azure(location, options)
    extra = {k.removeprefix(_BODY): v for k, v in options.items() if k.startswith(_BODY)}
    judge_options = {k: v for k, v in options.items() if not k.startswith(_BODY)}
    if reserved := sorted(extra.keys() & _RESERVED):
        raise AlphaBenchError(
            f"the field {reserved[0]!r} belongs to the question and cannot be an option",
            hint=f"write {reserved[0]}=omit to send none"
            if reserved[0] in OMITTABLE
            else f"leave out {_BODY}{reserved[0]}",
        )
    judge = OpenAIJudge(
        replicas=parse_replicas(location),
        options=fill(OpenAIOptions, judge_options, owner=_OWNER),
        extra={key: json_value(value) for key, value in sorted(extra.items())},
    )
    _check_keys(judge)
    return judge


def parse_replicas(location: str) -> tuple[Endpoint, ...]:
    """`"http://a/v1,http://b/v1#model"` -> one endpoint each, all with that model.

    Raises:
        AlphaBenchError: a malformed address, or replicas of different models.
    """
    addresses = location.split(",")
    _, _, model = addresses[-1].partition("#")
    endpoints = []
    for address in addresses:
        address_part, _, own_model = address.strip().partition("#")
        address_part = address_part.rstrip("/").removesuffix("/chat/completions")
        endpoints.append(parse_endpoint(f"{address_part}#{own_model or model}"))
    if len({endpoint.model for endpoint in endpoints}) > 1:
        raise AlphaBenchError(
            f"{location!r} names replicas of different models",
            hint="name the model once, after the last address",
        )
    return tuple(endpoints)


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


def _provider(replicas: Sequence[Endpoint]) -> str:
    """Names without ports: on which of the user's machines a model runs decides no answer."""
    names = {"local" if one.host in LOOPBACK else one.host for one in replicas}
    return ",".join(sorted(names))


def _not_reached(question: Question) -> Answer:
    return unscored(question, "missing", "the judge was stopped before it answered")
