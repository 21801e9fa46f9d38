"""Suggestions of commands for options that they do not have."""

import contextlib
from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup

from nanochat.errors import nearest_name


class SuggestingGroup(TyperGroup):
    """Group of commands that names, for an option that does not exist, the nearest that does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the name of the command."""
        with self._suggestions():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of the command, and run it."""
        with self._suggestions():
            return super().invoke(ctx)

    def other_way(self, option: str, options: list[str]) -> str | None:
        """Return the end of the message on an option that is like none of the command's.

        Parameters
        ----------
        option
            The option as given.
        options
            Options of the command.
        """
        return None

    @contextlib.contextmanager
    def _suggestions(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Typer has its own copy of click's exceptions, without a public name.
            if type(error).__name__ == "NoSuchOption":
                self._suggest(error)
            raise

    def _suggest(self, error: Any) -> None:
        options = [
            name
            for parameter in (error.ctx.command.params if error.ctx else [])
            if not getattr(parameter, "hidden", False)
            for name in (*parameter.opts, *parameter.secondary_opts)
            if name.startswith("-")
        ]
        near = nearest_name(error.option_name, options)
        advice = f"did you mean {near}?" if near else self.other_way(error.option_name, options)
        error.possibilities = []
        if advice:
            error.message = f"{error.message}; {advice}"
