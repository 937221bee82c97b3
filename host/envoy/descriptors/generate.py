#!/usr/bin/env python3
"""Writes envoy.binpb.z: the descriptors of Envoy's v3 API, which say what its messages look like.

They are taken from the Python package `xds-protos` (Apache-2.0, by the gRPC authors), which is generated from
envoyproxy/data-plane-api, cncf/xds and what those import:

    python3 -m venv /tmp/xds && /tmp/xds/bin/pip install xds-protos==1.85.0
    /tmp/xds/bin/python host/envoy/descriptors/generate.py

What reading messages does not need is left out: comments, services, and options other than `map_entry` and `packed`.
"""

import importlib
import pathlib
import pkgutil
import re
import zlib

import envoy
import google.protobuf
import udpa
import xds
from google.protobuf import descriptor_pb2

# What can stand in a configuration.
ROOTS = ("envoy/config/", "envoy/extensions/", "envoy/type/", "envoy/service/runtime/", "xds/", "udpa/")
# Envoy reads no messages of its second version any more.
LEFT_OUT = re.compile(r"/annotations/|/v2(alpha|beta)?[0-9]*/|^envoy/api/")


def modules():
    for package in (envoy, xds, udpa):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.endswith("_pb2"):
                yield module.name


def collect():
    files = {}

    def add(descriptor):
        if descriptor.name in files:
            return
        files[descriptor.name] = None  # its place: dependencies come first
        for dependency in descriptor.dependencies:
            add(dependency)
        del files[descriptor.name]
        proto = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(proto)
        files[descriptor.name] = proto

    for name in sorted(modules()):
        add(importlib.import_module(name).DESCRIPTOR)
    return files


def strip_message(message):
    map_entry = message.options.map_entry
    message.ClearField("options")
    message.ClearField("extension")
    message.ClearField("reserved_name")
    message.ClearField("reserved_range")
    if map_entry:
        message.options.map_entry = True
    for field in message.field:
        packed = field.options.packed if field.options.HasField("packed") else None
        field.ClearField("options")
        field.ClearField("json_name")
        if packed is not None:
            field.options.packed = packed
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for enum in message.enum_type:
        strip_enum(enum)
    for nested in message.nested_type:
        strip_message(nested)


def strip_enum(enum):
    aliases = enum.options.allow_alias
    for field in ("options", "reserved_name", "reserved_range"):
        enum.ClearField(field)
    if aliases:
        enum.options.allow_alias = True
    for value in enum.value:
        value.ClearField("options")


def strip(file):
    for field in ("options", "service", "extension", "source_code_info", "public_dependency", "weak_dependency"):
        file.ClearField(field)
    for message in file.message_type:
        strip_message(message)
    for enum in file.enum_type:
        strip_enum(enum)


def references(file):
    """Types that a file's messages have fields of."""
    names, todo = set(), list(file.message_type)
    while todo:
        message = todo.pop()
        todo += message.nested_type
        names.update(field.type_name for field in message.field if field.type_name)
    return names


def definitions(file):
    names = set()

    def walk(prefix, messages, enums):
        names.update(f"{prefix}.{enum.name}" for enum in enums)
        for message in messages:
            name = f"{prefix}.{message.name}"
            names.add(name)
            walk(name, message.nested_type, message.enum_type)

    walk("." + file.package if file.package else "", file.message_type, file.enum_type)
    return names


def prune(files):
    """Imports that stripped options alone have needed, and then files that nobody needs."""
    home = {name: path for path, file in files.items() for name in definitions(file)}
    for path, file in files.items():
        needed = sorted({home[name] for name in references(file)} - {path})
        file.ClearField("dependency")
        file.dependency.extend(needed)
    needed = set()
    todo = [p for p in files if p.startswith(ROOTS) and not LEFT_OUT.search(p)]
    # Well-known types are looked for by their names inside of `Any`, too.
    todo += [p for p in files if p.startswith("google/protobuf/") and not p.endswith("descriptor.proto")]
    while todo:
        path = todo.pop()
        if path not in needed:
            needed.add(path)
            todo += files[path].dependency
    return {path: file for path, file in files.items() if path in needed and (file.message_type or file.enum_type)}


def main():
    for name in ("any", "duration", "empty", "struct", "timestamp", "wrappers"):
        importlib.import_module(f"google.protobuf.{name}_pb2")
    files = collect()
    for file in files.values():
        strip(file)
    files = prune(files)
    data = descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)
    packed = zlib.compress(data, 9)
    path = pathlib.Path(__file__).parent / "envoy.binpb.z"
    path.write_bytes(packed)
    print(f"{path.name}: {len(files)} files, {len(data)} bytes, {len(packed)} packed (protobuf {google.protobuf.__version__})")


if __name__ == "__main__":
    main()
