"""What is signed cannot be changed in any place, works until its second and not after, and survives one rotation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.callbacks.link import Link, decode, encode
from hephaestus.callbacks.signer import CONFIRM_SECONDS, LINK, MAX_TOKEN, Signer
from hephaestus.callbacks.signing_keys import AGAIN_MS, KEPT_MS, CachedKeys, FixedKeys
from hephaestus.errors import LinkAltered, LinkExpired, LinkForeign, NoCallbackKey, NotConfirmed
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_767_225_600_000
LIFE = "e64892557fff0123456"
A_LINK = Link(
    "0123456789abcdef0123",
    "orderid::a-1",
    LIFE,
    "approval",
    "approved",
    NOW // 1000 + 60,
    "approval@3",
    {"by": "Ann"},
)
CHANGES: dict[str, Any] = {
    "id": "0123456789abcdef0124",
    "instance_id": "orderid::a-2",
    "life": "e64892557fff9999999",
    "step": "other",
    "event": "rejected",
    "expires_at": NOW // 1000 + 61,
    "activation": "approval@4",
    "payload": {"by": "Eve"},
}


def signer(*keys: bytes, audience: str = "here") -> Signer:
    """One with these keys."""
    return Signer(FixedKeys(keys or (KEY,)), audience, lambda: "https://api.test/v1/")


def text(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_says_what_its_link_said() -> None:
    assert signer().read(signer().token(A_LINK), NOW) == A_LINK
    bare = replace(A_LINK, payload=None)
    assert signer().read(signer().token(bare), NOW) == bare


def test_a_token_is_what_anybody_can_compute_from_the_key() -> None:
    """HMAC-SHA256 as RFC 2104 has it, by another road than the code's."""
    claims, signature = signer().token(A_LINK).split(".")
    assert signature == text(hmac.new(KEY, b"hephaestus link 1\n" + claims.encode(), "sha256").digest())
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    expected = [
        3,
        "here",
        A_LINK.id,
        "orderid::a-1",
        LIFE,
        "approval",
        "approved",
        A_LINK.expires_at,
        "approval@3",
        {"by": "Ann"},
    ]
    assert said == expected


def test_a_link_leads_to_the_api_and_nowhere_else() -> None:
    assert signer().url("token") == "https://api.test/v1/callbacks/token"


def test_every_claim_has_a_change_in_these_tests() -> None:
    assert CHANGES.keys() == {field.name for field in fields(Link)}


@pytest.mark.parametrize("claim", CHANGES)
def test_no_claim_can_be_changed(claim: str) -> None:
    """The signature of one link is no other's."""
    forged = encode(replace(A_LINK, **{claim: CHANGES[claim]}), "here")
    assert forged != encode(A_LINK, "here")
    signature = signer().token(A_LINK).split(".")[1]
    with pytest.raises(LinkAltered):
        signer().read(f"{text(forged)}.{signature}", NOW)


def test_no_bit_can_be_flipped() -> None:
    """Every bit of every character, the unused ones at base64's end among them."""
    token = signer().token(A_LINK)
    for place, character in enumerate(token):
        for bit in range(8):
            flipped = token[:place] + chr(ord(character) ^ 1 << bit) + token[place + 1 :]
            with pytest.raises((LinkAltered, LinkForeign)):
                signer().read(flipped, NOW)


def test_nothing_can_be_cut_off_or_added() -> None:
    token = signer().token(A_LINK)
    claims, signature = token.split(".")
    cut = [token[:length] for length in range(len(token))] + [token[start:] for start in range(1, len(token))]
    more = [token + "A", "A" + token, token + "=", token + "\n", f"{claims}=.{signature}", f"{claims}..{signature}"]
    spelled = [token.upper(), token.replace(".", "%2E"), f" {token}", f"{claims}.{signature}.{signature}", "", "."]
    huge = ["A" * MAX_TOKEN + "." + signature, "é." + signature]
    for wrong in {*cut, *more, *spelled, *huge} - {token}:
        with pytest.raises((LinkAltered, LinkForeign)):
            signer().read(wrong, NOW)


