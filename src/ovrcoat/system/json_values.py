"""Values of JSON files that other programs have written."""


def as_integer(value: object) -> object:
    """Return an integral float as an integer (12 for 12.0), and every other value unchanged.

    Converters write ids, areas and sizes as floats, since JSON does not distinguish them from integers. All
    readers of annotation files pass such values through this function.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value
