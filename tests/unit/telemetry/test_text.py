import pytest

from pdscaler.telemetry.text import LABEL_NAME, METRIC_NAME, quote_label_value, shown, shown_list


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", '"plain"'),
        ('a"b', r'"a\"b"'),
        ("a\\", r'"a\\"'),
        ("a\nb\tc\r", r'"a\nb\tc\r"'),
        ("\x00\x1b", r'"\x00\x1b"'),
        ("é", r'"\xc3\xa9"'),
    ],
)
def test_label_values_cannot_end_their_string(value: str, quoted: str) -> None:
    assert quote_label_value(value) == quoted


def test_messages_show_foreign_text_harmlessly() -> None:
    assert shown("llama\n\x1b[2J\u202e") == r'"llama\n\x1b[2J\u202e"'
    assert shown("x" * 100) == '"' + "x" * 64 + '…"'
    assert shown_list(["b", "a"]) == '"a", "b"'
    assert shown_list("gfedcba") == '"a", "b", "c", "d", "e" and 2 more'


@pytest.mark.parametrize(
    "name", ["", "1a", "a-b", "a b", 'a"', "a)", "__name__", "é", "a\n", "a" * 200, "inf", "NaN", "Without"]
)
def test_label_names_that_are_refused(name: str) -> None:
    assert LABEL_NAME.fullmatch(name) is None


def test_names() -> None:
    assert LABEL_NAME.fullmatch("_role")
    assert LABEL_NAME.fullmatch("infra")
    assert LABEL_NAME.fullmatch("by")
    assert METRIC_NAME.fullmatch("vllm:request_success_total")
    assert not METRIC_NAME.fullmatch("a{b}")
