"""Files that somebody else may have made are opened and parsed in one place, with its limits."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ovrcoat"
GATE = {"system/input_files.py", "system/documents.py"}
# Files of the package itself, files that this process has just created, and content in memory.
ALLOWED = {
    ("cli/streams.py", "open"): "the null device",
    ("cli/streams.py", "os.open"): "the null device",
    ("data/decode.py", "Image.open"): "an open file",
    ("data/mask_files.py", "np.load"): "an open file",
    ("data/mask_files.py", "zipfile.ZipFile"): "an open file",
    ("evaluation/journal.py", "self.path.open"): "appends, after the header was read through the gate",
    ("formats/coco_document.py", "self._temporary_path.open"): "creates a file",
    ("model/encoders/nano.py", "read_bytes"): "a resource of the package",
    ("results/exports/json_lines.py", "self._part_path.open"): "creates a file",
    ("results/run_document.py", "os.open"): "creates a file, or continues one that was checked",
    ("results/run_document.py", "self._journal_path.open"): "creates a file",
    ("server/label_files.py", "path.read_bytes"): "a file that the request has just created",
    ("server/label_files.py", "zipfile.ZipFile"): "writes",
    ("system/atomic_write.py", "os.open"): "a folder, for fsync",
    ("system/folder_lock.py", "self._owner_path.open"): "creates a file",
    ("system/folder_lock.py", "self._owner_path.read_text"): "the name of the owner, for a message",
    ("training/photometric.py", "Image.open"): "a JPEG in memory that it has just encoded",
    ("training/step_log.py", "path.open"): "appends to the run's own log",
    ("vocabulary/catalog.py", "read_text"): "a resource of the package",
    ("vocabulary/names.py", "read_text"): "a resource of the package",
    ("vocabulary/catalog.py", "json.loads"): "a resource of the package",
    ("vocabulary/names.py", "json.loads"): "a resource of the package",
}
OPENERS = {"open", "io.open", "os.open", "gzip.open", "np.load", "np.fromfile", "np.loadtxt", "np.genfromtxt"}
READERS = {"read_text", "read_bytes"}
LIBRARIES = {"torch.load", "load_file", "safe_open", "zipfile.ZipFile", "zipfile.is_zipfile", "Image.open"}
PARSERS = {"json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.parse"}


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """The calls of a module, by the dotted name of what is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(dotted(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def dotted(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        base = dotted(function.value)
        return f"{base}.{function.attr}" if base else function.attr
    return function.id if isinstance(function, ast.Name) else ""


def is_path_open(name: str, call: ast.Call) -> bool:
    """Whether this is `path.open("rb")` or another mode, not an `open` method of something else."""
    modes = [
        node.value for node in call.args if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return name.endswith(".open") and any(set(mode) <= set("rwxab+t") for mode in modes)


def modules() -> list[tuple[str, Path]]:
    found = [(path.relative_to(PACKAGE).as_posix(), path) for path in sorted(PACKAGE.rglob("*.py"))]
    return [(name, path) for name, path in found if name not in GATE]


def test_files_are_opened_by_the_gate():
    direct = [
        (module, name)
        for module, path in modules()
        for name, call in calls(path)
        if name in OPENERS or name.rsplit(".", 1)[-1] in READERS or is_path_open(name, call)
    ]
    # fsspec's files are remote
    unexpected = sorted({found for found in direct if found not in ALLOWED and found[1] != "system.open"})
    assert unexpected == [], "use ovrcoat.system.input_files"


def test_libraries_get_checked_paths_or_content_in_memory():
    """A module that gives a path to a library calls `check_input` or `open_input`, or passes `io.BytesIO`."""
    unchecked = []
    for module, path in modules():
        found = calls(path)
        checks = any(name in ("check_input", "open_input") for name, _ in found)
        for name, call in found:
            in_memory = bool(call.args) and "BytesIO" in ast.unparse(call.args[0])
            if name in LIBRARIES and not (in_memory or checks or (module, name) in ALLOWED):
                unchecked.append((module, name, ast.unparse(call)))
    assert unchecked == []


def test_json_and_yaml_are_parsed_with_limits():
    # `json.loads(json.dumps(...))` gives values the form that they have after a round trip
    direct = [
        (module, ast.unparse(call))
        for module, path in modules()
        for name, call in calls(path)
        if name in PARSERS and "json.dumps" not in ast.unparse(call) and (module, name) not in ALLOWED
    ]
    assert direct == [], "use ovrcoat.system.documents"


def test_every_exception_is_needed():
    used = {(module, name) for module, path in modules() for name, _ in calls(path)}
    assert {found for found in ALLOWED if found not in used} == set()
