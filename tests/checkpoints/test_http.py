from __future__ import annotations

import gzip
import io
import pickle
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.types import NotGenerated
from tests.checkpoints.conftest import KEY, NOW, AskFor, Clock, connect
from tests.support.image_server import ImageServer, Step, serve

LIMITED = {"message": "slow down", "code": "rate_limit_exceeded"}
MISSING = b'{"detail": [{"loc": ["body", "size"], "msg": "Field required"}]}'
REFUSED = {"message": "not this", "code": "content_policy_violation", "param": "prompt"}


def test_a_request_has_the_form_of_the_images_api(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    (image,) = connect(server, clock, quality="high").generate([ask("a cat", size=(48, 32))])
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (48, 32))
    assert server.bodies == [
        {"model": "tiny-model", "prompt": "a cat", "n": 1, "size": "48x32", "quality": "high"}
    ]
    assert server.keys == [f"Bearer {KEY}"]


def test_images_come_back_in_order_each_requested_once_and_several_at_a_time(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend(Step(delay_seconds=0.05 * (1 + i % 3)) for i in range(12))
    requests = [ask(sample=str(i), seed=i) for i in range(12)]
    made = connect(server, clock, concurrency=4, send_seed=True).generate(requests)
    reds = [image.getpixel((0, 0))[0] for image in made if isinstance(image, Image.Image)]  # type: ignore[index]
    assert [(red - reds[0]) % 256 for red in reds] == [7 * i for i in range(12)]
    assert sorted(body["seed"] for body in server.bodies) == list(range(12))
    assert 2 <= server.busiest <= 4


@pytest.mark.parametrize(
    "fault",
    [
        Step(status=500, error={"message": "oops"}),
        Step(status=503, body=b"<html>busy</html>"),
        Step(status=429, error=LIMITED),
        Step(body=b"{not json"),
        Step(body=b'{"data": []}'),
        Step(body=b"[]"),
        Step(body=b"<!DOCTYPE html>"),
        Step(error={"message": "upstream lost", "code": 502}),
        Step(item={}),
        Step(item={"b64_json": "iVBORw0KGgoAAAANSUhEUg=="}),
        Step(item={"b64_json": "iVBORw0KGgoAAAANSUhE*"}),
        Step(hang_up=True),
    ],
    ids=lambda step: f"{step.status}-{str(step.body or step.error or step.item)[:24]}",
)
def test_a_passing_fault_is_tried_again_and_asks_for_no_more_than_that(
    fault: Step, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(fault)
    (image,) = connect(server, clock).generate([ask()])
    assert isinstance(image, Image.Image)
    assert len(server.bodies) == 2
    assert clock.waits == [1.0]


def test_a_lasting_fault_costs_a_bounded_number_of_attempts_with_growing_waits(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(status=500, error={"message": "oops"})] * 9)
    (abandoned,) = connect(server, clock, attempts=5).generate([ask()])
    assert abandoned == NotGenerated(status="failed", reason="HTTP 500: oops (attempts: 5)")
    assert len(server.bodies) == 5
    assert clock.waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("form", ["17", formatdate(NOW + 17, usegmt=True)])
def test_the_wait_that_the_host_asks_for_is_honoured(
    form: str, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(status=429, error=LIMITED, headers={"Retry-After": form}))
    assert isinstance(connect(server, clock).generate([ask()])[0], Image.Image)
    assert clock.waits == [18.0], "17 seconds and the jitter's upper end"


def test_a_wait_beyond_all_patience_fails_the_image_and_waits_not(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(status=429, error=LIMITED, headers={"Retry-After": "3600"}))
    (made,) = connect(server, clock).generate([ask()])
    assert isinstance(made, NotGenerated)
    assert (made.status, "asks to wait 3601 s" in made.reason) == ("failed", True)
    assert clock.waits == []


def test_a_slow_answer_times_out_and_is_tried_again(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(delay_seconds=0.6))
    (image,) = connect(server, clock, timeout_seconds=0.2).generate([ask()])
    assert isinstance(image, Image.Image)
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Step(status=400, error=REFUSED),
        Step(status=400, error={"message": "no", "code": "moderation_blocked"}),
        Step(status=400, error={"message": "no", "code": "ResponsibleAIPolicyViolation"}),
        Step(status=403, error={"message": "no", "type": "content_filter"}),
        Step(item={"finish_reason": "CONTENT_FILTERED", "b64_json": ""}),
        Step(item={"error": {"code": "OutputImageSensitiveContentDetected", "message": "no"}}),
        Step(item={"respect_moderation": False, "b64_json": "AAAA"}),
        Step(error={"message": "no", "code": "content_filter"}),
        Step(status=400, error={"message": "litellm.ContentPolicyViolationError", "param": "None"}),
    ],
)
def test_a_refusal_is_that_images_status_and_is_not_tried_again(
    refusal: Step, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(refusal)
    refused, drawn = connect(server, clock).generate([ask(index=0), ask(index=1)])
    assert isinstance(refused, NotGenerated)
    assert refused.status == "refused"
    assert isinstance(drawn, Image.Image)
    assert (len(server.bodies), clock.waits) == (2, [])


def test_a_host_that_makes_another_size_is_paid_for_one_image(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(size="64x64")] * 8)
    with pytest.raises(AlphaBenchError, match="asked for 32x32 pixels and got 64x64") as caught:
        connect(server, clock, size="32x32", concurrency=8).generate([ask()] * 8)
    assert "other_size=keep" in caught.value.hint
    assert len(server.bodies) == 1
    server.steps.extend([Step(size="64x64")] * 8)
    keeping = connect(server, clock, size="32x32", other_size="keep")
    assert [
        image.size for image in keeping.generate([ask()]) if isinstance(image, Image.Image)
    ] == [(64, 64)]
    assert keeping.identity["other_size"] == "keep"


