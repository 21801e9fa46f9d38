"""Advice for settings of a spec that were given as options of a command."""

from nanochat.cli.suggestions import SuggestingGroup
from nanochat.errors import nearest_name


class SweepCommands(SuggestingGroup):
    """Group of commands that leads from an unknown option to `--set`, where a command has it."""

    def other_way(self, option: str, options: list[str]) -> str | None:
        """Return the `--set` of the setting that an option names; None without such a setting."""
        from nanochat.train.recipe import Recipe

        name = nearest_name(option, [*Recipe.numeric_fields(), "dtype", "trainable_param_groups"])
        if name is None or "--set" not in options:
            return None
        return f"settings of the spec are changed by --set, e.g. --set workload.recipe.{name}=VALUE"
