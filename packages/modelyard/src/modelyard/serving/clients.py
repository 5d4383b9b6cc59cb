"""The clients of the service: their keys, and ids that show which client asked for a prediction."""

import hashlib
import hmac
import os
from typing import NamedTuple

from modelyard.core.params import ServeParams

RANDOM_BYTES = 16  # of an id: nobody can guess another client's ids
TAG_BYTES = 8


class Client(NamedTuple):
    """Who sent a request: the name of the key, the key itself, and whether it may give feedback for every prediction.

    Without keys the service is open: everybody is the client without a name.
    """

    name: str | None = None
    key: bytes = b""
    is_trusted: bool = False


OPEN_CLIENT = Client()


class ClientRegistry:
    """The clients that `serve.keys` names.

    Parameters
    ----------
    rules
        The block `serve` of params.yaml.
    """

    def __init__(self, rules: ServeParams) -> None:
        self.digests = {name: bytes.fromhex(digest) for name, digest in rules.keys.items()}
        self.trusted = frozenset(rules.feedback_for_all)

    def find_client(self, authorization: bytes) -> Client | None:
        """Return the client of a header, or None, in a time that tells nothing about the keys."""
        if not self.digests:
            return OPEN_CLIENT
        scheme, _, rest = authorization.partition(b" ")
        key = rest.strip()
        digest = hashlib.sha256(key).digest()
        # A list compares with every key; any() or next() would stop at the first that matches.
        names = [name for name, known in self.digests.items() if hmac.compare_digest(digest, known)]
        if scheme.lower() != b"bearer" or not names:
            return None
        return Client(names[0], key, names[0] in self.trusted)

    def get_feedback_kind(self, client: Client) -> str:
        """Return the first part of the names of a client's files of feedback: of a key the start of its digest."""
        return "feedback" if client.name is None else f"feedback-{self.digests[client.name].hex()[:16]}"


def derive_tag_key(client: Client) -> bytes:
    """Return the key of a client's tags: a digest, because BLAKE2 takes no key of more than 64 bytes."""
    return hashlib.blake2b(client.key).digest()


def compute_tag(tag_key: bytes, random: bytes) -> str:
    """Return the tag of an id: its random part, authenticated by keyed BLAKE2 (RFC 7693), faster than HMAC."""
    return hashlib.blake2b(random, key=tag_key, digest_size=TAG_BYTES).hexdigest()


def make_ids(count: int, client: Client) -> list[str]:
    """Return new ids: 128 random bits each and, where clients have keys, a tag that only the same key gives.

    The tag is made with the key that the client sends, of which the service itself knows no more than the SHA-256. So a
    service needs no secret of its own and no memory of the ids it gave: a restarted one, another replica and the next
    model tell in the same way whose prediction an id is.
    """
    block = os.urandom(RANDOM_BYTES * count)
    randoms = [block[start : start + RANDOM_BYTES] for start in range(0, len(block), RANDOM_BYTES)]
    if client.name is None:
        return [random.hex() for random in randoms]
    tag_key = derive_tag_key(client)
    return [random.hex() + compute_tag(tag_key, random) for random in randoms]


def may_give_feedback(client: Client, prediction_id: str) -> bool:
    """Return whether a client may give the truth: it asked for the prediction, is trusted, or nobody has a key."""
    if client.name is None or client.is_trusted:
        return True
    try:
        random = bytes.fromhex(prediction_id[: 2 * RANDOM_BYTES])
    except ValueError:
        return False
    tag = prediction_id[2 * RANDOM_BYTES :]
    return hmac.compare_digest(compute_tag(derive_tag_key(client), random).encode(), tag.encode())
