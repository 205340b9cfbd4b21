// What the likeliest token of each frame spells, as GreedySearch of asr_kd/decode/utterance_search.py.

const SPACE = "▁";

export class GreedySearch {
  /** symbols: text of each class; class 0 is the blank.  soundless: classes that are not heard. */
  constructor(symbols, soundless) {
    this.symbols = symbols;
    this.soundless = new Set(soundless);
    this.start();
  }

  start() {
    this.best = [];
    this.logP = [];
  }

  advance(logP, frames) {
    const classes = this.symbols.length;
    for (let t = 0; t < frames; t++) {
      let best = t * classes;
      for (let c = best + 1; c < (t + 1) * classes; c++) if (logP[c] > logP[best]) best = c;
      this.best.push(best - t * classes);
      this.logP.push(logP[best]);
    }
  }

  /** Words so far, start and end in frames, and the frames since the last that is a sound. */
  partial() {
    const said = this.best.findLastIndex((c) => !this.soundless.has(c));
    return { words: this.finish(), silentFrames: this.best.length - 1 - said };
  }

  finish() {
    const words = [];
    for (let start = 0, end; start < this.best.length; start = end) {
      const unit = this.best[start];
      for (end = start + 1; this.best[end] === unit; ) end++;
      if (!unit) continue;
      const text = this.symbols[unit];
      if (!words.length || text.startsWith(SPACE)) words.push({ word: "", start, end });
      words.at(-1).word += text.replaceAll(SPACE, "");
      words.at(-1).end = end;
    }
    return words.filter(({ word }) => word).map((word) => ({ ...word, confidence: this.confidence(word) }));
  }

  confidence({ start, end }) {
    const logP = this.logP.slice(start, end);
    return Math.exp(logP.reduce((sum, p) => sum + p, 0) / logP.length);
  }
}
