"""Pictures of an X server's memory as PNG files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An RGB picture (height, width, 3) as a PNG file (ISO/IEC 15948), each row filtered by its left neighbour
    ("Sub").
    """
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = 1
    flat = pixels.reshape(height, width * 3)
    rows[:, 1:4] = flat[:, :3]
    np.subtract(flat[:, 3:], flat[:, :-3], out=rows[:, 4:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def decode_zpixmap(
    data: bytes, width: int, height: int, bits_per_pixel: int, masks: tuple[int, int, int], *, big_endian: bool
) -> npt.NDArray[np.uint8]:
    """An X image in ZPixmap format, rows padded to 32 bits, as RGB (height, width, 3).

    `masks` are the visual's red, green and blue masks (8 bits a pixel or more, TrueColor).
    Raises ValueError for other depths.
    """
    if bits_per_pixel not in (16, 24, 32):
        raise ValueError(
            f"a picture of {bits_per_pixel} bits a pixel: only TrueColor displays of 16 bits and more are read"
        )
    size = bits_per_pixel // 8
    stride = (width * bits_per_pixel + 31) // 32 * 4
    raw = np.frombuffer(data, np.uint8, count=stride * height).reshape(height, stride)[:, : width * size]
    channels = raw.reshape(height, width, size).astype(np.uint32)
    order = range(size - 1, -1, -1) if big_endian else range(size)
    values = np.zeros((height, width), np.uint32)
    for shift, byte in enumerate(order):
        values |= channels[:, :, byte] << np.uint32(8 * shift)
    picture = np.empty((height, width, 3), np.uint8)
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        top = mask >> shift
        part = (values & np.uint32(mask)) >> np.uint32(shift)
        picture[:, :, channel] = part if top == 255 else (part * 255 + top // 2) // top
    return picture
