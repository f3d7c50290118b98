"""The names that keep a compatibility promise; changing this list is a decision."""

import ovrcoat


def test_public_names():
    assert sorted(ovrcoat.__all__) == [
        "Category",
        "EvaluationReport",
        "EvaluationSettings",
        "InstanceResult",
        "OvrcoatError",
        "PanopticResult",
        "Segment",
        "Segmenter",
        "SemanticResult",
        "Vocabulary",
        "__version__",
        "evaluate",
        "open_dataset",
    ]


def test_every_public_name_is_there_and_listed():
    for name in ovrcoat.__all__:
        assert getattr(ovrcoat, name) is not None
    assert set(ovrcoat.__all__) <= set(dir(ovrcoat))
