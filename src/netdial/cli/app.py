"""The commands of ``netdial``; nothing heavy is imported until one of them runs.

The options of ``fit`` and ``shrink`` are the fields of their settings, so these commands are put together only when they are
asked for.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from netdial.cli.choose import choose
from netdial.cli.doctor import doctor
from netdial.cli.evaluate import evaluate
from netdial.cli.evidence import evidence
from netdial.cli.export import export
from netdial.cli.finetune import finetune
from netdial.cli.help import WIDTH, PlainCommand, PlainGroup
from netdial.cli.predict import predict
from netdial.cli.prune import prune
from netdial.cli.reproduce import reproduce
from netdial.cli.runs import list_command, report

_FIT_HELP = "Train a family of networks, one for every complexity value, and write a report."
_SHRINK_HELP = "Train a network that is too large while it shrinks to the size that it needs, and write a report."


class _Commands(PlainGroup):
    """The commands; ``fit`` and ``shrink`` are names and lines of help until they are run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] == "fit":
            from netdial.cli.fit import fit_command

            self.add_command(fit_command(_FIT_HELP), "fit")
        if args and args[0] == "shrink":
            from netdial.cli.shrink import shrink_command

            self.add_command(shrink_command(_SHRINK_HELP), "shrink")
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


@app.command("fit", help=_FIT_HELP)
def _fit() -> None:
    """Stands for ``fit`` in the list of commands."""


@app.command("shrink", help=_SHRINK_HELP)
def _shrink() -> None:
    """Stands for ``shrink`` in the list of commands."""


for _name, _command in (
    ("evaluate", evaluate),
    ("prune", prune),
    ("evidence", evidence),
    ("choose", choose),
    ("finetune", finetune),
    ("export", export),
    ("predict", predict),
    ("reproduce", reproduce),
    ("report", report),
    ("list", list_command),
    ("doctor", doctor),
):
    app.command(_name, cls=PlainCommand)(_command)
