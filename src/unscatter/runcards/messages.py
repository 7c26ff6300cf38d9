"""What is wrong with a runcard, in words: one line per error, with key, value and what is allowed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from unscatter.files import did_you_mean
from unscatter.runcards.yaml_text import KeyPath

#: Constraints of pydantic in our words; the braces are filled from the error.
_CONSTRAINTS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text; put it in quotes",
    "path_type": "must be a path",
    "path_empty": "must be a path",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "needs at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a mapping, 'key: value'",
    "model_type": "must be a mapping, 'key: value'",
    "model_attributes_type": "must be a mapping, 'key: value'",
}

#: Words for a choice that look more like another one.
_SYNONYMS = {"gpu": "cuda"}

#: Keys as alike as this differ by a letter or two.
_SLIP = 0.9


@dataclass(frozen=True)
class Explainer:
    """Explains the errors of one document.

    Args:
        model: what the document should have been.
        raw: the document as it was read.
        lines: line of each key.
        overridden: keys that came from the command line.
    """

    model: type[BaseModel]
    raw: Any
    lines: Mapping[KeyPath, int]
    overridden: frozenset[KeyPath] = frozenset()

    def explain(self, errors: Sequence[ErrorDetails]) -> list[str]:
        """One line per error, in the order of the document."""
        found: dict[tuple[int, KeyPath], list[ErrorDetails]] = {}
        for error in errors:
            path = self._path(error)
            found.setdefault((self._line(path) or sys.maxsize, path), []).append(error)
        return [text for place in sorted(found, key=lambda place: place[0]) for text in self._texts(found[place])]

    def place(self, path: KeyPath) -> str:
        """A key with its line, or with where else it came from."""
        name = ".".join(map(str, path)) or "runcard"
        if any(path[: len(key)] == key for key in self.overridden):
            return f"{name} (--set)"
        line = self._line(path)
        return f"{name} (line {line})" if line else name

    def _line(self, path: KeyPath) -> int | None:
        """Line of the key, or of the nearest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def _texts(self, errors: Sequence[ErrorDetails]) -> list[str]:
        """What is wrong in one place; a value that fits none of several types is one error, not one per type."""
        if len(errors) > 1 and all(error["type"] in (*_CONSTRAINTS, "literal_error") for error in errors):
            wanted = " or ".join(dict.fromkeys(map(_wanted, errors)))
            return [f"{self.place(self._path(errors[0]))}: {wanted}, got {_shown(errors[0]['input'])}."]
        return [self._text(error) for error in errors]

    def _text(self, error: ErrorDetails) -> str:
        path, given, context = self._path(error), error["input"], error.get("ctx", {})
        match error["type"]:
            case "extra_forbidden":
                models = self._models(error["loc"][:-1])
                known, given = _keys(models), reduce(getitem, path[:-1], self.raw)
                missing = [key for key in _required(models) if key not in given]
                return f"{self.place(path)}: unknown key.{_meant(str(path[-1]), known, missing)} Known are {', '.join(known)}."
            case "missing" if path and isinstance(path[-1], int):
                return f"{self.place(path[:-1])}: needs another entry behind {_shown(given)}."
            case "missing":
                return f"{self.place(path)}: this key is missing."
            case "union_tag_not_found" if isinstance(given, dict):
                key = context["discriminator"].strip("'")
                choices = _tags(self._models(error["loc"]), key)
                return f"{self.place((*path, key))}: this key is missing; it says which one: {_quoted(choices)}."
            case "union_tag_invalid":
                key, choices = context["discriminator"].strip("'"), _tags(self._models(error["loc"]), context["discriminator"].strip("'"))
                return f"{self.place((*path, key))}: {_one_of(context['tag'], choices)}"
            case "union_tag_not_found":
                return f"{self.place(path)}: must be a mapping, 'key: value', got {_shown(given)}."
            case "literal_error":
                return f"{self.place(path)}: {_one_of(given, _literals(context['expected']))}"
            case "value_error":
                return f"{self.place(path)}: {str(context['error']).removesuffix('.')}."
            case kind if kind in _CONSTRAINTS:
                return f"{self.place(path)}: {_CONSTRAINTS[kind].format(**context)}, got {_shown(given)}."
        return f"{self.place(path)}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {_shown(given)}."

    def _path(self, error: ErrorDetails) -> KeyPath:
        """Where the error is in the document: pydantic's location also names members of unions."""
        path: list[str | int] = []
        value, location = self.raw, error["loc"]
        for position, part in enumerate(location):
            is_last = position == len(location) - 1
            if (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
                path.append(part)
                value = value[part]  # pyright: ignore[reportArgumentType, reportCallIssue]
            elif is_last and error["type"] == "missing":
                path.append(part)
        return tuple(path)

    def _models(self, location: Sequence[str | int]) -> list[type[BaseModel]]:
        """Models that may stand at a location."""
        models: list[type[BaseModel]] = [self.model]
        for part in location:
            fields = [model.model_fields[part].annotation for model in models if isinstance(part, str) and part in model.model_fields]
            tagged = [model for model in models if part in (model.__name__, *_tags([model], "name"), *_tags([model], "kind"))]
            if fields:
                models = [model for annotation in fields for model in _models_in(annotation)]
            elif tagged:
                models = tagged
        return models


def _wanted(error: ErrorDetails) -> str:
    """What a value should have been, in words."""
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        return f"must be one of {_quoted(_literals(context['expected']))}"
    return _CONSTRAINTS[error["type"]].format(**context)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _keys(models: Sequence[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(key for model in models for key in model.model_fields))


def _required(models: Sequence[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(key for model in models for key, field in model.model_fields.items() if field.is_required()))


def _meant(key: str, known: Sequence[str], missing: Sequence[str]) -> str:
    """The key that was meant: but for slips of the pen, rather one that is missing."""
    return did_you_mean(key, known, _SLIP) or did_you_mean(key, missing) or did_you_mean(key, known)


def _tags(models: Sequence[type[BaseModel]], key: str) -> list[str]:
    """Values of the key that tells the models of a union apart."""
    annotations = [model.model_fields[key].annotation for model in models if key in model.model_fields]
    return [tag for annotation in annotations if get_origin(annotation) is Literal for tag in get_args(annotation)]


def _literals(expected: str) -> list[str]:
    """Pydantic lists them as ``'a', 'b' or 'c'``."""
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]


def _one_of(given: Any, choices: Sequence[str]) -> str:
    meant = _SYNONYMS.get(str(given).lower(), str(given))
    return f"{_shown(given)} is not one of {_quoted(choices)}.{did_you_mean(meant, choices)}"


def _quoted(choices: Sequence[str]) -> str:
    return ", ".join(f"'{choice}'" for choice in choices)


def _shown(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
