#!/usr/bin/env python3
"""Lists every message of a mailkeep store: account, mailbox, UID, flags and keywords, internal date, size; with --out writes
them as OUT/<account>/<mailbox>/<uid>.eml. Written from docs/FORMAT.md alone (its sections are named below), with nothing but
Python's standard library: whatever becomes of the crate, the mail can be read. Changes nothing; needs no footer, no index, no
TAIL. Bodies are verified with --verify, all else always. Exit code 1: damaged (said on stderr), or not a store."""
import argparse, mmap, os, pathlib, struct, sys, urllib.parse
from datetime import datetime, timedelta, timezone

FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]
get, damage = struct.unpack_from, []

def complain(text):
    damage.append(print(text, file=sys.stderr))

TABLE = list(range(256))  # section 3
for _ in range(8):
    TABLE = [(entry >> 1) ^ (0x82F63B78 if entry & 1 else 0) for entry in TABLE]
def crc(seed, data):
    seed ^= 0xFFFFFFFF
    for byte in data:
        seed = TABLE[(seed ^ byte) & 255] ^ (seed >> 8)
    return seed ^ 0xFFFFFFFF

def read(*path):  # a missing file is an empty one: somebody will miss what it holds
    with open(os.path.join(*path) if os.path.exists(os.path.join(*path)) else os.devnull, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""

def sealed(data, magic, versioned=True):  # sections 2 and 3: whether its last four bytes are the checksum of the rest
    good = len(data) >= 64 and data[:8] == magic and crc(0, data[:-4]) == get("<I", data, len(data) - 4)[0]
    if good and versioned and (data[8:10] != b"\1\0" or len(data) == 4096 and any(data[12:16])):
        sys.exit("the store is of a newer format")
    return good

def texts(data, at, count):
    found = []
    for _ in range(count):
        size = get("<H", data, at)[0]
        found.append(data[at + 2:at + 2 + size].decode())
        at += 2 + size
    return found, at

def picked(entries, data, at):  # a UID set: the entries in it, and where it ends
    count = get("<I", data, at)[0]
    ranges = [get("<II", data, at + 4 + 8 * n) for n in range(count)]
    return [uid for uid in entries if any(a <= uid <= b for a, b in ranges)], at + 4 + 8 * count

class Segment:
    def __init__(self, store, folder, edit):
        self.name, self.edit = "%016d.seg" % edit["segment"], edit
        self.data = read(folder, "log", self.name)
        self.limit = min(edit["end"] or len(self.data), len(self.data))
        place = crc(0, store + struct.pack("<QQI", edit["segment"], edit["salt"], edit["generation"]))
        self.sum = lambda number, data: crc(crc(place, struct.pack("<Q", number)), data)
        if self.limit < max(4096, edit["end"]):
            complain(f"{self.name} is missing or cut short")
    def batches(self):  # sections 5 and 13: where one should be, then at each next sector
        at = 4096
        while (at := self.data.find(b"MKBATCH1", at, self.limit)) >= 0:
            raw, step = self.data[at:at + 96], 1
            if at % 512 == 0 and len(raw) == 96 and self.sum(at, raw[12:]) == get("<I", raw, 8)[0]:
                names = "batch epoch nonce first durable ms len head_len records_len count".split()
                head = dict(zip(names, get("<QQ16sQQqIIII", raw, 16)), at=at)
                head.update(end=at + head["len"], next=head["first"] + head["count"], records=at + head["head_len"])
                if head["end"] <= self.limit:
                    yield dict(head, bodies=head["records"] + head["records_len"])
                    step = head["len"]
            at += step
    def torn(self, head):  # whether a sector of the batch was never written
        table = get("<%dI" % (head["len"] // 512), self.data, head["at"] + 96)
        sectors = [(n * 512, self.data[at:at + 512]) for n, at in enumerate(range(head["at"], head["end"], 512))]
        wrong = lambda at, sector, expected: crc(0, sector[max(0, head["head_len"] - at):]) != expected
        return any(not any(sector) and wrong(at, sector, expected) for (at, sector), expected in zip(sectors, table))
    def search(self, number_at, at, end, first, last):  # sound records (number at 16), or body headers (at 8), in a range
        while at + 56 <= end:
            size, number = get("<I", self.data, at + 4)[0], get("<Q", self.data, at + number_at)[0]
            fits = first <= number < last and 56 <= size <= min(end - at, 1 << 24)
            if fits and self.sum(number, self.data[at + 4:at + size]) == get("<I", self.data, at)[0]:
                yield number, at, size
                at += size - 8 if number_at == 16 else 0
            at += 8

class Store:
    def __init__(self, folder):  # section 15
        self.folder, self.accounts, self.bodies, self.edits = folder, {}, {}, {}
        slots = [slot for at in (0, 4096) if sealed(slot := read(folder, "MANIFEST")[at:at + 4096], b"MKMANIF1")]
        manifest = max(slots, key=lambda slot: get("<Q", slot, 56), default=None) or sys.exit("MANIFEST is damaged")
        self.id, (self.durable, count) = manifest[24:40], get("<QQ", manifest, 96)
        slots = [slot for at in (0, 4096) if sealed(slot := read(folder, "TAIL")[at:at + 512], b"MKTAIL01", False)]
        self.durable = max([self.durable] + [get("<Q", slot, 40)[0] for slot in slots if slot[8:24] == self.id])
        data = read(folder, "SEGMENTS")  # section 11
        if not sealed(data[:64], b"MKSEGLS1") or data[10:26] != self.id or len(data) < 64 * (count + 1):
            sys.exit("SEGMENTS is damaged, cut short, or of another store")
        for index in range(count):
            raw = data[64 * (index + 1):64 * (index + 2)]
            edit = dict(zip("crc what zero segment first first_batch end next generation salt".split(), get("<IHHQQQQQIQ", raw)))
            if crc(crc(crc(0, self.id), struct.pack("<Q", index)), raw[4:]) == edit["crc"]:
                self.edits[edit["segment"]] = edit
            else:
                complain(f"edit {index} of SEGMENTS is damaged")
        logs, number = [edit for edit in self.edits.values() if edit["what"] in (1, 2, 3)], 1
        logs.sort(key=lambda edit: (edit["first"], edit["segment"]))
        for edit in logs:
            if edit["first"] > number:
                complain(f"records {number} to {edit['first'] - 1} are not there")
            number = self.read_segment(Segment(self.id, folder, edit), edit["what"] == 1 and edit is logs[-1], edit["first"])
    def read_segment(self, segment, open_end, number):
        batches, at, last = list(segment.batches()), 4096, segment.edit["first_batch"] - 1
        self.durable = max([self.durable, last] + [head["durable"] for head in batches])
        for head in batches:
            if head["at"] > at:  # no batch begins where one should
                if open_end and last >= self.durable and not any(segment.data[at:at + 512]):
                    return number
                bodies = {found: at for found, at, _ in segment.search(8, at, head["at"], number, head["first"])}
                records = sorted(segment.search(16, at, head["at"], number, head["first"]))
                self.apply(segment, records, lambda number, _: bodies.get(number, 0))
                complain(f"{segment.name}: no batch at {at}")
            if open_end and head["batch"] > self.durable and segment.torn(head):
                return number
            records = list(segment.search(16, head["records"], head["bodies"], head["first"], head["next"]))
            if len(records) < head["count"]:
                complain(f"{segment.name}: records of the batch at {head['at']} are damaged")
            self.apply(segment, records, lambda _, offset: head["bodies"] + offset)
            at, last, number = head["end"], head["batch"], head["next"]
        return number
    def apply(self, segment, records, body_at):  # section 8
        for number, at, size in records:
            kind, kind_class, _, mailbox, _, _, owner = get("<BBHIQQ16s", segment.data, at + 8)
            data = segment.data[at + 56:at + size]
            boxes = self.accounts.setdefault(owner, dict(name=owner.hex(), boxes={}))["boxes"]
            box = lambda id: boxes.setdefault(id, dict(parent=0, name=f"Recovered {id}" if id > 1 else "INBOX", entries={}))
            if kind in (1, 2):
                self.accounts[owner]["name"] = texts(data, 4, 1)[0][0]
            elif kind in (4, 5):
                at = 24 if kind == 4 else 8 + 8 * get("<I", data, 4)[0]
                box(mailbox).update(parent=get("<I", data)[0], name=texts(data, at, 1)[0][0])
            elif kind in (3, 6):
                boxes.clear() if kind == 3 else boxes.pop(mailbox, None)
            elif kind in (16, 34, 35):  # 34 names a deferred delivery and is else as 16; 35 has no entry yet
                data = data[8:] if kind == 34 else data
                uid, _, flags, zone, marks, place, date, _, _, _, size, _, _, fields = get("<IIHhHHqqQQQIHH", data)
                marks, at = texts(data, 128 + 6 * fields, marks)[0], get("<Q", data, 96)[0]
                self.bodies[number] = (segment, body_at(number, at))
                entry = dict(flags=flags, marks=set(marks), date=date, zone=zone, size=size)
                if kind != 35:
                    box(mailbox)["entries"].setdefault(uid, dict(entry, body=(place, at if place else number)))
            elif kind == 17:
                add, remove, replace, added, removed, _, principal = get("<HHHHHHI", data)
                uids, at = picked(box(mailbox)["entries"], data, 16)
                marks, at = texts(data, at, added)
                cleared = texts(data, at, removed)[0]
                for entry in [box(mailbox)["entries"][uid] for uid in uids if principal == 0]:
                    entry["flags"] = entry["flags"] & ~remove | add
                    entry["marks"] = (set() if replace else entry["marks"] - set(cleared)) | set(marks)
            elif kind in (18, 19):
                there, here = box(get("<I", data)[0])["entries"], box(mailbox)["entries"]
                for old, new in [get("<II", data, 24 + 16 * n) for n in range(get("<I", data, 4)[0])]:
                    if old in there:
                        here[new] = there.pop(old) if kind == 19 else dict(there[old])
            elif kind == 20:
                for uid in picked(box(mailbox)["entries"], data, 0)[0]:
                    del boxes[mailbox]["entries"][uid]
            elif kind == 32:
                complain("records %d to %d were lost" % get("<QQ", data))
            elif kind not in (7, 8, 33, 38) and kind_class == 0:
                sys.exit(f"record {number} is of kind {kind}: the store is of a newer format")
    def body(self, place, number, verify):  # sections 7 and 14
        segment, at = (Segment(self.id, self.folder, self.edits[number]), 4096) if place == 2 else self.bodies[number]
        size, stored, _, key, codec = *get("<I", segment.data, at + 4), *get("<IIIB", segment.data, at + 40)
        data = segment.data[at + size:at + size + stored]
        if not at or not any(segment.search(8, at, at + size, number, number + 1)) or key or codec or len(data) != stored:
            raise ValueError("its body is damaged")
        chunks = enumerate(get("<%dI" % -(-stored // 65536), segment.data, at + 56))
        if verify and any(crc(0, data[n << 16:(n + 1) << 16]) != expected for n, expected in chunks):
            raise ValueError("its checksum is wrong")
        return data

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store"), parser.add_argument("--out"), parser.add_argument("--verify", action="store_true")
options = parser.parse_args()
store = Store(options.store)
safe = lambda name: urllib.parse.quote(name, safe=" @+")[:200].replace("..", "%2E%2E")
for account in sorted(store.accounts.values(), key=lambda account: account["name"]):
    for number, mailbox in account["boxes"].items():
        levels = []
        while number in account["boxes"] and len(levels) < 64:
            levels, number = [account["boxes"][number]["name"]] + levels, account["boxes"][number]["parent"]
        for uid, entry in sorted(mailbox["entries"].items()):
            marks = [name for bit, name in enumerate(FLAGS) if entry["flags"] >> bit & 1] + sorted(entry["marks"])
            zone = timedelta(minutes=entry["zone"])
            date = datetime(1970, 1, 1, tzinfo=timezone(zone)) + zone + timedelta(seconds=entry["date"])
            print(account["name"], "/".join(levels), uid, " ".join(marks), date.isoformat(), entry["size"], sep="\t")
            try:
                message = store.body(*entry["body"], options.verify) if options.out or options.verify else None
                if options.out:
                    folder = pathlib.Path(options.out, *map(safe, [account["name"]] + levels))
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"{uid}.eml").write_bytes(message)
            except (ValueError, KeyError, struct.error) as error:
                complain(f"message {uid} of {'/'.join(levels)} of {account['name']}: {error}")
sys.exit(bool(damage))
