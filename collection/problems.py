"""What a model says of bad input, as lines for people: where, what is wrong, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from collection.text import nearest

_SECRETS = {"url", "storage_url", "broker_url", "proxy", "api_key", "secret", "password"}
"""Names of fields whose values are never shown."""


def problems(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (path of the field, what is wrong with it) for every mistake."""
    for found in error.errors(include_url=False):
        path = tuple(str(part) for part in found["loc"])
        match found["type"]:
            case "extra_forbidden":
                yield path, "unknown" + nearest(path[-1], _names(model, path[:-1]))
            case "missing":
                yield path, "missing"
            case "value_error":
                yield path, str(found["ctx"]["error"])
            case _:
                yield path, f"{found['msg'][0].lower()}{found['msg'][1:]}{_given(path, found['input'])}"


def _given(path: tuple[str, ...], value: Any) -> str:
    if _SECRETS & set(path):
        return ""
    return f", not {value!r}" if isinstance(value, str | int | float | bool) else ""


def _names(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The fields that the model at a path has: through dicts of models as well."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[part].annotation
        if getattr(current, "__origin__", None) is dict:
            current = current.__args__[1]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
