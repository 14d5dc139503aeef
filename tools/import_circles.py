#!/usr/bin/env python3
"""Fails when files of one crate import each other in a circle: import_circles.py CRATE…

A crate is a folder with src/. The script reads `use crate::…`, `use super::…` and paths such as `crate::a::b`, as text and
outside of test modules. A parent module that declares or re-exports its children is in no circle with them.
"""

import re
import sys
from pathlib import Path


def modules(src):
    """The file of each module, by the module's path."""
    files = {}
    for file in src.rglob("*.rs"):
        path = file.relative_to(src).with_suffix("").parts
        if path != ("main",):
            files[path[:-1] if path[-1] in ("lib", "mod") else path] = file
    return files


def expanded(tree):
    """The paths of a use tree: a::{b, c::d} -> a::b, a::c::d."""
    match = re.match(r"([^{}]*)\{(.*)\}$", tree, re.DOTALL)
    if not match:
        return [tree]
    depth, start, inner = 0, 0, match[2] + ","
    parts = []
    for at, character in enumerate(inner):
        if character in "{}":
            depth += 1 if character == "{" else -1
        elif character == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    return [match[1] + path for part in parts if part for path in expanded(part)]


def imports(text):
    """Each path into the same crate that a file names."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"#\[cfg\(test\)\]\s*(pub(\([\w:\s]+\))? )?mod \w+ \{.*", "", text, flags=re.DOTALL)
    for tree in re.findall(r"\buse\s+((?:crate|super|self)::[^;]+);", text):
        tree = re.sub(r"\s+as\s+\w+", "", tree)
        yield from expanded(re.sub(r"\s+", "", tree))
    yield from re.findall(r"\b(?:crate|super)(?:::\w+)+", re.sub(r"\buse\s[^;]+;", "", text))


def resolved(me, path, files):
    """The module that has what the path names, or none."""
    parts = path.split("::")
    base = () if parts[0] == "crate" else me
    while parts and parts[0] in ("crate", "self", "super"):
        if parts.pop(0) == "super":
            base = base[:-1]
    full = base + tuple(parts)
    return next((full[:n] for n in range(len(full), 0, -1) if full[:n] in files), None)


def reachable(graph, start):
    seen, todo = set(), list(graph[start])
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(graph[module])
    return seen


def circles(crate):
    """Each circle: its files, with the imports between them."""
    files = modules(Path(crate) / "src")
    graph = {}
    for me, file in files.items():
        targets = {resolved(me, path, files) for path in imports(file.read_text())} - {None, me}
        graph[me] = {target for target in targets if target[: len(me)] != me}
    reach = {module: reachable(graph, module) for module in graph}
    left = {module for module in graph if module in reach[module]}
    while left:
        first = min(left)
        circle = {module for module in reach[first] if first in reach[module]}
        left -= circle
        yield sorted((files[a], files[b]) for a in circle for b in graph[a] & circle)


def main(crates):
    found = False
    for crate in crates:
        if not (Path(crate) / "src").is_dir():
            sys.exit(f"error: {crate} is no crate here: it has no folder src/")
        for arrows in circles(crate):
            found = True
            print(f"error: files of {crate} import each other in a circle; move what they share into a file below them:", file=sys.stderr)
            for importer, imported in arrows:
                print(f"  {importer} imports {imported}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
