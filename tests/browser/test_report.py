"""The report of a replay in a real browser: what it shows, in light and dark, on a telephone and on paper."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pdscaler.core.pools import PerPool
from pdscaler.simulator.ledger import OrderMade
from pdscaler.simulator.replayed import Replayed
from pdscaler.units import format_duration
from support.browser import Page, find_browser, open_browser
from support.reports import hostile, page_of, replayed

SIZES = [(1280, "light"), (1280, "dark"), (768, "light"), (400, "dark"), (400, "light"), (320, "light")]

OVERLAPS = """
(() => {
  const found = [];
  for (const axis of document.querySelectorAll('.x-axis, .y-axis')) {
    const boxes = [...axis.children].map(each => each.getBoundingClientRect()).filter(box => box.width > 0);
    for (const [one, box] of boxes.entries()) {
      if (box.left < 0 || box.right > document.documentElement.clientWidth + 0.5) found.push(['beyond', one]);
      for (const other of boxes.slice(one + 1)) {
        const apart = box.right <= other.left || other.right <= box.left ||
          box.bottom <= other.top || other.bottom <= box.top;
        if (!apart) found.push([axis.className, axis.closest('figure').innerText.slice(0, 30), one]);
      }
    }
  }
  return found;
})()
"""

CONTRAST = """
(() => {
  const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(each => channel(Number(each) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = node => {
    for (let each = node; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 99;
  for (const node of document.querySelectorAll('h1, h2, h3, p, dt, dd, th, td, li, code, span, caption, output')) {
    const [one, other] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    least = Math.min(least, (one + 0.05) / (other + 0.05));
  }
  return least;
})()
"""

OUTSIDE = """
(() => {
  const found = [];
  for (const plot of document.querySelectorAll('.plot')) {
    const room = plot.getBoundingClientRect();
    const lines = plot.querySelectorAll('svg path');
    if (lines.length < 2) found.push('nothing drawn');
    for (const path of lines) {
      const box = path.getBoundingClientRect();
      if (!path.getAttribute('d')) continue;
      if (box.width < 1 && box.height < 1) found.push([path.className.baseVal, 'invisible']);
      if (box.left < room.left - 2 || box.right > room.right + 2 || box.top < room.top - 2
          || box.bottom > room.bottom + 2) found.push([path.className.baseVal, 'beyond its plot']);
    }
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def made() -> Replayed:
    return replayed()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    program = find_browser()
    if program is None:
        pytest.fail("no browser: install chromium, or name one in PDSCALER_BROWSER (make test leaves these tests out)")
    async with open_browser(program) as opened:
        yield opened


async def shown(page: Page, tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    await page.open(path)


async def test_it_fits_and_can_be_read(page: Page, tmp_path: Path, made: Replayed) -> None:
    papers = set()
    for width, scheme in SIZES:
        await page.look(width=width, scheme=scheme)
        await shown(page, tmp_path, page_of(made))
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= width, (width, scheme)
        assert await page.evaluate(OVERLAPS) == [], (width, scheme)
        assert await page.evaluate(OUTSIDE) == [], (width, scheme)
        assert await page.evaluate(CONTRAST) >= 4.5, (width, scheme)
        papers.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2  # light and dark
    assert set(page.requested) == {(tmp_path / "report.html").as_uri()}  # nothing else was asked for
    assert page.complaints == []


async def test_pointing_at_a_chart_shows_the_values_of_that_window(page: Page, tmp_path: Path, made: Replayed) -> None:
    await page.look(width=1280, height=4000)
    await shown(page, tmp_path, page_of(made))
    series = made.result.series
    window = 5
    read = "document.querySelector('output[data-series=\"{}\"]').textContent"
    assert await page.evaluate(read.format("ttft-p99")) == ""
    box = await page.evaluate(
        "(({x, y, width}) => [x, y, width])(document.querySelectorAll('.plot')[3].getBoundingClientRect())"
    )
    share = (window + 0.5) * series.window_s / (made.result.end_s - made.result.begin_s)
    await page.point(box[0] + share * box[2], box[1] + 20)
    assert await page.evaluate(read.format("ttft-p99")) == format_duration(series.ttft_p99_s[window])
    assert await page.evaluate("document.getElementById('window-time').textContent") == "0:05:00 to 0:06:00"
    assert await page.evaluate("[...document.querySelectorAll('.cursor')].every(each => !each.hidden)")
    # And by the keyboard, with the slider.
    await page.evaluate("document.getElementById('window').focus()")
    await page.press("ArrowRight", 39)
    assert await page.evaluate(read.format("tpot-p99")) == format_duration(series.tpot_p99_s[window + 1])
    assert await page.evaluate("document.getElementById('window').getAttribute('aria-valuetext')") == (
        "0:06:00 to 0:07:00"
    )
    assert page.complaints == []


async def test_a_screen_reader_finds_names(page: Page, tmp_path: Path, made: Replayed) -> None:
    await shown(page, tmp_path, page_of(made))
    tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    by_role: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            role = node.get("role", {}).get("value", "")
            by_role.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert len(by_role["image"]) == 6
    assert all(by_role["image"])
    (slider,) = by_role["slider"]
    assert slider.startswith("Values at")
    assert "Orders" in by_role["table"]
    assert {"time", "prefill", "decode", "why"} <= set(by_role["columnheader"])
    assert "Decisions" in by_role["heading"]


async def test_on_paper_nothing_is_cut_off(page: Page, tmp_path: Path, made: Replayed) -> None:
    orders = tuple(OrderMade(number, PerPool(2 + number % 2, 2)) for number in range(200))
    await shown(page, tmp_path, page_of(replace(made, result=replace(made.result, orders=orders))))
    tall = "document.querySelector('.tall .wide')"
    assert await page.evaluate(f"{tall}.scrollHeight > {tall}.clientHeight")  # on a screen it scrolls
    assert (await page.pdf()).startswith(b"%PDF-")
    await page.look(width=760, media="print", scheme="dark")
    cut = await page.evaluate(
        "[...document.querySelectorAll('.wide')].filter(each => each.scrollHeight > each.clientHeight + 1).length"
    )
    assert cut == 0
    assert await page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert await page.evaluate("getComputedStyle(document.querySelector('.reader')).display") == "none"


async def test_names_that_would_be_markup_do_nothing(page: Page, tmp_path: Path) -> None:
    name = '</title></style></script><script>window.hostile=1</script><img src=x onerror="window.hostile=1">'
    await shown(page, tmp_path, page_of(hostile(name), text=name))
    assert await page.evaluate("window.hostile") is None
    assert await page.evaluate("document.title") == f"{name}: policy {name} on {name}"
    assert await page.evaluate("document.images.length") == 0
    assert await page.evaluate("document.scripts.length") == 2
    for width in (1280, 400):
        await page.look(width=width)
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.complaints == []
    assert len(set(page.requested)) == 1
