// The EXIF orientation of a JPEG file: 1 for upright, also where it is not said or cannot be read.
export function orientationOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return read(view);
  } catch (error) {
    // Beyond the end of the bytes.
    if (error instanceof RangeError) return 1;
    throw error;
  }
}

function read(view) {
  let place = 2;
  // Segments up to the first one that is no marker, or the picture itself.
  while (view.getUint8(place) === 0xff && view.getUint8(place + 1) !== 0xda) {
    const isExif = view.getUint8(place + 1) === 0xe1 && view.getUint32(place + 4) === 0x45786966;
    if (isExif) return readTiff(view, place + 10);
    place += 2 + view.getUint16(place + 2);
  }
  return 1;
}

function readTiff(view, start) {
  const isLittle = view.getUint16(start) === 0x4949;
  const folder = start + view.getUint32(start + 4, isLittle);
  const count = view.getUint16(folder, isLittle);
  for (let i = 0; i < count; i++) {
    const entry = folder + 2 + 12 * i;
    if (view.getUint16(entry, isLittle) !== 0x0112) continue;
    const value = view.getUint16(entry + 8, isLittle);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}
