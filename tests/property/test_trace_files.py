"""Whatever a trace file holds: requests that make sense, or one line that says what is wrong and where."""

import csv
import gzip
import io
import json
import re
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import read_trace

HEADERS = (
    "arrival_s,input_tokens,output_tokens",
    "prefix_hit_tokens,output_tokens,input_tokens,arrival_s",
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
)
MOMENTS = (
    *("2023-11-16 18:15:46.6805900", "2023-11-16T18:15:46Z", "2023-11-16 18:15:46+02:00", "20231116", "2023-W46-4"),
    *("0001-01-01 00:00:00+23:59", "9999-12-31 23:59:59.999-23:59", "16.11.2023", "1700158546", "2023-11-16 25:00"),
)
VALUES = (
    *("0", "1", "17.0", "-1", "1e3", "1e400", "nan", "inf", "-inf", "", " ", "abc", "1_0", "0x10", "True", '"', "\x00"),
    *("9" * 400, "１２", "1;2", "\x1b[31m", "é", "100000001", "0.5"),
)

numbers = st.one_of(st.integers(-2, 10**9).map(str), st.floats(0, 1e6).map(repr))
cells = st.one_of(numbers, numbers, st.sampled_from(VALUES), st.sampled_from(MOMENTS), st.text(max_size=5))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(VALUES)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@st.composite
def csv_files(draw: st.DrawFn) -> str:
    """Lines of a known header, most of them as they should be."""
    header = draw(st.sampled_from(HEADERS))
    width = header.count(",") + 1
    if draw(st.booleans()):
        moments = [draw(st.sampled_from(MOMENTS)) for _ in range(draw(st.integers(0, 4)))]
        rows = [[moment, *(draw(cells) for _ in range(width - 1))] for moment in moments]
    else:
        rows = draw(st.lists(st.lists(cells, min_size=max(1, width - 1), max_size=width + 1), max_size=5))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(("\n", "\r\n", "\r", "\n\n"))))
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return text.getvalue()


@st.composite
def json_files(draw: st.DrawFn) -> str:
    """JSON lines with the keys of Mooncake, or others."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        keys = draw(st.sets(st.sampled_from(("timestamp", "input_length", "output_length", "hash_ids")), min_size=2))
        values = {key: draw(st.one_of(st.integers(1, 5000), json_values)) for key in sorted(keys)}
        lines.append(json.dumps(draw(st.one_of(st.just(values), json_values)) if lines else values))
    return "\n".join(lines)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file, perhaps with bytes changed, cut off, compressed."""
    content = draw(st.one_of(csv_files(), json_files())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        content = draw(st.sampled_from((b"", b"\xef\xbb\xbf", b"\n \n"))) + content
    for change in draw(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=2)), max_size=2)):
        place = int(change[0] * len(content))
        content = content[:place] + change[1] + content[place + 1 :]
    if draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
        content = content[: int(draw(st.sampled_from((1.0, 1.0, 0.9, 0.5))) * len(content))]
    return content


def check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        path.write_bytes(content)
        try:
            trace = read_trace(path)
        except InvalidInputError as error:
            said = str(error)
            assert said.startswith("trace.csv"), said
            assert "\n" not in said
            assert said.isprintable()
            named = re.match(r"trace\.csv line (\d+): ", said)
            if named and not content.startswith(b"\x1f\x8b"):
                assert 1 <= int(named[1]) <= len(content.splitlines()) + content.count(b"\r") + 1
            return
    assert len(trace) >= 1
    assert np.all(np.isfinite(trace.arrival_s))
    assert np.all(trace.arrival_s >= 0)
    assert np.all(np.diff(trace.arrival_s) >= 0)
    assert np.all(trace.input_tokens >= 1)
    assert np.all(trace.output_tokens >= 1)
    assert np.all((trace.prefix_hit_tokens >= 0) & (trace.prefix_hit_tokens <= trace.input_tokens))
    assert all(note.isprintable() for note in trace.notes)


@given(mutated())
@settings(max_examples=120)
def test_a_trace_or_one_line(content: bytes) -> None:
    check(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_one_line(content: bytes) -> None:
    check(content)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 9999), st.integers(1, 9999)), min_size=1, max_size=30))
def test_what_is_right_is_read_whole_in_whatever_order(requests: list[tuple[float, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        lines = [HEADERS[0], *(f"{at_s!r},{inputs},{outputs}" for at_s, inputs, outputs in requests)]
        path.write_text("\n".join(lines), encoding="utf-8")
        trace = read_trace(path)
    read = zip(trace.arrival_s.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True)
    assert sorted(read) == sorted(requests)
    unsorted = any(later[0] < earlier[0] for earlier, later in pairwise(requests))
    assert any("sorted" in note for note in trace.notes) == unsorted
