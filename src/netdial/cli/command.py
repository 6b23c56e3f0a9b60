"""A command whose options are the fields of settings classes; these are loaded when the command is asked for, not before."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from netdial.cli.help import PlainCommand
from netdial.cli.options import AtRun, flags, taking

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
        whole = _with_flags(self.run, extra)
        shell.command(name, cls=PlainCommand, help=self.help)(whole)
        return typer.main.get_command(shell)


def options_of(parts: Callable[[], Parts]) -> Callable[[Callable[..., None]], Command]:
    """Returns a decorator that makes a function with ``**given`` a command with the options of settings classes."""
    return lambda run: Command(run, parts)


def _with_flags(
    command: Callable[..., None], extra: list[inspect.Parameter]
) -> Callable[..., None]:
    """Returns ``command`` with further parameters in place of its ``**settings``, and those of ``AtRun`` in place of ``at``."""
    own = _parameters(command)
    at = _parameters(AtRun) if own.pop("at", None) else {}

    def run(**given: Any) -> None:
        here = {"at": AtRun(**{name: given.pop(name) for name in at})} if at else {}
        command(**here, **given)

    first = {name: at[name] for name in ("run",) if at}
    return taking(run, [*(first | own | at).values(), *extra])


def _parameters(command: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function or dataclass by name, all but ``**settings``."""
    hints = typing.get_type_hints(command, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
