"""Vocabularies that take long: many names, long names, names that resemble each other, odd separators."""

import json
from pathlib import Path

import pytest

from hostile.harness import Zygote

MEGABYTE = 1_000_000
TEXTS = {
    "many categories": ";".join(f"a{n}" for n in range(150_000)),
    "many lines": "\n".join(f"a{n}" for n in range(150_000)),
    "many names of one category": ",".join(f"a{n}" for n in range(150_000)),
    "many names of each category": "\n".join(",".join(f"a{n}x{m}" for m in range(900)) for n in range(150)),
    "the same name": ";".join(["cat"] * 250_000),
    "the same name in one category": ",".join(["cat"] * 250_000),
    "5,000 categories": "\n".join(f"name{n}, other{n}, third{n}" for n in range(5_000)),
    "5,000 categories of two words": "\n".join(f"dog {n % 70} house {n // 70}" for n in range(5_000)),
    "5,000 equal categories": "\n".join(["dog"] * 5_000),
    "5,000 nearly equal names": "\n".join("dog" + "s" * (n % 100) + str(n) for n in range(5_000)),
    "5,000 codes": "\n".join(f"n{n:08}" for n in range(5_000)),
    "5,000 joined words": "\n".join(f"cat and dog and {n}" for n in range(5_000)),
    "5,000 plurals": "\n".join("abcdefghij"[n % 10] * (n % 90 + 1) + "s" for n in range(5_000)),
    "long names": "\n".join(f"{n}" + "x" * 900 for n in range(1_000)),
    "one long name": "x" * 120_000,
    "one name of a megabyte": "x" * MEGABYTE,
    "one name of spaces": "a" + " " * (MEGABYTE - 2) + "b",
    "one name of many words": "cat dog " * 120_000,
    "one category of 'and'": "cat and " * 120_000 + "dog",
    "stops": "cat . " * 150_000,
    "stops without spaces": "." * MEGABYTE,
    "bars": "|" * MEGABYTE,
    "slashes": "cat/" * 240_000,
    "opening brackets": "(" * MEGABYTE,
    "closing brackets": ")" * MEGABYTE,
    "square brackets": "[" * MEGABYTE,
    "a list of brackets": "[" + "[" * 500_000 + "]" * 499_000 + "]",
    "an object of digits": "{1" + "1" * 900_000 + "}",
    "a list in Python": "[" + "'a'," * 240_000 + "]",
    "a sum in Python": "[" + "1+" * 400_000 + "1]",
    "tabs": "\t" * MEGABYTE,
    "hash signs": "#" * MEGABYTE,
    "colons": ":" * MEGABYTE,
    "numbered": "\n".join(f"{n}: a{n}" for n in range(90_000)),
    "labelmap": "\n".join(f"a{n}:1,2,3::" for n in range(60_000)),
    "combining characters": "a" + "\u0301" * 400_000,
    "wide characters": "\U0001f9d1\u200d" * 90_000,
    "right to left": "\u202e" * 300_000,
    "upper case": "İ" * 400_000,
    "underscores": "_" * MEGABYTE,
    "dashes": "a-" * 400_000,
    "capitals": "aB" * 400_000,
    "prompts": "a photo of a " * 70_000,
    "quotes": '"' * MEGABYTE,
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_text(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "v.txt"
    path.write_text(TEXTS[kind][:MEGABYTE])
    zygote.run("read_vocabulary", path=str(path)).assert_harmless()


@pytest.mark.parametrize(
    "kind", [kind for kind in TEXTS if "5,000" in kind] + ["many lines", "quotes", "bars"]
)
def test_background(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "v.txt"
    path.write_text(TEXTS[kind][:MEGABYTE])
    zygote.run("read_background", path=str(path)).assert_harmless()


DOCUMENTS = {
    "a million categories": ["a"] * 1_000_000,
    "5,000 categories with 100 names": [
        {"name": f"a{n}", "synonyms": [f"a{n}x{m}" for m in range(100)]} for n in range(5_000)
    ],
    "5,000 categories with 4 long names": [
        {"name": f"a{n}", "synonyms": [f"{m}" + "x" * 990 for m in range(4)]} for n in range(5_000)
    ],
    "30 MB of annotations": {
        "categories": [{"name": "cat"}],
        "annotations": [{"a": n} for n in range(2_000_000)],
    },
    "a map of a million names": {str(n): "a" for n in range(1_000_000)},
    "a huge id": [{"name": "cat", "id": 10**400}],
    "a long key": [{"x" * 1_000_000: "cat"}],
    "labelme": {"shapes": [{"label": f"a{n}"} for n in range(500_000)]},
}  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_json(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "v.json"
    path.write_text(json.dumps(DOCUMENTS[kind]))
    zygote.run("read_vocabulary", path=str(path)).assert_harmless()


TABLES = {
    "a wide row": "," * MEGABYTE,
    "many rows": "id,name\n" + "1,a\n" * 200_000,
    "one long cell": "id,name\n1," + "x" * 900_000,
    "an open quote": 'id,name\n1,"' + "x\n" * 400_000,
    "quotes": 'id,name\n1,"' + '""' * 400_000 + '"',
    "wide header": ",".join(f"c{n}" for n in range(100_000)) + "\n" + "1," * 50_000,
    "ade20k": "Idx,Ratio,Train,Val,Stuff,Name\n" + "1,0.1,1,1,1," + "a;" * 400_000,
}


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("kind", TABLES)
def test_table(kind: str, suffix: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / f"v.{suffix}"
    path.write_text(TABLES[kind][:MEGABYTE].replace(",", "\t" if suffix == "tsv" else ","))
    zygote.run("read_vocabulary", path=str(path)).assert_harmless()
