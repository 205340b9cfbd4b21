// The network over one utterance: windows of audio in, log-posteriors out. Its state is kept here (asr_kd's audio form).

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import { concatenated } from "./samples.js";

const heaps = [];
const { Memory } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(descriptor) {
    super(descriptor);
    heaps.push(this);
  }
};

/** Bytes of WebAssembly's memory. */
export const heapBytes = () => heaps.reduce((sum, heap) => sum + heap.buffer.byteLength, 0);

/** One thread: more need headers that a plain web server does not send. */
export function loadSession(bytes) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

export class NetworkStream {
  /** sizes: `network` of model.json. */
  constructor(session, sizes) {
    Object.assign(this, { session, sizes, audio: new Float32Array(0), isBegun: false });
    this.state = new ort.Tensor("float32", new Float32Array(sizes.state), [1, sizes.state]);
    this.count = int64(0);
  }

  /** Samples that are still needed for the next window. */
  missing() {
    const { mirrored, windowSamples } = this.sizes;
    const before = this.isBegun ? 0 : mirrored;
    return Math.max(windowSamples - before, before) - this.audio.length;
  }

  /** Log-posteriors of the frames that are known now: [Float32Array of frames x classes, ...]. */
  async accept(samples) {
    this.audio = concatenated(this.audio, samples);
    if (!this.isBegun && this.audio.length >= this.sizes.mirrored) {
      this.audio = concatenated(this.audio.slice(0, this.sizes.mirrored).reverse(), this.audio);
      this.isBegun = true;
    }
    const found = [];
    while (this.isBegun && this.audio.length >= this.sizes.windowSamples) found.push(await this.next(this.sizes.window));
    return found;
  }

  /** Those of the last frames; the utterance is over. */
  async finish() {
    const { chunk, classes } = this.sizes;
    const found = [];
    for (let frames = this.wholeFrames(); frames > 0; frames -= chunk) {
      found.push((await this.next(frames)).subarray(0, Math.min(frames, chunk) * classes));
    }
    return found;
  }

  wholeFrames() {
    const { frameLength, frameShift, stack } = this.sizes;
    if (!this.isBegun || this.audio.length < frameLength) return 0;
    return Math.floor((1 + Math.floor((this.audio.length - frameLength) / frameShift)) / stack);
  }

  async next(frames) {
    const { window, windowSamples, chunkSamples } = this.sizes;
    const audio = new Float32Array(windowSamples);
    audio.set(this.audio.subarray(0, windowSamples));
    this.audio = this.audio.subarray(chunkSamples);
    const answer = await this.session.run({
      audio: new ort.Tensor("float32", audio, [1, windowSamples]),
      frames: int64(Math.min(frames, window)),
      state: this.state,
      count: this.count,
    });
    this.state = answer.next_state;
    this.count = answer.next_count;
    return answer.log_posteriors.data;
  }
}

const int64 = (value) => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1]);
