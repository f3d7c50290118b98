"""The public surface: changing this list is a decision."""

import subprocess
import sys
from pathlib import Path

import ovrcoat


def test_public_names():
    assert sorted(ovrcoat.__all__) == [
        "Category",
        "CheckpointError",
        "ConfigError",
        "DatasetError",
        "EncodedImage",
        "EvaluationReport",
        "EvaluationSettings",
        "ExplainedMask",
        "Explanation",
        "ImageError",
        "ImageInput",
        "ImageSearch",
        "InstanceResult",
        "Issue",
        "MaskLabel",
        "MaskStatus",
        "MissingExtraError",
        "OutputError",
        "OvrcoatError",
        "PanopticResult",
        "RunWriter",
        "Segment",
        "SegmentationPrompt",
        "Segmenter",
        "SemanticResult",
        "TrainingError",
        "Vocabulary",
        "VocabularyError",
        "VocabularyInput",
        "__version__",
        "evaluate",
        "find_images",
        "open_dataset",
        "read_image",
        "search_images",
        "train",
    ]


def test_every_public_name_exists_and_is_listed():
    for name in ovrcoat.__all__:
        assert getattr(ovrcoat, name) is not None
    assert set(ovrcoat.__all__) <= set(dir(ovrcoat))
    assert all(name in ovrcoat.__doc__ for name in ovrcoat.__all__ if name != "__version__")


# torch is not followed: reading it would take a minute, and a user's types do not depend on it
SETTINGS = """
[mypy]
strict = True
[mypy-torch.*]
follow_imports = skip
ignore_missing_imports = True
[mypy-ovrcoat.*]
follow_imports = silent
"""


def check_types(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy --strict on `script` against the installed package."""
    (folder / "mypy.ini").write_text(SETTINGS)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_of_a_user_is_strictly_typed_and_a_mistake_is_found(tmp_path: Path):
    script = Path(__file__).parent / "user_script.py"
    checked = check_types(script, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Success: no issues found in 1 source file" in checked.stdout

    wrong = tmp_path / "wrong.py"
    wrong.write_text(script.read_text().replace('task="semantic"', 'task="panoptic"') + "\n\nlargest(1)\n")
    checked = check_types(wrong, tmp_path)
    assert checked.returncode == 1
    assert 'Argument 1 to "largest" has incompatible type "int"; expected "PanopticResult"' in checked.stdout
