"""Help pages that are complete at 80 columns: options in groups, then examples.

A page has two columns: an option with its value, and its text. A name too long for its column
stands on a line of its own. Nothing is cut. Knows no command: each says by `command_page` where
`alphabench --help` lists it, and which examples its own page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from rich.console import RenderableType

WHAT: Final = "What to run"
CHECKPOINT: Final = "Which checkpoint"
JUDGING: Final = "Judging"
RUNNING: Final = "Running"
OUTPUT: Final = "Output"
GROUPS: Final = (WHAT, CHECKPOINT, JUDGING, RUNNING, OUTPUT)
"""Of the options of one command, in order; the others follow."""

EVALUATE: Final = "Evaluate"
LOOK: Final = "Look at results"
TRAIN: Final = "Train"
SET_UP: Final = "Set up and check"
SECTIONS: Final = (EVALUATE, LOOK, TRAIN, SET_UP)
"""Of `alphabench --help`, in order; commands of other packages may have further ones."""

_WIDEST: Final = 100
"""Columns of a page on a wider terminal."""
_NAMES: Final = 26
"""Columns for the names of options."""

Verb = TypeVar("Verb", bound=Callable[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPage:
    """What a command's own declaration does not say."""

    section: str = ""
    """The section of `alphabench --help` that lists it; empty for the general one."""
    examples: tuple[str, ...] = ()
    """Command lines, complete, and at most 77 characters long."""
    bare: Mapping[str, str] = field(default_factory=dict)
    """Options that may stand without a value, with the value that this means."""


def command_page(
    section: str, *examples: str, bare: Mapping[str, str] | None = None
) -> Callable[[Verb], Verb]:
    """Declare a command's section in `alphabench --help`, and the examples of its own page.

    Args:
        section: the title.
        examples: command lines.
        bare: options that may stand without a value; their value is then this. Another one needs
            an equals sign: the word that follows is no value.
    """

    def declare(verb: Verb) -> Verb:
        page = CommandPage(section=section, examples=examples, bare=bare or {})
        verb.__dict__["command_page"] = page
        return verb

    return declare


def add_command(app: typer.Typer, name: str, verb: Callable[..., None]) -> None:
    """Add a command with its help page."""
    page: CommandPage = getattr(verb, "command_page", CommandPage())
    app.command(
        name,
        cls=PagedCommand,
        rich_help_panel=page.section or None,
        epilog="\n".join(page.examples) or None,
    )(verb)


def add_group(app: typer.Typer, name: str, group: typer.Typer) -> None:
    """Add a Typer app of subcommands; `command_page` of its callback says its section."""
    callback = group.registered_callback.callback if group.registered_callback else None
    page: CommandPage = getattr(callback, "command_page", CommandPage())
    for command in group.registered_commands:
        own: CommandPage = getattr(command.callback, "command_page", CommandPage())
        command.cls = PagedCommand
        command.epilog = command.epilog or "\n".join(own.examples) or None
    app.add_typer(group, name=name, cls=PagedGroup, rich_help_panel=page.section or None)


class PagedCommand(TyperCommand):
    """A command with a help page of this module."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives a value to options that may stand without one."""
        page: CommandPage = getattr(self.callback, "command_page", CommandPage())
        end = args.index("--") if "--" in args else len(args)
        named = [f"{one}={page.bare[one]}" if one in page.bare else one for one in args[:end]]
        return super().parse_args(ctx, [*named, *args[end:]])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; `formatter` is not used."""
        del formatter
        _print_page(self, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name, for pages and for errors."""
        return _usage(self, ctx)


