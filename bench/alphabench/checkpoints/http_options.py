"""Options of a checkpoint behind the images API. Knows neither requests nor hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Options of a remote checkpoint. Further fields of the request are written `body.NAME`."""

    size: str | None = None
    """WIDTHxHEIGHT for requests that name no size; left out, the host chooses."""
    other_size: Literal["refuse", "keep"] = "refuse"
    """What to do with an image of another size than requested; the first one refused stops."""
    quality: str | None = None
    """As the host names it, such as `high`."""
    response_format: Literal["b64_json", "url"] | None = None
    """Ask for one form of answer; both are understood, and some models accept no such field."""
    send_seed: bool = False
    """Send the request's seed as `seed`, which only some hosts know."""
    concurrency: int = 8
    """Concurrent requests."""
    timeout_seconds: float = 90.0
    """For one attempt."""
    attempts: int = 6
    """Tries for one image, the first included."""
    longest_wait_seconds: float = 120.0
    """If the host asks to wait longer than this, the image fails."""
    served_as: str | None = None
    """The name that the host gives in its answers, if it differs from the requested one."""
    after_shutdown: Literal["allow"] | None = None
    """allow: ask the model after the day on which its host switches it off; for the identity."""
    key_without_tls: bool = False
    """Send the key over http:// to another machine, unencrypted."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.attempts < 1:
            raise ValueError("concurrency and attempts must be 1 or more")
        if not 0 < self.timeout_seconds <= 3600 or not 0 <= self.longest_wait_seconds <= 3600:
            raise ValueError("timeout_seconds and longest_wait_seconds must be between 0 and 3600")
        if self.size is not None:
            parse_size(self.size)


def settings_of(options: HttpOptions) -> dict[str, str]:
    """For `ShowsSettings`, without the fields of `body.NAME`."""
    chosen = {"size": options.size, "quality": options.quality}
    return {
        **{key: "chosen by the host" if value is None else value for key, value in chosen.items()},
        "seed": "sent" if options.send_seed else "not sent",
        "other_size": options.other_size,
        "concurrency": str(options.concurrency),
        "attempts": str(options.attempts),
        "timeout_seconds": f"{options.timeout_seconds:g}",
    }


def parse_size(text: str) -> tuple[int, int]:
    """`"1024x768"` -> `(1024, 768)`.

    Raises:
        ValueError: it is not two positive integers with an x between.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"size is WIDTHxHEIGHT, not {text!r}")
    return int(width), int(height)
