"""Parameters that record which of them a handler reads.

With the contract checked, handlers get their parameters in this form: what a request sends and its
handler never looks at would be dropped without a word, and is a problem.
"""

from collections.abc import ItemsView, Iterator, ValuesView

from payments.sandbox.declared_params import sent_leaves
from payments.sandbox.form_encoding import JsonObject, JsonValue


class RecordedParams(dict[str, JsonValue]):
    """Decoded parameters; `read` holds the leaves that were looked at, shared with nested ones.

    Asking whether a parameter is present reads nothing.
    """

    def __init__(self, params: JsonObject, path: str = "", read: set[str] | None = None) -> None:
        super().__init__()
        self.path = path
        self.read: set[str] = set() if read is None else read
        for name, value in params.items():
            self[name] = self._wrapped(value, self._leaf(name))

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # overridden, `{**params}` reads field by field, not at once

    def __getitem__(self, name: str) -> JsonValue:
        value = super().__getitem__(name)
        self._record(name, value)
        return value

    def get(self, name: str, default: JsonValue = None) -> JsonValue:
        """Return a parameter, and record that it was read."""
        return self[name] if name in self else default  # noqa: SIM401 - this is `get`

    def items(self) -> ItemsView[str, JsonValue]:  # type: ignore[override]  # of a dict
        """Return all parameters, and record that they were read."""
        self._record_all()
        return super().items()

    def values(self) -> ValuesView[JsonValue]:  # type: ignore[override]  # of a dict
        """Return all values, and record that they were read."""
        self._record_all()
        return super().values()

    def __or__(self, other: JsonObject) -> JsonObject:  # type: ignore[override]  # the same record
        return RecordedParams({**self._plain(), **other}, self.path, self.read)

    def _plain(self) -> JsonObject:
        return {name: super(RecordedParams, self).__getitem__(name) for name in self}

    def _record_all(self) -> None:
        for name, value in self._plain().items():
            self._record(name, value)

    def _record(self, name: str, value: JsonValue) -> None:
        self.read.update(_leaves_without_objects(value, self._leaf(name)))

    def _leaf(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _wrapped(self, value: JsonValue, leaf: str) -> JsonValue:
        if isinstance(value, dict):
            return RecordedParams(value, leaf, self.read)
        if isinstance(value, list):
            return [self._wrapped(each, f"{leaf}[]") for each in value]
        return value


def unread(params: JsonObject, recorded: RecordedParams) -> list[str]:
    """Return the names of the leaves that a request sends and its handler did not look at."""
    return [name for leaf, name in sent_leaves(params) if leaf not in recorded.read]


def _leaves_without_objects(value: JsonValue, leaf: str) -> Iterator[str]:
    """Yield the leaves that reading a value reads; objects in it are read field by field."""
    if isinstance(value, list):
        for each in value:
            yield from _leaves_without_objects(each, f"{leaf}[]")
        if not value:
            yield leaf
    elif not isinstance(value, dict) or not value:
        yield leaf
