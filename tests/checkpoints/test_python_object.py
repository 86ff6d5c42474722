from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from tests.checkpoints.conftest import AskFor

MODULE = """
from __future__ import annotations
from pathlib import Path
from PIL import Image


class Painter:
    batch_size = 2

    def __init__(self, red: int = 7, *, scale: float = 1.0, loud: bool = False,
                 place: Path | None = None, device: str = "nowhere", word="plain"):
        self.red, self.device = red, device
        self.identity = {"red": str(red), "types": " ".join(
            type(v).__name__ for v in (red, scale, loud, place, word))}

    def generate(self, requests):
        return [Image.new("RGB", (8, 8), (self.red, 0, 0)) for _ in requests]


def needy(weights: str): return Painter()
def open_ended(**anything): return Painter(red=len(anything))
def broken():
    return 1 / 0
def none(): return None
def odd(**parts):
    usual = {"identity": {"a": "b"}, "batch_size": 1, "generate": print}
    return type("Odd", (), usual | parts)()


def nameless(): return odd(identity={})
def oddly_named(): return odd(identity={"a": 1})
def unbatched(): return odd(batch_size=0)
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module of the user's in the current directory; its name is new in each test."""
    name = f"painters_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return name


def test_a_factory_in_the_working_directory_is_called_and_its_object_generates(
    module: str, ask: AskFor
) -> None:
    painter = open_checkpoint(f"python:{module}:Painter?red=9", device="cuda:1")
    assert painter.identity["red"] == "9"
    assert painter.device == "cuda:1"  # type: ignore[attr-defined]
    assert len(painter.generate([ask(), ask()])) == 2


def test_options_are_converted_by_their_annotations(module: str) -> None:
    options = {"red": "3", "scale": "0.5", "loud": "yes", "place": "/somewhere", "word": "12"}
    painter = open_checkpoint(f"python:{module}:Painter", options=options)
    assert painter.identity["types"] == "int float bool PosixPath str"


def test_a_factory_that_takes_anything_gets_the_text(module: str) -> None:
    assert open_checkpoint(f"python:{module}:open_ended?a=1&b=2").identity["red"] == "2"


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("Painter?rad=1", "did you mean 'red'"),
        ("Painter?red=much", "cannot be 'much'"),
        ("needy", "needs the option 'weights'"),
        ("paint", "has no factory 'paint'; it has: .*Painter"),
        ("Image", "has no factory 'Image'; it has: (?!.*Path).*Painter"),
        ("number", "has no factory 'number'"),
        ("broken", r"raised ZeroDivisionError: division by zero \(painters_\d+.py, line 23\)"),
        ("none", "is a NoneType and no generator: it has no method generate"),
        ("nameless", "its identity is not a non-empty mapping"),
        ("oddly_named", "does not map text to text"),
        ("unbatched", "batch_size is 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(factory: str, words: str, module: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_checkpoint(f"python:{module}:{factory}")


def test_the_users_exception_is_the_cause(module: str) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_checkpoint(f"python:{module}:broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("name", ["python:", "python:module", "python::factory", "python:m:"])
def test_a_name_without_module_or_factory_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(AlphaBenchError, match=r"write python:package.module:factory"):
        open_checkpoint(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no module 'user_code'"),
        ("import sys; sys.exit(0)", r"raised SystemExit: 0"),
        ("import no_such_package_at_all", "raised ModuleNotFoundError: .*no_such_package_at_all"),
        ("x = = 1", r"raised SyntaxError: .* \(user_code.py, line 1\)"),
        ("raise RuntimeError('at import')", "raised RuntimeError: at import"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_with_the_reason(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "user_code.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    with pytest.raises(AlphaBenchError, match=words):
        open_checkpoint("python:user_code:make")
