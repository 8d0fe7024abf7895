from __future__ import annotations

import pytest

from mlops.spec.place import ObjectRef, Place, place_from_dict, place_to_dict


def _place(context: str, server: str, namespace: str, uid: str) -> Place:
    return Place("kubernetes", context, server, namespace, {}, uid=uid)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("dev", "https://a", "shop", "1"), ("dev", "https://a", "shop", "1"), True),
        # Two clusters that both call themselves `default`.
        (("default", "https://a", "shop", "1"), ("default", "https://b", "shop", "2"), False),
        # A namespace that was made anew.
        (("dev", "https://a", "shop", "1"), ("dev", "https://a", "shop", "2"), False),
        # The same one by another road.
        (("dev", "https://a", "shop", "1"), ("prod", "https://b", "shop", "1"), True),
        # Where the cluster does not say, address or name do.
        (("dev", "https://a", "shop", ""), ("", "https://a", "shop", "1"), True),
        (("dev", "https://a", "shop", ""), ("dev", "https://b", "shop", "1"), True),
        (("dev", "https://a", "shop", ""), ("", "https://b", "shop", "1"), False),
        (("dev", "https://a", "shop", ""), ("dev", "https://a", "other", ""), False),
    ],
)
def test_one_namespace_of_one_cluster(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str], same: bool
) -> None:
    assert _place(*one).is_at(_place(*other)) is same
    assert _place(*other).is_at(_place(*one)) is same


def test_a_place_that_was_written_before_there_were_uids() -> None:
    refs = (ObjectRef("apps/v1", "Deployment", "wine"),)
    place = Place("kubernetes", "dev", "https://a", "shop", {"cluster.image": "x"}, refs, uid="1")
    document = place_to_dict(place)
    assert place_from_dict(document) == place
    del document["uid"]
    assert place_from_dict(document).uid == ""
