"""Format tables and numbers in Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def seconds(value: float) -> str:
    """Format a time in seconds or milliseconds, with three digits."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def memory(count: float) -> str:
    """Format bytes in MB or GB (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def operations(count: float) -> str:
    """Format a number of floating-point operations."""
    for size, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "0" if count == 0 else f"{count:.0f} FLOP"


def rate(count: float) -> str:
    """Format operations per second."""
    return f"{count / 1e9:.0f} GFLOP/s"


def section(title: str, *paragraphs: str) -> str:
    """Return a heading and the paragraphs of its section."""
    return "\n\n".join((f"## {title}", *paragraphs)) + "\n"


def listing(text: str) -> str:
    """Return printed output as a code block."""
    return f"```text\n{text.strip()}\n```"
