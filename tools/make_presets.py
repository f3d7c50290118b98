"""Write the preset vocabularies of the package from the category lists of the datasets.

Usage: python tools/make_presets.py FACTS_DIR [OUTPUT_DIR]

FACTS_DIR contains categories/*.json. The output has one category per line, so that a diff shows only the
changed categories.
"""

import argparse
import json
from pathlib import Path

PRESETS = {
    "coco": "coco_panoptic",
    "ade20k": "ade20k_150",
    "ade20k-847": "ade20k_full_847",
    "cityscapes": "cityscapes_19",
    "mapillary": "mapillary_vistas_65",
    "lvis": "lvis_1203",
    "pascal-voc": "pascal_voc_20",
    "pascal-voc-21": "pascal_voc_21",
    "pascal-context-59": "pascal_context_59",
    "pascal-context-459": "pascal_context_459",
    "coco-stuff": "coco_stuff_171",
}
ORIGIN = (
    "Lists of synonyms: FC-CLIP, Copyright 2023 Bytedance Ltd. and/or its affiliates, Apache License 2.0 "
    "(https://www.apache.org/licenses/LICENSE-2.0), names and order unchanged, file format changed. "
    "Ids, colours, things and stuff: the dataset's category list."
)
KINDS = {"thing": True, "stuff": False}  # "semantic": the dataset does not distinguish them


def convert_category(facts: dict) -> dict:
    """Convert one category to the form of vocabulary/records.py; unknown fields are left out."""
    first, *synonyms = facts["synonyms"]
    category = {"id": facts["dataset_id"], "name": first, "synonyms": synonyms}
    if facts["kind"] in KINDS:
        category["isthing"] = KINDS[facts["kind"]]
    if "color" in facts:
        category["color"] = facts["color"]
    return category


def write_preset(facts_file: Path, output: Path) -> None:
    """Convert the file of one dataset."""
    facts = json.loads(facts_file.read_text(encoding="utf-8"))
    lines = (json.dumps(convert_category(category), ensure_ascii=False) for category in facts["categories"])
    head = f'{{"dataset": {json.dumps(facts["dataset"])},\n"origin": {json.dumps(ORIGIN)},\n"categories": [\n'
    output.write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def main() -> None:
    """Convert all datasets."""
    default = Path(__file__).parents[1] / "src" / "ovrcoat" / "vocabulary" / "presets"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("facts", type=Path)
    parser.add_argument("output", type=Path, nargs="?", default=default)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, key in PRESETS.items():
        write_preset(arguments.facts / "categories" / f"{key}.json", arguments.output / f"{name}.json")
        print(f"wrote {name}.json")


if __name__ == "__main__":
    main()
