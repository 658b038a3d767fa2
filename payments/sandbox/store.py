"""Every object this Stripe account holds, by id, in the order it was made.

Objects refer to each other by id, as on the wire; expansion is for the answer only. Beside each
object there may be private facts, things Stripe knows and does not show (which card it was, what a
session will make once paid), and links, which find a few objects without reading all.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from payments.sandbox.form_encoding import JsonObject


class Store:
    """Objects, private facts and links; all of it JSON."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.minted = 0
        self.objects: dict[str, JsonObject] = {}
        self.kinds: dict[str, list[str]] = {}
        self.positions: dict[str, int] = {}
        self.facts: dict[str, JsonObject] = {}
        self.links: dict[str, list[str]] = {}

    def new_id(self, prefix: str, length: int = 24) -> str:
        """A new id: `pi_` and letters that follow from the seed and a count."""
        self.minted += 1
        digest = hashlib.blake2b(f"{self.seed}:{self.minted}".encode(), digest_size=48).digest()
        return f"{prefix}_{base64.b64encode(digest, b'Aa')[:length].decode()}"

    def add(self, row: JsonObject) -> JsonObject:
        """Keep a new object."""
        kind, object_id = row["object"], row["id"]
        ids = self.kinds.setdefault(kind, [])
        self.positions[object_id] = len(ids)
        ids.append(object_id)
        self.objects[object_id] = row
        return row

    def get(self, kind: str, object_id: str | None) -> JsonObject | None:
        row = self.objects.get(object_id or "")
        return row if row and row["object"] == kind and "deleted" not in row else None

    def remove(self, object_id: str) -> None:
        """Forget an object altogether."""
        del self.objects[object_id]
        self.facts.pop(object_id, None)

    def mark_deleted(self, object_id: str) -> JsonObject:
        """Forget all of an object but that it was: others still name it."""
        kind = self.objects[object_id]["object"]
        self.facts.pop(object_id, None)
        self.objects[object_id] = {"id": object_id, "object": kind, "deleted": True}
        return self.objects[object_id]

    def existing(self, object_ids: Iterable[str]) -> Iterator[JsonObject]:
        """The objects of these ids that are still there."""
        for object_id in object_ids:
            row = self.objects.get(object_id)
            if row is not None and "deleted" not in row:
                yield row

    def of_kind(self, kind: str) -> Iterable[JsonObject]:
        """All of a kind, oldest first."""
        return self.existing(self.kinds.get(kind, ()))

    def link(self, kind: str, field: str, value: str, object_id: str) -> None:
        """Make `kind` findable by `field`; what it finds is still compared."""
        ids = self.links.setdefault(f"{kind}.{field}={value}", [])
        if object_id not in ids[-1:]:
            ids.append(object_id)

    def linked(self, kind: str, field: str, value: str) -> list[str]:
        """Ids linked so, in the order the objects were made, each once."""
        ids = self.links.get(f"{kind}.{field}={value}", [])
        return sorted(set(ids), key=self.positions.__getitem__)

    def private(self, object_id: str) -> JsonObject:
        """Facts about an object that no answer shows."""
        return self.facts.setdefault(object_id, {})

    def dump(self) -> JsonObject:
        names = ("seed", "minted", "objects", "kinds", "positions", "facts", "links")
        return {name: getattr(self, name) for name in names}

    def restore(self, saved: JsonObject) -> None:
        for name, value in saved.items():
            setattr(self, name, value)
