"""Reads a judge's official wording out of upstream's own scripts, at run time.

A script is parsed, never executed: string constants, f-strings, `+`, `join`, `strip`, `format` and
names that stand for those are folded; whatever else stands inside a string becomes a `Hole`.
Nothing of any upstream wording is in this package. Knows no benchmark: where in which script a
wording stands is said by the benchmark that asks.

Strings are found by name: `NAME` for a module's, `function.NAME` for those inside a function,
`Class.method.NAME`; a second string of one name is `NAME#2`.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData, pin_of


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a wording that is filled anew for every question."""

    expression: str
    """What stands there in upstream's script."""
    words: frozenset[str]
    """The names and string constants in it: `prompt` and `Prompt` of `prompt["Prompt"]`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A wording with holes; neighbouring literal pieces are joined."""

    pieces: tuple[str | Hole, ...]

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Hole))

    @property
    def literal(self) -> str | None:
        """The whole text where there is no hole."""
        return None if self.holes else "".join(map(str, self.pieces))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with every hole filled.

        Args:
            values: word -> text; a hole takes the value of the key that is among its words.

        Raises:
            ValueError: a hole that fits no key, or keys with different values: the script is not
                what was expected.
        """
        return "".join(
            piece if isinstance(piece, str) else _value_for(piece, values) for piece in self.pieces
        )


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The place of a picture in a message."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message that a script writes out."""

    where: str
    """The function that it stands in; empty at module level."""
    role: str
    parts: tuple[Template | ImageSlot, ...]


def constants_of(source: bytes) -> Mapping[str, str]:
    """Name -> text of every named string without holes; see the module for names.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    found = {name: template.literal for name, template in templates_of(source).items()}
    return {name: text for name, text in found.items() if text is not None}


def templates_of(source: bytes) -> Mapping[str, Template]:
    """Name -> wording of every named string, with its holes.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    found: dict[str, Template] = {}
    for scope in _scopes(_parsed(source)):
        for name, node in scope.assigned:
            template = _fold(node, scope.names)
            # A lone hole is no string that anybody wrote down.
            if template is not None and any(isinstance(piece, str) for piece in template.pieces):
                _add(found, f"{scope.path}.{name}" if scope.path else name, template)
    return found


def messages_of(source: bytes) -> tuple[Message, ...]:
    """Every chat message written as `{"role": ..., "content": ...}`, in the order of the script.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    return tuple(
        Message(where=scope.path, role=role, parts=parts)
        for scope in _scopes(_parsed(source))
        for node in scope.dicts
        if (role := _text(node.get("role"))) is not None
        and (parts := _parts(node.get("content"), scope)) is not None
    )


def digest(templates: Iterable[Template]) -> str:
    """sha256 over wordings in order: equal exactly for equal texts and holes."""
    rows = [
        [piece if isinstance(piece, str) else [piece.expression] for piece in template.pieces]
        for template in templates
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_script(data: UpstreamData, pin: str, path: str) -> bytes:
    """Upstream's script, verified against its pin.

    Raises:
        AlphaBenchError: it was not fetched, or is not the pinned file any more.
    """
    if not data.path_of(pin, path).exists():
        raise AlphaBenchError(
            f"the official judge wording ({pin_of(pin).repository}, {path}) is not on this machine",
            hint=f"run `alphabench fetch {pin}`, or choose the evaluator option wording=own",
        )
    return data.read(pin, path)


def changed(path: str, what: str) -> AlphaBenchError:
    """The error for a script that does not hold what was expected of it."""
    return AlphaBenchError(
        f"{path!r} does not hold the judge's wording as expected: {what}",
        hint="choose the evaluator option wording=own, and report this",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """A module or one function: what it assigns and which dictionaries it writes out."""

    path: str
    assigned: list[tuple[str, ast.expr]]
    dicts: list[dict[str, ast.expr]]
    names: Mapping[str, ast.expr]
    """What stands for what, also in the scopes around it; names given two values are left out."""


def _parsed(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise AlphaBenchError(
            f"upstream's script cannot be parsed: {error}", hint="fetch it again"
        ) from error


def _scopes(
    node: ast.AST, path: str = "", around: Mapping[str, ast.expr] | None = None
) -> Iterator[_Scope]:
    assigned: list[tuple[str, ast.expr]] = []
    dicts: list[dict[str, ast.expr]] = []
    inner: list[tuple[str, ast.AST]] = []
    bound: Counter[str] = Counter(_arguments(node))
    for child in _within(node, inner):
        if isinstance(child, ast.Assign):
            assigned += [(t.id, child.value) for t in child.targets if isinstance(t, ast.Name)]
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            assigned += [(child.target.id, child.value)] if child.value is not None else []
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            bound[child.id] += 1
        elif isinstance(child, ast.Dict):
            pairs = zip(child.keys, child.values, strict=True)
            dicts.append({k: v for key, v in pairs if (k := _text(key)) is not None})
    outer = {name: value for name, value in (around or {}).items() if name not in bound}
    names = {**outer, **{name: value for name, value in assigned if bound[name] == 1}}
    yield _Scope(path=path, assigned=assigned, dicts=dicts, names=names)
    for name, child in inner:
        yield from _scopes(child, f"{path}.{name}" if path else name, names)


def _arguments(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    return [one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)]


def _within(node: ast.AST, inner: list[tuple[str, ast.AST]]) -> Iterator[ast.AST]:
    """All nodes of a scope in order; those that open a scope of their own go to `inner`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.append((child.name, child))
        else:
            yield child
            yield from _within(child, inner)


