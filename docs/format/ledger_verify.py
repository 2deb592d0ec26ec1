#!/usr/bin/env python3
"""Verifies the evidence ledger of one or several Lifeboat locations, without Lifeboat. Needs nothing but Python 3.8.

    python3 ledger_verify.py --public-key HEX|FILE [--head HASH]... DIRECTORY...

DIRECTORY is a location, or holds a copy of its folder `ledger`. Prints each finding: grade, kind, location, object. Exit code
0: all is there, whole, signed, in place; 3: no entry; 4: a doubt; 6: damage; 2: usage. docs/format/ledger.md has the rest."""
import argparse, datetime, decimal, hashlib, json, os, re, sys
BYTES_MAX, DEPTH_MAX = 1 << 20, 64
FIELDS = {"at", "body", "host", "kind", "previous", "sequence", "software", "version"}

# Ed25519, RFC 8032 section 6; a point is (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def multiply(s, p):
    q = (0, 1, 1, 0)
    while s:
        q, p, s = add(q, p) if s & 1 else q, add(p, p), s >> 1
    return q
def point(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x * ROOT % P if (x * x - x2) % P else x
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P
BASE = point(4 * pow(5, P - 2, P) % P, 0)
def is_signed(key, message, signature):
    number = int.from_bytes(key, "little")
    a, s = point(number & (1 << 255) - 1, number >> 255), int.from_bytes(signature[32:], "little")
    if a is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    x, y, z, _ = add(multiply(s, BASE), multiply(h, (P - a[0], a[1], 1, P - a[3])))  # R = sB - hA
    x, y = x * pow(z, P - 2, P) % P, y * pow(z, P - 2, P) % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]

def canonical(value, depth=0):
    if isinstance(value, (dict, list)) and depth == DEPTH_MAX:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return "{" + ",".join(canonical(n) + ":" + canonical(value[n], depth + 1) for n in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(v, depth + 1) for v in value) + "]"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = float(value)
    if isinstance(value, float):
        return format(decimal.Decimal(repr(value)).normalize(), "f") if value else "0"
    return json.dumps(value, ensure_ascii=False)

def is_entry(whole):
    text = lambda form, value: isinstance(value, str) and re.fullmatch(form, value) is not None
    number = lambda value, most: type(value) is int and 1 <= value <= most
    e = whole["entry"] if isinstance(whole, dict) and set(whole) == {"entry", "key", "signature"} else None
    if not isinstance(e, dict) or set(e) != FIELDS or not isinstance(e["previous"], list):
        return False
    try:
        time = text(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\.[0-9]{6}Z", e["at"])
        time = time and datetime.datetime.strptime(e["at"], "%Y-%m-%dT%H:%M:%S.%fZ").year >= 1970
    except ValueError:
        return False
    previous = all(text("[0-9a-f]{64}", h) for h in e["previous"]) and sorted(set(e["previous"])) == e["previous"]
    return (time and previous and len(e["previous"]) <= 256 and text("(?s).{0,255}", e["host"])
            and text("(?s).{0,255}", e["software"]) and number(e["version"], 1) and number(e["sequence"], 10**12 - 1)
            and text("[a-z0-9_]{1,32}", e["kind"]) and text("[0-9a-f]{16}", whole["key"])
            and text("[0-9a-f]{128}", whole["signature"]))

def judge_alone(name, data, key, identity):
    """What an object's bytes say by themselves: the entry, and the kind of its flaw."""
    if not 0 < len(data) <= BYTES_MAX or hashlib.sha256(data).hexdigest() != name[13:]:
        return None, "changed"
    try:
        whole = json.loads(data.decode(), parse_constant=int)  # int refuses NaN
        _ = [data].index(canonical(whole).encode())  # refuses another form
    except (ValueError, RecursionError, ArithmeticError):
        return None, "not_canonical"
    if not is_entry(whole):
        return None, "malformed"
    message = b"lifeboat/1/ledger/" + canonical(whole["entry"]).encode()
    if whole["key"] != identity or not is_signed(key, message, bytes.fromhex(whole["signature"])):
        return None, "other_key" if whole["key"] != identity else "not_signed"
    return whole["entry"], None if whole["entry"]["sequence"] == int(name[:12]) else "renamed"

def look(place, key, identity, findings):
    """The names there, and by hash the entries that are signed and lie under their own name."""
    names, signed, folder = set(), {}, os.path.join(place, "ledger")
    document = canonical({"algorithm": "ed25519", "id": identity, "public_key": key.hex()}).encode()
    for path in (os.path.join(d, f) for d, _, files in os.walk(folder) for f in files if f[0] != "."):
        name, entry, flaw = os.path.relpath(path, folder), None, "foreign"
        if re.fullmatch(r"[0-9]{12}-[0-9a-f]{64}\.json", name):
            name = name[:-5]
            names.add(name)
        try:
            with open(path, "rb") as file:
                data = file.read(BYTES_MAX + 1)
            if re.fullmatch(r"key-.*\.json", name):
                flaw = None if data.strip() == document and name == "key-%s.json" % identity else "key"
            elif name in names:
                entry, flaw = judge_alone(name, data, key, identity)
        except OSError:
            flaw = "unreadable"
        if flaw:
            findings.add(("damage", flaw, place, name))
        elif entry:
            signed[name[13:]] = (name, entry)
    return names, signed

def main():
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("--public-key", required=True)
    options.add_argument("--head", action="append", default=[])
    options.add_argument("directory", nargs="+")
    given, findings = options.parse_args(), set()
    key = open(given.public_key).read() if os.path.exists(given.public_key) else given.public_key
    key = re.search("(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])", key) or options.error("no public key")
    key, identity = bytes.fromhex(key[0]), hashlib.sha256(bytes.fromhex(key[0])).hexdigest()[:16]
    looks = {place: look(place, key, identity, findings) for place in given.directory}
    known = {hash: found for _, signed in looks.values() for hash, found in signed.items()}
    called = {name[13:]: name for names, _ in reversed(list(looks.values())) for name in sorted(names, reverse=True)}
    called.update((hash, name) for hash, (name, _) in known.items())
    for place, (names, _) in looks.items():
        here = {name[13:] for name in names}
        for name, entry in (known[hash] for hash in here if hash in known and known[hash][0] in names):
            before = [known[h][1]["sequence"] if h in known else None for h in entry["previous"]]
            if None not in before and entry["sequence"] != 1 + max(before, default=0):
                findings.add(("damage", "misplaced", place, name))
            for hash in set(entry["previous"]) - here:
                findings.add(("damage", "removed", place, called.get(hash, hash)))
        for hash, (name, _) in known.items():
            if hash not in here and ("damage", "removed", place, name) not in findings:
                findings.add(("doubt", "lacking", place, name))
    for start in given.head:
        if not any(hash.startswith(start.lower()) for hash in called):
            findings.add(("damage", "truncated", "-", start.lower()))
    followed = {hash for _, entry in known.values() for hash in entry["previous"]}
    heads = sorted(name for hash, (name, _) in known.items() if hash not in followed)
    if len(heads) > 1 and not any(grade == "damage" for grade, *_ in findings):
        findings.update(("doubt", "heads", "-", name) for name in heads)
    print(*(" ".join(finding) for finding in sorted(findings)), sep="\n", end="\n" if findings else "")
    print("%d entries, signed with key %s; head %s" % (len(known), identity, " ".join(heads) or "none"))
    grades = {grade for grade, *_ in findings}
    return 6 if "damage" in grades else 4 if grades else 0 if known else 3

sys.exit(main())
