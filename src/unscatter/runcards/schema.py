"""JSON schema of runcards, for editors and for programs that write them."""

from __future__ import annotations

from typing import Any

from unscatter.runcards.runcard import Runcard


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a runcard, with the descriptions of all keys.

    Example:
        >>> json_schema()["required"]
        ['problem', 'events']
    """
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Runcard.model_json_schema()}
    return _first_paragraphs(schema)


def _first_paragraphs(value: Any) -> Any:
    """Descriptions without the examples of the docstrings that they come from."""
    match value:
        case dict():
            return {
                key: item.partition("\n\n")[0].replace("``", "`")
                if key == "description" and isinstance(item, str)
                else _first_paragraphs(item)
                for key, item in value.items()
            }
        case list():
            return [_first_paragraphs(item) for item in value]
    return value
