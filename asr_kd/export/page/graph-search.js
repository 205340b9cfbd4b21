// Viterbi beam search through a decoding graph. Costs are rounded to float32 where asr_kd/graph/lattice_search.py rounds
// them, so that the same paths survive: the words are those of its lattice's best path.

const round = Math.fround;
const NONE = -1;

/** Arrays of `graph.bin`; arcs of a state: with a label from first to epsilon, without one from epsilon to the next first. */
export function readGraph(buffer, { states, arcs, start }) {
  let place = 0;
  const next = (Type, length) => {
    const array = new Type(buffer, place, length);
    place += array.byteLength;
    return array;
  };
  return {
    start,
    states,
    first: next(Int32Array, states + 1),
    epsilon: next(Int32Array, states),
    final: next(Float32Array, states),
    label: next(Int32Array, arcs),
    word: next(Int32Array, arcs),
    cost: next(Float32Array, arcs),
    target: next(Int32Array, arcs),
  };
}

/** What tokens have passed: links to what they passed before. Grows with the utterance. */
class History {
  constructor() {
    this.size = 0;
    this.grow(1 << 14);
  }

  grow(room) {
    for (const name of ["before", "label", "word"]) {
      const larger = new Int32Array(room);
      larger.set(this[name] ?? []);
      this[name] = larger;
    }
  }

  add(before, label, word) {
    if (this.size === this.before.length) this.grow(2 * this.size);
    this.before[this.size] = before;
    this.label[this.size] = label;
    this.word[this.size] = word;
    return this.size++;
  }
}

/** Costs of states and how they were reached; `active` lists those that were. */
class Tokens {
  constructor(states) {
    this.cost = new Float32Array(states).fill(Infinity);
    this.trace = new Int32Array(states);
    this.arc = new Int32Array(states);
    this.active = [];
  }

  /** Whether this is better than what reached the state before. */
  improves(state, cost) {
    if (!(cost < this.cost[state])) return false;
    if (this.cost[state] === Infinity) this.active.push(state);
    this.cost[state] = cost;
    return true;
  }

  clear() {
    for (const state of this.active) this.cost[state] = Infinity;
    this.active = [];
  }

  best() {
    return this.active.reduce((least, state) => Math.min(least, this.cost[state]), Infinity);
  }
}

export class GraphSearch {
  /**
   * names: word of each output label.  settings: {beam, acoustic, prior, logPrior} of model.json.  soundless: classes that are not heard.
   */
  constructor(graph, names, settings, soundless) {
    Object.assign(this, { graph, names, beam: round(settings.beam), acoustic: round(settings.acoustic) });
    this.classes = settings.logPrior.length;
    this.prior = Float32Array.from(settings.logPrior, (p) => round(settings.prior) * round(p));
    this.soundless = new Set(soundless);
    this.now = new Tokens(graph.states);
    this.later = new Tokens(graph.states);
    this.start();
  }

  start() {
    this.history = new History();
    this.rows = [];
    this.now.clear();
    this.now.improves(this.graph.start, 0);
    this.now.trace[this.graph.start] = NONE;
    this.passEpsilons();
  }

  advance(logP, frames) {
    for (let t = 0; t < frames; t++) {
      const row = logP.slice(t * this.classes, (t + 1) * this.classes);
      this.rows.push(row);
      this.passLabels(row.map((p, c) => -round(this.acoustic * round(p - this.prior[c]))));
      this.prune();
      this.passEpsilons();
    }
  }

  passLabels(acoustic) {
    const { first, epsilon, label, cost, target } = this.graph;
    const { now, later, beam } = this;
    later.clear();
    let cutoff = Infinity;
    for (const state of now.active) {
      for (let a = first[state]; a < epsilon[state]; a++) {
        const total = round(round(now.cost[state] + acoustic[label[a] - 1]) + cost[a]);
        if (!(total < cutoff)) continue;
        cutoff = Math.min(cutoff, round(total + beam));
        if (later.improves(target[a], total)) {
          later.trace[target[a]] = now.trace[state];
          later.arc[target[a]] = a;
        }
      }
    }
    [this.now, this.later] = [later, now];
  }

