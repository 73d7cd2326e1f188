"""YAML with line numbers: safe tags only, a key once per table, aliases that do not explode."""

from __future__ import annotations

from typing import Any

import yaml

from ..errors import VramplanError, one_line

MOST_NODES = 100_000
"""Values of a file with every alias written out. The largest real recipes have some hundred."""


def parse_yaml(path: str, text: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The one document that `text` holds, and the line of every key down to the third level."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise VramplanError(f"{path}: the file is empty")
        _check(path, node)
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else path
        raise VramplanError(f"{place}: not YAML that can be read: {error.problem}") from None
    except yaml.YAMLError as error:
        raise VramplanError(f"{path}: not YAML: {one_line(error, 80)}") from None
    except (ValueError, TypeError) as error:
        raise VramplanError(f"{path}: not YAML that can be read: {one_line(error, 80)}") from None
    except RecursionError:
        raise VramplanError(f"{path}: nested too deeply to be a configuration") from None
    finally:
        if loader is not None:
            loader.dispose()
    return values, _lines(node)


def _check(path: str, root: yaml.Node) -> None:
    """Refuse keys that stand twice, and files whose aliases make them larger than `MOST_NODES`, or endless."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            if known == 0:
                raise VramplanError(f"{path}:{node.start_mark.line + 1}: an alias that holds itself")
            return known
        sizes[id(node)] = 0
        total = 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(path, node)
            total += sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item) for item in node.value)
        if total > MOST_NODES:
            raise VramplanError(f"{path}: holds more than {MOST_NODES:,} values, so no configuration")
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(path: str, node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise VramplanError(f"{path}:{key.start_mark.line + 1}: a key that is no plain word")
        line = key.start_mark.line + 1
        if key.value in seen and key.value != "<<":
            raise VramplanError(f"{path}:{line}: key {key.value!r} stands twice, first on line {seen[key.value]}")
        seen[key.value] = line


def _lines(root: yaml.Node, depth: int = 3) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}

    def walk(node: yaml.Node, at: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode) and len(at) < depth:
            for key, value in node.value:
                found[*at, key.value] = key.start_mark.line + 1
                walk(value, (*at, key.value))

    walk(root, ())
    return found
