// Misbehaving clients, in their own process, so that they disturb the server and not the load
// generator: one never reads, one sends a byte a second, one sends garbage. The argument is a port.
import { connect, type Socket } from "node:net";

const port = Number(process.argv[2]);
const GARBAGE_MS = 20;

function open(): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  return socket;
}

const deaf = open();
deaf.pause();
deaf.write("get key:00000001\r\n".repeat(50_000));

const slow = open();
const letters = `set slow 0 0 1000\r\n${"x".repeat(1000)}\r\n`;
let at = 0;
slow.write(letters[at++]!);
setInterval(() => slow.write(letters[at++ % letters.length]!), 1000);

let noisy = open();
setInterval(() => {
  if (noisy.destroyed || !noisy.writable) noisy = open();
  noisy.write(Buffer.alloc(1000, 0xa7));
}, GARBAGE_MS);
