"""The settings, described: the documentation is generated from the same table that is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo

from collection.setting_groups import ExchangeSettings
from collection.settings import PREFIX, Settings
from collection.text import seconds, shortly


def settings_table() -> str:
    """Return a Markdown table: key in `collection.toml`, environment variable, default, meaning."""
    lines = ["| `collection.toml` | environment | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{'.'.join(path)}` | `{PREFIX}{'__'.join(path).upper()}` | {_default(default)} | {meaning} |"
        for path, default, meaning in _rows(Settings, ())
    ]
    return "\n".join(lines)


def _rows(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    for name, field in model.model_fields.items():
        if name == "exchanges":
            yield from _rows(ExchangeSettings, (*path, name, "NAME"))
        elif isinstance(field.default, BaseModel):
            for part, default, meaning in _rows(type(field.default), (*path, name)):
                yield part, default, meaning or field.description or ""
        else:
            default = shortly(field.default) if _is_duration(field) else field.default
            yield (*path, name), default, f"{field.description or ''}{_choices(field)}"


def _is_duration(field: FieldInfo) -> bool:
    return field.annotation is float and any(getattr(one, "func", None) is seconds for one in field.metadata)


def _choices(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return f" ({', '.join(get_args(annotation))})"
    return " (never shown)" if SecretStr in get_args(annotation) else ""


def _default(value: Any) -> str:
    if isinstance(value, ByteSize):
        value = value.human_readable(decimal=True).replace(".0", "")
    return "–" if value is None or value == {} else f"`{value}`"
