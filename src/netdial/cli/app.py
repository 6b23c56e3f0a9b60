"""The commands of ``netdial``; nothing heavy is imported until one of them runs.

The options of a way of training (``fit``, ``shrink``) and of many other commands are the fields of their settings, so these
commands are put together only when they are asked for.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer

from netdial.cli.command import Command
from netdial.cli.commands.choose import choose
from netdial.cli.commands.doctor import doctor
from netdial.cli.commands.evaluate import evaluate
from netdial.cli.commands.evidence import evidence
from netdial.cli.commands.export import export
from netdial.cli.commands.finetune import finetune
from netdial.cli.commands.many.benchmark import benchmark
from netdial.cli.commands.many.sweep import sweep
from netdial.cli.commands.models.compress import compress
from netdial.cli.commands.models.latency import latency
from netdial.cli.commands.predict import predict
from netdial.cli.commands.prune import prune
from netdial.cli.commands.reproduce import reproduce
from netdial.cli.commands.runs import list_command, report
from netdial.cli.commands.slim import slim
from netdial.cli.help import WIDTH, PlainCommand, PlainGroup
from netdial.cli.inspecting import inspect
from netdial.cli.serving import serve
from netdial.jobs.ways import WAYS

_MADE: dict[str, Command] = {}
"""Commands whose options are made from settings when they are asked for."""


class _Commands(PlainGroup):
    """The commands; ways of training are names and lines of help until they are run."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; says that it was interrupted, of which typer makes an exit code without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("netdial: interrupted", err=True)
            raise typer.Exit(130) from None

    def list_commands(self, ctx: Any) -> list[str]:
        for name in WAYS:
            self.commands.setdefault(name, PlainCommand(name, help=WAYS[name].help))
        return [*WAYS, *(name for name in self.commands if name not in WAYS)]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.list_commands(ctx)
        if args and args[0] in WAYS:
            from netdial.cli.commands.training import way_command

            return args[0], way_command(WAYS[args[0]]), args[1:]
        if args and args[0] in _MADE:
            return args[0], _MADE[args[0]].made(args[0]), args[1:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    name="netdial",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    epilog="Start with: netdial fit wine",
)


def _version(asked: bool) -> None:
    if asked:
        from netdial import __version__

        typer.echo(f"netdial {__version__}")
        raise typer.Exit


@app.callback()
def _netdial(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The complexity dial for neural networks: one training run gives a whole family of them."""


for _name, _command in (
    ("evaluate", evaluate),
    ("prune", prune),
    ("slim", slim),
    ("compress", compress),
    ("latency", latency),
    ("evidence", evidence),
    ("choose", choose),
    ("finetune", finetune),
    ("export", export),
    ("predict", predict),
    ("inspect", inspect),
    ("serve", serve),
    ("sweep", sweep),
    ("benchmark", benchmark),
    ("reproduce", reproduce),
    ("report", report),
    ("list", list_command),
    ("doctor", doctor),
):
    if isinstance(_command, Command):
        _MADE[_name] = _command
        app.command(_name, cls=PlainCommand, help=_command.help)(lambda: None)
    else:
        app.command(_name, cls=PlainCommand)(_command)


@cache
def commands() -> Any:
    """Returns the commands as click runs them; a process that runs several of them makes them once."""
    return typer.main.get_command(app)
