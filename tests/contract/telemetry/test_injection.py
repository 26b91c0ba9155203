"""Names and values as tenants may choose them, before the parser of a real Prometheus."""

import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.workload import NoData, Telemetry
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.past import PastReader, Want
from pdscaler.telemetry.past_queries import past_queries
from pdscaler.telemetry.presets import load_presets
from pdscaler.telemetry.presets.model import Names, Preset
from pdscaler.telemetry.queries import build_queries
from pdscaler.telemetry.text import LABEL_NAME, quote_label_value
from support.subjects import subject

pytestmark = pytest.mark.prometheus
ASKED = ("steady", "others")

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), min_size=30, max_size=60)
ATTACKS = [
    '"',
    "\\",
    '\\"',
    '"} or vector(1) #',
    '"}) or up{x="',
    "\n",
    "`",
    "'",
    "{{.}}",
    "$1",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "é" * 100,
    "x" * 100_000,
]


def ask(url: str, query: str) -> tuple[int, dict[str, Any]]:
    """Send a query as a form; return the HTTP status and the document."""
    body = urlencode({"query": query}).encode()
    try:
        with _DIRECT.open(urllib.request.Request(f"{url}/api/v1/query", body), timeout=20) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def returned(url: str, values: list[str]) -> list[str]:
    """Return values as Prometheus read them: ``absent`` gives back the labels that it was asked for."""
    parts = [f'absent(nonesuch{{n="{n}", x={quote_label_value(value)}}})' for n, value in enumerate(values)]
    status, document = ask(url, " or ".join(parts))
    assert status == 200, document
    found = {int(element["metric"]["n"]): element["metric"]["x"] for element in document["data"]["result"]}
    return [found[n] for n in range(len(values))]


def test_attacks_are_values_to_a_real_parser(history_url: str) -> None:
    assert returned(history_url, ATTACKS) == ATTACKS


@settings(max_examples=15, deadline=None, derandomize=True)
@given(TEXTS)
def test_any_text_is_the_same_value_to_a_real_parser(history_url: str, values: list[str]) -> None:
    assert returned(history_url, values) == values


def test_what_is_no_unicode_is_refused_or_a_value_but_never_more(history_url: str) -> None:
    status, document = ask(history_url, f"absent(nonesuch{{x={quote_label_value(chr(0xD800))}}})")
    assert status in {200, 400, 422}, document
    assert len(document.get("data", {}).get("result", ())) <= 1


@pytest.mark.parametrize("name", ["VLLM", "LLMD"])
def test_every_query_of_a_preset_is_one_to_a_real_parser_whatever_it_leaves_out(history_url: str, name: str) -> None:
    preset = load_presets(None)[name]
    hostile = {
        quantity: names.model_copy(update={"exclude": {f"l{n}": text for n, text in enumerate(ATTACKS[:-1])}})
        for quantity, names in preset.quantities.items()
    }
    assert all(isinstance(names, Names) for names in hostile.values())
    changed = preset.model_copy(update={"quantities": hostile})
    texts = [query.text for query in build_queries(changed, 60.0, time.time(), ("role",), frozenset(hostile))]
    texts += [query.text for query in past_queries(changed, 60.0, ("role",), lengths=True)]
    assert len(texts) > 10
    for text in texts:
        status, document = ask(history_url, text)
        assert status == 200, (text, document)


KEYWORDS = (
    "and or unless atan2 sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk",
    "offset smoothed anchored by without on ignoring group_left group_right bool fill fill_left fill_right start end",
    "limit_ratio step range info inf nan Inf NaN INF Without BY true false rate absent scalar vector e1 x0 _ _1",
)


def test_every_word_of_the_language_is_a_label_or_refused(history_url: str) -> None:
    words = " ".join(KEYWORDS).split()
    accepted = [word for word in words if LABEL_NAME.fullmatch(word)]
    status, document = ask(history_url, f"sum by ({', '.join(accepted)}) (up)")
    assert status == 200, document
    for word in sorted(set(words) - set(accepted)):
        status, _ = ask(history_url, f"sum by ({word}) (up)")
        assert status == 400, f"{word} is refused for nothing"


@pytest.mark.parametrize("label", ["inf", "without", "__name__", "le", "pdscaler_series", 'a"'])
async def test_a_label_that_breaks_a_query_blinds_nobody_else(
    collector: Collector, history_url: str, label: str
) -> None:
    """One query serves all PDDeployments of an endpoint: a neighbour's label must not fail it."""
    good = subject(history_url, "steady")
    for bad in (
        subject(history_url, "steady", name="bad", pool_label=label),
        subject(history_url, "steady", name="bad", front_door_preset="LLMD", front_door_labels=((label, "x"),)),
    ):
        found = await collector.collect([bad, good])
        assert isinstance(found[good.key], Telemetry)
        refused = found[bad.key]
        assert isinstance(refused, NoData)
        assert "is not a label that can be matched" in refused.message
        past = PastReader(load_presets(None))
        wants = [Want(asking, 600.0, 0.0, 60.0, 15.0) for asking in (bad, good)]
        histories = await past.read(wants, 10.0)
        assert not isinstance(histories[good.key], str)
        assert "is not a label that can be matched" in str(histories[bad.key])
        past.close()


def test_presets_accept_no_label_that_a_query_cannot_hold() -> None:
    document = load_presets(None)["VLLM"].model_dump(mode="json")
    document["labels"]["model"] = ["without"]
    with pytest.raises(ValueError, match="is not a label name that can be used"):
        Preset.model_validate(document)
