"""The parser of all commands, whose errors offer what was meant."""

import argparse
import difflib


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and offer what was meant."""

    def __init__(self, **options):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            **options,
        )

    @property
    def options(self):
        """All `--names`."""
        return [o for o in self._option_string_actions if o.startswith("--")]

    def parse(self, argv):
        """The options that were said, as a dict, or an exit with code 2."""
        given, unknown = self.parse_known_args(argv)
        if unknown:
            wrong = unknown[0].partition("=")[0]
            if not wrong.startswith("-"):
                self.error(
                    f"unexpected argument {wrong!r}; --help shows the usage"
                )
            self.error(
                f"there is no option {wrong}. "
                + (nearest(wrong, self.options) or "--help lists all of them.")
            )
        return vars(given)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def dashed(name):
    """An option's name as a command line says it, as `--batch-size`."""
    return "--" + name.replace("_", "-")


def spelled(name, value):
    """An option as a command line says it, as `--crop 160 160`."""
    if isinstance(value, bool):
        return dashed(name if value else f"no_{name}")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return " ".join([dashed(name), *map(str, values)])


def nearest(name, known):
    """A question that offers what is near to a name; empty where nothing is."""
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""
