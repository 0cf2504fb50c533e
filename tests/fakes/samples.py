"""What the fake models say: values that match a JSON Schema, and vectors of texts."""

from __future__ import annotations

import hashlib
from typing import Any


def sample(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Returns a value that matches the schema (of the plain kinds that pydantic writes)."""
    root = root or schema
    if "$ref" in schema:
        return sample(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return sample(schema[name][0], root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: sample(part, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
        case "integer":
            return schema.get("minimum", 1)
        case "number":
            return schema.get("minimum", 1.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "Lisboa, ação"


def vector(text: str, dimensions: int) -> list[float]:
    """Returns a vector that is the same for the same text only."""
    seed = hashlib.blake2b(text.encode()).digest()
    return [seed[i % len(seed)] / 255 + 0.001 for i in range(dimensions)]
