"""A packed document reads like the one it was made of."""

import pytest

from pdscaler.api.parse import parse_pddeployment
from pdscaler.controller.packed import PackedDocument
from pdscaler.controller.prepare import fingerprint_of, key_of
from support.views import pddeployment_document
from support.world import resource


def test_it_reads_like_the_document_less_the_field_owners() -> None:
    document = pddeployment_document("llama")
    owned = {**document, "metadata": {**document["metadata"], "managedFields": [{"manager": "kubectl"}]}}
    packed = PackedDocument(owned)
    assert dict(packed) == document
    assert len(packed) == len(document)
    assert packed["status"] == document["status"]
    assert packed.get("nothing") is None
    assert "spec" in packed
    assert (key_of(packed), fingerprint_of(packed)) == (key_of(document), fingerprint_of(document))


def test_it_is_parsed_as_the_document_is() -> None:
    assert parse_pddeployment(PackedDocument(resource())) == parse_pddeployment(resource())


def test_what_is_done_to_the_original_does_not_reach_it() -> None:
    document = resource()
    packed = PackedDocument(document)
    document["spec"].clear()
    assert packed["spec"] == resource()["spec"]
    packed["spec"].clear()
    assert packed["spec"] == resource()["spec"]


@pytest.mark.parametrize("text", ["\ud800", "µ → –", "\x00", '"\\', "x" * 1_000_000])
def test_any_text_survives(text: str) -> None:
    assert PackedDocument({"metadata": {}, "spec": {"model": text}})["spec"] == {"model": text}
