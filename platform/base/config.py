"""One way to configure every job: defaults < YAML file < ``key=value`` on the command line.

Each job owns a frozen pydantic model; this module fills it and turns pydantic's complaints into
messages that name the key, the value and the repair.
"""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Discriminator, ValidationError

from diffpose.platform.base.errors import ConfigError


class Settings(BaseModel, frozen=True, extra="forbid", coerce_numbers_to_str=True):
    """Base of all settings: immutable, unknown keys rejected."""


def kind_of(value: Any, default: str) -> str:
    """Return the ``kind`` of settings that have one of several, as values or made."""
    if isinstance(value, dict):
        return str(value.get("kind", default))
    return str(getattr(value, "kind", default))


def by_kind(default: str) -> Discriminator:
    """Return what chooses among settings tagged with their kinds; without a word the default."""
    return Discriminator(lambda value: kind_of(value, default))


S = TypeVar("S", bound=BaseModel)
# Options that stand for a setting.
_SHORT = {"--json": "json_file", "--clip": "clip", "--out": "out"}
_FLAGS = {"--table": "table"}  # options without a value


def load_settings(model: type[S], arguments: Sequence[str]) -> S:
    """Fill ``model`` from command-line arguments.

    Args:
        model: the job's settings.
        arguments: ``--config FILE`` (repeatable, later files win), ``--json FILE`` (short for
            ``json_file=FILE``), ``--clip ID``, ``--out FILE``, ``--table``,
            ``--help`` and any number of ``key.path=value`` in YAML syntax.

    Raises:
        ConfigError: a key or value is wrong; the message names it and what would be right.
        SystemExit: with status 0 after ``--help``.
    """
    values: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        if argument in ("-h", "--help"):
            sys.stdout.write(describe(model))
            raise SystemExit(0)
        if argument in _FLAGS:
            _set(overrides, _FLAGS[argument], True)
            continue
        if argument.startswith("--"):
            option, separator, value = argument.partition("=")
            if option != "--config" and option not in _SHORT:
                raise ConfigError(
                    f"Unknown option {argument!r}. Settings are given as key=value, "
                    "files as --config FILE; --help lists every key."
                )
            if not separator:
                if not queue:
                    raise ConfigError(f"{option} needs a file name after it.")
                value = queue.pop(0)
            if option == "--config":
                values = merged(values, read_yaml(value))
            else:
                _set(overrides, _SHORT[option], value)
            continue
        key, separator, text = argument.partition("=")
        if not separator or not key:
            raise ConfigError(
                f"Cannot read the argument {argument!r}: expected key=value, for example "
                "store=runs/store, or --config FILE."
            )
        _set(overrides, key, _parsed(model, key, text))
    return validate(model, merged(values, overrides))


