"""Whatever a link says comes back as it was, and whatever is presented that was not signed opens nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.callbacks.link import Link, decode, encode
from hephaestus.callbacks.signer import MAX_TOKEN, Signer
from hephaestus.callbacks.signing_keys import FixedKeys
from hephaestus.definition.business_key import ID
from hephaestus.errors import LinkAltered, LinkForeign

SIGNER = Signer(FixedKeys((b"k" * 32,)), "here", lambda: "https://api.test")
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
links = st.builds(
    Link,
    id=st.text("0123456789abcdef", min_size=20, max_size=20),
    instance_id=st.from_regex(ID, fullmatch=True),
    life=st.from_regex("[0-9a-f]{19}", fullmatch=True),
    step=texts,
    event=texts,
    expires_at=st.integers(1, 10**11),
    payload=st.none() | values,
)


@given(links)
def test_what_is_signed_comes_back_as_it_was_in_what_a_url_takes(link: Link) -> None:
    token = SIGNER.token(link)
    if len(token) > MAX_TOKEN:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    assert SIGNER.read(token, link.expires_at * 1000 - 1) == link
    assert decode(encode(link, "here")) == ("here", link)


@given(links, links)
def test_two_links_that_differ_have_signatures_that_differ(one: Link, other: Link) -> None:
    """And neither's signature serves for the other."""
    if encode(one, "here") == encode(other, "here"):
        return
    (claims, first), (_, second) = (SIGNER.token(link).split(".") for link in (one, other))
    assert first != second
    with pytest.raises(LinkAltered):
        SIGNER.read(f"{claims}.{second}", 0)


@given(links, st.data())
def test_a_token_with_any_change_opens_nothing(link: Link, data: st.DataObject) -> None:
    token = SIGNER.token(link)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(start + 4, len(token))))
    changed = token[:start] + data.draw(st.text(max_size=4)) + token[end:]
    if changed != token:
        with pytest.raises((LinkAltered, LinkForeign)):
            SIGNER.read(changed, 0)


@given(st.text(max_size=400) | st.from_regex(r"[A-Za-z0-9_-]{1,80}\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_what_anybody_makes_up_opens_nothing_and_breaks_nothing(made_up: str) -> None:
    with pytest.raises((LinkAltered, LinkForeign)):
        SIGNER.read(made_up, 0)


@given(st.binary(max_size=200))
def test_bytes_are_a_link_or_nothing(raw: bytes) -> None:
    found = decode(raw)
    assert found is None or isinstance(found[1], Link)
