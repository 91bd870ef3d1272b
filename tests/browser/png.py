"""Makes a screenshot small: 256 colours, which pages of few colours are well shown by."""

import base64
import struct
import zlib

from playwright.async_api import Page

# Rounds colours, more coarsely until 256 are left; gives the palette, and each pixel's place in it.
_REDUCE = """async (png) => {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  for (let step = 8; ; step += 4) {
    const round = value => Math.min(255, Math.round(value / step) * step);
    const places = new Map();
    const pixels = new Uint8Array(width * height);
    for (let i = 0; i < pixels.length && places.size <= 256; i++) {
      const color = (round(data[4 * i]) << 16) | (round(data[4 * i + 1]) << 8) | round(data[4 * i + 2]);
      if (!places.has(color)) places.set(color, places.size);
      pixels[i] = places.get(color);
    }
    if (places.size > 256) continue;
    const text = [...pixels].map(place => String.fromCharCode(place)).join("");
    return { width, height, palette: [...places.keys()], pixels: btoa(text) };
  }
}"""


async def shrink(png: bytes, page: Page) -> bytes:
    """The same picture with a palette. ``page`` is an empty one, which does the decoding."""
    reduced = await page.evaluate(_REDUCE, base64.b64encode(png).decode())
    width, height, pixels = reduced["width"], reduced["height"], base64.b64decode(reduced["pixels"])
    rows = b"".join(b"\0" + pixels[start : start + width] for start in range(0, len(pixels), width))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", b"".join(color.to_bytes(3) for color in reduced["palette"])),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
