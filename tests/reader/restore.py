#!/usr/bin/env python3
"""Brings data back from a Lifeboat repository in a directory, with nothing but the passphrase.

Written from docs/format/ alone, as a stranger would: it shares no code with Lifeboat and shows that none is needed.
    restore.py points DIR
    restore.py restore DIR WORKLOAD TARGET [POINT]     the latest point, or the one with this id
    restore.py wal DIR WORKLOAD TARGET                 every file of the workload's log
The passphrase comes from the variable LIFEBOAT_PASSPHRASE, from the file LIFEBOAT_PASSPHRASE_FILE, or is asked for.
Needs Python 3.9 and: pip install cryptography argon2-cffi blake3 zstandard
"""
import getpass, json, os, struct, sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes
import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HEADER, FOOTER, ROW, TAG, CHUNK_MAX, LEAF_SPAN, ZERO = 48, 56, 48, 16, 256 * 1024, 32 * 1024 * 1024, 0xFFFFFFFF
PACK, POINT, LOG, TOC = 1, 3, 4, 1 << 63  # kinds of objects, and the number of a table of contents

def check(fine, what):
    fine or sys.exit(f"damaged: {what}")

def derive(secret, salt, label):
    return HKDF(SHA256(), 32, salt, label).derive(secret)

def unfilter(block):
    """Undoes the filter for database pages (container.md)."""
    lower, upper, special, version = struct.unpack_from("<HHHH", block.ljust(20), 12)
    if len(block) < 8192 or version != 8196 or lower % 4 or not 24 < lower <= upper <= special <= 8192:
        return block
    page, offset, earlier = bytearray(block), special, None
    word = lambda at: int.from_bytes(page[at:at + 4], "little")
    for at in range(24, lower, 4):
        pointer, length = word(at), word(at) >> 17
        offset = pointer + offset - (length + 7 & ~7) & 0x7FFF
        struct.pack_into("<I", page, at, offset | pointer & ~0x7FFF)
        if pointer & 0x8000 and lower <= offset <= 8192 - length:
            back, shared = (offset - earlier[0], min(32, length, earlier[1]) // 4) if earlier else (0, 0)
            for place in reversed(range(offset, offset + shared * 4, 4) if abs(back) >= 4 else ()):
                struct.pack_into("<I", page, place, word(place) + word(place - back) & 0xFFFFFFFF)
            earlier = offset, length
    return bytes(page)

class Keys:
    """The repository key and what is derived from it (keys.md)."""
    def __init__(self, root, passphrase):
        about = json.loads((root / "lifeboat.json").read_bytes())
        text = "\n".join(str(about[field]) for field in ("format", "repository", "created_at", "about"))
        check(about["format"] == 1 and blake3(text.encode()).hexdigest() == about["checksum"], "lifeboat.json")
        self.repository, self.master = bytes.fromhex(about["repository"]), None
        for path in sorted((root / "keys").iterdir()):
            record = path.read_bytes()
            check(blake3(record).hexdigest()[:16] == path.name, path)
            self.master = self.master or self.unwrap(json.loads(record), passphrase)
        self.master or sys.exit("wrong passphrase")
        self.chunk_key, self.object_root = (
            derive(self.master, self.repository, label) for label in (b"lifeboat/1/chunk-id", b"lifeboat/1/object"))

    def unwrap(self, record, passphrase):
        costs = (record["argon2id"][name] for name in ("iterations", "memory_kib", "parallelism"))
        key = hash_secret_raw(passphrase.encode(), bytes.fromhex(record["salt"]), *costs, 32, Type.ID)
        with suppress(Exception):  # another passphrase was used for this record
            return AESGCM(key).decrypt(
                bytes(12), bytes.fromhex(record["wrapped"]), b"lifeboat/1/repository-key/" + self.repository)

    def id_of(self, plain):
        return blake3(plain, key=self.chunk_key).digest()

class Container:
    """A sealed object (docs/format/container.md)."""
    def __init__(self, keys, path, kind):
        self.keys, self.path, self.kind, self.file = keys, path, kind, open(path, "rb")
        check((size := os.fstat(self.file.fileno()).st_size) >= HEADER + FOOTER, path)
        header, footer = self.at(0, HEADER), self.at(size - FOOTER, FOOTER)
        check(struct.unpack_from("<8sHBBHH", header) == (b"LIFEBOAT", 1, kind, 0, 32, 0), f"{path} is of another kind")
        check(blake3(header + footer[:32]).digest()[:16] == footer[32:48] and footer[48:] == b"TAOBEFIL", path)
        toc_at, _, toc_bytes, _, count, first = struct.unpack_from("<QQIIII", footer)
        check(toc_bytes == count * ROW + TAG and first == HEADER, path)
        self.aead = AESGCM(derive(keys.object_root, header[16:48], b"lifeboat/1/object/" + bytes([kind])))
        self.frames = list(struct.iter_unpack("<32sIIII", self.unseal(TOC, self.at(toc_at, toc_bytes))))

    def at(self, offset, length):
        check(len(part := os.pread(self.file.fileno(), length, offset)) == length, self.path)
        return part

    def unseal(self, number, sealed):
        place = struct.pack("<Q", number)
        with suppress(Exception):
            return self.aead.decrypt(bytes(4) + place, sealed, bytes([self.kind]) + place)
        sys.exit(f"damaged: {self.path}, part {number}")

    def frame(self, number):
        frame_id, offset, stored, plain_bytes, packing = self.frames[number]
        plain = self.unseal(number, self.at(offset, stored if plain_bytes <= CHUNK_MAX else 0))
        if packing:
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=plain_bytes)
        if packing == 2:
            plain = b"".join(unfilter(plain[at:at + 8192]) for at in range(0, len(plain), 8192))
        is_it = self.kind == LOG or self.keys.id_of(plain) == frame_id  # of a log's file the whole has an id (log.md)
        return check(len(plain) == plain_bytes and is_it, f"{self.path}, frame {number}") or plain

    def contents(self):
        return b"".join(map(self.frame, range(len(self.frames))))

