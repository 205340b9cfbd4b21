// Any sample rate to another, piece by piece. Browsers' own resamplers take off what lies above 7 kHz at 16 kHz, which
// models read: Chromium's is 26 dB down at 7.5 kHz.

import { concatenated } from "./samples.js";

const ZEROS = 74; // of the sinc to either side, for a transition from 0.91 of the band to its end at 100 dB
const BETA = 10.06;
const CUTOFF = 0.956;

function besselI0(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

export class Resampler {
  constructor(from, to) {
    const common = divisor(from, to);
    this.up = to / common;
    this.down = from / common;
    const cutoff = CUTOFF * Math.min(1, to / from); // of the band of the input
    this.reach = Math.ceil(ZEROS / Math.min(1, to / from)); // samples to either side
    this.kernels = Array.from({ length: this.up }, (_, phase) => this.kernel(phase / this.up, cutoff));
    this.waiting = new Float32Array(this.reach); // as if silence came before
    this.place = 0; // of the next sample: place / up behind the first that waits `reach` samples on
  }

  kernel(offset, cutoff) {
    return Float32Array.from({ length: 2 * this.reach + 1 }, (_, n) => {
      const x = n - this.reach - offset;
      const inside = Math.max(0, 1 - (x / (this.reach + 1)) ** 2);
      const sinc = x ? Math.sin(Math.PI * cutoff * x) / (Math.PI * x) : cutoff;
      return (sinc * besselI0(BETA * Math.sqrt(inside))) / besselI0(BETA);
    });
  }

  /** Samples that are known with these. */
  accept(samples) {
    if (this.up === this.down) return samples;
    const { up, down, reach } = this;
    const all = concatenated(this.waiting, samples);
    const found = new Float32Array(Math.max(0, Math.ceil(((all.length - 2 * reach) * up - this.place) / down)));
    for (let n = 0; n < found.length; n++, this.place += down) {
      const kernel = this.kernels[this.place % up];
      const first = Math.floor(this.place / up);
      let sum = 0;
      for (let i = 0; i < kernel.length; i++) sum += kernel[i] * all[first + i];
      found[n] = sum;
    }
    const done = Math.floor(this.place / up);
    this.waiting = all.slice(done);
    this.place -= done * up;
    return found;
  }

  /** The last ones: silence comes behind. */
  finish() {
    return this.up === this.down ? new Float32Array(0) : this.accept(new Float32Array(this.reach));
  }
}