  prune() {
    const { now, history } = this;
    const cutoff = round(now.best() + this.beam);
    now.active = now.active.filter((state) => {
      const stays = now.cost[state] < cutoff;
      if (stays) {
        const arc = now.arc[state];
        now.trace[state] = history.add(now.trace[state], this.graph.label[arc], this.graph.word[arc]);
      } else now.cost[state] = Infinity;
      return stays;
    });
  }

  passEpsilons() {
    const { first, epsilon, word, cost, target } = this.graph;
    const { now, history } = this;
    const hasEpsilons = (state) => epsilon[state] < first[state + 1];
    const waiting = now.active.filter(hasEpsilons);
    const cutoff = round(now.best() + this.beam);
    while (waiting.length) {
      const state = waiting.pop();
      for (let a = epsilon[state]; a < first[state + 1]; a++) {
        const total = round(now.cost[state] + cost[a]);
        if (!(total < cutoff) || !now.improves(target[a], total)) continue;
        now.trace[target[a]] = word[a] ? history.add(now.trace[state], 0, word[a]) : now.trace[state];
        if (hasEpsilons(target[a])) waiting.push(target[a]);
      }
    }
  }

  /** Words of the best path so far, start and end in frames, and the frames since the last that is a sound. */
  partial() {
    const path = this.path((state) => this.now.cost[state]);
    return { words: this.words(path), silentFrames: this.rows.length - this.behindSpeech(path.labels, 0, this.rows.length) };
  }

  /** Words of the best path that ends where a sentence may end; where there is none, of the best path. */
  finish() {
    const { cost } = this.now;
    const ends = this.now.active.some((state) => this.graph.final[state] < Infinity);
    return this.words(this.path((state) => (ends ? round(cost[state] + this.graph.final[state]) : cost[state])));
  }

  /** Label of each frame, words and the frames at which the graph says them, of the cheapest state. */
  path(costOf) {
    const { history, now } = this;
    const end = now.active.reduce((best, state) => (best === NONE || costOf(state) < costOf(best) ? state : best), NONE);
    const labels = new Int32Array(this.rows.length);
    const words = [];
    let t = this.rows.length;
    for (let i = end === NONE ? NONE : now.trace[end]; i !== NONE; i = history.before[i]) {
      if (history.label[i]) labels[--t] = history.label[i];
      if (history.word[i]) words.push({ word: history.word[i], frame: t });
    }
    return { labels, words: words.reverse() };
  }

  /** Between two words, silence belongs to none of them. */
  words({ labels, words }) {
    return words.map(({ word, frame }, n) => {
      let start = frame;
      const until = Math.max(words[n + 1]?.frame ?? labels.length, start + 1);
      const end = Math.max(this.behindSpeech(labels, start, until), start + 1);
      while (start < end - 1 && this.soundless.has(labels[start] - 1)) start++;
      return { word: this.names[word], start, end, confidence: this.confidence(labels, start, end) };
    });
  }

  behindSpeech(labels, start, end) {
    while (end > start && this.soundless.has(labels[end - 1] - 1)) end--;
    return end;
  }

  /** Geometric mean of two of the three numbers that graph/confidence.py takes: those that need no lattice. */
  confidence(labels, start, end) {
    let acoustic = 0;
    let negativeEntropy = 0;
    const stop = Math.min(end, this.rows.length);
    for (let t = start; t < stop; t++) {
      acoustic += this.rows[t][labels[t] - 1];
      negativeEntropy += this.rows[t].reduce((sum, p) => sum + Math.exp(p) * p, 0);
    }
    return Math.exp((acoustic + negativeEntropy) / (2 * Math.max(1, stop - start)));
  }
}
