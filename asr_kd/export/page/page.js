// What is seen: buttons, words as they come, and what it costs.

import { microphoneProblem, openMicrophone, readFile, SAMPLE_RATE } from "./audio.js";
import { paragraph } from "./words.js";

const $ = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
let worker;
let microphone;
let isBusy = true;
let given = 0;

function say(text) {
  $("status").textContent = text;
}

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

/** Buttons that can be used now. */
function settle() {
  $("file").disabled = isBusy;
  $("microphone").disabled = (isBusy && !microphone) || Boolean(microphoneProblem());
  $("microphone").textContent = microphone ? "Stop microphone" : "Start microphone";
}

function show({ ended, partial, audio, work, heap, isOver }) {
  $("words").append(...ended.map((words) => paragraph(words, "utterance")));
  $("partial").replaceChildren(...paragraph(partial, "partial").childNodes);
  const seconds = audio / SAMPLE_RATE;
  $("seconds").textContent = `${seconds.toFixed(1)} s`;
  $("speed").textContent = seconds ? (work / seconds).toFixed(3) : "–";
  $("behind").textContent = `${((given - audio) / SAMPLE_RATE).toFixed(1)} s`;
  const heapOfPage = performance.memory?.usedJSHeapSize ?? 0;
  $("memory").textContent = megabytes(heap + heapOfPage);
  if (isOver) {
    isBusy = false;
    const result = $("words").childElementCount ? "Done." : "Done: no words were found.";
    say($("error").hidden ? result : "");
    settle();
  }
}

function begin(text) {
  fail("");
  say(text);
  isBusy = true;
  given = 0;
  $("words").replaceChildren();
  worker.postMessage({ type: "begin" });
  settle();
}

function pass(samples) {
  given += samples.length;
  worker.postMessage({ type: "samples", samples }, [samples.buffer]);
}

async function recogniseFile(file) {
  begin(`Reading ${file.name} …`);
  try {
    const samples = await readFile(file);
    say(`Recognising ${file.name} …`);
    pass(samples);
  } catch (error) {
    fail(error.message);
  }
  worker.postMessage({ type: "finish" });
}

async function switchMicrophone() {
  if (microphone) {
    const { stop } = microphone;
    microphone = undefined;
    settle();
    await stop();
    worker.postMessage({ type: "finish" });
    return;
  }
  begin("Waiting for the microphone …");
  try {
    microphone = await openMicrophone(pass);
    say("Listening. Speak now.");
    settle();
  } catch (error) {
    fail(error.message);
    worker.postMessage({ type: "finish" });
  }
}

function listen() {
  $("microphone").addEventListener("click", switchMicrophone);
  $("file").addEventListener("change", ({ target }) => {
    if (target.files.length) recogniseFile(target.files[0]);
    target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", !isBusy);
  });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    if (!isBusy && event.dataTransfer.files.length) recogniseFile(event.dataTransfer.files[0]);
  });
}

function start() {
  if (!window.WebAssembly || !window.Worker || !window.OfflineAudioContext) {
    say("");
    fail("This browser lacks WebAssembly, workers or Web Audio. Use a current Chrome, Edge, Firefox or Safari.");
    return;
  }
  say("Loading the model …");
  worker = new Worker("worker.js", { type: "module" });
  worker.onerror = (event) => fail(event.message || "The page's worker did not start. Copy the whole folder of the page to the web server.");
  worker.onmessage = ({ data }) => {
    if (data.error) {
      isBusy = true;
      say("");
      settle();
      fail(data.error);
    } else if (data.loaded) {
      isBusy = false;
      $("size").textContent = megabytes(data.loaded.size);
      document.title = `${data.loaded.name}: speech to text on this device`;
      say(`${data.loaded.name} is ready.`);
      fail(microphoneProblem());
      settle();
    } else show(data);
  };
  listen();
  settle();
}

start();