def test_another_size_after_the_right_one_fails_that_image(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(), Step(size="64x64")])
    made = connect(server, clock, size="32x32").generate([ask(index=0), ask(index=1)])
    assert isinstance(made[0], Image.Image)
    assert made[1] == NotGenerated(status="failed", reason="asked for 32x32 pixels and got 64x64")


@pytest.mark.parametrize("param", ["prompt", "image", "", "input_tokens", "None", None])
def test_a_complaint_about_one_item_fails_it_alone(
    param: str | None, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(status=400, error={"message": "too long", "param": param}))
    made = connect(server, clock).generate([ask(index=0), ask(index=1)])
    assert made[0] == NotGenerated(status="failed", reason="HTTP 400: too long")
    assert isinstance(made[1], Image.Image)


@pytest.mark.parametrize(
    "later",
    [
        Step(status=403, error={"message": "no", "param": None}),
        Step(status=400, error={"message": "no", "param": "size"}),
    ],
)
def test_what_the_host_took_before_it_cannot_hold_against_all(
    later: Step, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(), later])
    made = connect(server, clock).generate([ask(index=index) for index in range(3)])
    assert [isinstance(one, Image.Image) for one in made] == [True, False, True]


def test_what_is_paid_when_the_credit_ends_is_returned_before_the_run_stops(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(), Step(status=402, body=b"")])
    client = connect(server, clock)
    made = client.generate([ask(index=index) for index in range(3)])
    assert [isinstance(one, Image.Image) for one in made] == [True, False, False]
    with pytest.raises(AlphaBenchError, match="out of credit"):
        client.generate([ask()])
    assert len(server.bodies) == 2


def test_a_host_that_never_answers_loses_its_patience_bonus(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.extend([Step(status=503, error={"message": "busy"})] * 99)
    client = connect(server, clock, attempts=3)
    client.generate([ask(index=index) for index in range(8)])
    client.generate([ask(index=index) for index in range(8)])
    assert len(server.bodies) == 8 * 3 + 8


def test_a_compressed_answer_is_unpacked_within_bounds(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    bomb = gzip.compress(b" " * (80 * 2**20), 1)
    encoded = {"Content-Encoding": "gzip", "Content-Length": str(len(bomb))}
    server.steps.append(Step(body=bomb, headers=encoded))
    (made,) = connect(server, clock, attempts=1).generate([ask()])
    assert isinstance(made, NotGenerated)
    assert "larger than 64 MiB" in made.reason


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(status=401, error={"message": f"bad key {KEY}"}), "does not accept the key"),
        (Step(status=403, body=f"forbidden for {KEY}".encode()), "does not accept the key"),
        (Step(status=404, error={"message": "no model"}), "no model 'tiny-model' there"),
        (Step(status=402, body=b""), "out of credit"),
        (Step(status=429, error={"message": "x", "code": "insufficient_quota"}), "out of credit"),
        (Step(status=400, error={"message": "x", "param": "quality"}), "the field 'quality'"),
        (Step(status=422, body=MISSING), "the field 'size'"),
        (Step(status=302, headers={"Location": "http://127.0.0.1/"}), "redirection"),
        (Step(as_url="http://images.example/1.png"), "neither encrypted nor the same host"),
        (Step(as_url="file:///etc/passwd"), "neither encrypted nor the same host"),
    ],
)
def test_what_every_image_would_meet_stops_the_run_at_once_without_showing_the_key(
    step: Step, words: str, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(step)
    with pytest.raises(AlphaBenchError, match=words) as caught:
        connect(server, clock).generate([ask(index=index) for index in range(6)])
    assert len(server.bodies) == 1
    shown = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert KEY not in shown


def test_a_key_that_the_host_repeats_is_cut_out_of_the_reason(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(status=400, error={"message": f"hello {KEY}"}))
    (made,) = connect(server, clock).generate([ask()])
    assert made == NotGenerated(status="failed", reason="HTTP 400: hello [key]")


def test_without_a_key_no_header_is_sent(server: ImageServer, clock: Clock, ask: AskFor) -> None:
    connect(server, clock, key=None).generate([ask()])
    assert server.keys == [None]


def test_a_host_that_is_down_is_a_failure_with_its_reason(clock: Clock, ask: AskFor) -> None:
    with serve() as server:
        gone = connect(server, clock, attempts=2)
    (made,) = gone.generate([ask()])
    assert isinstance(made, NotGenerated)
    assert made.status == "failed"
    assert "ConnectError" in made.reason


def test_the_identity_names_what_decides_the_pixels_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHABENCH_API_KEY", KEY)
    options = {"size": "64x64", "body.style": "vivid", "body.steps": "4"}
    checkpoint = open_checkpoint("https://Images.Example:8443/v1/#m-1", options=options)
    identity = dict(checkpoint.identity)
    assert identity == {
        "kind": "http", "endpoint": "images.example:8443/v1", "model": "m-1",
        "weights": "whatever the host serves under this name", "size": "64x64",
        "seed": "not sent", "body.style": '"vivid"', "body.steps": "4",
    }  # fmt: skip
    calm = open_checkpoint(
        "https://images.example:8443/v1#m-1", options=options | {"concurrency": "1"}
    )
    assert calm.identity == identity
    assert KEY.encode() not in pickle.dumps(checkpoint)
    assert KEY not in repr(checkpoint)
    assert pickle.loads(pickle.dumps(checkpoint)).identity == identity


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("https://host/v1", {}, "names no model"),
        ("https:///v1#m", {}, "names no host"),
        ("https://user:pw@host/v1#m", {}, "user name or password"),
        ("https://host:port/v1#m", {}, "not valid"),
        ("https://x.openai.azure.com/openai/deployments/d#m", {}, "Azure's older form"),
        ("https://x.openai.azure.com/openai/v1#m", {"api-version": "1"}, "Azure's older form"),
        ("https://host/v1#m", {"size": "big"}, "size is WIDTHxHEIGHT"),
        ("https://host/v1#m", {"qality": "high"}, "did you mean 'quality'"),
        ("https://host/v1#m", {"body.prompt": "x"}, "'prompt' is set by alphabench"),
        ("https://host/v1#m", {"concurrency": "0"}, "must be 1 or more"),
        ("https://host/v1#m", {"timeout_seconds": "0"}, "between 0 and 3600"),
    ],
)
def test_a_malformed_address_or_option_is_refused_when_opening(
    name: str, options: dict[str, str], words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words) as caught:
        open_checkpoint(name, options=options)
    assert "pw" not in str(caught.value)


