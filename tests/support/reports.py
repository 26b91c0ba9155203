"""A replay and the page of its report, and a parser that reads the page back."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import numpy as np

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.spec import ScalingSpec
from pdscaler.simulator.ledger import OrderMade
from pdscaler.simulator.oracle import clairvoyant
from pdscaler.simulator.policies import Setting, make_policy
from pdscaler.simulator.replay import ReplaySettings, replay
from pdscaler.simulator.replayed import Replayed
from pdscaler.simulator.report import InputFile, Provenance, render_report
from support.replays import spec_of, stream

COMMAND = "pdscaler replay -f pdd.yaml --trace waves.csv --report out.html"
INITIAL = PerPool(2, 2)


def replayed(
    spec: ScalingSpec | None = None,
    requests: RequestTable | None = None,
    *,
    oracle: bool = True,
    measure_from_s: float = 120.0,
) -> Replayed:
    """A replay that scales up and down, with the clairvoyant schedule beside it."""
    spec = spec or spec_of(startup_s=60.0)
    requests = requests or stream([(240, 15.0), (240, 50.0), (420, 10.0)], osl=400)
    settings = ReplaySettings(measure_from_s=measure_from_s)
    policy = make_policy("pdscaler", Setting(spec, INITIAL))
    result = replay(spec, requests, policy, INITIAL, settings=settings)
    schedule = None
    if oracle:
        schedule = clairvoyant(spec.sizing, requests, measured_from_s=result.measured_from_s, windows_s=(300.0,))
        result = replace(result, oracle_gpu_hours=schedule.gpu_hours, bound_gpu_hours=0.5 * schedule.gpu_hours)
    return Replayed(spec, "pdscaler", "waves.csv", result, 0, schedule, ("begins with two of each",))


def hostile(text: str) -> Replayed:
    """A replay in which all that has a name, and every reason, says ``text``."""
    made = replayed(oracle=False)
    spec = replace(made.spec, sizing=replace(made.spec.sizing, name=text))
    orders = tuple(OrderMade(each.at_s, each.replicas, PerPool(text, text)) for each in made.result.orders)
    return replace(made, spec=spec, policy=text, source=text, notes=(text,), result=replace(made.result, orders=orders))


def page_of(made: Replayed, text: str = "spec: {}") -> str:
    """The report's page."""
    return render_report(made, Provenance(COMMAND, "0.1.0", (InputFile("resource", "pdd.yaml", "ab" * 32, text),)))


def silent_for(middle_s: float) -> RequestTable:
    """Requests with a long silence among them."""
    one = stream([(300, 20.0)])
    arrival_s = np.concatenate((one.arrival_s, one.arrival_s + 300 + middle_s))
    rest = (np.tile(each, 2) for each in (one.input_tokens, one.output_tokens, one.prefix_hit_tokens))
    return RequestTable(arrival_s, *rest)


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    def walk(self) -> "Iterator[Node]":
        """It and all elements in it, in their order."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, class_: str = "") -> "list[Node]":
        """The elements of a tag in it, with a class where one is named."""
        wanted = set(class_.split())
        return [node for node in self.walk() if node.tag == tag and wanted <= set(node.classes)]

    def one(self, tag: str, class_: str = "") -> "Node":
        """The only element of a tag (and class)."""
        (node,) = self.all(tag, class_)
        return node

    @property
    def classes(self) -> list[str]:
        """Its classes."""
        return (self.attributes.get("class") or "").split()

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    VOID = ("meta", "input")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        node = Node(tag, dict(attrs))
        self.stack[-1].children.append(node)
        if tag not in self.VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def parsed(page: str) -> Node:
    """Read a page; every element must be closed where it was opened."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.stack] == [""], "elements left open"
    return reader.stack[0]
