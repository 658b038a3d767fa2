"""The store: all objects of an account by id, in the order they were created.

Objects refer to each other by id, as in the API; only responses are expanded. An object may have
private facts, which Stripe knows and does not show (the card's number, what a session creates when
paid), and links, an index that finds objects by a field.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from payments.sandbox.form_encoding import JsonObject


class Store:
    """Objects, private facts and links, all of them JSON."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.minted = 0
        self.objects: dict[str, JsonObject] = {}
        self.kinds: dict[str, list[str]] = {}
        self.positions: dict[str, int] = {}
        self.facts: dict[str, JsonObject] = {}
        self.links: dict[str, list[str]] = {}
        self._journal: list[tuple[str, str]] | None = None  # (link key or "", object id)

    def new_id(self, prefix: str, length: int = 24) -> str:
        """Return a new id such as `pi_…`; it follows from the seed and the number of ids so far."""
        self.minted += 1
        digest = hashlib.blake2b(f"{self.seed}:{self.minted}".encode(), digest_size=48).digest()
        return f"{prefix}_{base64.b64encode(digest, b'Aa')[:length].decode()}"

    def add(self, row: JsonObject) -> JsonObject:
        """Store a new object under its id."""
        kind, object_id = row["object"], row["id"]
        ids = self.kinds.setdefault(kind, [])
        self.positions[object_id] = len(ids)
        ids.append(object_id)
        self.objects[object_id] = row
        if self._journal is not None:
            self._journal.append(("", object_id))
        return row

    def get(self, kind: str, object_id: str | None) -> JsonObject | None:
        """Return the object with this `object` name and id, or None when missing or deleted."""
        row = self.objects.get(object_id or "")
        return row if row and row["object"] == kind and "deleted" not in row else None

    def remove(self, object_id: str) -> None:
        """Remove an object and its private facts."""
        del self.objects[object_id]
        self.facts.pop(object_id, None)

    def mark_deleted(self, object_id: str) -> JsonObject:
        """Replace an object by `{"deleted": true}`, which others can still refer to."""
        kind = self.objects[object_id]["object"]
        self.facts.pop(object_id, None)
        self.objects[object_id] = {"id": object_id, "object": kind, "deleted": True}
        return self.objects[object_id]

    def existing(self, object_ids: Iterable[str]) -> Iterator[JsonObject]:
        """Yield the objects of these ids that are neither removed nor deleted."""
        for object_id in object_ids:
            row = self.objects.get(object_id)
            if row is not None and "deleted" not in row:
                yield row

    def of_kind(self, kind: str) -> Iterable[JsonObject]:
        """Return the objects with this `object` name, oldest first."""
        return self.existing(self.kinds.get(kind, ()))

    def link(self, kind: str, field: str, value: str, object_id: str) -> None:
        """Index an object under a field's value. A link may be out of date: compare the field."""
        key = f"{kind}.{field}={value}"
        ids = self.links.setdefault(key, [])
        if object_id not in ids[-1:]:
            ids.append(object_id)
            if self._journal is not None:
                self._journal.append((key, object_id))

    def linked(self, kind: str, field: str, value: str) -> list[str]:
        """Return the distinct ids linked to a field's value, oldest first."""
        ids = self.links.get(f"{kind}.{field}={value}", [])
        return sorted(set(ids), key=self.positions.__getitem__)

    def private(self, object_id: str) -> JsonObject:
        """Return an object's private facts, which no response shows; callers change them."""
        return self.facts.setdefault(object_id, {})

    def keep_journal(self) -> None:
        """Record from now on what is added, for `drop_added`."""
        self._journal = []

    def forget_journal(self) -> None:
        """Record no longer what is added."""
        self._journal = None

    def drop_added(self) -> set[str]:
        """Remove all objects and links added since the journal began. Returns the objects' ids."""
        dropped: set[str] = set()
        for key, object_id in reversed(self._journal or []):
            if key:
                self.links[key].remove(object_id)
                continue
            dropped.add(object_id)
            row = self.objects.pop(object_id, None)
            self.facts.pop(object_id, None)
            if row is not None:
                self.kinds[row["object"]].remove(object_id)
                del self.positions[object_id]
        self._journal = None
        return dropped

    def dump(self) -> JsonObject:
        """Return everything stored as JSON."""
        names = ("seed", "minted", "objects", "kinds", "positions", "facts", "links")
        return {name: getattr(self, name) for name in names}

    def restore(self, saved: JsonObject) -> None:
        """Replace everything stored with what `dump` returned. Whoever has one of the collections
        at hand sees the new content.
        """
        for name, value in saved.items():
            collection = getattr(self, name)
            if isinstance(collection, dict):
                collection.clear()
                collection.update(value)
            elif isinstance(collection, list):
                collection[:] = value
            else:
                setattr(self, name, value)