def test_a_token_is_read_up_to_its_bound_and_not_beyond() -> None:
    """However well it is signed: nobody has us verify what no URL can hold."""
    room = next(
        size for size in range(2_000, 4_000) if len(signer().token(replace(A_LINK, payload="x" * size))) > 4_080
    )
    sizes = {len(signer().token(replace(A_LINK, payload="x" * size))) for size in range(room, room + 40)}
    assert max(sizes) > MAX_TOKEN > min(sizes)
    for size in range(room, room + 40):
        token = signer().token(replace(A_LINK, payload="x" * size))
        if len(token) <= MAX_TOKEN:
            assert signer().read(token, NOW).payload == "x" * size
        else:
            with pytest.raises(LinkAltered):
                signer().read(token, NOW)


def test_a_signature_in_any_other_spelling_is_refused() -> None:
    """Base64 leaves two bits unused at the end of 32 bytes: four texts decode to one signature, one is right."""
    token = signer().token(A_LINK)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1])
    same = [token[:-1] + alphabet[last & ~3 | bits] for bits in range(4)]
    assert len({base64.urlsafe_b64decode(each.split(".")[1] + "=") for each in same}) == 1
    for spelled in set(same) - {token}:
        with pytest.raises(LinkAltered):
            signer().read(spelled, NOW)


def test_a_link_works_until_its_second_and_not_in_it() -> None:
    token, ends = signer().token(A_LINK), A_LINK.expires_at * 1000
    assert signer().read(token, ends - 1) == A_LINK
    for late in (ends, ends + 1, ends * 2):
        with pytest.raises(LinkExpired, match=r"orderid::a-1 has expired"):
            signer().read(token, late)


def test_an_expired_forgery_is_a_forgery() -> None:
    """Nothing of a token is believed before its signature."""
    with pytest.raises(LinkAltered):
        signer().read(signer(OTHER).token(A_LINK), A_LINK.expires_at * 2000)


def test_a_link_of_another_deployment_is_refused_even_where_the_key_is_the_same() -> None:
    for key in (KEY, OTHER):
        with pytest.raises(LinkForeign):
            signer().read(signer(key, audience="there").token(A_LINK), NOW)


def test_what_is_signed_but_no_link_of_this_format_is_foreign() -> None:
    """As a newer release would sign."""
    for claims in (
        [2, "here", "i", "o", 1, "s", "e", 9],
        {"id": 1},
        [1, "here"],
        [1, "here", "i", "o", True, "s", "e", 9],
    ):
        raw = text(json.dumps(claims).encode())
        token = f"{raw}.{text(hmac.new(KEY, LINK + raw.encode(), hashlib.sha256).digest())}"
        with pytest.raises(LinkForeign):
            signer().read(token, NOW)


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b"[" * 100_000, b"null", b"[1]", b"1e999"])
def test_what_is_no_list_of_claims_is_no_link(damaged: bytes) -> None:
    assert decode(damaged) is None


def test_a_rotation_keeps_the_links_of_the_key_before() -> None:
    """The current key signs; the one before it verifies; the one before that is gone."""
    token = signer(KEY).token(A_LINK)
    assert signer(OTHER, KEY).read(token, NOW) == A_LINK
    assert signer(OTHER, KEY).token(A_LINK) == signer(OTHER).token(A_LINK) != token
    with pytest.raises(LinkAltered):
        signer(b"n" * 32, OTHER).read(token, NOW)


def test_signatures_are_compared_in_constant_time_and_every_key_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """By ``hmac.compare_digest`` and nothing else, whichever key fits."""
    compared: list[bool] = []

    def compare(left: str, right: str) -> bool:
        compared.append(left == right)
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = signer(KEY).token(A_LINK)
    signer(KEY, OTHER).read(token, NOW)
    signer(OTHER, KEY).read(token, NOW)
    assert compared == [True, False, False, True]


