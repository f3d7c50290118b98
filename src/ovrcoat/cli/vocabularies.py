"""`ovrcoat vocabularies`: list the presets, or show the categories of one vocabulary."""

from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_error, print_json, print_note, print_table
from ovrcoat.vocabulary import Category, Vocabulary, list_presets


def vocabularies(name: str | None = None, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the vocabularies that come with the package, or show the categories of one.

    Parameters
    ----------
    name
        A preset, a vocabulary file, or class names as for `segment --vocabulary`. The categories are shown
        as they are understood.
    json
        Print one JSON document. That of a single vocabulary can be saved as a .json file, edited and used.
    """
    return _list(json=json) if name is None else _show(name, json=json)


def report_issues(vocabulary: Vocabulary) -> bool:
    """Print the issues of a vocabulary to stderr. Return whether it can be used."""
    issues = vocabulary.lint()
    for issue in issues:
        if issue.severity == "error":
            print_error(str(issue))
        else:
            print_note(f"{issue.severity}: {issue}")
    return all(issue.severity != "error" for issue in issues)


def _list(*, json: bool) -> int:
    presets = [Vocabulary.named(preset) for preset in list_presets()]
    things = [sum(category.is_thing for category in preset.categories) for preset in presets]
    if json:
        print_json(
            [
                {"name": preset.name, "categories": len(preset), "things": count}
                for preset, count in zip(presets, things, strict=True)
            ]
        )
    else:
        print_table(
            ("name", "categories", "things", "stuff"),
            [
                (preset.name or "", str(len(preset)), str(count), str(len(preset) - count))
                for preset, count in zip(presets, things, strict=True)
            ],
        )
    return 0


def _show(name: str, *, json: bool) -> int:
    vocabulary = Vocabulary.read(name)
    usable = report_issues(vocabulary)
    if json:
        print_json(vocabulary.to_dict())
    else:
        print_table(
            ("id", "name", "kind", "synonyms"), [_row(category) for category in vocabulary.categories]
        )
    return 0 if usable else 2


def _row(category: Category) -> tuple[str, str, str, str]:
    source = " (by default)" if category.thing_from == "default" else ""
    kind = "thing" if category.is_thing else "stuff"
    return str(category.id), category.name, kind + source, ", ".join(category.names[1:])