class Repository:
    def __init__(self, root, passphrase):
        self.root, self.keys, self.chunks, self.open_pack = root, Keys(root, passphrase), {}, (None, None)
        # Every pack has its own table, so the index is not needed; it only saves reading the tables (index.md).
        for path in sorted(root.glob("packs/??/*")):
            try:
                frames = enumerate(Container(self.keys, path, PACK).frames)
                self.chunks.update((frame[0], (path, number)) for number, frame in frames)
            except SystemExit as damage:  # perhaps the point that is wanted doesn't need this pack
                print(damage, file=sys.stderr)

    def chunk(self, chunk_id):
        path, number = self.chunks.get(chunk_id) or check(False, f"chunk {chunk_id.hex()} is in no pack")
        if self.open_pack[0] != path:
            self.open_pack = (path, Container(self.keys, path, PACK))
        return self.open_pack[1].frame(number)

    def point(self, path):
        point = json.loads(Container(self.keys, path, POINT).contents())
        return point if (point["workload"], point["id"]) == path.parts[-2:] else check(False, path)

    def extents(self, entry):
        """(offset in the file, length, chunk or None, offset in the chunk), see tree-and-map.md."""
        content = entry.get("content") or {}
        for offset, length, chunk_id, start in content.get("inline", []):
            yield offset, length, chunk_id and bytes.fromhex(chunk_id), start
        for number, leaf_id in enumerate(content.get("leaves", [])):
            leaf = self.chunk(bytes.fromhex(leaf_id))
            chunk_count, extent_count = struct.unpack_from("<II", leaf)
            check(len(leaf) == 8 + chunk_count * 32 + extent_count * 16, "leaf")
            for row in range(extent_count):
                offset, length, which, start = struct.unpack_from("<IIII", leaf, 8 + chunk_count * 32 + row * 16)
                yield number * LEAF_SPAN + offset, length, None if which == ZERO else leaf[8 + which * 32:][:32], start

    def write_file(self, entry, path):
        with open(path, "xb") as out:
            end = 0
            for offset, length, chunk_id, start in self.extents(entry):
                check(offset == end, entry["path"])
                end += length
                if chunk_id is not None:
                    out.seek(offset)
                    check(out.write(self.chunk(chunk_id)[start:start + length]) == length, entry["path"])
            check(out.truncate(end) == entry["size"], entry["path"])

    def restore(self, point, target):
        os.makedirs(target)
        entries = [entry for chunk in point["tree"] for entry in json.loads(self.chunk(bytes.fromhex(chunk)))]
        for entry in entries:
            raw = unquote_to_bytes(entry["path"])
            check(all(part not in (b"", b".", b"..") for part in raw.split(b"/")), entry["path"])
            path = os.path.join(os.fsencode(target), raw)
            os.makedirs(path if entry["kind"] == "directory" else os.path.dirname(path), exist_ok=True)
            if entry["kind"] == "file":
                self.write_file(entry, path)
                os.chmod(path, entry["mode"] & 0o7777)
            elif entry["kind"] == "link":
                os.symlink(unquote_to_bytes(entry["target"]), path)
        for entry in reversed(entries):  # a directory may forbid writing: its mode comes after its files
            path = os.path.join(os.fsencode(target), unquote_to_bytes(entry["path"]))
            if entry["kind"] == "directory":
                os.chmod(path, entry["mode"] & 0o7777)
            os.utime(path, ns=(entry["modified_ns"],) * 2, follow_symlinks=False)
        print(f"{point['id']}: {len(entries)} entries in {target}")

    def wal(self, workload, target):
        for path in sorted(p for p in (self.root / "wal" / workload).rglob("*") if p.is_file()):
            name, content_id = path.name.rsplit("-", 1)
            content = Container(self.keys, path, LOG).contents()
            check(self.keys.id_of(content).hex()[:32] == content_id, path)
            copy = Path(target) / path.parent.relative_to(self.root / "wal" / workload) / name
            os.makedirs(copy.parent, exist_ok=True)
            copy.write_bytes(content)

def main(command="", root="", workload="", target="", wanted=None):
    if not root or (command != "points" and not target):
        sys.exit(__doc__)
    secret, file = os.environ.get("LIFEBOAT_PASSPHRASE"), os.environ.get("LIFEBOAT_PASSPHRASE_FILE")
    secret = secret or (Path(file).read_text().strip() if file else getpass.getpass("passphrase: "))
    repository = Repository(Path(root), secret)
    points = sorted(repository.root.glob("points/*/*"))
    if command == "points":
        print(*(f"{path.parent.name} {path.name} {repository.point(path)['bytes']}" for path in points), sep="\n")
    elif command == "restore":
        found = [p for p in points if p.parent.name == workload and wanted in (None, p.name)]
        check(found, f"no such point of {workload}")
        repository.restore(repository.point(found[-1]), target)
    else:
        repository.wal(workload, target)

main(*sys.argv[1:])