class TestKeys:
    """Read when needed, kept for a while, and read again where that may help."""

    def keys(self, *values: Sequence[bytes]) -> tuple[CachedKeys, VirtualClock, list[int]]:
        """Keys that change each time they are read, the clock, and how often they were read."""
        reads: list[int] = []

        def read() -> Sequence[bytes]:
            reads.append(1)
            return values[min(len(reads), len(values)) - 1]

        clock = VirtualClock()
        return CachedKeys(read, clock), clock, reads

    def test_nothing_is_read_before_it_is_needed_and_then_once(self) -> None:
        keys, clock, reads = self.keys((KEY,))
        assert reads == []
        assert [keys.known() for _ in range(3)] == [(KEY,)] * 3
        clock.sleep(KEPT_MS - 1)
        assert (keys.known(), len(reads)) == ((KEY,), 1)
        clock.sleep(1)
        assert (keys.known(), len(reads)) == ((KEY,), 2)

    def test_a_key_that_was_thrown_away_is_forgotten_in_five_minutes(self) -> None:
        keys, clock, _ = self.keys((KEY,), (OTHER,))
        ours = Signer(keys, "here", str)
        token = signer(KEY).token(A_LINK)
        assert ours.read(token, NOW) == A_LINK
        clock.sleep(KEPT_MS)
        with pytest.raises(LinkAltered):
            ours.read(token, NOW)

    def test_a_signature_by_a_newer_key_has_the_keys_read_again(self) -> None:
        """Another function's environment signed with it already."""
        keys, clock, reads = self.keys((KEY,), (OTHER, KEY))
        ours = Signer(keys, "here", str)
        assert ours.read(signer(KEY).token(A_LINK), NOW) == A_LINK
        clock.sleep(AGAIN_MS)
        assert ours.read(signer(OTHER).token(A_LINK), NOW) == A_LINK
        assert len(reads) == 2

    def test_forgers_do_not_have_the_keys_read_again_and_again(self) -> None:
        keys, clock, reads = self.keys((KEY,))
        ours = Signer(keys, "here", str)
        for _ in range(100):
            with pytest.raises(LinkAltered):
                ours.read(signer(OTHER).token(A_LINK), NOW)
            clock.sleep(AGAIN_MS // 50)
        assert len(reads) <= 3

    @pytest.mark.parametrize("keys", [(), (b"k" * 31,), (KEY, b"short")])
    def test_a_key_that_is_none_or_short_signs_nothing(self, keys: Sequence[bytes]) -> None:
        cached, _, _ = self.keys(keys)
        with pytest.raises(NoCallbackKey):
            cached.known()
        with pytest.raises(NoCallbackKey):
            FixedKeys(keys)

    def test_what_shows_keys_does_not_show_them(self) -> None:
        cached, _, _ = self.keys((KEY,))
        cached.known()
        assert KEY.decode() not in repr(cached)
        assert KEY.decode() not in repr(FixedKeys((KEY,)))


class TestConfirmation:
    """What a page's form carries."""

    def test_a_confirmation_is_good_for_an_hour_and_for_its_own_link(self) -> None:
        ours, token = signer(), signer().token(A_LINK)
        given = ours.confirmation(token, NOW)
        ours.check_confirmation(token, given, NOW)
        ours.check_confirmation(token, given, NOW + CONFIRM_SECONDS * 1000 - 1)
        for late in (NOW + CONFIRM_SECONDS * 1000, NOW - 1000):
            with pytest.raises(NotConfirmed):
                ours.check_confirmation(token, given, late)
        with pytest.raises(NotConfirmed):
            ours.check_confirmation(signer().token(replace(A_LINK, event="rejected")), given, NOW)

    def test_a_confirmation_cannot_be_made_or_changed(self) -> None:
        """A link's own signature is none either: each is signed for its purpose."""
        ours, token = signer(), signer().token(A_LINK)
        seconds, signature = ours.confirmation(token, NOW).split(".")
        wrong = ["", ".", f"{int(seconds) + 1}.{signature}", f"{seconds}.{signature[:-1]}", f"{seconds}.{'A' * 43}"]
        wrong += [f"{seconds}.{token.split('.')[1]}", f"+{seconds}.{signature}", f"{seconds}.{signature}\n"]
        wrong.append(signer(OTHER).confirmation(token, NOW))
        for each in wrong:
            with pytest.raises(NotConfirmed):
                ours.check_confirmation(token, each, NOW)

    def test_a_page_that_was_opened_before_a_rotation_is_good(self) -> None:
        token = signer().token(A_LINK)
        signer(OTHER, KEY).check_confirmation(token, signer(KEY).confirmation(token, NOW), NOW)
