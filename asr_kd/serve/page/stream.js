// One model's stream: samples to the server, results to whoever shows them.

const PIECE = 4000;
const MAX_WAITING_BYTES = 1 << 18;
const LOOK_MS = 50;

/** onResult gets each message of the server (docs/serve.md), and an `error` where the connection ends without one. */
export class ModelStream {
  constructor(start, onResult) {
    const url = new URL("stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    let isOver = false;
    this.isOpen = new Promise((resolve) => {
      this.socket.onopen = () => {
        this.socket.send(JSON.stringify(start));
        resolve();
      };
      this.isOver = new Promise((resolveOver) => {
        this.socket.onmessage = ({ data }) => {
          const result = JSON.parse(data);
          isOver = result.type === "end" || result.type === "error";
          onResult(result);
        };
        this.socket.onclose = ({ code }) => {
          if (!isOver) onResult({ type: "error", message: `The connection to the server has ended (code ${code}). Reload the page.` });
          resolve();
          resolveOver();
        };
      });
    });
  }

  /** Sends samples as fast as the server takes them. */
  async pass(samples) {
    await this.isOpen;
    for (let start = 0; start < samples.length; start += PIECE) {
      while (this.isUsable && this.socket.bufferedAmount > MAX_WAITING_BYTES) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
      if (!this.isUsable) return;
      this.socket.send(samples.slice(start, start + PIECE));
    }
  }

  /** No more samples come; resolves when the last result has come. */
  async finish() {
    await this.isOpen;
    if (this.isUsable) this.socket.send(JSON.stringify({ end: true }));
    await this.isOver;
  }

  get isUsable() {
    return this.socket.readyState === WebSocket.OPEN;
  }
}
