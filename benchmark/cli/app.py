"""The application that commands register with, what all of them ask of their arguments, and the folders they use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from scenarios.on_disk import at_home

RUNS = Path("runs")  # where your own runs go
RESULTS = Path("results")  # the committed records and the tables made from them
BASELINES = RESULTS / "baselines"


class Command(TyperCommand):
    """A command that refuses what would be passed over, and knows the home folder in every path."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the option parser does, which alone would keep the last of two values without a word."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(order).items():
            if times > 1 and not option.multiple and option.param_type_name == "option":
                raise ValueError(f"{option.opts[0]} given {'twice' if times == 2 else f'{times} times'}: give it once")
            given = values.get(option.name)
            if any(isinstance(one, str) and not one.strip() for one in (given if isinstance(given, list) else [given])):
                raise ValueError(f"{_shown(option)} is empty: give it a value, or leave it out")
        rest = super().parse_args(ctx, args)
        ctx.params = {name: _paths_at_home(value) for name, value in ctx.params.items()}
        return rest


class Commands(typer.Typer):
    """An application whose commands are all of class ``Command``."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As typer's."""
        return super().command(name, cls=Command, **settings)


def _shown(option: Any) -> str:
    """A flag, or an argument's name in capitals."""
    return str(option.opts[0]) if option.param_type_name == "option" else str(option.metavar or option.name).upper()


def _paths_at_home(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_paths_at_home, value))
    return at_home(value) if isinstance(value, Path) else value


app = Commands(
    help="Does a model keep what it could do when it is developed further? A benchmark of model developmental safety.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mds-bench"))
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version, nothing else")
    ] = False,
) -> None:
    pass
