// Reads every embedding of a publisher, encrypted, in order and without a hole: node reader.mjs ENDPOINT [KEYFILE]
// docs/wire-format.md says what the keys of a header mean. Ends when a stream says that it ended.
import { readFileSync } from "node:fs";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer, Subscriber } from "zeromq";

const [endpoint, keyFile] = process.argv.slice(2);
const replay = endpoint.startsWith("tcp:")
  ? endpoint.replace(/\d+$/, (port) => Number(port) + 1)
  : `${endpoint}.replay`;

function curve() {
  if (!keyFile) return {};
  const text = readFileSync(keyFile, "ascii");
  const value = (name) => text.match(`${name} = "(.+)"`)[1];
  return { curvePublicKey: value("public"), curveSecretKey: value("secret"), curveServerKey: value("server") };
}

// IEEE 754 binary16 or binary32, little-endian
function vector(bytes, dtype) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (dtype === "<f4") return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const half = view.getUint16(2 * i, true);
    const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
  });
}

const options = { receiveHighWaterMark: 1000, maxMessageSize: 16 << 20, ...curve() };
const live = new Subscriber(options);
const asking = new Dealer({ ...options, linger: 0 });
live.subscribe("e/", "h/", "s/"); // embeddings first: whatever a heartbeat counts was then subscribed to
live.connect(endpoint);
asking.connect(replay);

const next = new Map(); // the number expected, by stream

function deliver([, header, payload]) {
  const h = decode(header, { useBigInt64: true });
  const q = Number(h.q);
  if (q < (next.get(h.id) ?? q)) return; // a duplicate
  next.set(h.id, q + 1);
  const sum = vector(payload, h.dt).reduce((total, value) => total + value, 0);
  console.log(JSON.stringify({ id: h.id, ep: Number(h.ep), q, kind: h.k, dim: h.sh.at(-1), sum }));
}

async function ask(request) {
  await asking.send(encode({ v: 1, r: 0, ...request }));
  const [head, ...frames] = await asking.receive();
  const reply = decode(head, { useBigInt64: true });
  const messages = [];
  for (let i = 0; i < frames.length; i += reply.fs) messages.push(frames.slice(i, i + reply.fs));
  return { reply, messages };
}

// Asks for the numbers from the expected one up to, not including, `end`.
async function catchUp(id, end) {
  while (next.get(id) < end) {
    const from = next.get(id);
    const { reply, messages } = await ask({ k: "get", id, ch: "e", lo: from, hi: end - 1 });
    messages.forEach(deliver);
    if (reply.hi === null || reply.hi < from) return; // not there yet: the next heartbeat asks again
    if (next.get(id) <= reply.hi) {
      console.error(`lost: ${next.get(id)} to ${reply.hi}`);
      next.set(id, Number(reply.hi) + 1);
    }
  }
}

console.error("ready");
for await (const frames of live) {
  const h = decode(frames[1], { useBigInt64: true });
  if (h.v !== 1) throw new Error(`wire version ${h.v}`);
  const topic = frames[0].toString();
  const before = Number(topic.startsWith("e/") ? (h.pq === null ? h.q0 : BigInt(h.pq) + 1n) : h.nq);
  // From the oldest that is kept; for "live" this would be `before`.
  if (!next.has(h.id)) next.set(h.id, Number(h.ok ?? h.q0));
  await catchUp(h.id, before);
  if (topic.startsWith("e/")) deliver(frames);
  if (h.st === "ended") break;
}
live.close();
asking.close();