def _fold(node: ast.expr, names: Mapping[str, ast.expr]) -> Template | None:
    """The string that an expression amounts to; None where it is not seen to be one."""
    match node:
        case ast.Constant(value=str(text)):
            return Template((text,))
        case ast.JoinedStr(values=values):
            return _joined(_inside(value, names) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _folded_sum(left, right, names)
        case ast.Name(id=name) if name in names:
            # Without the name itself: a circle of names ends, as a hole.
            rest = {key: value for key, value in names.items() if key != name}
            return _fold(names[name], rest)
        case ast.Call(func=ast.Attribute(value=owner, attr=method)):
            return _folded_call(node, method, owner, names)
    return None


def _folded_sum(left: ast.expr, right: ast.expr, names: Mapping[str, ast.expr]) -> Template | None:
    sides = [_fold(side, names) for side in (left, right)]
    if all(side is None for side in sides):
        return None
    return _joined(side or _hole(at, names) for at, side in zip((left, right), sides, strict=True))


def _folded_call(
    call: ast.Call, method: str, owner: ast.expr, names: Mapping[str, ast.expr]
) -> Template | None:
    """`text.strip()` and `separator.join([...])`."""
    text = _fold(owner, names)
    if text is None:
        return None
    match method, call.args:
        case "strip", []:
            return None if text.literal is None else Template((text.literal.strip(),))
        case "join", [ast.List(elts=items) | ast.Tuple(elts=items)]:
            return _folded_join(text, items, names)
        case "format", arguments if text.literal is not None:
            return _formatted(text.literal, arguments, call.keywords, names)
    return None


def _formatted(
    text: str,
    arguments: list[ast.expr],
    keywords: list[ast.keyword],
    names: Mapping[str, ast.expr],
) -> Template | None:
    """`str.format` with plain fields; None for anything finer."""
    given = {word.arg: word.value for word in keywords} | {
        str(index): value for index, value in enumerate(arguments)
    }
    parts: list[Template] = []
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError:
        return None
    position = itertools.count()
    for before, field, form, conversion in pieces:
        parts.append(Template((before,)))
        if field is None:
            continue
        value = given.get(field or str(next(position)))
        if value is None or form or conversion:
            return None
        hole = _fold(value, names) or _hole(value, names)
        parts.append(_worded(hole, field))
    return _joined(parts)


def _worded(template: Template, word: str) -> Template:
    """A field's own name is one of the words of the hole in it."""
    return Template(
        tuple(
            Hole(piece.expression, piece.words | {word}) if isinstance(piece, Hole) else piece
            for piece in template.pieces
        )
    )


def _folded_join(
    between: Template, items: list[ast.expr], names: Mapping[str, ast.expr]
) -> Template:
    parts: list[Template] = []
    for item in items:
        parts += [between] if parts else []
        parts.append(_fold(item, names) or _hole(item, names))
    return _joined(parts)


def _inside(value: ast.expr, names: Mapping[str, ast.expr]) -> Template:
    """A piece of an f-string: text, or what stands between its braces."""
    if isinstance(value, ast.FormattedValue):
        plain = value.conversion == -1 and value.format_spec is None
        folded = _fold(value.value, names) if plain else None
        return folded or _hole(value.value, names)
    return _fold(value, names) or _hole(value, names)


def _joined(templates: Iterable[Template]) -> Template:
    pieces: list[str | Hole] = []
    for piece in (piece for template in templates for piece in template.pieces):
        before = pieces[-1] if pieces else None
        if isinstance(piece, str) and isinstance(before, str):
            pieces[-1] = before + piece
        else:
            pieces.append(piece)
    return Template(tuple(pieces))


def _hole(node: ast.expr, names: Mapping[str, ast.expr]) -> Template:
    """A name that stands for another expression brings that expression's words along."""
    known = [node, *([names[node.id]] if isinstance(node, ast.Name) and node.id in names else [])]
    words = {word for one in known for child in ast.walk(one) if (word := _word(child))}
    return Template((Hole(ast.unparse(node), frozenset(words)),))


def _word(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
            return word
    return None


def _parts(content: ast.expr | None, scope: _Scope) -> tuple[Template | ImageSlot, ...] | None:
    """The parts of a message's content; None where they are put together elsewhere."""
    if isinstance(content, ast.Name) and content.id in scope.names:
        content = scope.names[content.id]
    if content is None:
        return None
    if not isinstance(content, ast.List | ast.Tuple):
        template = _fold(content, scope.names)
        return None if template is None else (template,)
    parts: list[Template | ImageSlot] = []
    for item in content.elts:
        if not isinstance(item, ast.Dict):
            return None
        part = _part(item, scope)
        if part is None:
            return None
        parts.append(part)
    return tuple(parts)


def _part(item: ast.Dict, scope: _Scope) -> Template | ImageSlot | None:
    pairs = zip(item.keys, item.values, strict=True)
    fields = {k: v for key, v in pairs if (k := _text(key)) is not None}
    kind = _text(fields.get("type")) or ""
    if "text" in fields:
        return _fold(fields["text"], scope.names)
    pictured = next((fields[key] for key in fields if key.startswith("image")), None)
    if kind.startswith("image") and pictured is not None:
        return ImageSlot(ast.unparse(pictured))
    return None


def _text(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _value_for(hole: Hole, values: Mapping[str, str]) -> str:
    fitting = {values[word] for word in hole.words if word in values}
    if len(fitting) != 1:
        raise ValueError(f"no single value fits {hole.expression!r}")
    return fitting.pop()


def _add(found: dict[str, Template], name: str, template: Template) -> None:
    """Under a name of its own; one text assigned twice is one."""
    number, key = 1, name
    while key in found:
        if found[key] == template:
            return
        number += 1
        key = f"{name}#{number}"
    found[key] = template
