"""Plain help: options under their headings and every command with its whole description.

A text may hold ``{package.module:REGISTRY}``: the names in that registry take its place when the help is shown, so that a part
that was registered by then is in it, and what holds the registry is imported no earlier.

``rich`` would draw boxes, but loading what draws them takes twice as long as everything else in ``netdial --help``.
"""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from netdial.core.registry import names_at

#: Columns that help fills at most; longer lines are hard to read, however wide the terminal.
WIDTH = 100

_PLACE = re.compile(r"\{([\w.]+:\w+)\}")


class PlainCommand(TyperCommand):
    """A command that lists its options under their headings, and takes each once unless it collects."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads arguments; click would take the last of those given twice and drop the others untold."""
        order = self.make_parser(ctx).parse_args(list(args))[2]
        for one in order:
            single = not (getattr(one, "multiple", False) or getattr(one, "is_flag", False))
            if one.param_type_name == "option" and single and order.count(one) > 1:
                raise typer.BadParameter(
                    f"{max(one.opts, key=len)} is given {order.count(one)} times, and one alone would count; give it once, "
                    "several values joined by commas where it takes several (y1,y2)",
                    ctx,
                )
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options."""
        _write_options(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """Commands, none of whose descriptions is cut short in the list of them."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes options and the list of commands."""
        _write_options(self, ctx, formatter)
        with formatter.section("Commands"):
            commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
            formatter.write_dl(
                [(name, command.help or "") for name, command in commands if command]
            )


def _write_options(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """Writes arguments and options, those that have a panel of their own under its name."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        shown = parameter.get_help_record(ctx)
        if shown is None:
            continue
        usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
        title = getattr(parameter, "rich_help_panel", None) or usual
        sections.setdefault(title, []).append((shown[0], with_names(shown[1])))
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def with_names(text: str) -> str:
    """Returns a text with the names of registries in their places."""
    return _PLACE.sub(lambda found: ", ".join(names_at(found[1])), text)
