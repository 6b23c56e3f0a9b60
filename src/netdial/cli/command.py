"""A command whose options are the fields of settings classes; these are loaded when the command is asked for, not before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from netdial.cli.help import PlainCommand
from netdial.cli.options import flags, with_flags

Parts = Mapping[str, Sequence[type]]
"""Heading in the help -> settings classes (pydantic or dataclasses) whose fields stand under it."""


@dataclass(frozen=True)
class Command:
    """A command of ``netdial``.

    Attributes:
        run: what it does; its own parameters are options, and ``**given`` takes the fields of the settings.
        parts: returns the settings classes; they may import torch.
    """

    run: Callable[..., None]
    parts: Callable[[], Parts]

    @property
    def help(self) -> str:
        """What it does, in a sentence."""
        return inspect.getdoc(self.run) or ""

    def made(self, name: str) -> Any:
        """Returns the command with all its options, for click."""
        shell = typer.Typer(add_completion=False, rich_markup_mode=None)
        extra = [
            option
            for panel, classes in self.parts().items()
            for settings in classes
            for option in flags(settings, panel)
        ]
        whole = with_flags(self.run, extra)
        shell.command(name, cls=PlainCommand, help=self.help)(whole)
        return typer.main.get_command(shell)


def options_of(parts: Callable[[], Parts]) -> Callable[[Callable[..., None]], Command]:
    """Returns a decorator that makes a function with ``**given`` a command with the options of settings classes."""
    return lambda run: Command(run, parts)