class PagedGroup(TyperGroup):
    """A group of commands with a help page of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; `formatter` is not used."""
        del formatter
        _print_page(self, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name, for pages and for errors."""
        return _usage(self, ctx)


def _print_page(command: Any, ctx: Any) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    console.print()
    words = " ".join(_usage(command, ctx))
    console.print(Text(f" Usage: {ctx.command_path} {words}", style="bold"))
    for paragraph in (command.help or "").split("\n\n"):
        console.print(Padding(Text(" ".join(paragraph.split())), (1, 1, 0, 1)))
    console.print()
    for title, rows in _panels(command, ctx):
        console.print(_panel(title, _columns(rows, command=isinstance(command, TyperGroup))))
    if command.epilog:
        console.print(Text("\n Examples:", style="bold"))
        for line in command.epilog.splitlines():
            console.print(Text(f"   {line}", style="cyan"), soft_wrap=True)
    console.print()


def _usage(command: Any, ctx: Any) -> list[str]:
    """`[OPTIONS]` and `BENCHMARK`; optional arguments stand in brackets."""
    words = ["[OPTIONS]"]
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            name = _signature(parameter, ctx)
            words.append(name if parameter.required or name.startswith("[") else f"[{name}]")
    return [*words, *(["COMMAND"] if isinstance(command, TyperGroup) else [])]


def _panels(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles with rows of a name and its text; commands before the options of a group."""
    panels: dict[str, list[tuple[str, str]]] = {}
    if isinstance(command, TyperGroup):
        for name in command.list_commands(ctx):
            one: Any = command.get_command(ctx, name)
            if one is not None and not one.hidden:
                title = getattr(one, "rich_help_panel", None) or "Commands"
                text = " ".join((one.help or "").partition("\n\n")[0].split())
                panels.setdefault(title, []).append((name, text))
        order = {title: place for place, title in enumerate(SECTIONS)}
        yield from sorted(panels.items(), key=lambda panel: order.get(panel[0], len(order)))
        panels = {}
    others: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        if getattr(parameter, "hidden", False):
            continue
        given = getattr(parameter, "rich_help_panel", None)
        rows = panels.setdefault(given, []) if given else others
        rows.append((_signature(parameter, ctx), _text(parameter)))
    if len(others) > 1 or not panels:
        yield "Options", others
    order = {title: place for place, title in enumerate(GROUPS)}
    yield from sorted(panels.items(), key=lambda panel: order.get(panel[0], len(order)))
    if len(others) == 1 and panels:
        yield "Other options", others


def _signature(parameter: Any, ctx: Any) -> str:
    """`--ckpt CKPT`, `--think`, `BENCHMARK`."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.make_metavar(ctx))
    names = "/".join([", ".join(sorted(parameter.opts, key=len)), *parameter.secondary_opts])
    if parameter.is_flag or parameter.count:
        return names
    value = parameter.metavar or "VALUE"
    return f"{names}{value}" if value.startswith("[=") else f"{names} {value}"


def _text(parameter: Any) -> str:
    """The help text with what else the reader needs: whether it must be given, or its default."""
    notes = []
    if parameter.required:
        notes.append("required")
    elif _shows_default(parameter):
        notes.append(f"default: {parameter.default}")
    if variable := getattr(parameter, "envvar", None):
        notes.append(f"or in {variable}")
    text = getattr(parameter, "help", None) or ""
    # Typer adds notes of its own to the help of arguments.
    text = text.partition("  [")[0].removesuffix("[required]").strip()
    return f"{text} ({'; '.join(notes)})" if notes else text


def _shows_default(parameter: Any) -> bool:
    default = parameter.default
    if getattr(parameter, "is_flag", False) or "default" in (getattr(parameter, "help", "") or ""):
        return False
    return isinstance(default, int | float | str) and default != ""


def _columns(rows: Sequence[tuple[str, str]], *, command: bool) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    names = max(map(len, (name for name, _ in rows)), default=1) if command else _NAMES
    lines: list[RenderableType] = []
    for name, text in rows:
        label, body = Text(name, style="bold cyan", overflow="fold"), Text(text, overflow="fold")
        if len(name) > names:
            lines += [label, Padding(body, (0, 0, 0, names + 2))]
            continue
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(width=names)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_row(label, body)
        lines.append(grid)
    return Group(*lines)


def _panel(title: str, content: RenderableType) -> RenderableType:
    from rich.panel import Panel

    return Panel(content, title=title, title_align="left", border_style="dim")
