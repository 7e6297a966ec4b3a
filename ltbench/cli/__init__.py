"""The command line: parse, call the API, print."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ltbench import __version__
from ltbench.cli import catalogue, cells, images, leaderboard, tables, tune
from ltbench.errors import LtbenchError


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="ltbench", description="Benchmark of imbalanced image classification.")
    top.add_argument("--version", action="version", version=f"ltbench {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    def verb(name: str, function: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=help)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        sub.set_defaults(function=function)
        return sub

    for part in (cells, tune, leaderboard, tables, images, catalogue):
        part.add(verb)
    return top


def _warn(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 for a failure, 2 for a user's mistake, 130 for Ctrl-C."""
    top = parser()
    args = top.parse_args(argv)
    if args.verb is None:
        top.print_help(sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            if not args.debug:
                warnings.showwarning = _warn
            return int(args.function(args))
    except LtbenchError as error:
        if args.debug:
            traceback.print_exc()
        print(f"ltbench: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ltbench: interrupted; the same command resumes", file=sys.stderr)
        return 130
    except OSError as error:
        if args.debug:
            traceback.print_exc()
        print(f"ltbench: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    except Exception as error:
        if args.debug:
            raise
        if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported here
            print(
                f"ltbench: the device's memory does not suffice ({str(error)[:200]}); free it, use smaller batches or "
                "images (--set protocol.batch_size, generator.train_batch, generator.max_size), or --device cpu; the "
                "same command resumes",
                file=sys.stderr,
            )
            return 1
        print(
            f"ltbench: internal error, {type(error).__name__}: {error}\nrun again with --debug and report it",
            file=sys.stderr,
        )
        return 1
