// Network and search, away from the page: audio in, words out.
// In: {begin}, {samples}, {finish}.  Out: {loaded}, {ended, partial, audio, work, heap, isOver}, {error}.

import { GraphSearch, readGraph } from "./graph-search.js";
import { GreedySearch } from "./greedy-search.js";
import { LiveStream } from "./live-stream.js";
import { heapBytes, loadSession, NetworkStream } from "./network.js";

const PIECE = 16000;
let newStream;
let stream;
let audio = 0;
let work = 0;

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: the web server answers ${answer.status}. Copy the whole folder of the page to it.`);
  return answer;
}

async function load() {
  const model = await (await fetched("model.json")).json();
  const bytes = new Uint8Array(await (await fetched("network.onnx")).arrayBuffer());
  const session = await loadSession(bytes);
  let search;
  let size = bytes.length;
  if (model.graph) {
    const buffer = await (await fetched("graph.bin")).arrayBuffer();
    size += buffer.byteLength;
    search = new GraphSearch(readGraph(buffer, model.graph), model.words, model.search, model.soundless);
  } else search = new GreedySearch(model.symbols, model.soundless);
  newStream = () => new LiveStream(() => new NetworkStream(session, model.network), search, model.network, model.endPoints);
  postMessage({ loaded: { name: model.name, size, sampleRate: model.network.sampleRate } });
}

function report(ended, isOver) {
  postMessage({ ended, partial: stream.partial, audio, work, heap: heapBytes(), isOver });
}

async function timed(doing) {
  const began = performance.now();
  const ended = await doing();
  work += (performance.now() - began) / 1000;
  return ended;
}

async function handle({ type, samples }) {
  if (type === "begin") {
    stream = newStream();
    audio = work = 0;
  } else if (type === "samples") {
    for (let start = 0; start < samples.length; start += PIECE) {
      const piece = samples.subarray(start, start + PIECE);
      const ended = await timed(() => stream.accept(piece));
      audio += piece.length;
      report(ended, false);
    }
  } else report(await timed(() => stream.finish()), true);
}

let last = load();
const fail = (error) => postMessage({ error: error.message });
last.catch(fail);
self.onmessage = ({ data }) => {
  last = last.then(() => handle(data));
  last.catch(fail);
};
