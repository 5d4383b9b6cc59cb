import hashlib

import pytest

from modelyard.core.params import ServeParams
from modelyard.serving import clients
from modelyard.serving.clients import (
    OPEN_CLIENT,
    Client,
    ClientRegistry,
    compute_tag,
    derive_tag_key,
    make_ids,
    may_give_feedback,
)

KEYS = {"first": "key-1", "second": "key-2", "last": "key-3"}
RULES = ServeParams(
    keys={name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}, feedback_for_all=["last"]
)
FIRST = Client("first", b"key-1")
SECOND = Client("second", b"key-2")


@pytest.mark.parametrize("name", KEYS)
def test_find_client_knows_each_key(name: str) -> None:
    found = ClientRegistry(RULES).find_client(f"Bearer {KEYS[name]}".encode())
    assert found == Client(name, KEYS[name].encode(), is_trusted=name == "last")


def test_find_client_without_keys_is_the_open_client() -> None:
    assert ClientRegistry(ServeParams()).find_client(b"") == OPEN_CLIENT


@pytest.mark.parametrize("name", KEYS)
def test_find_client_compares_with_every_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ClientRegistry(RULES)
    compared = list[bytes]()
    monkeypatch.setattr(clients.hmac, "compare_digest", lambda a, b: compared.append(b) or a == b)
    registry.find_client(f"Bearer {KEYS[name]}".encode())
    assert compared == list(registry.digests.values())  # a match ends nothing early


@pytest.mark.parametrize("client", [OPEN_CLIENT, FIRST])
def test_make_ids_are_128_random_bits(client: Client) -> None:
    randoms = [prediction_id[:32] for prediction_id in make_ids(1000, client)]
    assert len(set(randoms)) == 1000
    ones = sum(int(random, 16).bit_count() for random in randoms)
    assert abs(ones - 64_000) < 1_100  # six standard deviations
    for place in range(32):  # no character is fixed or a counter
        assert len({random[place] for random in randoms}) == 16


def test_make_ids_fit_into_feedback() -> None:
    assert {len(one) for one in make_ids(3, FIRST)} == {48}  # /feedback takes 64


def test_may_give_feedback_for_own_predictions_only() -> None:
    own, others = make_ids(1, FIRST)[0], make_ids(1, SECOND)[0]
    assert may_give_feedback(FIRST, own)
    assert not may_give_feedback(FIRST, others)


@pytest.mark.parametrize("prediction_id", ["x", "", "0" * 32, "0" * 48, "\u00e9" * 48, "zz" * 24])
def test_may_give_feedback_for_no_invented_id(prediction_id: str) -> None:
    assert not may_give_feedback(FIRST, prediction_id)


def test_may_give_feedback_with_the_key_and_not_with_its_digest() -> None:
    random = bytes(16)
    known = Client("first", hashlib.sha256(FIRST.key).digest())  # params.yaml, which holds the digests, is no secret
    assert not may_give_feedback(FIRST, make_ids(1, known)[0])
    assert may_give_feedback(FIRST, random.hex() + compute_tag(derive_tag_key(FIRST), random))


def test_may_give_feedback_for_all_with_the_right_or_without_keys() -> None:
    others = make_ids(1, SECOND)[0]
    assert may_give_feedback(Client("last", b"key-3", is_trusted=True), others)
    assert may_give_feedback(OPEN_CLIENT, "an id of another service")
