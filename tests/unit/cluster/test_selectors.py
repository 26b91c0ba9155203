import pytest

from pdscaler.cluster.selectors import Operator, Requirement, Selector, parse_label_selector, selector_from_spec
from pdscaler.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("app=decode", {"app": "decode", "extra": "1"}, True),
        ("app==decode", {"app": "prefill"}, False),
        ("app=decode", {}, False),
        ("app!=decode", {}, True),
        ("app!=decode", {"app": "decode"}, False),
        ("tier in (gpu, cpu)", {"tier": "cpu"}, True),
        ("tier in (gpu,cpu)", {"tier": "tpu"}, False),
        ("tier notin (gpu)", {"tier": "cpu"}, True),
        ("tier notin (gpu)", {}, True),
        ("canary", {"canary": ""}, True),
        ("canary", {}, False),
        ("!canary", {}, True),
        ("!canary", {"canary": "yes"}, False),
        ("rank>3", {"rank": "4"}, True),
        ("rank>3", {"rank": "three"}, False),
        ("rank<3", {"rank": "2"}, True),
        ("app=x,role in (a,b),!canary", {"app": "x", "role": "b"}, True),
        ("app=x,role in (a,b),!canary", {"app": "x", "role": "b", "canary": "1"}, False),
        (
            "leaderworkerset.sigs.k8s.io/name=llm,leaderworkerset.sigs.k8s.io/worker-index=0",
            {"leaderworkerset.sigs.k8s.io/name": "llm", "leaderworkerset.sigs.k8s.io/worker-index": "0"},
            True,
        ),
        ("app=", {"app": ""}, True),
    ],
)
def test_a_selector_string_matches_as_kubernetes_does(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


def test_no_selector_matches_nothing() -> None:
    assert not Selector().matches({"app": "decode"})
    assert not parse_label_selector("").matches({"app": "decode"})
    assert not selector_from_spec({}).matches({})


@pytest.mark.parametrize("text", ["app=(", "a b", "in (x)", "app in x", "rank>many", "=x", "app\x1b[31m=x"])
def test_what_is_no_selector_is_refused_in_one_clean_line(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_label_selector(text)
    assert str(caught.value).isprintable()


def test_labels_and_expressions_of_a_spec_are_combined() -> None:
    selector = selector_from_spec(
        {
            "matchLabels": {"app": "decode"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["gpu", "big"]},
                {"key": "canary", "operator": "DoesNotExist"},
                {"key": "track", "operator": "NotIn", "values": ["old"]},
                {"key": "zone", "operator": "Exists"},
            ],
        }
    )
    assert selector.matches({"app": "decode", "tier": "gpu", "zone": "a"})
    assert not selector.matches({"app": "decode", "tier": "gpu"})
    assert not selector.matches({"app": "decode", "tier": "gpu", "zone": "a", "track": "old"})
    assert not selector.matches({"app": "prefill", "tier": "gpu", "zone": "a"})


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r'unknown operator "Near" for label "zone"'):
        selector_from_spec({"matchExpressions": [{"key": "zone", "operator": "Near", "values": ["a"]}]})


def test_pairs_are_what_every_match_must_have() -> None:
    selector = parse_label_selector("app=decode,tier in (gpu,big),one in (x),!canary")
    assert selector.pairs == (("app", "decode"), ("one", "x"))


def test_writing_a_selector_and_reading_it_gives_the_same() -> None:
    selector = Selector(
        (
            Requirement("app", Operator.IN, ("x",)),
            Requirement("role", Operator.NOT_IN, ("a", "b")),
            Requirement("canary", Operator.DOES_NOT_EXIST),
            Requirement("zone", Operator.EXISTS),
            Requirement("rank", Operator.GREATER, ("3",)),
            Requirement("size", Operator.LESS, ("9",)),
        )
    )
    assert parse_label_selector(str(selector)) == selector
