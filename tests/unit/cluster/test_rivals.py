"""Which autoscaler scales which target, and what is said where that cannot be known."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import connect
from pdscaler.cluster.rivals import KINDS, RivalStore
from pdscaler.cluster.targets import TargetRef
from support.fake_api_server import fake_api_server, status

HPA, SCALED_OBJECT = KINDS
DECODE = TargetRef("serving", "apps/v1", "Deployment", "chat-decode")


def autoscaler(name: str, ref: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "serving", "name": name, "resourceVersion": "1", **metadata},
        "spec": {"scaleTargetRef": ref},
    }


def test_an_autoscaler_is_found_by_its_target_as_long_as_it_names_it() -> None:
    store = RivalStore(HPA)
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}
    key = store.put(autoscaler("chat", ref))
    assert store.of(DECODE.identity) == "HorizontalPodAutoscaler serving/chat"
    for other in (
        TargetRef("research", "apps/v1", "Deployment", "chat-decode"),
        TargetRef("serving", "apps/v1", "StatefulSet", "chat-decode"),
        TargetRef("serving", "example.test/v1", "Deployment", "chat-decode"),
    ):
        assert store.of(other.identity) == ""
    store.put(autoscaler("chat", {**ref, "name": "chat-prefill"}))
    assert store.of(DECODE.identity) == ""
    assert store.keys("serving") == {key}
    store.drop(key)
    store.drop(key)
    assert store.keys(None) == set()


def test_of_several_the_first_by_name_is_named_and_the_maker_of_a_made_one() -> None:
    store = RivalStore(HPA)
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}
    store.put(autoscaler("z", ref))
    owner = {"controller": True, "kind": "ScaledObject", "name": "chat"}
    store.put(autoscaler("keda-hpa-chat", ref, ownerReferences=[owner]))
    assert store.of(DECODE.identity) == "HorizontalPodAutoscaler serving/keda-hpa-chat (of ScaledObject chat)"


def test_a_scaled_object_means_a_deployment_where_it_is_silent() -> None:
    store = RivalStore(SCALED_OBJECT)
    store.put(autoscaler("chat", {"name": "chat-decode"}))
    assert store.of(DECODE.identity) == "ScaledObject serving/chat"


def test_one_without_a_target_scales_nothing_and_breaks_nothing() -> None:
    store = RivalStore(HPA)
    store.put({"metadata": {"namespace": "serving", "name": "x"}})
    assert store.of(DECODE.identity) == ""


@asynccontextmanager
async def cache_of(
    tmp_path: Path, answers: dict[str, dict[str, Any]], namespaces: Sequence[str] = (), asked: list[str] | None = None
) -> AsyncIterator[ClusterCache]:
    async def answer(request: web.Request) -> web.StreamResponse:
        if asked is not None:
            asked.append(request.path)
        if request.query.get("watch"):
            response = web.StreamResponse()
            await response.prepare(request)
            return response
        found = answers.get(request.path, {"metadata": {"resourceVersion": "1"}, "items": []})
        if found.get("kind") == "Status":
            return web.json_response(found, status=found["code"])
        return web.json_response(found)

    async with fake_api_server(answer) as server, await connect(str(server.kubeconfig(tmp_path))) as api:
        cache = ClusterCache(api, namespaces, rng=random.Random(1))
        await cache.start()
        yield cache
        await cache.stop()


HPA_API = {"resources": [{"name": "horizontalpodautoscalers"}]}
HPAS = "/apis/autoscaling/v2/horizontalpodautoscalers"


async def test_a_kind_that_is_not_installed_is_no_reason_to_worry(tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "/apis/autoscaling/v2": HPA_API,
        "/apis/keda.sh/v1alpha1": status(404, "NotFound", "404 page not found"),
    }
    async with cache_of(tmp_path, answers) as cache:
        assert cache.unwatched(DECODE) == ""
        assert cache.rival(DECODE) == ""


async def test_a_kind_that_is_not_installed_is_looked_for_once_for_all_namespaces(tmp_path: Path) -> None:
    asked: list[str] = []
    answers: dict[str, Any] = {
        "/apis/autoscaling/v2": HPA_API,
        "/apis/keda.sh/v1alpha1": status(404, "NotFound", "404 page not found"),
    }
    places = [f"place-{number}" for number in range(20)]
    async with cache_of(tmp_path, answers, places, asked) as cache:
        assert all(cache.unwatched(TargetRef(place, "apps/v1", "Deployment", "x")) == "" for place in places)
        await asyncio.sleep(1.5)  # every namespace has tried again: the first pause is 0.5 s at most
    # Those that ask at the same moment ask each for itself, and nobody a second time.
    assert asked.count("/apis/keda.sh/v1alpha1") <= len(places)


async def test_a_kind_that_may_not_be_read_is_named_and_nothing_else_breaks(tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "/apis/autoscaling/v2": HPA_API,
        HPAS: status(403, "Forbidden", "no"),
        "/apis/keda.sh/v1alpha1": {"resources": [{"name": "scaledobjects"}, {"name": "scaledobjects/status"}]},
        "/apis/keda.sh/v1alpha1/scaledobjects": {
            "metadata": {"resourceVersion": "1"},
            "items": [autoscaler("chat", {"name": "chat-decode"})],
        },
    }
    async with cache_of(tmp_path, answers) as cache:
        assert cache.unwatched(DECODE) == (
            "HorizontalPodAutoscalers cannot be read (Forbidden: no): one on a target would go unnoticed"
        )
        assert cache.rival(DECODE) == "ScaledObject serving/chat"
