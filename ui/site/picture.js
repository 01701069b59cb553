// From a file to the bytes that are sent: the file's own, unless the server would not see what people see.
import { Failure } from "./api.js";
import { orientationOf } from "./exif.js";

const LARGEST_FILE = 64_000_000;
const LARGEST_SENT = 4_000_000;
const LONGEST_SIDE = 2048;
const QUALITY = 0.92;
const HEAD_BYTES = 256 * 1024;

// { blob, note }: `note` says what was done to the picture, "" for nothing.
export async function prepare(file) {
  if (file.size > LARGEST_FILE) {
    throw new Failure(`The file has ${sizeInWords(file.size)}; pictures up to ${sizeInWords(LARGEST_FILE)} can be sent.`);
  }
  const head = await headOf(file);
  const reasons = [];
  if (isJpeg(head) && orientationOf(head) !== 1) reasons.push("turned upright, as its EXIF data says");
  if (file.size > LARGEST_SENT) reasons.push(`the file is larger than ${sizeInWords(LARGEST_SENT)}`);
  if (!isKnown(head)) reasons.push("the server does not read the file's format");
  if (reasons.length === 0) return { blob: file, note: "" };
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    // The browser cannot read it either: the server says what is wrong with it.
    return { blob: file, note: "" };
  }
  const { blob, width, height } = await redraw(image);
  return { blob, note: `Sent as a new JPEG, ${width} × ${height}, ${sizeInWords(blob.size)}: ${reasons.join("; ")}.` };
}

// The body of a question about one picture.
export async function questionOf(blob) {
  const reader = new FileReader();
  await new Promise((done, fail) => {
    reader.onload = done;
    reader.onerror = () => fail(unreadable());
    reader.readAsDataURL(blob);
  });
  return `{"instances":[{"b64":"${reader.result.slice(reader.result.indexOf(",") + 1)}"}]}`;
}

export function sizeInWords(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 999_500 ? `${Math.round(bytes / 1000)} kB` : `${Math.round(bytes / 100_000) / 10} MB`;
}

async function headOf(file) {
  try {
    return new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  } catch {
    throw unreadable();
  }
}

const unreadable = () => new Failure("The file cannot be read: is it a folder, or has it changed?");

function isJpeg(head) {
  return head[0] === 0xff && head[1] === 0xd8;
}

function isKnown(head) {
  const text = String.fromCharCode(...head.slice(0, 12));
  return isJpeg(head) || /^(\x89PNG|GIF8|BM|RIFF....WEBP)/s.test(text);
}

async function redraw(image) {
  const share = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * share));
  canvas.height = Math.max(1, Math.round(image.height * share));
  const context = canvas.getContext("2d");
  // JPEG has no transparency; it would come out black.
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  if (blob === null) throw new Failure("The browser cannot redraw this picture.");
  return { blob, width: canvas.width, height: canvas.height };
}