def validate(model: type[S], values: dict[str, Any]) -> S:
    """Build ``model`` from a mapping, with readable errors.

    Raises:
        ConfigError: naming every wrong key.
    """
    try:
        return model.model_validate(_on_defaults(model, values))
    except ValidationError as error:
        lines = [_explain(model, dict(item)) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def read_yaml(name: str) -> dict[str, Any]:
    """Read a YAML mapping from a file; relative names are also looked up beside the package.

    Raises:
        ConfigError: the file is missing, is no YAML, or holds something else than a mapping.
    """
    path = Path(name)
    checkout = Path(__file__).resolve().parents[2]
    if not path.is_file() and not path.is_absolute() and (checkout / path).is_file():
        path = checkout / path
    if not path.is_file():
        known = sorted(str(p.relative_to(checkout)) for p in checkout.glob("configs/*/*.yaml"))
        hint = "; recipes here: " + ", ".join(known) if known else ""
        raise ConfigError(f"There is no configuration file {name!r}{hint}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date like 2024-13-45
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold key: value pairs, found {type(values).__name__}.")
    return values


def to_yaml(settings: BaseModel) -> str:
    """Return the resolved settings as YAML text that ``--config`` accepts again."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def differences(ours: BaseModel, theirs: dict[str, Any], fields: Sequence[str]) -> list[str]:
    """List the settings under ``fields`` whose value differs from a saved resolved configuration.

    Returns:
        Lines such as ``cameras.count: saved 4, now 2``; empty when all agree.
    """
    now = ours.model_dump(mode="json")
    try:  # settings that came since then have their defaults, which change nothing
        saved = type(ours).model_validate(theirs).model_dump(mode="json")
    except ValidationError:
        saved = theirs
    lines: list[str] = []
    for field in fields:
        _compare(field, saved.get(field), now.get(field), lines)
    return lines


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over`` put in, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def describe(model: type[BaseModel]) -> str:
    """Return the help text: every key with its default and meaning."""
    lines = [(model.__doc__ or "").strip(), "", "Settings (key=value, or in a --config FILE):"]

    def walk(part: type[BaseModel], prefix: str, given: BaseModel | None) -> None:
        for name, field in part.model_fields.items():
            nested = _nested_models(field.annotation)
            required = field.is_required() and given is None
            default = field.get_default(call_default_factory=True)
            if given is not None:
                default = getattr(given, name, default)
            if nested:
                if field.description:
                    lines.append(f"  {prefix}{name}.*  {field.description}")
                for child in nested:
                    if len(nested) > 1 and _kind(child):
                        lines.append(f"  with {prefix}{name}.kind={_kind(child)}:")
                    walk(child, f"{prefix}{name}.", default if type(default) is child else None)
                continue
            shown = "required" if required else f"default {default!r}"
            lines.append(f"  {prefix}{name}  ({shown})  {field.description or ''}".rstrip())

    walk(model, "", None)
    return "\n".join(lines) + "\n"


def _parsed(model: type[BaseModel], dotted: str, text: str) -> Any:
    """Read a value as YAML; what a text setting gets stays as typed: run=0042 is no octal 34."""
    if not text:
        return None
    is_text = _is_text(model, dotted.split("."))
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date like 2024-13-45
        if is_text and not isinstance(error, yaml.YAMLError):
            return text
        raise ConfigError(f"The value of {dotted}={text} is not valid YAML: {error}") from None
    if is_text and not isinstance(value, str | list | dict | None):
        return text
    return value


def _is_text(model: type[BaseModel], path: Sequence[str]) -> bool:
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    if len(path) == 1:
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        return set(kinds) <= {str, type(None)}
    return any(_is_text(part, path[1:]) for part in _nested_models(field.annotation))


def _on_defaults(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Lay partly given nested settings over the default of their field, not of their class."""
    result = dict(values)
    for name, field in model.model_fields.items():
        nested = _nested_models(field.annotation)
        if len(nested) != 1 or not isinstance(result.get(name), dict):
            continue
        base = {}
        if isinstance(field.default, BaseModel):
            base = field.default.model_dump(exclude_unset=True)
        result[name] = merged(base, _on_defaults(nested[0], result[name]))
    return result


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for depth, parent in enumerate(parents):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"{dotted}= sets a key below {'.'.join(parents[: depth + 1])}, "
                "which another argument set to a plain value."
            )
    values[last] = value


def _compare(name: str, saved: Any, now: Any, lines: list[str]) -> None:
    if isinstance(saved, dict) and isinstance(now, dict):
        for key in sorted({*saved, *now}):
            _compare(f"{name}.{key}", saved.get(key), now.get(key), lines)
    elif saved != now:
        lines.append(f"{name}: saved {saved!r}, now {now!r}")


def _nested_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [m for part in typing.get_args(annotation) for m in _nested_models(part)]
    return []


def _kind(model: type[BaseModel]) -> str:
    """Return the value of ``kind`` that chooses this model among several; empty if none does."""
    field = model.model_fields.get("kind")
    return str(field.default) if field is not None and field.default else ""


def _owners(model: type[BaseModel], raw: Sequence[str]) -> tuple[list[type[BaseModel]], list[str]]:
    """Follow a location of pydantic's; return the models at its end and the keys as users write.

    Between the keys pydantic names which of several kinds it took.
    """
    owners, location = [model], []
    for i, part in enumerate(raw):
        of_kind = [owner for owner in owners if len(owners) > 1 and _kind(owner) == part]
        if of_kind:
            owners = of_kind
            continue
        location.append(part)
        if i < len(raw) - 1:
            owners = [
                nested
                for owner in owners
                if part in owner.model_fields
                for nested in _nested_models(owner.model_fields[part].annotation)
            ] or owners
    return owners, location


def _explain(model: type[BaseModel], item: dict[str, Any]) -> str:
    owners, location = _owners(model, [str(part) for part in item["loc"]])
    key = ".".join(location)
    if item["type"] == "union_tag_invalid":
        wrong, known = str(item["ctx"]["tag"]), str(item["ctx"]["expected_tags"])
        close = difflib.get_close_matches(wrong, known.replace("'", "").split(", "), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known: {known}."
        return f"The setting {key}.kind={wrong!r} is wrong. {hint}"
    if item["type"] == "extra_forbidden":
        names = sorted({name for owner in owners for name in owner.model_fields})
        close = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        where = f" under {'.'.join(location[:-1])!r}" if location[:-1] else ""
        hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(names)}."
        return f"Unknown setting {location[-1]!r}{where}. {hint}"
    if item["type"] == "missing":
        return f"The setting {key!r} is required: give {key}=VALUE."
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        return f"The settings do not fit together: {message}."
    return f"The setting {key}={item['input']!r} is wrong: {message}."
