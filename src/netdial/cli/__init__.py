"""The command line ``netdial``: what people type, what programs read, and how errors end.

Exit codes: 0 done; 1 a failure that is not the user's; 2 the user's input is wrong, with one line on stderr that says
how to mend it; 130 interrupted. Results go to stdout, everything else to stderr; with ``--json`` stdout is one JSON
object, also when the command fails: ``{"error": what is wrong, "type": name of the exception, "code": exit code}``.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netdial.core.errors import NetdialError, by_meaning

_ELSEWHERE = {
    "netdial prune --structured": "whole channels are removed by netdial slim (see netdial slim --help)"
}
"""What people look for where it is not -> where it is."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        args: arguments without the program's name; by default those of the process.
    """
    given = list(sys.argv[1:] if args is None else args)
    if args is None:
        warnings.showwarning = _show_warning
    debug = "--debug" in given
    try:
        return _run([arg for arg in given if arg != "--debug"])
    except KeyboardInterrupt:
        print("netdial: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        return _explain(error, as_json="--json" in given)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """Prints a warning as one line; where in the code it arose is of no use to who runs a command."""
    print(f"netdial: {' '.join(str(message).split())}", file=sys.stderr)


def _run(args: list[str]) -> int:
    from netdial.cli.app import commands

    code = commands()(args=args, prog_name="netdial", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _explain(error: Exception, *, as_json: bool) -> int:
    """Prints one line on an error, an object besides if JSON is asked for, and returns the exit code."""
    from netdial.core.storage.files import refused, unwritable

    usage = getattr(error, "format_message", None)
    if usage is not None:
        code, line = 2, _usage_line(error, usage())
    elif isinstance(error, NetdialError):
        code, line = 2, " ".join(str(error).split())
    elif isinstance(error, OSError) and refused(error):
        code, line = 2, str(unwritable(Path(error.filename or "a file"), error))
    else:
        code, line = (
            1,
            (
                f"unexpected {type(error).__name__}: {' '.join(str(error).split())} "
                "(this is a defect, or the machine's; --debug shows where)"
            ),
        )
    print(f"netdial: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": line, "type": type(error).__name__, "code": code}))
    return code


def _usage_line(error: Exception, message: str) -> str:
    """Returns a usage error as one line, with the nearest option if there is one."""
    near = getattr(error, "possibilities", None)
    option = getattr(error, "option_name", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "netdial"
    if f"{command} {option}" in _ELSEWHERE:
        return f"no such option: {option}; {_ELSEWHERE[f'{command} {option}']}"
    known = [name for part in context.command.params for name in part.opts] if context else []
    meant = by_meaning(option[2:], [name[2:] for name in known])
    if near or meant:
        import difflib

        found = f"--{meant}" if meant else difflib.get_close_matches(option, near or (), 1, 0.0)[0]
        message = f"{getattr(error, 'message', message)}; did you mean {found}?"
    line = " ".join(message.split())
    return f"{line} (see {command} --help)"
