"""Strict validation: of Kubernetes' own kinds by the schemas that Kubernetes publishes, of the operators' kinds
by custom.json, which is ours and lists the fields that we use.

A field that a schema does not name is an error, and so is a word of a schema that this does not understand.
"""

import json
import re
from pathlib import Path

IGNORED = {"description", "format", "default", "$schema", "$id", "title"}
KNOWN = {"$ref", "type", "properties", "additionalProperties", "required", "items", "enum", "oneOf", "pattern"}
TYPES = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


class Schemas:
    """The schemas of all kinds that may be used."""

    def __init__(self, kubernetes, custom):
        """`kubernetes` is the file of Kubernetes' own definitions, `custom` ours."""
        self.definitions = json.loads(Path(kubernetes).read_text())["$defs"]
        self.kinds = {}
        for name, schema in self.definitions.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
                self.kinds[version, kind["kind"]] = {"$ref": f"#/$defs/{name}"}
        meta = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        for kind, spec in json.loads(Path(custom).read_text()).items():
            version, _, name = kind.rpartition("/")
            fields = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta, "spec": spec}
            self.kinds[version, name] = {
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }

    def errors(self, resource):
        """What is wrong with a resource."""
        kind = resource.get("apiVersion"), resource.get("kind")
        if kind not in self.kinds:
            return [f"no schema knows {kind[0]} {kind[1]}"]
        return list(self._check(resource, self.kinds[kind], ""))

    def _check(self, value, schema, path):
        unknown = [word for word in schema if word not in KNOWN | IGNORED and not word.startswith("x-")]
        if unknown:
            raise ValueError(f"a schema at {path or 'the top'} says {unknown}, which is not understood here")
        if "$ref" in schema:
            yield from self._check(value, self.definitions[schema["$ref"].rpartition("/")[2]], path)
            return
        if "oneOf" in schema:
            if not any(not list(self._check(value, option, path)) for option in schema["oneOf"]):
                yield f"{path}: {value!r} is none of what it may be"
            return
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if types and not any(TYPES[name](value) for name in types):
            yield f"{path}: {value!r} is no {' or '.join(name for name in types if name != 'null')}"
            return
        if value is None:
            yield f"{path}: is empty"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{path}: {value!r} is none of {', '.join(map(str, schema['enum']))}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not look like {schema['pattern']}"
        if isinstance(value, dict):
            yield from self._fields(value, schema, path)
        elif isinstance(value, list) and "items" in schema:
            for number, item in enumerate(value):
                yield from self._check(item, schema["items"], f"{path}[{number}]")

    def _fields(self, value, schema, path):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name in schema.get("required", []):
            if name not in value:
                yield f"{path}: {name} is missing"
        for name, item in value.items():
            if name in fields:
                yield from self._check(item, fields[name], f"{path}.{name}")
            elif others is False:
                yield f"{path}: there is no field {name}"
            elif isinstance(others, dict):
                yield from self._check(item, others, f"{path}.{name}")
