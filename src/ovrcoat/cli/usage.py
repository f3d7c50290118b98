"""Usage errors in plain words, and small corrections of what users type."""

from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, UnusedCliTokensError

from ovrcoat.system.paths import exists

# Options of earlier versions, by verb.
RENAMED_OPTIONS = {
    "segment": {
        "-v": "--vocabulary",
        "--threshold": "--object-mask-threshold",
        "--overlap": "--overlap-threshold",
    },
    "evaluate": {"-v": "--vocabulary"},
}
JSON_FILE_VERBS = {"evaluate", "score", "compare", "check-data"}  # their --json also takes a file


def renamed_option(tokens: Sequence[str]) -> str | None:
    """Return the error message if an option is given by the name that it had in an earlier version."""
    verb = next((token for token in tokens if token in RENAMED_OPTIONS), None)
    if verb is None:
        return None
    for token in tokens:
        name = token.split("=", maxsplit=1)[0]
        if (new := RENAMED_OPTIONS[verb].get(name)) is not None:
            instances = " (for --task instance: --score-threshold)" if name == "--threshold" else ""
            return f"the option {name} of ovrcoat {verb} was renamed to {new}{instances}"
    return None


def normalized(tokens: Sequence[str]) -> list[str]:
    """Return the tokens in the form that the parser expects.

    `ovrcoat help VERB` becomes `ovrcoat VERB --help`. `--json` without a file means stdout in all verbs.
    """
    if tokens and tokens[0] == "help":
        return [*tokens[1:], "--help"]
    result = []
    verb = next((token for token in tokens if not token.startswith("-")), None)
    for position, token in enumerate(tokens):
        result.append(token)
        following = tokens[position + 1] if position + 1 < len(tokens) else "--"
        if token == "--json" and verb in JSON_FILE_VERBS and following.startswith("--"):
            result.append("-")
    return result


def possible_class_names(sources: Sequence[str]) -> list[str]:
    """Return the sources that are probably class names given in the wrong place: words, but no files."""
    words = [source for source in sources if source.replace(" ", "").replace("-", "").isalpha()]
    return [word for word in words if not exists(word)]


def usage_message(error: CycloptsError, tokens: Sequence[str]) -> str:
    """Return one line that says what came, what was expected, and where to read more."""
    verb = next((token for token in tokens if not token.startswith("-")), None)
    known = verb is not None and error.command_chain
    see = f"See: ovrcoat {verb} --help" if known else "See: ovrcoat --help"
    return f"{_message(error, verb or '')} {see}"


def _message(error: CycloptsError, verb: str) -> str:
    if isinstance(error, UnusedCliTokensError):
        given = ", ".join(map(repr, error.unused_tokens or ()))
        return f"ovrcoat {verb} does not take the argument {given}; quote values that contain spaces."
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        if name.startswith("-"):
            return f"the option {name} is missing or has no value."
        return f"ovrcoat {verb} needs {name}."
    if isinstance(error, CoercionError) and error.token is not None:
        expected = _describe(error.target_type)
        if expected is not None:
            name = error.token.keyword or "an argument"
            return f"{name}: {error.token.value!r} is not valid; expected {expected}."
    return " ".join(str(error).split())


def _describe(kind: Any) -> str | None:
    """Describe the values of an option's type; None for types whose message is good already."""
    parts = [part for part in get_args(kind) or (kind,) if part is not type(None)]
    named = {float: "a number", int: "a whole number"}
    words = []
    for part in parts:
        if part in named:
            words.append(named[part])
        else:
            choices = [str(choice) for choice in get_args(part)]
            if not choices:
                return None
            words += choices
    return " or ".join(words)
