import random
from typing import Any

from pdscaler.cluster import podstore
from pdscaler.cluster.podstore import PodStore
from pdscaler.cluster.selectors import parse_label_selector


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def pod(name: str, namespace: str = "serving", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}}


def names(store: PodStore, selector: str, namespace: str = "serving") -> set[str]:
    return {item.name for item in store.select(namespace, parse_label_selector(selector)) if item.gone_at_s is None}


def test_pods_are_found_by_label_in_their_namespace_only() -> None:
    store = PodStore(Clock())
    for document in (pod("a", app="x"), pod("b", app="y"), pod("c", "other", app="x")):
        store.put(document)
    assert names(store, "app=x") == {"a"}
    store.put(pod("d", app="x"))
    store.put(pod("b", app="x"))
    assert names(store, "app=x") == {"a", "b", "d"}
    assert names(store, "app=y") == set()
    assert names(store, "app in (x,y)") == {"a", "b", "d"}
    assert names(store, "app=x", "nowhere") == set()


def test_a_pod_that_is_gone_is_remembered_for_a_while() -> None:
    clock = Clock()
    store = PodStore(clock)
    store.put(pod("a", app="x"))
    store.drop(("serving", "a"))
    assert store.keys(None) == set()
    (gone,) = store.select("serving", parse_label_selector("app=x"))
    assert (gone.name, gone.gone_at_s, gone.ready) == ("a", 1000.0, False)
    clock.now_s += podstore.REMEMBER_GONE_S + 1
    store.put(pod("b", app="x"))
    store.drop(("serving", "b"))
    assert [item.name for item in store.select("serving", parse_label_selector("app=x"))] == ["b"]


def test_a_pod_that_comes_back_under_its_name_is_there_again_and_stays() -> None:
    clock = Clock()
    store = PodStore(clock)
    store.put(pod("web-0", app="x"))
    store.drop(("serving", "web-0"))
    store.put(pod("web-0", app="x"))
    store.put(pod("other", app="x"))
    clock.now_s += podstore.REMEMBER_GONE_S + 1
    store.drop(("serving", "other"))
    assert names(store, "app=x") == {"web-0"}


def test_what_is_remembered_is_bounded() -> None:
    store = PodStore(Clock())
    for number in range(podstore.MOST_GONE + 50):
        store.put(pod(f"p{number}", app="x"))
        store.drop(("serving", f"p{number}"))
    assert len(list(store.select("serving", parse_label_selector("app=x")))) == podstore.MOST_GONE


def test_the_index_agrees_with_looking_at_every_pod() -> None:
    rng = random.Random(7)
    clock = Clock()
    store, plain = PodStore(clock), dict[tuple[str, str], dict[str, str]]()
    selectors = [
        parse_label_selector(text) for text in ("app=a", "app=b,role=p", "role in (p,d),app=a", "!role", "role")
    ]
    for _ in range(2000):
        key = (rng.choice(["n1", "n2"]), f"pod-{rng.randrange(30)}")
        if rng.random() < 0.3:
            store.drop(key)
            plain.pop(key, None)
        else:
            labels = {
                label: rng.choice(values)
                for label, values in {"app": "abc", "role": "pd"}.items()
                if rng.random() < 0.8
            }
            store.put(pod(key[1], key[0], **labels))
            plain[key] = labels
        clock.now_s += rng.choice([0.0, 1.0, 500.0])
        namespace, selector = rng.choice(["n1", "n2"]), rng.choice(selectors)
        expected = {name for (space, name), labels in plain.items() if space == namespace and selector.matches(labels)}
        assert {item.name for item in store.select(namespace, selector) if item.gone_at_s is None} == expected
        assert store.keys("n1") | store.keys("n2") == store.keys(None) == set(plain)
