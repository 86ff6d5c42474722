"""Images in the answers of hosts: every form, and only from where they may come."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import quote_from_bytes

import pytest
from PIL import Image

from alphabench.checkpoints.http_images import address_in
from alphabench.core.errors import AlphaBenchError
from alphabench.types import NOTES, REVISED_PROMPT, NotGenerated
from tests.checkpoints.conftest import AskFor, Clock, connect
from tests.support.image_server import ImageServer, Step, encoded_image


@pytest.mark.parametrize(
    "form",
    ["data-uri", "data-uri-in-b64", "data-uri-percent", "line-breaks", "urlsafe-unpadded"],
)
def test_an_image_is_read_in_every_form_in_which_hosts_send_it(
    form: str, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    content = encoded_image({"prompt": "x"})
    plain = base64.b64encode(content).decode()
    item = {
        "data-uri": {"url": f"data:image/png;base64,{plain}"},
        "data-uri-in-b64": {"b64_json": f"data:image/png;base64,{plain}"},
        "data-uri-percent": {"url": "data:image/png," + quote_from_bytes(content)},
        "line-breaks": {"b64_json": "\r\n".join(re.findall(".{1,76}", plain))},
        "urlsafe-unpadded": {"b64_json": base64.urlsafe_b64encode(content).decode().rstrip("=")},
    }[form]
    server.steps.append(Step(item=item))
    (image,) = connect(server, clock).generate([ask()])
    assert isinstance(image, Image.Image)
    assert image.size == (16, 16)


@pytest.mark.parametrize("address", ["/images/1.png", "images/1.png", "http://localhost:PORT/1"])
def test_an_address_may_be_relative_or_name_this_machine_otherwise(
    address: str, server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    port = server.url.rpartition(":")[2].partition("/")[0]
    server.steps.append(Step(as_url=address.replace("PORT", port)))
    assert isinstance(connect(server, clock).generate([ask()])[0], Image.Image)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://127.0.0.1/x.png", "inside this network"),
        ("https://169.254.169.254/latest", "inside this network"),
        ("https://[fe80::1]/x.png", "inside this network"),
        ("https://db.internal/x.png", "inside this network"),
        ("ftp://far.example/x.png", "neither encrypted"),
        ("//far.example/x.png", None),
    ],
)
def test_a_host_cannot_direct_downloads_to_other_machines_of_the_network(
    address: str, why: str | None
) -> None:
    def ask_for() -> str:
        return address_in(address, base="https://far.example/v1/", host="far.example")

    if why is None:
        assert ask_for() == "https://far.example/x.png"
        return
    with pytest.raises(AlphaBenchError, match=why):
        ask_for()


def test_a_rewritten_prompt_is_among_the_notes(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    plain = base64.b64encode(encoded_image({"prompt": "x"})).decode()
    for revised in ("a cat, cinematic", " a  cat ", None):
        server.steps.append(Step(item={"b64_json": plain, "revised_prompt": revised}))
    made = connect(server, clock).generate([ask("a cat", index=index) for index in range(3)])
    notes = [image.info.get(NOTES) for image in made if isinstance(image, Image.Image)]
    assert notes == [{REVISED_PROMPT: "a cat, cinematic"}, None, None]


def test_an_image_of_too_many_pixels_is_not_decoded(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    large = io.BytesIO()
    Image.new("1", (5000, 5000)).save(large, "PNG")
    server.steps.append(Step(item={"b64_json": base64.b64encode(large.getvalue()).decode()}))
    (made,) = connect(server, clock, attempts=1).generate([ask()])
    assert isinstance(made, NotGenerated)
    assert "5000 x 5000 pixels" in made.reason


def test_an_image_given_by_address_is_fetched_without_the_key(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(as_url=True))
    assert isinstance(connect(server, clock).generate([ask()])[0], Image.Image)
    assert server.image_keys == [None]


@pytest.mark.parametrize(
    "steps",
    [
        [Step(status=503), Step(status=404)],
        [Step(status=302, headers={"Location": "/images/2.png"})] * 3,
    ],
    ids=["faults", "redirections"],
)
def test_an_image_that_is_made_is_fetched_patiently_and_not_paid_for_again(
    steps: list[Step], server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(as_url=True))
    server.image_steps.extend(steps)
    assert isinstance(connect(server, clock).generate([ask()])[0], Image.Image)
    assert len(server.bodies) == 1


def test_a_redirection_into_the_network_is_not_followed(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.steps.append(Step(as_url=True))
    server.image_steps.append(Step(status=302, headers={"Location": "https://10.0.0.1/x"}))
    with pytest.raises(AlphaBenchError, match="inside this network"):
        connect(server, clock).generate([ask()])
