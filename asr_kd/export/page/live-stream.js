// Utterances of audio that is still coming in, as asr_kd/decode/stream.py finds them.

import { concatenated } from "./samples.js";

export class LiveStream {
  /**
   * newNetwork: makes a NetworkStream.  sizes, endPoints: of model.json.
   */
  constructor(newNetwork, search, sizes, endPoints) {
    Object.assign(this, { newNetwork, search, sizes, endPoints });
    this.frameSamples = sizes.frameShift * sizes.stack;
    this.shiftSeconds = this.frameSamples / sizes.sampleRate;
    this.waiting = new Float32Array(0);
    this.firstSample = 0;
    this.begin();
  }

  begin() {
    this.network = this.newNetwork();
    this.search.start();
    this.audio = [];
    this.frames = 0;
    this.partial = [];
  }

  /** Words of each utterance that ended: [[{word, start, end, confidence}, ...], ...], in seconds of the stream. */
  async accept(samples) {
    this.waiting = concatenated(this.waiting, samples);
    const ended = [];
    for (let block; this.waiting.length >= (block = this.network.missing()); ) {
      const next = this.waiting.subarray(0, block);
      this.waiting = this.waiting.subarray(block);
      ended.push(...(await this.block(next)));
    }
    return ended;
  }

  /** The last utterance, if it has words; the stream is over. */
  async finish() {
    this.searchIn(await this.network.accept(this.waiting));
    this.searchIn(await this.network.finish());
    this.partial = [];
    return this.found(this.search.partial().silentFrames < this.frames);
  }

  async block(samples) {
    this.audio.push(samples);
    this.searchIn(await this.network.accept(samples));
    const { words, silentFrames } = this.search.partial();
    this.partial = this.timed(words);
    const hasSpeech = silentFrames < this.frames; // the words of a graph may come later than their sounds
    if (!this.isOver(this.frames * this.shiftSeconds, silentFrames * this.shiftSeconds, hasSpeech)) return [];
    const ended = this.found(hasSpeech);
    const lead = Math.floor(this.endPoints.lead / this.shiftSeconds);
    this.goOn(this.frames - Math.min(silentFrames, lead));
    return ended;
  }

  isOver(seconds, silence, hasSpeech) {
    const { waiting, silence: usual, long, shortSilence, most } = this.endPoints;
    const needed = !hasSpeech ? waiting : seconds < long ? usual : shortSilence;
    return silence >= needed || seconds >= most;
  }

  searchIn(found) {
    for (const logP of found) {
      const frames = logP.length / this.sizes.classes;
      this.search.advance(logP, frames);
      this.frames += frames;
    }
  }

  /** Of silence alone, a graph without an empty sentence would make words. */
  found(hasSpeech) {
    if (!hasSpeech) return [];
    const words = this.timed(this.search.finish());
    return words.length ? [words] : [];
  }

  timed(words) {
    const seconds = (frame) => this.firstSample / this.sizes.sampleRate + frame * this.shiftSeconds;
    return words.map(({ word, start, end, confidence }) => ({ word, start: seconds(start), end: seconds(end), confidence }));
  }

  /** The next utterance begins with this frame; the audio since then is recognised again. */
  goOn(frame) {
    const first = frame * this.frameSamples;
    this.waiting = [...this.audio, this.waiting].reduce(concatenated).subarray(first);
    this.firstSample += first;
    this.begin();
  }
}
