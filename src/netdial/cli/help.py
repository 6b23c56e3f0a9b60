"""Plain help: options under their headings and every command with its whole description.

``rich`` would draw boxes, but loading what draws them takes twice as long as everything else in ``netdial --help``.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

#: Columns that help fills at most; longer lines are hard to read, however wide the terminal.
WIDTH = 100


class PlainCommand(TyperCommand):
    """A command that lists its options under their headings."""

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
        sections.setdefault(title, []).append(shown)
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
