"""YAML whose text does not fit its tags is an error of YAML, with its line."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError


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
