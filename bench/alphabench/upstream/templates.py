"""Extracts a judge's official prompt templates from upstream's scripts at run time.

A script is parsed, never executed: string constants, f-strings, `+`, `join`, `strip`, `format` and
names assigned to those are folded; any other expression inside a string becomes a `Placeholder`.
This package contains none of upstream's texts. Knows no benchmark: each benchmark names the script
and the string that it needs.

Strings are found by name: `NAME` for a module's, `function.NAME` for those inside a function,
`Class.method.NAME`, and `Class.method.self.NAME` for an attribute; a second string of one name is
`NAME#2`.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData, pin_of


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A position in a template that is filled anew for every question."""

    expression: str
    """The source code at this position in upstream's script."""
    names: frozenset[str]
    """The names and string constants in it: `prompt` and `Prompt` of `prompt["Prompt"]`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders; adjacent literal pieces are joined."""

    pieces: tuple[str | Placeholder, ...]

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Placeholder))

    @property
    def literal(self) -> str | None:
        """The complete text if there is no placeholder."""
        return None if self.placeholders else "".join(map(str, self.pieces))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with every placeholder filled.

        Args:
            values: name -> text; a placeholder takes the value of the key that is among its names.

        Raises:
            ValueError: a placeholder without a matching key, or with keys of different values: the
                script differs from what was expected.
        """
        return "".join(
            piece if isinstance(piece, str) else _value_for(piece, values) for piece in self.pieces
        )


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The position of an image in a message."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message that a script contains as a literal."""

    where: str
    """The function that contains it; empty at module level."""
    role: str
    parts: tuple[Template | ImageSlot, ...]


def constants_of(source: bytes) -> Mapping[str, str]:
    """Name -> text of every named string without placeholders; names as in the module docstring.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    found = {name: template.literal for name, template in templates_of(source).items()}
    return {name: text for name, text in found.items() if text is not None}


def templates_of(source: bytes) -> Mapping[str, Template]:
    """Name -> template of every named string, with its placeholders.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    found: dict[str, Template] = {}
    for scope in _scopes(_parsed(source)):
        for name, node in scope.assigned:
            template = _fold(node, scope.names)
            # A single placeholder is not a string literal of the script.
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


def first_arguments_of(source: bytes, function: str) -> tuple[Template, ...]:
    """The first argument of each call of a function by its name, where that is a string.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    found = [
        _fold(call.args[0], scope.names)
        for scope in _scopes(_parsed(source))
        for call in scope.calls
        if isinstance(call.func, ast.Name) and call.func.id == function and call.args
    ]
    return tuple(template for template in found if template is not None)


def template_about(name: str, found: Iterable[Template], *, path: str) -> Template:
    """The one template whose only placeholder is of a name.

    Raises:
        AlphaBenchError: the script at `path` has no such template, or several.
    """
    fitting = {one for one in found if [name in part.names for part in one.placeholders] == [True]}
    if len(fitting) != 1:
        raise changed(path, f"{len(fitting)} texts go with a {name}")
    return fitting.pop()


def own_template(text: str, *names: str) -> Template:
    """A text of our own, in which `{name}` stands for the value of each name."""
    pieces = re.split(rf"\{{({'|'.join(names)})\}}", text)
    placeholders = {name: Placeholder(name, frozenset({name})) for name in names}
    return Template(
        tuple(placeholders[one] if index % 2 else one for index, one in enumerate(pieces))
    )


def digest(templates: Iterable[Template]) -> str:
    """sha256 over the templates in order; equal if and only if texts and placeholders are."""
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
            f"the official judge template ({pin_of(pin).repository}, {path}) is not on this "
            "machine",
            hint=f"run `alphabench fetch {pin}`, or choose the evaluator option wording=own",
        )
    return data.read(pin, path)


def changed(path: str, what: str) -> AlphaBenchError:
    """The error for a script that does not contain what was expected."""
    return AlphaBenchError(
        f"{path!r} does not contain the judge's template as expected: {what}",
        hint="choose the evaluator option wording=own, and report this",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """A module or one function: its assignments, dictionary literals and calls."""

    path: str
    assigned: list[tuple[str, ast.expr]]
    dicts: list[dict[str, ast.expr]]
    calls: list[ast.Call]
    names: Mapping[str, ast.expr]
    """Name -> value, enclosing scopes included; names that are assigned twice are left out."""


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
    calls: list[ast.Call] = []
    inner: list[tuple[str, ast.AST]] = []
    bound: Counter[str] = Counter(_arguments(node))
    for child in _within(node, inner):
        if isinstance(child, ast.Assign):
            named = ((_target_name(target), child.value) for target in child.targets)
            assigned += [(name, value) for name, value in named if name]
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            assigned += [(child.target.id, child.value)] if child.value is not None else []
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            bound[child.id] += 1
        elif isinstance(child, ast.Dict):
            pairs = zip(child.keys, child.values, strict=True)
            dicts.append({k: v for key, v in pairs if (k := _text(key)) is not None})
        elif isinstance(child, ast.Call):
            calls.append(child)
    outer = {name: value for name, value in (around or {}).items() if name not in bound}
    names = {**outer, **{name: value for name, value in assigned if bound[name] == 1}}
    yield _Scope(path=path, assigned=assigned, dicts=dicts, calls=calls, names=names)
    for name, child in inner:
        yield from _scopes(child, f"{path}.{name}" if path else name, names)


def _target_name(target: ast.expr) -> str:
    """`NAME`, or `self.NAME`, which no expression finds as a name; empty for all else."""
    match target:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return f"self.{name}"
    return ""


def _arguments(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    return [one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)]


def _within(node: ast.AST, inner: list[tuple[str, ast.AST]]) -> Iterator[ast.AST]:
    """All nodes of a scope in order; functions and classes, which open a scope, go to `inner`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.append((child.name, child))
        else:
            yield child
            yield from _within(child, inner)


