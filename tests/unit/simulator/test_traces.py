"""Traces: every format, every kind of bad line, scaling, statistics."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import Trace, read_trace, scale_trace, trace_workload

HEADER = "arrival_s,input_tokens,output_tokens\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(trace: Trace) -> list[tuple[float, int, int, int]]:
    columns = (trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_plain_csv(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "trace.csv", HEADER + "0.000,374,44\n4.315,396,109\n"))
    assert rows(trace) == [(0.0, 374, 44, 0), (4.315, 396, 109, 0)]
    assert trace.notes == ()


def test_plain_csv_with_prefix_hits_in_another_order(tmp_path: Path) -> None:
    text = "prefix_hit_tokens,output_tokens,input_tokens,arrival_s\n100,5,400,1.5\n0,1,1,2\n"
    assert rows(read_trace(written(tmp_path / "t.csv", text))) == [(1.5, 400, 5, 100), (2.0, 1, 1, 0)]


def test_relative_times_are_kept(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "t.csv", HEADER + "100.5,10,10\n101,10,10\n"))
    assert trace.arrival_s.tolist() == [100.5, 101.0]


@pytest.mark.parametrize("name", ["trace.csv.gz", "trace.csv", "trace"])
def test_gzip_is_told_by_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress((HEADER + "0,1,2\n").encode()))
    assert rows(read_trace(path)) == [(0.0, 1, 2, 0)]


def test_azure_counts_from_the_first_request(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
    )
    trace = read_trace(written(tmp_path / "azure.csv", text))
    assert trace.arrival_s == pytest.approx([0.0, 4.314579], abs=1e-6)
    assert trace.input_tokens.tolist() == [374, 396]


def test_azure_with_zones(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-12 00:00:00.003411+00:00,2162,5\n"
        "2024-05-12 02:00:01+02:00,2399,6\n"
        "2024-05-12 00:00:02,76,15\n"
    )
    trace = read_trace(written(tmp_path / "azure.csv", text))
    assert trace.arrival_s == pytest.approx([0.0, 0.996589, 1.996589], abs=1e-6)


def test_mooncake(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]},
        {"timestamp": 3052, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]},
    ]
    path = written(tmp_path / "mooncake.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    trace = read_trace(path)
    assert rows(trace) == [(0.0, 6758, 500, 0), (3.052, 7322, 490, 0)]
    assert trace.notes == ("mooncake.jsonl: hash_ids are not turned into prefix hits",)


def test_burstgpt_leaves_failed_requests_out(tmp_path: Path) -> None:
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45.5,GPT-4,1087,0,1087,API log\n"
        "118,ChatGPT,417,276,693,Conversation log\n"
    )
    trace = read_trace(written(tmp_path / "burst.csv", text))
    assert rows(trace) == [(5.0, 472, 18, 0), (118.0, 417, 276, 0)]
    assert trace.notes == ("burst.csv: 1 failed request (0 response tokens) left out",)


def test_what_is_not_in_order_is_sorted_with_a_note(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "t.csv", HEADER + "3,30,3\n1,10,1\n3,31,4\n2,20,2\n"))
    assert trace.input_tokens.tolist() == [10, 20, 30, 31]
    assert trace.notes == ("t.csv: not in order of arrival; sorted",)


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "0,1,2\n\n").replace("\n", "\r\n").encode())
    assert rows(read_trace(path)) == [(0.0, 1, 2, 0)]


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    text = "\n  \n" + HEADER + "\n0,1,2\n   \n1,1,x\n"
    with pytest.raises(InvalidInputError, match=r't\.csv line 7: output_tokens is "x"'):
        read_trace(written(tmp_path / "t.csv", text))
    assert rows(read_trace(written(tmp_path / "t.csv", text.replace("x", "5")))) == [(0.0, 1, 2, 0), (1.0, 1, 5, 0)]


def test_lines_that_end_as_on_an_old_macintosh_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes((HEADER + "0,1,2\n1,3,4\n").replace("\n", "\r").encode())
    assert rows(read_trace(path)) == [(0.0, 1, 2, 0), (1.0, 3, 4, 0)]


def test_times_with_and_without_zones_are_said_to_be_mixed(tmp_path: Path) -> None:
    header, other = "TIMESTAMP,ContextTokens,GeneratedTokens\n", "2024-05-12T02:00:01+02:00,1,1\n"
    mixed = read_trace(written(tmp_path / "t.csv", header + "2024-05-12 00:00:00,1,1\n" + other))
    assert mixed.arrival_s.tolist() == [0.0, 1.0]
    assert mixed.notes == ("t.csv: some points of time name a zone and some do not; these were read as UTC",)
    assert read_trace(written(tmp_path / "t.csv", header + other + other)).notes == ()


def test_a_hole_is_named_and_a_quiet_night_is_not(tmp_path: Path) -> None:
    def notes(arrivals: list[float]) -> tuple[str, ...]:
        text = HEADER + "".join(f"{at_s},1,1\n" for at_s in arrivals)
        return read_trace(written(tmp_path / "t.csv", text)).notes

    steady = [float(number) for number in range(3600)]
    (note,) = notes([*steady, *(10_000 + at_s for at_s in steady)])
    assert note == (
        "t.csv: nothing arrives for 107 min after 3599 s; replayed as silence (is it a hole in the recording?)"
    )
    assert notes(steady) == ()
    assert notes([900.0 * number for number in range(50)]) == ()  # seldom, and always so
    rng = np.random.default_rng(0)
    assert notes(np.cumsum(rng.exponential(120.0, 20_000)).tolist()) == ()  # chance makes none


def test_a_file_name_is_shown_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\n\x1b\xff.csv")
    trace = read_trace(written(path, HEADER + "1,1,1\n0,1,1\n"))
    assert trace.source == "a\\n\\x1b\\udcff.csv"
    assert trace.notes[0].isprintable()


COUNT = "expected a whole number of at least 1"
SECONDS = "expected a number of seconds, at least 0"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,abc,5", f'input_tokens is "abc", {COUNT}'),
        ("1,,5", f'input_tokens is "", {COUNT}'),
        ("1,0,5", f'input_tokens is "0", {COUNT} (leave out requests that failed)'),
        ("1,-3,5", f'input_tokens is "-3", {COUNT}'),
        ("1,1.5,5", f'input_tokens is "1.5", {COUNT}'),
        ("1,nan,5", f'input_tokens is "nan", {COUNT}'),
        ("1,inf,5", f'input_tokens is "inf", {COUNT}'),
        ("1,1_000,5", f'input_tokens is "1_000", {COUNT}'),
        ("1,1e300,5", f'input_tokens is "1e300", {COUNT}'),
        ("1,5,0", f'output_tokens is "0", {COUNT} (leave out requests that failed)'),
        ("x,5,5", f'arrival_s is "x", {SECONDS}'),
        ("-1,5,5", f'arrival_s is "-1", {SECONDS}'),
        ("nan,5,5", f'arrival_s is "nan", {SECONDS}'),
        ("inf,5,5", f'arrival_s is "inf", {SECONDS}'),
        ("1,5", "has 2 values, the header has 3"),
        ("1,5,5,5", "has 4 values, the header has 3"),
        ("1,\x1b[31m,5", f'input_tokens is "\\x1b[31m", {COUNT}'),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = written(tmp_path / "trace.csv", HEADER + "0,1,1\n" * 4180 + line + "\n")
    with pytest.raises(InvalidInputError) as caught:
        read_trace(path)
    assert str(caught.value) == f"trace.csv line 4182: {problem}"


def test_more_hits_than_tokens_are_named(tmp_path: Path) -> None:
    text = "arrival_s,input_tokens,output_tokens,prefix_hit_tokens\n0,10,1,11\n"
    with pytest.raises(InvalidInputError, match="more than the 10 input tokens"):
        read_trace(written(tmp_path / "t.csv", text))


@pytest.mark.parametrize("moment", ["yesterday", "", "2023-13-16 18:15:46.6", "1.5", "."])
def test_a_bad_timestamp_is_named(tmp_path: Path, moment: str) -> None:
    path = written(tmp_path / "t.csv", f"TIMESTAMP,ContextTokens,GeneratedTokens\n{moment},1,1\n")
    with pytest.raises(InvalidInputError, match=r'line 2: TIMESTAMP is ".*", expected a date and time such as'):
        read_trace(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: is .*, expected a JSON object"),
        ('{"timestamp": 1, "input_length": 5}', "line 2: output_length is missing, expected a whole number"),
        ('{"timestamp": "x", "input_length": 5, "output_length": 1}', 'line 2: timestamp is "x", expected a number of'),
        ('{"timestamp": 1, "input_length": true, "output_length": 1}', 'line 2: input_length is "True"'),
        ('{"timestamp": 1, "input_length": [], "output_length": 1}', r'line 2: input_length is "\[\]"'),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    first = '{"timestamp": 0, "input_length": 1, "output_length": 1}'
    with pytest.raises(InvalidInputError, match=problem):
        read_trace(written(tmp_path / "t.jsonl", f"{first}\n{line}\n"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "t: is empty"),
        (b"a" * 200_000, "t line 1: is not CSV: field larger"),
        (b"a,b,c\n1,2,3\n", 't line 1: unknown columns "a,b,c"'),
        (HEADER.encode(), "t: has no requests"),
        (b"\xff\x00\x01", "t: is not text in UTF-8"),
        (HEADER.encode("utf-16"), "t: is text in UTF-16: write it in UTF-8"),
        (b"PK\x03\x04rest", "t: is compressed with zip: unpack it, or compress it with gzip"),
        (b"\n\r\n\n", "t: is empty"),
        (gzip.compress(b""), "t: is empty"),
        (
            b"arrival_s;input_tokens;output_tokens\n0;1;1\n",
            "t line 1: has its columns separated by semicolons; separate",
        ),
        (b"arrival_s\tinput_tokens\toutput_tokens\n", "t line 1: has its columns separated by tabs"),
        (
            b"arrival_s,Input_Tokens,output_tokens\n",
            r"t line 1: lacks the column input_tokens \(written input_tokens\)",
        ),
        (b"\nTIMESTAMP,ContextTokens\n", "t line 2: lacks the column GeneratedTokens; found"),
        (b"arrival_s,prompt\n", "t line 1: lacks the columns input_tokens, output_tokens; found"),
        (b"arrival_s,input_tokens,output_tokens,input_tokens\n", "t line 1: names the column input_tokens twice"),
        (b"0.5,100,20\n", 't line 1: is no header, but "0.5,100,20"; begin the file with arrival_s,'),
        (b'[{"timestamp": 0}]\n', "t line 1: begins a JSON array; write one object on each line"),
        (b"\x1f\x8b\x08\x00garbage", "t: is damaged"),
        (gzip.compress((HEADER + "0,1,1\n" * 5000).encode())[:-20], "t: is damaged"),
    ],
    ids=[
        *(
            "empty",
            "no header",
            "columns",
            "header only",
            "binary",
            "utf-16",
            "zip",
            "blank",
            "empty gzip",
            "semicolons",
        ),
        *("tabs", "case", "lacks", "lacks two", "twice", "headless", "array", "bad gzip", "cut gzip"),
    ],
)
def test_a_file_that_is_no_trace(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=problem):
        read_trace(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: no such file"):
        read_trace(tmp_path / "nothing.csv")
    with pytest.raises(InvalidInputError, match="cannot be read: is a directory"):
        read_trace(tmp_path)


def made(count: int, rate_rps: float = 10.0) -> Trace:
    rng = np.random.default_rng(0)
    return Trace(
        arrival_s=np.cumsum(rng.exponential(1 / rate_rps, count)),
        input_tokens=np.arange(1, count + 1),
        output_tokens=np.arange(1, count + 1) * 2,
        prefix_hit_tokens=np.zeros(count, dtype=np.int64),
        source="made.csv",
    )


def test_scaling_copies_and_shifts_each_copy_on_its_own() -> None:
    trace = made(500)
    scaled = scale_trace(trace, 3.0, np.random.default_rng(1))
    assert len(scaled) == 1500
    assert np.all(np.diff(scaled.arrival_s) >= 0)
    shifts = scaled.arrival_s - trace.arrival_s[scaled.input_tokens - 1]
    assert np.all((shifts >= 0) & (shifts < 10))
    assert shifts.mean() == pytest.approx(5, abs=0.3)
    assert np.bincount(scaled.input_tokens)[1:].tolist() == [3] * 500
    assert np.array_equal(scaled.output_tokens, scaled.input_tokens * 2)
    first = np.sort(shifts[scaled.input_tokens == 1])
    assert len(np.unique(first)) == 3


def test_a_fraction_is_a_probability() -> None:
    copies = np.bincount(scale_trace(made(4000), 1.25, np.random.default_rng(2)).input_tokens)[1:]
    assert set(copies.tolist()) == {1, 2}
    assert copies.mean() == pytest.approx(1.25, abs=0.03)


def test_below_one_it_thins() -> None:
    copies = np.bincount(scale_trace(made(4000), 0.3, np.random.default_rng(3)).input_tokens, minlength=4001)[1:]
    assert set(copies.tolist()) == {0, 1}
    assert copies.mean() == pytest.approx(0.3, abs=0.03)


def test_scaling_is_seeded_and_one_changes_nothing() -> None:
    trace = made(50)
    first, second = (scale_trace(trace, 2.5, np.random.default_rng(4)).arrival_s for _ in range(2))
    assert np.array_equal(first, second)
    assert scale_trace(trace, 1.0, np.random.default_rng(4)) is trace


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_makes_no_sense(factor: float) -> None:
    with pytest.raises(InvalidInputError, match=r"--rate-scale: is .*, expected a number above 0"):
        scale_trace(made(5), factor, np.random.default_rng(0))


def test_a_factor_that_makes_more_than_fits_in_memory() -> None:
    with pytest.raises(InvalidInputError, match="--rate-scale: 300000 times 100 requests is more than the 20000000"):
        scale_trace(made(100), 300_000, np.random.default_rng(0))


def test_a_factor_that_leaves_nothing() -> None:
    with pytest.raises(InvalidInputError, match="leaves no request of made"):
        scale_trace(made(5), 1e-9, np.random.default_rng(0))


def test_workload_of_a_trace() -> None:
    trace = Trace(
        arrival_s=np.array([10.0, 11.0, 14.0]),
        input_tokens=np.array([100, 200, 300]),
        output_tokens=np.array([10, 10, 10]),
        prefix_hit_tokens=np.array([0, 50, 100]),
    )
    workload = trace_workload(trace)
    assert workload.arrival_rate_rps == pytest.approx(0.5)
    assert workload.arrival_scv == pytest.approx(0.25)
    assert workload.isl is not None
    assert workload.osl is not None
    assert (workload.isl.mean_tokens, workload.isl.scv) == pytest.approx((200, (20000 / 3) / 40000))
    assert (workload.osl.mean_tokens, workload.osl.scv) == (10, 0)
    assert workload.prefix_hit_ratio == pytest.approx(0.25)


def test_one_request_has_no_rate() -> None:
    with pytest.raises(InvalidInputError, match="needs at least two requests"):
        trace_workload(made(1))


def test_requests_too_close_to_tell_apart_have_no_rate() -> None:
    trace = replace(made(2), arrival_s=np.array([0.0, 5e-324]))
    with pytest.raises(InvalidInputError, match="needs at least two requests at different times"):
        trace_workload(trace)


def test_hits_alone_are_no_prefill_to_size() -> None:
    trace = made(5)
    with pytest.raises(InvalidInputError, match="prefix_hit_tokens: every input token is a hit"):
        trace_workload(replace(trace, prefix_hit_tokens=trace.input_tokens))


def test_until_cuts() -> None:
    trace = made(100)
    assert len(trace.until(float(trace.arrival_s[40]))) == 40
