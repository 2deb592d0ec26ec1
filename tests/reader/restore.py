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
    if not fine:
        sys.exit(f"damaged: {what}")


class Keys:
    """The repository key and what is derived from it (docs/format/keys.md)."""
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
            self.derive(self.master, self.repository, b"lifeboat/1/" + label) for label in (b"chunk-id", b"object"))

    def unwrap(self, record, passphrase):
        cost, salt = record["argon2id"], bytes.fromhex(record["salt"])
        costs = cost["iterations"], cost["memory_kib"], cost["parallelism"]
        key = hash_secret_raw(passphrase.encode(), salt, *costs, 32, Type.ID)
        try:
            name = b"lifeboat/1/repository-key/" + self.repository
            return AESGCM(key).decrypt(bytes(12), bytes.fromhex(record["wrapped"]), name)
        except Exception:  # another passphrase was used for this record
            return None

    def derive(self, secret, salt, label):
        return HKDF(SHA256(), 32, salt, label).derive(secret)

    def id_of(self, plain):
        return blake3(plain, key=self.chunk_key).digest()


class Container:
    """A sealed object (docs/format/container.md)."""
    def __init__(self, keys, path, kind):
        self.keys, self.path, self.file = keys, path, open(path, "rb")
        size = os.fstat(self.file.fileno()).st_size
        check(size >= HEADER + FOOTER, path)
        header, footer = self.at(0, HEADER), self.at(size - FOOTER, FOOTER)
        check(header[:8] == b"LIFEBOAT" and footer[48:] == b"TAOBEFIL", path)
        self.kind = kind
        check(struct.unpack_from("<HBBHH", header, 8) == (1, kind, 0, 32, 0), f"{path} is of another kind")
        check(blake3(header + footer[:32]).digest()[:16] == footer[32:48], path)
        toc_at, _, toc_bytes, _, count, first = struct.unpack_from("<QQIIII", footer)
        check(toc_bytes == count * ROW + TAG and first == HEADER, path)
        self.aead = AESGCM(keys.derive(keys.object_root, header[16:48], b"lifeboat/1/object/" + bytes([kind])))
        self.frames = list(struct.iter_unpack("<32sIIII", self.unseal(TOC, self.at(toc_at, toc_bytes))))

    def at(self, offset, length):
        self.file.seek(offset)
        part = self.file.read(length)
        check(len(part) == length, self.path)
        return part

    def unseal(self, number, sealed):
        place = struct.pack("<Q", number)
        try:
            return self.aead.decrypt(bytes(4) + place, sealed, bytes([self.kind]) + place)
        except Exception:
            sys.exit(f"damaged: {self.path}, part {number}")

    def frame(self, number):
        frame_id, offset, stored, plain_bytes, compressed = self.frames[number]
        plain = self.unseal(number, self.at(offset, stored if plain_bytes <= CHUNK_MAX else 0))
        if compressed:
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=plain_bytes)
        check(len(plain) == plain_bytes and self.keys.id_of(plain) == frame_id, f"{self.path}, frame {number}")
        return plain

    def contents(self):
        return b"".join(map(self.frame, range(len(self.frames))))

class Repository:
    def __init__(self, root, passphrase):
        self.root, self.keys, self.chunks, self.open_pack = root, Keys(root, passphrase), {}, (None, None)
        # Every pack has its own table, so the index is not needed; it only saves reading the tables (index.md).
        for path in sorted(root.glob("packs/??/*")):
            try:
                frames = Container(self.keys, path, PACK).frames
            except SystemExit as damage:  # perhaps the point that is wanted doesn't need this pack
                print(damage, file=sys.stderr)
                continue
            self.chunks.update((frame[0], (path, number)) for number, frame in enumerate(frames))

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
            check(end == entry["size"], entry["path"])
            out.truncate(end)

    def restore(self, point, target):
        os.makedirs(target)
        entries = [entry for chunk in point["tree"] for entry in json.loads(self.chunk(bytes.fromhex(chunk)))]
        for entry in entries:
            raw = unquote_to_bytes(entry["path"])
            check(all(part not in (b"", b".", b"..") for part in raw.split(b"/")), entry["path"])
            path = os.path.join(os.fsencode(target), raw)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if entry["kind"] == "file":
                self.write_file(entry, path)
                os.chmod(path, entry["mode"] & 0o7777)
            elif entry["kind"] == "link":
                os.symlink(unquote_to_bytes(entry["target"]), path)
            else:
                os.makedirs(path, exist_ok=True)
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
            directory = Path(target) / path.parent.relative_to(self.root / "wal" / workload)
            os.makedirs(directory, exist_ok=True)
            (directory / name).write_bytes(content)


def main(arguments):
    if len(arguments) < 2 or (arguments[0] != "points" and len(arguments) < 4):
        sys.exit(__doc__)
    secret, file = os.environ.get("LIFEBOAT_PASSPHRASE"), os.environ.get("LIFEBOAT_PASSPHRASE_FILE")
    secret = Path(file).read_text().strip() if secret is None and file else secret
    repository = Repository(Path(arguments[1]), getpass.getpass("passphrase: ") if secret is None else secret)
    points = sorted(repository.root.glob("points/*/*"))
    if arguments[0] == "points":
        for path in points:
            print(path.parent.name, path.name, repository.point(path)["bytes"])
    elif arguments[0] == "restore":
        wanted = arguments[4] if len(arguments) > 4 else None
        found = [p for p in points if p.parent.name == arguments[2] and wanted in (None, p.name)]
        check(found, f"no such point of {arguments[2]}")
        repository.restore(repository.point(found[-1]), arguments[3])
    else:
        repository.wal(arguments[2], arguments[3])


main(sys.argv[1:])