def test_a_key_is_not_sent_in_the_open_to_another_machine_without_consent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ALPHABENCH_API_KEY", raising=False)
    open_checkpoint("http://far.example/v1#m")
    monkeypatch.setenv("ALPHABENCH_API_KEY", KEY)
    open_checkpoint("http://localhost:8000/v1#m")
    open_checkpoint("http://far.example/v1#m", options={"key_without_tls": "true"})
    with pytest.raises(AlphaBenchError, match="unencrypted") as caught:
        open_checkpoint("http://far.example/v1#m")
    assert KEY not in str(caught.value)
    monkeypatch.setenv("ALPHABENCH_API_KEY", "two\nlines")
    with pytest.raises(AlphaBenchError, match="no header can carry"):
        open_checkpoint("https://far.example/v1#m")


def test_an_edit_is_sent_as_a_form_with_the_image(
    server: ImageServer, clock: Clock, ask: AskFor, tmp_path: Path
) -> None:
    Image.new("L", (20, 10), 77).save(tmp_path / "cat.jpg")
    request = ask("make it red", size=(48, 32))
    edit = replace(request, sample=replace(request.sample, source_image=tmp_path / "cat.jpg"))
    client = connect(server, clock, quality="high", send_seed=True)
    (image,) = client.generate([edit])
    assert isinstance(image, Image.Image)
    assert image.size == (48, 32)
    (body,) = server.bodies
    with Image.open(io.BytesIO(body.pop("image"))) as sent:
        assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (20, 10))
    assert body == {
        "model": "tiny-model", "prompt": "make it red", "n": "1", "size": "48x32",
        "quality": "high", "seed": "1",
    }  # fmt: skip
    assert server.keys == [f"Bearer {KEY}"]


def test_an_edit_survives_a_busy_host_and_a_refusal_is_a_status(
    server: ImageServer, clock: Clock, ask: AskFor, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    request = ask()
    edit = replace(request, sample=replace(request.sample, source_image=tmp_path / "cat.png"))
    server.steps.extend([Step(status=429, error=LIMITED), Step(status=400, error=REFUSED)])
    (made,) = connect(server, clock).generate([edit])
    assert isinstance(made, NotGenerated)
    assert made.status == "refused"
    assert len(server.bodies) == 2


def test_a_missing_source_image_stops_with_a_sentence(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    request = ask()
    edit = replace(request, sample=replace(request.sample, source_image=Path("gone.png")))
    with pytest.raises(AlphaBenchError, match=r"source image 'gone.png' .* cannot be read"):
        connect(server, clock).generate([edit])
    assert server.bodies == []
