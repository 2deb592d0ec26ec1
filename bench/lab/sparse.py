"""A cluster that is far larger than the disk: a real one, with relation files added that are nearly all holes."""

import os
import struct

from lab.shop import Shop, give_to_postgres

SEGMENT_BYTES = 1 << 30
PAGE_BYTES = 8192
# Of an empty page: no checksum, free from byte 24 to the end, layout 4.
HEADER = struct.pack("<QHHHHHHI", 1, 0, 0, 24, PAGE_BYTES, PAGE_BYTES, PAGE_BYTES | 4, 0)


class SparseShop(Shop):
    """A cluster with a table of many sparse segments, which no catalogue knows."""

    def build(self):
        super().build()
        # The pages that are added have none.
        self.call("pg_checksums", "--disable", "-D", self.data, check=False)

    def grow(self, segments, every):
        """The table has so many segments, with a page of random bytes in each `every` pages."""
        base = self.data / "base" / "1"
        for path in base.glob("999999*"):
            path.unlink()
        for number in range(segments):
            path = base / ("999999" if number == 0 else f"999999.{number}")
            with open(path, "wb") as file:
                for page in range(0, SEGMENT_BYTES // PAGE_BYTES, every):
                    file.seek(page * PAGE_BYTES)
                    file.write(HEADER)
                    file.seek(page * PAGE_BYTES + 4096)
                    file.write(os.urandom(64))
                file.truncate(SEGMENT_BYTES)
            path.chmod(0o600)
            give_to_postgres(path)
