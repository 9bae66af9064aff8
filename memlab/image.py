r"""A machine in a file: a header, the shape of the machine, its RAM, and a checksum over it all.

    8 bytes  magic "memlab\r\n"        4 bytes  version        4 bytes  length of the JSON that follows
    JSON: config, page numbers          zlib: kernel area, mem_map, touched pages          32 bytes  SHA-256 of all before

Used through ``m.save`` and ``Machine.load``.  Imports config and ram.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Final

from .config import Config, make_config
from .ram import Snapshot

MAGIC: Final = b"memlab\r\n"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sII")


def save(path: str | os.PathLike[str], config: Config, snapshot: Snapshot) -> None:
    """Write a machine's shape and RAM to a file."""
    kernel, mem_map, pages, stat_bytes = snapshot.parts()
    meta = {"config": asdict(config), "kernel": len(kernel), "mem_map": len(mem_map), "pages": sorted(pages), "stat": stat_bytes}
    text = json.dumps(meta).encode()
    body = zlib.compress(b"".join([kernel, mem_map, *(pages[pfn] for pfn in sorted(pages))]))
    data = _HEAD.pack(MAGIC, VERSION, len(text)) + text + body
    Path(path).write_bytes(data + hashlib.sha256(data).digest())


def load(path: str | os.PathLike[str]) -> tuple[Config, Snapshot]:
    """Read what save wrote.  ValueError with one sentence if the file is foreign, newer, truncated or damaged; OSError if it is not there."""
    data = Path(path).read_bytes()
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is not a memlab machine: such a file begins with {MAGIC!r}; Machine.save writes one")
    if len(data) < _HEAD.size + 32:
        raise ValueError(f"{path} is truncated: only {len(data)} bytes are there; save the machine again")
    _, version, length = _HEAD.unpack_from(data)
    if version > VERSION:
        raise ValueError(f"{path} was saved by a newer memlab (format {version}; this one reads up to {VERSION}); update memlab to load it")
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError(f"{path} is truncated or damaged: its checksum does not fit its contents; save the machine again")
    meta = json.loads(data[_HEAD.size : _HEAD.size + length])
    body = memoryview(zlib.decompress(data[_HEAD.size + length : -32]))
    kernel, rest = bytes(body[: meta["kernel"]]), body[meta["kernel"] :]
    mem_map, rest = bytes(rest[: meta["mem_map"]]), rest[meta["mem_map"] :]
    config = make_config(**meta["config"])
    size = config.page_size
    pages = {pfn: bytes(rest[i * size : (i + 1) * size]) for i, pfn in enumerate(meta["pages"])}
    return config, Snapshot(kernel, mem_map, pages, meta["stat"])
