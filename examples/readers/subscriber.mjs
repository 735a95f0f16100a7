// Prints what a publisher sends from now on: node subscriber.mjs ENDPOINT
// Needs `npm install` in this folder. reader.mjs is the one that misses nothing: it asks for what got lost, and has keys.
import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

const endpoint = process.argv[2] ?? "tcp://127.0.0.1:5555";
const socket = new Subscriber({ receiveHighWaterMark: 1000, maxMessageSize: 16 << 20 });
socket.subscribe("e/", "s/"); // embeddings and status
socket.connect(endpoint);
console.error(`listening on ${endpoint}`);

// float16 numbers, little-endian, as Node.js reads them
function vector(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const half = view.getUint16(2 * i, true);
    const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
  });
}

let last = null;
function distance(now) {
  if (!last || last.length !== now.length) return 0;
  const dot = now.reduce((sum, value, i) => sum + value * last[i], 0);
  return 1 - dot / (Math.hypot(...now) * Math.hypot(...last));
}

for await (const [topic, header, payload] of socket) {
  const h = decode(header, { useBigInt64: true });
  if (topic.toString().startsWith("e/")) {
    const now = h.dt === "<f2" ? vector(payload) : new Float32Array(payload.buffer.slice(payload.byteOffset, payload.byteOffset + payload.length));
    console.log(`${h.id} #${h.q} ${h.k}: ${now.length} numbers, ${distance(now).toFixed(4)} from the one before`);
    last = now;
  } else if (h.st === "ended") break;
}
socket.close();
