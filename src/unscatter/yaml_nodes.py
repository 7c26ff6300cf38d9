"""YAML from strangers: text that does not fit its tag is an error of YAML, with its line, and aliases do not multiply without end."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

#: Values of a document, those behind aliases counted wherever they stand; whoever writes one is far below, lists of files and all.
_MOST_VALUES = 1_000_000


class UnreadableError(yaml.YAMLError):
    """What is wrong with a document as a whole, to stand behind its name."""


class CheckedValues:
    """Goes before one of PyYAML's loaders, which trust that text fits its tag, as in ``!!int abc``, and that no number is too long.

    Example:
        >>> class Loader(CheckedValues, yaml.SafeLoader):
        ...     pass
        >>> try:
        ...     yaml.load("!!int abc", Loader)
        ... except yaml.MarkedYAMLError as error:
        ...     error.problem
        "this is not a value of the type 'int', or too long for one"
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What a node stands for."""
        try:
            return super().construct_object(node, deep)  # pyright: ignore[reportAttributeAccessIssue] (of the loader)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            kind = str(node.tag).rpartition(":")[2]
            problem = f"this is not a value of the type '{kind}', or too long for one"
            raise ConstructorError(None, None, problem, node.start_mark) from error


def load_checked(text: str, loader: type[yaml.SafeLoader]) -> tuple[Any, yaml.Node | None]:
    """The value of a document and the node that it was made of, which is None for an empty one.

    Args:
        text: the document.
        loader: a loader behind :class:`CheckedValues`.

    Raises:
        UnreadableError: a value holds itself, or the document is nested too deeply, or aliases make too many values.
        yaml.YAMLError: the text is not YAML.
    """
    try:
        opened = loader(text)
        node = opened.get_single_node()
        if node is None:
            return None, None
        if problem := too_many_values(node):
            raise UnreadableError(problem)
        return opened.construct_document(node), node
    except RecursionError as error:
        raise UnreadableError("holds a value inside itself (&name and *name), or is nested too deeply. Write the value out.") from error


def too_many_values(node: yaml.Node) -> str | None:
    """What is wrong with a document whose aliases multiply, to stand behind its name; None where nothing is.

    Example:
        >>> too_many_values(yaml.compose("{a: &a [1, 2], b: [*a, *a]}")) is None
        True
    """
    total = _num_values(node, {})
    if total <= _MOST_VALUES:
        return None
    return (
        f"holds {total:,} values when those behind aliases (&name and *name) are counted wherever they stand, and at most "
        f"{_MOST_VALUES:,} are read. Write out what is meant, without aliases inside of aliases."
    )


def _num_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in a node, with the numbers already known by the identity of their node: the time is that of the text, not of the number."""
    if id(node) not in known:
        children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
        below = sum(_num_values(child, known) for child in children) if isinstance(node, yaml.CollectionNode) else 0
        known[id(node)] = 1 + below
    return known[id(node)]