def _fold(node: ast.expr, names: Mapping[str, ast.expr]) -> Template | None:
    """The string that an expression evaluates to; None where that is not certain."""
    match node:
        case ast.Constant(value=str(text)):
            return Template((text,))
        case ast.JoinedStr(values=values):
            return _joined(_inside(value, names) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _folded_sum(left, right, names)
        case ast.Name(id=name) if name in names:
            # Without the name itself, so that a circular definition ends as a placeholder.
            rest = {key: value for key, value in names.items() if key != name}
            return _fold(names[name], rest)
        case ast.Call(func=ast.Attribute(value=owner, attr=method)):
            return _folded_call(node, method, owner, names)
    return None


def _folded_sum(left: ast.expr, right: ast.expr, names: Mapping[str, ast.expr]) -> Template | None:
    sides = [_fold(side, names) for side in (left, right)]
    if all(side is None for side in sides):
        return None
    return _joined(
        side or _placeholder(at, names) for at, side in zip((left, right), sides, strict=True)
    )


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
    """`str.format` with plain fields; None for conversions and format specifications."""
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
        placeholder = _fold(value, names) or _placeholder(value, names)
        parts.append(_with_name(placeholder, field))
    return _joined(parts)


def _with_name(template: Template, name: str) -> Template:
    """The field's name becomes one of the names of the placeholder in it."""
    return Template(
        tuple(
            Placeholder(piece.expression, piece.names | {name})
            if isinstance(piece, Placeholder)
            else piece
            for piece in template.pieces
        )
    )


def _folded_join(
    between: Template, items: list[ast.expr], names: Mapping[str, ast.expr]
) -> Template:
    parts: list[Template] = []
    for item in items:
        parts += [between] if parts else []
        parts.append(_fold(item, names) or _placeholder(item, names))
    return _joined(parts)


def _inside(value: ast.expr, names: Mapping[str, ast.expr]) -> Template:
    """A piece of an f-string: text, or the expression between its braces."""
    if isinstance(value, ast.FormattedValue):
        plain = value.conversion == -1 and value.format_spec is None
        folded = _fold(value.value, names) if plain else None
        return folded or _placeholder(value.value, names)
    return _fold(value, names) or _placeholder(value, names)


def _joined(templates: Iterable[Template]) -> Template:
    pieces: list[str | Placeholder] = []
    for piece in (piece for template in templates for piece in template.pieces):
        before = pieces[-1] if pieces else None
        if isinstance(piece, str) and isinstance(before, str):
            pieces[-1] = before + piece
        else:
            pieces.append(piece)
    return Template(tuple(pieces))


def _placeholder(node: ast.expr, names: Mapping[str, ast.expr]) -> Template:
    """A name that was assigned an expression also gets the names in that expression."""
    known = [node, *([names[node.id]] if isinstance(node, ast.Name) and node.id in names else [])]
    used = {name for one in known for child in ast.walk(one) if (name := _name_in(child))}
    return Template((Placeholder(ast.unparse(node), frozenset(used)),))


def _name_in(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
    return None


def _parts(content: ast.expr | None, scope: _Scope) -> tuple[Template | ImageSlot, ...] | None:
    """The parts of a message's content; None where they are assembled elsewhere."""
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
    image = next((fields[key] for key in fields if key.startswith("image")), None)
    if kind.startswith("image") and image is not None:
        return ImageSlot(ast.unparse(image))
    return None


def _text(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _value_for(placeholder: Placeholder, values: Mapping[str, str]) -> str:
    fitting = {values[name] for name in placeholder.names if name in values}
    if len(fitting) != 1:
        raise ValueError(f"no single value fits {placeholder.expression!r}")
    return fitting.pop()


def _add(found: dict[str, Template], name: str, template: Template) -> None:
    """Adds a template under an unused name; the same text assigned twice is added once."""
    number, key = 1, name
    while key in found:
        if found[key] == template:
            return
        number += 1
        key = f"{name}#{number}"
    found[key] = template
